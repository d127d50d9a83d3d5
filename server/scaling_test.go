package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster/server/api"
)

func TestAutoscalersFindTheirPolicies(t *testing.T) {
	w := newWorld(t)
	submit := func(id, max string) {
		t.Helper()
		text := strings.Replace(jobText(id), `"Name": "app",`, `"Name": "app", "Scaling": {"Min": 1, "Max": `+max+`, "Policy": {"cooldown": "1m"}},`, 1)
		text = strings.Replace(text, `"Name": "main",`, `"Name": "main", "ScalingPolicies": [{"Type": "vertical_cpu", "Max": 500, "Enabled": false}],`, 1)
		if got := w.ask("PUT", "/v1/jobs", `{"Job": `+text+`}`); got.status != 200 {
			t.Fatal(got.body)
		}
	}
	w.register("plain")
	submit("web", "5")
	submit("other", "9")
	list := func(query string) (found []api.ScalingPolicyStub) {
		t.Helper()
		got := w.ask("GET", "/v1/scaling/policies"+query, "")
		if err := json.Unmarshal([]byte(got.body), &found); err != nil || got.header.Get(api.HeaderIndex) == "" {
			t.Fatalf("%s: %v, index %q", got.body, err, got.header.Get(api.HeaderIndex))
		}
		return found
	}
	for query, want := range map[string]int{"": 4, "?job=web": 2, "?job=plain": 0, "?type=horizontal": 2, "?type=vertical&job=web": 1, "?job=we": 0, "?namespace=*": 4} {
		if found := list(query); len(found) != want {
			t.Errorf("%s: %+v", query, found)
		}
	}
	if empty := w.ask("GET", "/v1/scaling/policies?job=plain", "").body; strings.TrimSpace(empty) != "[]" {
		t.Errorf("none are %s", empty)
	}
	fieldsAre(t, "policies", string(first(t, w.ask("GET", "/v1/scaling/policies", "").body)), "ID Enabled Type Target CreateIndex ModifyIndex")

	group := list("?job=web&type=horizontal")[0]
	if fmt.Sprint(group.Target) != "map[Group:app Job:web Namespace:default]" || !group.Enabled {
		t.Errorf("the group's policy is %+v", group)
	}
	path := "/v1/scaling/policy/" + group.ID.String()
	got := w.ask("GET", path, "")
	fieldsAre(t, "policy", got.body, "ID Namespace Enabled Type Target Policy Min Max CreateIndex ModifyIndex")
	if !strings.Contains(got.body, `"Min":1,"Max":5`) || !strings.Contains(got.body, `"Policy":{"cooldown":"1m"}`) {
		t.Errorf("the policy is %s", got.body)
	}
	task := list("?job=web&type=vertical_cpu")[0]
	if task.Enabled || task.Target["Task"] != "main" || task.ID == group.ID {
		t.Errorf("the task's policy is %+v", task)
	}

	submit("web", "7") // another version: the same policy
	if again := w.ask("GET", path, ""); !strings.Contains(again.body, `"Max":7`) {
		t.Errorf("changed it is %s", again.body)
	}
	w.ask("DELETE", "/v1/job/web", "") // what is stopped is not scaled
	if gone := w.ask("GET", path, ""); gone.status != 404 || gone.body != "policy not found" {
		t.Errorf("of a stopped job there is %d %s", gone.status, gone.body)
	}
	if found := list("?job=web"); len(found) != 0 {
		t.Errorf("of a stopped job there are %+v", found)
	}
}

// first is the first element of a JSON list.
func first(t *testing.T, text string) json.RawMessage {
	t.Helper()
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) == 0 {
		t.Fatalf("%s: %v", text, err)
	}
	return list[0]
}
