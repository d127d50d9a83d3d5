# A job that runs as it is on any node whose agent has the driver raw_exec, such as that of `cluster agent -dev`:
#
#   cluster job run example.nomad.hcl
#   cluster job status example
#   cluster alloc logs -f -job example
#   cluster job stop example
#
# Before a run, `cluster job validate FILE` says what is wrong in it. What stands behind a # below is a choice that you have.

# A value that is not written into the job: -var greeting=Hi, a -var-file, or the environment variable CLUSTER_VAR_greeting.
variable "greeting" {
  description = "What the job says all the time."
  type        = string
  default     = "Hello"
}

job "example" {
  # service runs until it is stopped, batch until it is done; system is a service, and sysbatch a batch, on every node that fits.
  type = "service"

  # Where it may run. Without these lines that is everywhere.
  #
  # datacenters = ["dc1", "edge-*"]
  # node_pool   = "default"
  # namespace   = "default"

  # What its nodes must be.
  constraint {
    attribute = "${attr.kernel.name}"
    value     = "linux"
  }

  # How a change replaces what runs: one instance after the other, each when the one before was healthy for a while.
  update {
    max_parallel     = 1
    min_healthy_time = "5s"
    healthy_deadline = "2m"
  }

  # Tasks of one group run together on one node. A job may have several groups.
  group "example" {
    # How many instances there are. `cluster job scale example 3` changes it within the bounds of the scaling block.
    count = 1

    scaling {
      min = 1
      max = 5
    }

    # Instances on different nodes, as far as there are some.
    spread {
      attribute = "${node.unique.name}"
    }

    # A free port of the node, which the task finds as NOMAD_PORT_http. With `static = 8080` it is always that one.
    network {
      port "http" {}
    }

    # Who asks for example.cluster.internal finds the instances that are healthy.
    service {
      name     = "example"
      provider = "nomad"
      port     = "http"
      tags     = ["first-try"]

      # Something that listens on the port can be asked whether it is well:
      #
      # check {
      #   type     = "http"
      #   path     = "/health"
      #   interval = "10s"
      #   timeout  = "2s"
      # }
    }

    # How often a task that has ended is started again on its node. After that the instance has failed, and another takes its place.
    restart {
      attempts = 2
      interval = "30m"
      delay    = "15s"
      mode     = "fail"
    }

    # How long an instance may wait for its node when that is out of reach, before another takes its place.
    #
    # disconnect {
    #   lost_after = "5m"
    # }

    task "example" {
      # raw_exec runs a program of the node, docker a container.
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "while :; do echo \"$GREETING from $NODE, port $NOMAD_PORT_http\"; sleep 5; done"]
      }

      # driver = "docker"
      #
      # config {
      #   image = "nginx:alpine"
      #   ports = ["http"]
      # }

      env {
        GREETING = var.greeting
        NODE     = "${node.unique.name}"
      }

      # What is set aside on the node. Where the node has control groups, memory is also the limit.
      resources {
        cpu    = 50 # MHz
        memory = 32 # MB
      }

      # What is kept of each of stdout and stderr.
      logs {
        max_files     = 3
        max_file_size = 5 # MB
      }

      # How long it may take to end when it is asked to.
      kill_timeout = "5s"
    }
  }
}
