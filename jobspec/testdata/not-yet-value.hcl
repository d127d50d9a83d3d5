job "not-yet-value" {
  type = "sysbatch"
  group "g" {
    network {
      mode = "cni/mine"
      port "http" {}
    }
    update {
      health_check = "manual"
    }
    service {
      port         = "http"
      address_mode = "driver"
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
    constraint {
      attribute = "${meta.rack}"
      operator  = "nearly"
    }
    task "t" {
      driver = "docker"
    }
  }
}
