job "example" {
  group "example" {
    task "example" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "while :; do date; sleep 10; done"]
      }
    }
  }
}
