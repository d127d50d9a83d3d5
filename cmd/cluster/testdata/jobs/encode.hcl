job "encode" {
  type = "batch"
  parameterized {
    payload       = "optional"
    meta_required = ["input"]
    meta_optional = ["size", "codec"]
  }
  group "encode" {
    task "encode" {
      driver = "raw_exec"
      config {
        command = "encode"
      }
    }
  }
}
