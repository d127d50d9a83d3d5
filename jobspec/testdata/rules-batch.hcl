job "rules-batch" {
  type = "batch"
  group "g" {
    update {
      max_parallel = 1
    }
    migrate {
      health_check = "none"
    }
    task "t" {
      driver = "x"
    }
  }
}
