# Writes the time into a file of its own, again and again. -var dir=DIR
variable "dir" {}

job "fenced" {
  group "fenced" {
    disconnect {
      stop_on_client_after = "3s"
    }
    update {
      min_healthy_time = "0s"
    }
    restart {
      attempts = 0
      mode     = "fail"
    }
    task "fenced" {
      driver       = "raw_exec"
      kill_timeout = "1s"
      config {
        command = "sh"
        args    = ["-c", "trap '' TERM INT; while :; do date +%s%N; sleep 0.01; done >${var.dir}/$NOMAD_ALLOC_ID"]
      }
      resources {
        cpu    = 10
        memory = 10
      }
    }
  }
}
