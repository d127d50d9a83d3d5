# Free-form bodies: what becomes a list, an object, a number, nothing.
job "config" {
  group "g" {
    task "t" {
      driver = "docker"
      config {
        image = "x"
        size  = 1.5
        count = 3.0
        big   = 12345678901
        yes   = true
        none  = null
        list  = [1, "two", null, { three = 3 }]
        labels = {
          a = "1"
        }
        mount {
          type = "tmpfs"
          tmpfs_options {
            size = 100
          }
        }
        mount {
          type = "bind"
        }
        logging "json" {
          max = 3
        }
        logging "syslog" {
          tag = "x"
        }
        dynamic "device" {
          for_each = ["a", "b"]
          content {
            host_path = "/dev/${device.value}"
            index     = device.key
          }
        }
      }
      env = {
        NUMBER = 5
        TRUTH  = false
        FLOAT  = 1.50
        GONE   = null
      }
    }
  }
}
