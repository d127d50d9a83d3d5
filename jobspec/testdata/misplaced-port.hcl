job "misplaced" {
  port "http" {
  }
  group "main" {
    network {
      cpu = 100
    }
  }
}
