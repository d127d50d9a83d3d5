# A small web service, three times, on as many nodes as there are. Build its program with `go build -o bin/hello ./examples/hello`, then
#
#	cluster job run examples/hello.hcl
#	cluster service info hello
#	cluster job run -var release=2 examples/hello.hcl    # replaces one instance after the other

variable "program" {
  description = "Where the program is on the nodes."
  type        = string
  default     = ""
}

variable "release" {
  description = "What the answers end with."
  type        = string
  default     = "1"
}

variable "arguments" {
  description = "More arguments, such as -unhealthy, to see a bad release stop by itself."
  type        = list(string)
  default     = []
}

locals {
  program = var.program != "" ? var.program : abspath("bin/hello")
}

job "hello" {
  group "hello" {
    count = 3

    spread {
      attribute = "${node.unique.name}"
    }

    network {
      port "http" {}
    }

    service {
      name     = "hello"
      provider = "nomad"
      port     = "http"
      tags     = ["release-${var.release}"]

      check {
        type     = "http"
        path     = "/health"
        interval = "1s"
        timeout  = "1s"
      }
    }

    update {
      max_parallel     = 1
      min_healthy_time = "1s"
      healthy_deadline = "30s"
    }

    restart {
      attempts = 2
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    task "hello" {
      driver = "raw_exec"

      config {
        command = local.program
        args    = concat(["-version", var.release], var.arguments)
      }

      env {
        NODE = "${node.unique.name}"
      }

      resources {
        cpu    = 50
        memory = 32
      }
    }
  }
}
