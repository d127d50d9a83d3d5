job "rules-group" {
  group "empty" {
    count          = -1
    shutdown_delay = "-1s"
    ephemeral_disk {
      size = 5
    }
    restart {
      attempts = 10
      interval = "1m"
      delay    = "30s"
      mode     = "retry"
    }
    reschedule {
      attempts  = 3
      interval  = "1h"
      unlimited = true
    }
    update {
      healthy_deadline  = "20m"
      progress_deadline = "10m"
    }
  }
  group "policies" {
    restart {
      attempts = 0
      mode     = "delay"
      interval = "1s"
    }
    reschedule {
      attempts       = 100
      interval       = "10m"
      delay          = "1s"
      delay_function = "random"
      unlimited      = false
    }
    spread {
      weight = 101
      target "a" {
        percent = 70
      }
      target "a" {
        percent = 70
      }
      target "b" {
        percent = -1
      }
    }
    task "a" {
      driver = "x"
    }
    task "a" {
      driver = "x"
    }
  }
  group "policies" {
    task "a" {
      driver = "x"
    }
  }
}
