job "service" {
  group "g" {
    network {
      mode     = "host"
      hostname = "not a name"
      port "http" {
        ignore_collision = false
      }
    }
    service {
      name         = "a"
      port         = "http"
      address_mode = "driver"
      task         = "tt"
      check_restart {
        limit = -1
        grace = "-1s"
      }
      weights {
        passing = 0
        warning = -1
      }
      check {
        type     = "script"
        interval = "10s"
        timeout  = "1s"
      }
      check {
        type                   = "tcp"
        interval               = "10s"
        timeout                = "1s"
        expose                 = true
        success_before_passing = -1
        on_update              = "ignore"
        check_restart {
          limit = 3
        }
      }
    }
    service {
      name = "mesh"
      port = "http"
      connect {
        native = true
        sidecar_service {
          proxy {
            upstreams {
              destination_name = "x"
              local_bind_port  = 70000
            }
            upstreams {
              destination_name = "y"
              local_bind_port  = 70000
            }
          }
        }
      }
    }
    service {
      name = "gate"
      connect {
        gateway {
          ingress {
            listener {
              port = 0
            }
          }
          terminating {
          }
        }
      }
    }
    task "t" {
      driver = "docker"
    }
  }
  group "nomad" {
    network {
      mode = "bridge"
      port "http" {
        static           = 80
        ignore_collision = true
      }
      cni {
        args = {
          a = "b;c"
        }
      }
    }
    task "t" {
      driver = "docker"
      service {
        name         = "b"
        provider     = "nomad"
        port         = "http"
        address_mode = "alloc"
        connect {
        }
        check {
          type                     = "grpc"
          interval                 = "10s"
          timeout                  = "1s"
          expose                   = true
          on_update                = "ignore_warnings"
          address_mode             = "driver"
          success_before_passing   = 1
          failures_before_critical = 1
          failures_before_warning  = 1
          check_restart {
            ignore_warnings = true
          }
        }
      }
    }
  }
}
