variable "count" {
  type    = number
  default = 2
}

job "web" {
  group "web" {
    count = var.count
    network {
      port "http" {}
    }
    service {
      name = "web"
      port = "http"
      tags = ["demo", "v1"]
    }
    task "server" {
      driver = "raw_exec"
      config {
        command = "/bin/sleep"
        args    = ["3600"]
      }
    }
  }
}
