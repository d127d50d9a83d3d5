# -lenient
# -var tyop=1
# What is allowed and probably not meant.
variable "class" {
  default = "large"
}
job "label" {
  id          = "warnings"
  datacenters = [dc1, "${attr.datacenter}"]
  priority    = "70"
  periodic {
    cron = "@daily"
  }
  type = "batch"
  constraint {
    attribute = "${node.class}"
    value     = class
  }
  constraint {
    attribute = attr.kernel.name
    value     = upper("linux")
  }
  group "g" {
    network {
      mode  = "host"
      mbits = 5
      port "a b" {
        ignore_collision = true
      }
    }
    network {
      mode = "bridgd"
      cni {
        args = {
          a = "b"
        }
      }
    }
    service {
      name = "tag"
      task = "t"
    }
    restart {
      attempts = -1
    }
    volume "v" {
      type   = "host"
      source = "v"
    }
    task "t" {
      driver      = "docker"
      kill_signal = "SIGTREM"
      env {
        VERSION = 1.10
        PORT    = 8080
      }
      config {
        image   = "x"
        command = null
        args    = ["a", null]
      }
      template {
        source      = "a"
        data        = "x"
        destination = "local/x"
        perms       = 644
        change_mode = "signal"
        splay       = 5
        vault_grace = "1s"
        change_script {
          command = "x"
        }
      }
      identity {
        name = "consul"
      }
      volume_mount {
        volume = "v"
      }
      dispatch_payload {
        file = ""
      }
      resources {
        iops = 5
        device "gpu" {
          count = 0
        }
        network {
          port "old" {}
        }
      }
    }
  }
  task "alone" {
    driver = "docker"
  }
}
