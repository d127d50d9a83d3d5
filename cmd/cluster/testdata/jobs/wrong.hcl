job "wrong" {
  group "main" {
    count = "many"
    task "main" {
      driver = "raw_exec"
      commandd = "x"
    }
  }
}
