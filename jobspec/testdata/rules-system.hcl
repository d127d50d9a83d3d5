job "rules-system" {
  type = "system"
  spread {
    attribute = "${node.class}"
  }
  group "g" {
    count = 2
    reschedule {
      attempts = 1
    }
    task "t" {
      driver = "x"
    }
  }
}
