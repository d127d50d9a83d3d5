# A small web service. -var program=$HELLO
variable "program" {}
variable "count" {
  type    = number
  default = 3
}
variable "release" {
  default = "1"
}

job "web" {
  group "web" {
    count = var.count

    network {
      port "http" {}
    }

    service {
      name     = "web"
      provider = "nomad"
      port     = "http"

      check {
        type     = "http"
        path     = "/health"
        interval = "1s"
        timeout  = "1s"
      }
    }

    update {
      max_parallel     = 1
      min_healthy_time = "0s"
    }

    restart {
      attempts = 5
      interval = "1m"
      delay    = "3s"
      mode     = "delay"
    }

    reschedule {
      delay          = "5s"
      delay_function = "constant"
      unlimited      = true
    }

    task "web" {
      driver = "raw_exec"
      config {
        command = var.program
        args    = ["-version", var.release]
      }
      resources {
        cpu    = 10
        memory = 10
      }
    }
  }
}
