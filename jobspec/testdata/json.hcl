{
  "variable": {"x": {"default": "abc", "type": "string"}},
  "job": {
    "json": {
      "datacenters": ["dc1"],
      "meta": {"a.b": "${var.x}"},
      "constraint": [{"attribute": "${attr.kernel.name}", "value": "linux"}, {"distinct_hosts": true}],
      "group": {
        "g": {
          "count": 2,
          "network": {"port": {"http": {"to": 80}, "admin": {"static": 81}}},
          "dynamic": {"service": {"for_each": ["a", "b"], "iterator": "s", "content": {"name": "${s.value}-x", "port": "http"}}},
          "task": [
            {"t": {"driver": "docker", "kill_timeout": "3s", "env": {"A": "${NOMAD_PORT_http} ${upper(var.x)}"}, "config": {"image": "nginx", "labels": {"k": "v"}, "mount": [{"type": "bind"}]}}}
          ]
        }
      }
    }
  }
}
