# Tasks that stand directly in the job become groups, before the others.
job "shorthand" {
  group "third" {
    task "t" {
      driver = "docker"
    }
  }
  task "first" {
    driver = "docker"
  }
  task "second" {
    driver = "raw_exec"
  }
}
