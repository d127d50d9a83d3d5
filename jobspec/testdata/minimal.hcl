job "minimal" {
  group "only" {
    task "one" {
      driver = "raw_exec"
    }
  }
}
