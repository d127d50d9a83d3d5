# A short form wins over what is written beside it, whichever comes first.
job "short" {
  constraint {
    attribute = "${attr.a}"
    regexp    = "wins"
    operator  = "="
  }
  constraint {
    attribute = "${attr.a}"
    regexp    = "wins"
    value     = "loses"
  }
  constraint {
    attribute = "${attr.a}"
    operator  = "regexp"
    regexp    = "twice"
  }
  constraint {
    distinct_property = "${attr.a}"
    value             = "3"
  }
  group "main" {
    task "app" {
      driver = "exec"
      config {
        command = "app"
      }
    }
  }
}
