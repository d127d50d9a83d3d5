# Work that ends: `cluster job run` follows it until it is complete.

job "sum" {
  type = "batch"

  group "sum" {
    task "sum" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args    = ["-c", "echo 'on' $(uname -n); n=0; for i in 1 2 3 4 5; do n=$((n + i)); echo $n; sleep 1; done"]
      }

      resources {
        cpu    = 50
        memory = 16
      }
    }
  }
}
