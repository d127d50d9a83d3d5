# -var small=[x]
variable "1st" {
  default = 1
}
variable "any" {
  type = any
}
variable "number" {
  type    = number
  default = "many"
}
variable "number" {
  default = var.other
}
job "bad-variable" {
}
