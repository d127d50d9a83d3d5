package scheduler

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"pgregory.net/rapid"
)

// describeDesired names what is counted and not 0.
func describeDesired(desired map[string]cluster.DesiredUpdates) string {
	var b strings.Builder
	for _, group := range slices.Sorted(maps.Keys(desired)) {
		var words []string
		u := reflect.ValueOf(desired[group])
		for i := range u.NumField() {
			if n := u.Field(i).Uint(); n > 0 {
				words = append(words, fmt.Sprintf("%d %s", n, u.Type().Field(i).Name))
			}
		}
		fmt.Fprintf(&b, "%s: %s\n", group, strings.Join(words, ", "))
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// checkLook checks that looking is planning, and that every instance there is or begins is counted once.
func checkLook(t *rapid.T, in Input, plan *Plan) {
	look := Look(in)
	if !reflect.DeepEqual(look.Plan, *plan) || len(look.Scores) != len(plan.Places) {
		t.Fatalf("planned\n%+v\nlooked\n%+v", *plan, look)
	}
	have, counted, gone, disturbs := map[string]int{}, map[string]int{}, map[cluster.ID]bool{}, false
	for _, a := range in.Allocs {
		done := in.Job != nil && in.Job.RunsToEnd() && a.ClientStatus == cluster.ClientComplete &&
			a.Job.Version == in.Job.Version && a.Job.CreateIndex == in.Job.CreateIndex
		if !a.Terminal() || done {
			have[a.TaskGroup]++
		}
		gone[a.ID] = a.Terminal()
	}
	for group, u := range look.Desired {
		counted[group] = int(u.Ignore + u.Stop + u.InPlaceUpdate + u.Migrate + u.DestructiveUpdate + u.Disconnect)
		disturbs = disturbs || u.Disturbs()
		if counted[group] == 0 {
			delete(counted, group)
		}
	}
	if !maps.Equal(have, counted) {
		t.Fatalf("there are %v instances, counted are %v:\n%s", have, counted, describeDesired(look.Desired))
	}
	stops := slices.ContainsFunc(plan.Stops, func(s Stop) bool { return !gone[s.ID] })
	if (stops || len(plan.Places) > 0) && !disturbs {
		t.Fatalf("nobody notices\n%+v\n%s", *plan, describeDesired(look.Desired))
	}
}

// TestDiffForcesWhatIsDestructive: an instance cannot follow a new version where it is exactly if the difference says so.
func TestDiffForcesWhatIsDestructive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() *cluster.Job {
			pick := func(name string, values ...string) string { return rapid.SampledFrom(values).Draw(t, name) }
			job, err := cluster.DecodeJob(fmt.Appendf(nil, `{"ID": "web", "Meta": {%s}, "Priority": %s, "TaskGroups": [{"Name": "app", "Count": %s, "Meta": {%s},
				"Networks": %s, "Services": %s, "EphemeralDisk": {"SizeMB": %s}, "Tasks": %s}]}`,
				pick("meta", ``, `"a": "1"`, `"a": "2"`), pick("priority", "50", "60"), pick("count", "1", "2"), pick("group meta", ``, `"a": "1"`, `"a": "2"`),
				pick("networks", `[]`, `[{"DynamicPorts": [{"Label": "x"}]}]`, `[{"DynamicPorts": [{"Label": "x", "To": 80}]}]`),
				pick("services", `[]`, `[{"Name": "s"}]`, `[{"Name": "s", "Tags": ["a"]}]`), pick("disk", "100", "200"),
				pick("tasks", `[{"Name": "x"}]`, `[{"Name": "x", "Config": {"a": 1}}]`, `[{"Name": "x", "KillTimeout": "9s"}]`, `[{"Name": "x", "LogConfig": {"MaxFiles": 3}}]`,
					`[{"Name": "x", "LogConfig": {"Disabled": true}}]`, `[{"Name": "x"}, {"Name": "y"}]`, `[{"Name": "y"}, {"Name": "x"}]`, `[{"Name": "x", "Meta": {"a": "1"}}]`,
					`[{"Name": "x", "RestartPolicy": {"RenderTemplates": true}}]`, `[{"Name": "x", "Resources": {"CPU": 200}}]`,
					`[{"Name": "x", "Resources": {"IOPS": 9}}]`, `[{"Name": "x", "Resources": {"NUMA": {}}}]`)))
			if err != nil {
				t.Fatal(err)
			}
			return job
		}
		was, is := draw(), draw()
		diff := cluster.Diff(was, is, false)
		diff.Annotate(nil)
		text, err := json.Marshal(diff.TaskGroups[0])
		if err != nil {
			t.Fatal(err)
		}
		if want := destructive(was, is, "app"); want != strings.Contains(string(text), cluster.ForcesDestructiveUpdate) {
			t.Fatalf("destructive: %v, but the difference is %s", want, text)
		}
	})
}
