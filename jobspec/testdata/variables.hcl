# -var replicas=4
# -var names=["x", "y"]
# -env NOMAD_VAR_image=from-nomad
# -env CLUSTER_VAR_image=from-cluster
# -env NOMAD_VAR_not_declared=1
# -env NOMAD_VAR_from_file=overruled
variable "replicas" {
  type        = number
  description = "how many"
  validation {
    condition     = var.replicas > 0 && var.replicas < 10
    error_message = "Between 1 and 9."
  }
}

variable "image" {}

variable "names" {
  type    = list(string)
  default = []
}

variable "from_file" {
  default = "unused"
}

variable "ports" {
  type    = map(number)
  default = { http = 80, metrics = 90 }
}

variables {
  flag = true
  text = "plain"
}

locals {
  first  = "${local.second}!"
  second = upper(var.text)
}

job "variables" {
  group "g" {
    count = var.flag ? var.replicas : 0
    network {
      dynamic "port" {
        for_each = var.ports
        iterator = each
        labels   = [each.key]
        content {
          to = each.value
        }
      }
    }
    task "t" {
      driver = "docker"
      config {
        image = "${var.image}:${var.from_file}"
        args  = [for n in var.names : "--name=${n}"]
        text  = local.first
      }
    }
  }
}
