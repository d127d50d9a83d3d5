job "rules-network" {
  group "g" {
    network {
      mode = "overlay"
      port "http" {
        static = 80
        to     = 99999
      }
      port "web" {
        static = 80
      }
      port "web" {}
      port "with space" {
        static = 70000
      }
    }
    network {
    }
    service {
      name = "my_service!"
      port = "htpp"
    }
    service {
      name     = "tag"
      provider = "etcd"
      address  = "10.0.0.1"
      address_mode = "host"
      task     = "nobody"
      on_update = "always"
      check {
        interval = "10s"
        timeout  = "1s"
      }
      check {
        type     = "http"
        port     = "web"
        protocol = "gopher"
        method   = "GET /"
        interval = "100ms"
      }
      check {
        type     = "ping"
        port     = "web"
        path     = "http://x"
        interval = "10s"
        timeout  = "1s"
      }
    }
    task "t" {
      driver = "x"
    }
  }
}
