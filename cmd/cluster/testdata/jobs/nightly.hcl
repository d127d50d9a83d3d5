job "nightly" {
  type = "batch"
  periodic {
    crons            = ["30 2 * * *", "@weekly"]
    time_zone        = "Europe/Berlin"
    prohibit_overlap = true
  }
  group "backup" {
    task "backup" {
      driver = "raw_exec"
      config {
        command = "backup"
      }
    }
  }
}
