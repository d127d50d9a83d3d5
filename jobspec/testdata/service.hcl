# Every block and attribute that is supported, once.
job "service" {
  id          = "shop/web"
  name        = "web"
  namespace   = "shop"
  region      = "global"
  type        = "service"
  priority    = 70
  datacenters = ["dc1", "eu-*"]
  node_pool   = "edge"

  meta {
    owner = "shop"
    tier  = 2
  }

  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  spread {
    attribute = "${node.datacenter}"
    weight    = 80
    target "dc1" {
      percent = 60
    }
    target "dc2" {
      percent = 40
    }
  }

  update {
    max_parallel      = 2
    health_check      = "task_states"
    min_healthy_time  = "5s"
    healthy_deadline  = "2m"
    progress_deadline = "8m"
    stagger           = "10s"
  }

  group "front" {
    count          = 3
    shutdown_delay = "2s"

    meta = {
      "with.dot" = "yes"
    }

    network {
      mode = "host"
      port "http" {
        to = 8080
      }
      port "admin" {
        static = 9000
      }
    }

    service {
      name         = "front"
      provider     = "nomad"
      port         = "http"
      tags         = ["web", "v${1 + 1}"]
      address_mode = "host"
      task         = "server"
      on_update    = "ignore"

      check {
        name            = "alive"
        type            = "http"
        path            = "/health"
        method          = "HEAD"
        protocol        = "https"
        interval        = "10s"
        timeout         = "2s"
        tls_skip_verify = true
        header {
          Accept = ["text/plain", "*/*"]
        }
      }
      check {
        type     = "tcp"
        port     = "admin"
        interval = "10s"
        timeout  = "2s"
      }
    }

    restart {
      attempts = 4
      interval = "10m"
      delay    = "5s"
      mode     = "delay"
    }

    reschedule {
      attempts       = 3
      interval       = "1h"
      delay          = "10s"
      delay_function = "constant"
      unlimited      = false
    }

    ephemeral_disk {
      size = 500
    }

    update {
      max_parallel = 1
    }

    migrate {
      max_parallel     = 2
      health_check     = "task_states"
      min_healthy_time = "5s"
    }

    task "server" {
      driver         = "docker"
      user           = "nobody"
      kill_timeout   = "20s"
      kill_signal    = "SIGINT"
      shutdown_delay = "1s"

      config {
        image = "shop/front:1.2"
        ports = ["http"]
      }

      env {
        ADDR = "${NOMAD_ADDR_http}"
      }

      meta {
        role = "front"
      }

      constraint {
        attribute = "${attr.cpu.arch}"
        operator  = "!="
        value     = "arm"
      }

      service {
        name     = "${JOB}-${TASKGROUP}-${TASK}"
        provider = "nomad"
        port     = "admin"
      }

      restart {
        attempts = 1
      }

      resources {
        cpu    = 500
        memory = 256
      }

      logs {
        max_files     = 3
        max_file_size = 5
        disabled      = false
      }
    }
  }
}
