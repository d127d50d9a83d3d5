job "sum" {
  type = "batch"
  meta = { fate = "ok" }
  group "main" {
    count = 2
    task "main" {
      driver = "raw_exec"
      config {
        command = "/bin/true"
      }
    }
  }
}
