job "template" {
  meta {
    a = "${x:y}"
  }
}
