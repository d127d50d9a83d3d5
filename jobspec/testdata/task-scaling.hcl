job "scaling" {
  group "main" {
    scaling {
      max = -1
    }
    task "app" {
      driver = "exec"
      config {
        command = "app"
      }
      scaling "cpu" {
        min = 5
        max = 1
      }
    }
  }
}
