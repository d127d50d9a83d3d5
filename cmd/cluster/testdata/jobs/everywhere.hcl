job "everywhere" {
  type = "system"
  meta = { fate = "ok" }
  group "main" {

    task "main" {
      driver = "raw_exec"
      config {
        command = "/bin/true"
      }
    }
  }
}
