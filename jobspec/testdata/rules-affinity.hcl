job "affinity" {
  affinity {
    attribute = "${node.class}"
    value     = "x"
    weight    = 101
  }
  affinity {
    attribute = "${node.class}"
    weight    = 0
  }
  affinity {
    value    = "("
    operator = "regexp"
  }
  affinity {
    attribute    = "${meta.tags}"
    set_contains = "a"
  }
  affinity {
    attribute        = "${meta.tags}"
    set_contains_any = "a"
    weight           = -50
  }
  affinity {
    attribute = "${node.class}"
    operator  = "distinct_hosts"
    value     = "true"
  }
  group "g" {
    task "t" {
      driver = "docker"
    }
  }
}
