job "inherited" {
  type = "batch"

  update {
    max_parallel = 2
  }

  migrate {
    max_parallel = 2
  }

  reschedule {
    attempts = 1
    delay    = "1s"
    interval = "1m"
  }

  group "a" {
    task "t" {
      driver = "dokcer"
    }
  }

  group "b" {
    reschedule {
      interval = "10s"
    }

    task "t" {
      driver = "docker"
    }
  }
}
