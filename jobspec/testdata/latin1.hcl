job "web" {
  name = "café"
}
