job "short-form" {
  constraint {
    attribute = "${meta.rack}"
    is_set    = true
  }
}
