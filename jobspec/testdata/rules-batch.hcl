job "rules-batch" {
  type = "batch"
  group "g" {
    update {
      max_parallel = 1
    }
    task "t" {
      driver = "x"
    }
  }
}
