job "wrong-types" {
  datacenters = "dc1"
  group "g" {
    count          = 1.5
    shutdown_delay = "1d"
    network {
      port "http" {
        static = "http"
      }
    }
    service {
      tags = "web"
      check {
        interval        = null
        timeout         = true
        tls_skip_verify = "perhaps"
        header          = ["x"]
      }
    }
    restart = 3
    task "t" {
      driver = ["docker"]
      env = {
        LIST = [1]
      }
      config = "x"
    }
  }
}
