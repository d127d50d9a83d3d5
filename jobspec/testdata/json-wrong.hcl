{
  "job": {
    "json-wrong": {
      "priority": "high",
      "group": {
        "g": {
          "cuont": 2,
          "volume": {"v": {"type": "host"}},
          "task": {
            "t": {"driver": "${nope(1)}", "template": [{"data": "x"}], "leader": false}
          }
        }
      }
    }
  }
}
