job "values" {
  group "g" {
    network {
      port "p" {}
    }

    service {
      port      = "p"
      on_update = "ignore_warnings"

      check_restart {
        limit = 2
      }

      check {
        type = "tcp"
      }
    }

    task "t" {
      driver         = "raw_exec"
      kill_timeout   = "2h"
      shutdown_delay = "1s"
    }
  }
}
