job "rules-constraint" {
  constraint {
    attribute = "${attr.kernel.name}"
    operator  = "almost"
    value     = "linux"
  }
  constraint {
    attribute = "${attr.kernel.name}"
  }
  constraint {
    value = "linux"
  }
  constraint {
    attribute = "${env.HOME}"
    value     = "x"
  }
  constraint {
    attribute = "${attr.os.version}"
    regexp    = "("
  }
  constraint {
    attribute = "${attr.os.version}"
    version   = "new"
  }
  constraint {
    attribute = "${attr.os.version}"
    semver    = "~> 1.2"
  }
  constraint {
    attribute = "${attr.os.version}"
    operator  = "is_set"
    value     = "x"
  }
  constraint {
    distinct_hosts = "often"
  }
  group "g" {
    task "t" {
      driver = "x"
      constraint {
        operator = "distinct_hosts"
      }
    }
  }
}
