job "dynamic" {
  group "g" {
    dynamic "service" {
      content {
      }
    }
    dynamic "service" {
      for_each = 3
      content {
      }
    }
    dynamic "service" {
      for_each = [1]
    }
    dynamic "task" {
      for_each = [1]
      content {
      }
    }
    dynamic "task" {
      for_each = [1]
      iterator = "x"
      labels   = "x"
      content {
      }
    }
    dynamic "task" {
      for_each = [1]
      labels   = [[]]
      content {
      }
    }
  }
}
