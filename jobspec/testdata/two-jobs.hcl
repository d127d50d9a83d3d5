job "a" {
}
job "b" {
}
