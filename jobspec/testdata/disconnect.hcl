# What becomes of instances whose node cannot be reached; the older spellings mean the same.
job "cut" {
  group "patient" {
    disconnect {
      lost_after = "6h"
      reconcile  = "longest_running"
    }
    task "t" {
      driver = "raw_exec"
      config { command = "sleep" }
    }
  }
  group "alone" {
    disconnect {
      replace = false
    }
    task "t" {
      driver = "raw_exec"
      config { command = "sleep" }
    }
  }
  group "older" {
    stop_after_client_disconnect = "90s"
    task "t" {
      driver = "raw_exec"
      config { command = "sleep" }
    }
  }
}
