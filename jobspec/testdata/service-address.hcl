# An address that is no IP address is listed, and no name leads to it.
job "address" {
  group "main" {
    service {
      name     = "named"
      provider = "nomad"
      port     = 8080
      address  = "db.example.com"
    }
    service {
      name     = "number"
      provider = "nomad"
      address  = "2001:db8::1"
    }
    service {
      name     = "later"
      provider = "nomad"
      address  = "${attr.unique.network.ip-address}"
    }
    task "app" {
      driver = "exec"
      config {
        command = "app"
      }
    }
  }
}
