job "misplaced" {
  count = 3
  network {
  }
  group "g" {
    driver = "docker"
    image  = "x"
    check {
    }
    task "t" {
      cpu = 100
      percent {
      }
    }
  }
}
