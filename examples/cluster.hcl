# Configuration of a node. Copy it to /etc/cluster.d/, then: cluster config validate /etc/cluster.d

datacenter = "home"
data_dir   = "/var/lib/cluster"

client {
  node_class = "small"

  meta {
    rack = "cellar"
  }

  # What the machine needs for itself.
  reserved {
    cpu            = 200 # MHz
    memory         = 256 # MB
    reserved_ports = "22,8000-8080"
  }
}

# Programs of the machine, without a container. Whoever may submit jobs may then run anything.
plugin "raw_exec" {
  config {
    enabled = true
  }
}

plugin "docker" {
  config {
    volumes {
      enabled = true # directories of the machine inside containers
    }
  }
}
