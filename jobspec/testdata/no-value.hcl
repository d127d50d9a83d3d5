job "math" {
  priority = log(-1, 2)
}
