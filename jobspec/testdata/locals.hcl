locals {
  a = local.b
  b = "${local.c}x"
  c = local.a
}
locals {
  a = 1
}
job "locals" {
}
