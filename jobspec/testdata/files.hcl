job "files" {
  meta {
    a = file("missing.txt")
    b = file("/dev/zero")
    c = fileset(".", "**")
  }
}
