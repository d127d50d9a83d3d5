# -server
job "server-side" {
  meta {
    a = file("hello.txt")
    b = uuidv4()
    c = yamlencode({})
  }
}
