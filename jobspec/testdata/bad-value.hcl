# -var flag=[maybe]
# -var small=200
variable "flag" {
  type = bool
}
variable "small" {
  type = number
  validation {
    condition     = var.small < 100
    error_message = "It must be small."
  }
}
job "bad-value" {
}
