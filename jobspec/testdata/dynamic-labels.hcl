# What dynamic blocks make is checked block by block, and their type also if they make none.
job "wrong" {
  group "main" {
    dynamic "task" {
      for_each = [["one"], []]
      labels   = task.value
      content {
        driver = "exec"
      }
    }
    dynamic "constraint" {
      for_each = [[], ["label"]]
      labels   = constraint.value
      content {
        attribute = "${attr.kernel.name}"
        value     = "linux"
      }
    }
    dynamic "tsk" {
      for_each = []
      content {}
    }
  }
}
