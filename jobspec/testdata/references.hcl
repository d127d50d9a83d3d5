# References that only a node can resolve stay as they are.
variable "x" {
  default = "image"
}
job "references" {
  constraint {
    attribute = attr.kernel.name
    value     = "linux"
  }
  group "g" {
    task "t" {
      driver = "docker"
      config {
        plain     = "${NOMAD_PORT_http}"
        bare      = meta.rack-name
        indexed   = "${env["HOME"]}"
        numbered  = "${attr.gpu.0.name}"
        both      = "${meta.a} ${meta.a.b}"
        mixed     = "${upper(var.x)}-${NOMAD_ALLOC_INDEX}-${1 + 1}"
        inside    = "${upper(NOMAD_TASK_NAME)}"
        list      = [node.unique.id, "${attr.cpu.arch}"]
        escaped   = "$${attr.x} %%{if}"
        templated = "{{ env \"X\" }} {{ range service \"db\" }}{{ .Address }}{{ end }}"
        heredoc   = <<-EOT
          listen ${NOMAD_ADDR_http};
            path ${var.x};
        EOT
        loops     = [for port in ["a", "b"] : "${port}=${NOMAD_HOST_PORT_x}"]
        choice    = true ? "${node.class}" : "no"
      }
    }
  }
}
