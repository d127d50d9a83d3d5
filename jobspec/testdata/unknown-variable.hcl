# -var replica=3
# -var count=many
variable "replicas" {
  default = 1
}
variable "count" {
  type    = number
  default = 1
}
job "unknown-variable" {
}
