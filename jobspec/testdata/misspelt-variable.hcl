variable "replicas" {
  default = 1
}
locals {
  wanted = var.replicas
}
job "misspelt-variable" {
  group "g" {
    count = var.replica
    task "t" {
      driver = local.wantd
      config {
        a = try(var.nothing, 1)
        b = uper("x")
        c = [1, 2][5]
      }
    }
  }
}
