job "rules-task" {
  group "g" {
    task "a/b" {
      kill_timeout   = "1h"
      shutdown_delay = "-1s"
      env = {
        "A=B" = "x"
      }
      resources {
        cpu    = 0
        memory = 5
      }
      logs {
        max_files = 0
      }
    }
    task "alloc" {
      driver       = "x"
      kill_timeout = "-1s"
      logs {
        max_files     = 30
        max_file_size = 20
      }
      restart {
        mode = "never"
      }
    }
  }
}
