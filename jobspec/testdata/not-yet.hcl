# What the language knows and this cluster does not do yet is refused by name, unless it asks for what happens anyway.
job "not-yet" {
  all_at_once = true
  periodic {
    crons = ["@daily"]
  }
  multiregion {
  }
  group "g" {
    max_run_duration = "1h"
    affinity {
      attribute = "${node.class}"
    }
    volume "data" {
      type = "host"
    }
    scaling {
      max = 3
    }
    vault {
    }
    network {
      mode = "bridge"
      port "http" {
        host_network     = "public"
        ignore_collision = false
      }
      port "other" {
        host_network = "default"
      }
      dns {
      }
    }
    update {
      canary      = 1
      auto_revert = false
    }
    ephemeral_disk {
      sticky = true
    }
    service {
      port = "http"
      meta = {
        a = "b"
      }
      connect {
      }
      check {
        type         = "script"
        command      = "/bin/true"
        interval     = "10s"
        timeout      = "1s"
        address_mode = "host"
        check_restart {
        }
      }
    }
    task "t" {
      driver = "docker"
      leader = true
      template {
        data = "x"
      }
      dynamic "artifact" {
        for_each = ["a"]
        content {
        }
      }
      lifecycle {
        hook = "prestart"
      }
      resources {
        cores      = 2
        memory_max = 0
        device "gpu" {
        }
      }
    }
  }
}
