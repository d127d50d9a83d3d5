# -var small=200
variable "small" {
  type = number
  validation {
    condition     = var.small < 100
    error_message = "It must be small."
  }
  validation {
    condition     = "x"
    error_message = "No."
  }
  validation {
    condition     = true
    error_message = ""
  }
  validation {
    condition     = var.other
    error_message = "No."
  }
}
job "validation" {
}
