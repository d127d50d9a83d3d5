job "constraints" {
  constraint {
    attribute = "${attr.os.version}"
    version   = ">= 20.04, < 25"
  }
  constraint {
    attribute = "${attr.nomad.version}"
    semver    = ">= 1.0.0-beta"
  }
  constraint {
    distinct_hosts = true
  }
  group "g" {
    constraint {
      attribute = "${attr.cpu.arch}"
      regexp    = "arm|amd"
    }
    constraint {
      attribute    = "${meta.caps}"
      set_contains = "ssd,gpu"
    }
    constraint {
      operator = "distinct_hosts"
      value    = "false"
    }
    task "t" {
      driver = "docker"
      constraint {
        attribute = "${meta.rack}"
        operator  = "is_set"
      }
      constraint {
        attribute = "${node.unique.name}"
        operator  = "not"
        value     = "old"
      }
      constraint {
        attribute = "${attr.memory.totalbytes}"
        operator  = ">"
        value     = 1000000
      }
    }
  }
}
