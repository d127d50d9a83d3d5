# A web server in a container, spread over the nodes and published on ports that the cluster chooses.
# Its node needs Docker.

job "nginx" {
  group "nginx" {
    count = 2

    spread {
      attribute = "${node.unique.name}"
    }

    network {
      port "http" {
        to = 80
      }
    }

    service {
      name     = "nginx"
      provider = "nomad"
      port     = "http"

      check {
        type     = "tcp"
        interval = "5s"
        timeout  = "2s"
      }
    }

    task "nginx" {
      driver = "docker"

      config {
        image = "nginx:1.29-alpine"
        ports = ["http"]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
