# Counts: one line after the other, from 1.
job "count" {
  group "count" {
    update {
      min_healthy_time = "0s"
    }
    task "count" {
      driver = "raw_exec"
      config {
        command = "sh"
        args    = ["-c", "n=1; while :; do echo $n; n=$((n+1)); sleep 0.02; done"]
      }
      resources {
        cpu    = 10
        memory = 10
      }
    }
  }
}
