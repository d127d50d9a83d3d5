package cluster

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestUnread(t *testing.T) {
	for _, row := range []struct{ name, raw, want string }{
		{"all is read", full, ""},
		{"what says nothing", `{"ID": "x", "New": null, "Newer": 0, "Newest": {"A": [], "B": ""}, "Nothing": false}`, ""},
		{"no job", `{"ID": `, ""},
		{"the words of job files", `{"id": "x", "datacenter": ["a"], "group": [{"name": "g", "tasks": [{"name": "t", "KillTimeout": 1, "kill_timeout": 2,
			"resources": {"Memory": 512, "cpu": 50}}]}]}`,
			`"datacenter" is not known here and has no effect; did you mean "Datacenters"?
"group" is not known here and has no effect; did you mean "TaskGroups"?`},
		{"in the nouns", `{"ID": "x", "Update": {"Staggr": 5}, "TaskGroups": [{"NAME": "g", "Volumes": {"v": {"Size": 5}}, "Networks": [{"Ports": [1]}],
			"Tasks": [{"Name": "t", "kill_timeout": 5, "Config": {"anything": 1}, "Env": {"x": "1"}, "Resources": {"Memory": 512}}]}]}`,
			`group "g" > network[0]: "Ports" is not known here and has no effect; did you mean "DynamicPorts"?
group "g" > task "t" > resources: "Memory" is not known here and has no effect; did you mean "MemoryMB"?
group "g" > task "t": "kill_timeout" is not known here and has no effect; did you mean "KillTimeout"?
group "g" > volume "v": "Size" is not known here and has no effect
update: "Staggr" is not known here and has no effect; did you mean "Stagger"?`},
		{"spelled twice", `{"ID": "x", "Priority": 60, "priority": 0, "PRIORITY": null}`, `"priority" has no effect beside "Priority"; write it once`},
	} {
		if have := Unread([]byte(row.raw)).Lines(); have != row.want {
			t.Errorf("%s: have\n%s\nwant\n%s", row.name, have, row.want)
		}
	}
}

// TestUnreadKnowsAllFields: nothing is said of what a job has.
func TestUnreadKnowsAllFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw, err := json.Marshal(drawNoun(t, reflect.TypeFor[Job]()))
		if err != nil {
			t.Fatal(err)
		}
		if unread := Unread(raw); unread != nil {
			t.Fatal(unread)
		}
	})
}
