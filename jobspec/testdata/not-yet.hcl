# What the language knows and this cluster does not do yet is told by name, unless it asks for what happens anyway.
job "not-yet" {
  all_at_once = true
  multiregion {
  }
  group "g" {
    affinity {
      attribute = "${node.class}"
      value     = "large"
    }
    volume "data" {
      type   = "host"
      source = "data"
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
        sidecar_service {
        }
      }
      check {
        type         = "script"
        task         = "t"
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
        data        = "x"
        destination = "local/x"
      }
      dynamic "artifact" {
        for_each = ["a"]
        content {
          source = "https://example.com/${artifact.value}"
        }
      }
      resources {
        cores      = 2
        memory_max = 0
        device "gpu" {
        }
      }
    }
    task "before" {
      driver = "docker"
      lifecycle {
        hook = "prestart"
      }
    }
  }
}
