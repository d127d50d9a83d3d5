variable "a" {}
variable "b" {
  type = string
}
job "unset-variable" {
}
