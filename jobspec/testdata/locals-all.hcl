locals {
  name = "app"
  all  = keys(local)
}

job "locals" {
}
