# A local value may refer to another in brackets, whichever comes first.
locals {
  command = local["folder"]
  folder  = "/opt/${local["name"]}"
  name    = "app"
}

job "locals" {
  group "main" {
    task "app" {
      driver = "exec"
      config {
        command = local["command"]
      }
    }
  }
}
