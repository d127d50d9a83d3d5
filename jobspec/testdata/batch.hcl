job "nightly" {
  type = "batch"
  group "work" {
    task "sum" {
      driver = "raw_exec"
      config {
        command = "/bin/true"
      }
      resources {
        memory = 64
      }
    }
  }
}
