# Of some settings single values are not done yet.
job "not-yet-value" {
  type = "sysbatch"
  periodic {
    crons = ["@daily"]
  }
  parameterized {
  }
  group "g" {
    max_run_duration = "1h"
    network {
      mode = "cni/mine"
      port "http" {
        static       = 80
        host_network = "public"
      }
    }
    service {
      port         = "http"
      address_mode = "alloc"
      on_update    = "ignore_warnings"
      cluster      = "other"
      check {
        type     = "grpc"
        interval = "10s"
        timeout  = "1s"
      }
    }
    constraint {
      distinct_property = "${meta.rack}"
    }
    vault {
    }
    task "t" {
      driver = "docker"
      identity {
        env = true
      }
    }
  }
}
