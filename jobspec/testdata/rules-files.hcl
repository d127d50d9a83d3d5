job "files" {
  group "g" {
    count = 2
    volume "typeless" {
      source = "a"
    }
    volume "host" {
      type        = "host"
      access_mode = "multi-node-writer"
      per_alloc   = true
      sticky      = true
      mount_options {
      }
    }
    volume "csi" {
      type        = "csi"
      source      = "b"
      access_mode = "single-node-writer"
    }
    volume "reader" {
      type            = "csi"
      source          = "c"
      access_mode     = "multi-node-reader-only"
      attachment_mode = "folder"
      sticky          = true
    }
    update {
      canary = 1
    }
    task "t" {
      driver = "docker"
      artifact {
        destination = "../../etc"
        mode        = "folder"
      }
      artifact {
        source = "https://example.com/a"
        options {
          checksum = "abc"
        }
      }
      artifact {
        source = "https://example.com/a"
        options {
          checksum = "crc32:abcd"
        }
      }
      artifact {
        source = "https://example.com/${attr.cpu.arch}"
        options {
          checksum = "sha256:abcd"
        }
      }
      artifact {
        source = "https://example.com/a"
        options {
          checksum = "sha256:${NOMAD_META_sum}"
        }
      }
      template {
        destination = "local/a"
      }
      template {
        data  = "x"
        splay = "-1s"
        perms = "rw-r--r--"
      }
      template {
        data        = "x"
        destination = "local/a"
        change_mode = "script"
      }
      template {
        data        = "x"
        destination = "../../a"
        env         = true
        change_mode = "signal"
        wait {
          min = "10s"
          max = "5s"
        }
      }
      template {
        data        = "x"
        destination = "../alloc/b"
        change_mode = "script"
        change_script {
        }
      }
      volume_mount {
        destination = "/a"
      }
      volume_mount {
        volume           = "hsot"
        destination      = "/a"
        propagation_mode = "both"
        selinux_label    = "x"
      }
      csi_plugin {
        type = "nodes"
      }
      dispatch_payload {
        file = "../secrets/x"
      }
    }
  }
}
