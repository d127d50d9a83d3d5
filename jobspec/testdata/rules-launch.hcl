job "launch" {
  periodic {
    cron      = "61 25 * *"
    crons     = ["@dialy", "* * * * *"]
    time_zone = "Europe/Atlantis"
  }
  parameterized {
    payload       = "maybe"
    meta_required = ["a", "b"]
    meta_optional = ["b", "c"]
  }
  ui {
    description = join("", [for i in range(1001) : "x"])
  }
  group "g" {
    count            = 5
    max_run_duration = "-1s"
    scaling {
      min  = 7
      max  = 4
      type = "diagonal"
    }
    update {
      auto_promote = true
    }
    task "first" {
      driver = "docker"
      leader = true
    }
    task "second" {
      driver = "docker"
      leader = true
      scaling "disk" {
        min = 5
        max = 4
      }
    }
  }
  group "side" {
    task "only" {
      driver = "docker"
      lifecycle {
        hook = "before"
      }
    }
  }
}
