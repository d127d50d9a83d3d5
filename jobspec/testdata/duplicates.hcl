job "duplicates" {
  update {
  }
  update {
  }
  meta {
    a = "b"
  }
  meta = {
    a = "b"
  }
  group "g" {
    task "t" {
      driver = "docker"
      env {
        A = "1"
      }
      env {
        A = "1"
      }
      config {
        a = 1
        a {
        }
      }
    }
  }
}
