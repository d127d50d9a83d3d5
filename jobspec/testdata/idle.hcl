job "idle" {
  group "g" {
    network {
      port "p" {}
    }

    service {
      port = "p"

      check {
        type         = "tcp"
        path         = "/"
        grpc_service = "x"
        interval     = "10s"
        timeout      = "2s"
      }
    }

    task "t" {
      driver = "raw_excc"
    }
  }
}
