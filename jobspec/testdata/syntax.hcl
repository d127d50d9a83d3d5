job "syntax" {
  group: "g"
}
