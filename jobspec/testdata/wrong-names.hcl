job "wrong-names" {
  replicas = 3
  netwrok {
  }
  group "g" {
    cuont = 2
    count {
    }
    affinty {
    }
    task "t" {
      driver      = "docker"
      kill_timout = "5s"
      templates {
      }
    }
    task {
      driver = "docker"
    }
    dynamic "servise" {
      for_each = [1]
      content {
      }
    }
  }
}
