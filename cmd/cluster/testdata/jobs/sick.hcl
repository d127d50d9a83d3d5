job "sick" {
  type = "service"
  meta = { fate = "crash" }
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
