job "has space" {
  type        = "servce"
  priority    = 200
  region      = "eu"
  datacenters = ["dc1", ""]
  update {
    max_parallel     = -1
    health_check     = "docker"
    min_healthy_time = "6m"
  }
}
