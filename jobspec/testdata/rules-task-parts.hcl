job "parts" {
  type = "system"
  affinity {
    attribute = "${node.class}"
    value     = "x"
  }
  group "g" {
    scaling {
      max = 2
    }
    task "t" {
      driver = "docker"
      action "two words" {
        command = ""
      }
      identity {
        aud  = [""]
        ttl  = "1h"
        env  = true
      }
      identity {
        name          = "no spaces"
        ttl           = "-1s"
        change_mode   = "signal"
        filepath      = "../../x"
      }
      identity {
        name          = "vault"
        change_mode   = "restart"
        change_signal = "SIGHUP"
      }
      secret "a-b" {
        provider = "vault"
      }
      secret "c" {
        path = "x"
      }
      secret "c" {
        provider = "nomad"
        path     = "x"
        env {
          A = "b"
        }
      }
      resources {
        cpu        = 500
        cores      = 2
        memory     = 100
        memory_max = 50
        secrets    = 200
        disk       = 10
        device "a/b/c/d" {
          count = -1
          constraint {
            distinct_hosts = true
          }
          affinity {
            attribute = "${device.attr.memory}"
            operator  = "is_set"
            weight    = 0
          }
        }
        numa {
          affinity = "perfer"
          devices  = ["gpu"]
        }
      }
    }
  }
}
