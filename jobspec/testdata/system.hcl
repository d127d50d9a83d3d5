job "agent" {
  type     = "system"
  priority = "90"
  group "each" {
    update {
      max_parallel = 0
    }
    task "watch" {
      driver       = "raw_exec"
      kill_timeout = 3000000000
    }
  }
}
