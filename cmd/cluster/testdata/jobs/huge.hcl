job "huge" {
  type = "service"
  meta = { fate = "no room" }
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
