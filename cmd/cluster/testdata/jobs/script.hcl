variable "line" {
  default = "two"
}

job "script" {
  type = "batch"
  meta {
    warn = "the server has something to say"
    next = "yes"
  }
  group "script" {
    task "script" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args    = ["-c", <<-END
          begin
          one
          ${var.line}
          three
          end
        END
        ]
      }
      kill_timeout = var.line == "two" ? "5s" : "9s"
    }
  }
}
