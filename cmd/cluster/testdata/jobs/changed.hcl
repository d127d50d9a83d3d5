job "web" {
  priority = 60
  group "web" {
    count = 3
    network {
      port "http" {}
      port "admin" {
        static = 8080
      }
    }
    service {
      name = "web"
      port = "http"
      tags = ["demo", "v2"]
    }
    task "server" {
      driver = "raw_exec"
      config {
        command = "/bin/sleep"
        args    = ["-v", "3600"]
      }
      env {
        SCRIPT = <<-END
          one
          two
        END
      }
    }
  }
}
