job "misfit" {
  group "misfit" {
    task "main" {
      driver = "raw_exec"
      config {
        comand        = "sleep"
        oom_score_adj = "${NOMAD_META_score}"
      }
    }
    task "side" {
      driver = "docker"
      config {
        image = "nginx"
        args  = "-t"
        logging {
          type = "json-file"
        }
      }
    }
    task "other" {
      driver = "java"
      config {
        anything = true
      }
    }
  }
}
