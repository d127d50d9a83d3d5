package server

import (
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// plan asks what the job would lead to, and checks that nothing came of asking.
func (w *world) plan(text string) *api.JobPlanResponse {
	w.t.Helper()
	job, err := cluster.DecodeJob([]byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	before := w.Snapshot().Index()
	answer, err := w.client.PlanJob(context.Background(), job, true)
	if err != nil {
		w.t.Fatal(err)
	}
	if after := w.Snapshot().Index(); after != before || answer.Index != before {
		w.t.Errorf("asking made index %d of %d, the answer says %d", after, before, answer.Index)
	}
	return answer
}

func TestPlanOfANewJob(t *testing.T) {
	w := newWorld(t)
	w.populate()
	answer := w.plan(strings.Replace(jobText("web"), `"DynamicPorts": [`, `"DynamicPorts": [{"Label": "fixed", "Value": 8080, "To": 80}, `, 1))
	if answer.JobModifyIndex != 0 || answer.Diff.Type != cluster.DiffAdded || answer.Diff.ID != "web" {
		t.Errorf("answer is %+v", answer)
	}
	// The static port is there once: of two instances one has no place.
	if got := answer.Annotations.DesiredTGUpdates["app"]; got != (cluster.DesiredUpdates{Place: 2}) {
		t.Errorf("counted are %+v", got)
	}
	if group := answer.Diff.TaskGroups[0]; group.Updates["create"] != 2 || group.Tasks[0].Annotations[0] != cluster.ForcesCreate {
		t.Errorf("group is %+v", group)
	}
	if failed := answer.FailedTGAllocs["app"]; failed.DimensionExhausted["network: reserved port collision fixed=8080"] != 1 || len(answer.CreatedEvals) != 1 {
		t.Errorf("failures are %+v, evaluations %+v", failed, answer.CreatedEvals)
	}
	if len(answer.Placements) != 1 {
		t.Fatalf("placements are %+v", answer.Placements)
	}
	if p := answer.Placements[0]; p.Name != "web.app[0]" || p.NodeName != "one" || p.NodeID != nodeID || p.JobVersion != 0 || p.Score <= 0 {
		t.Errorf("placement is %+v", p)
	}
	want := []api.PlanPort{
		{Type: cluster.DiffAdded, TaskGroup: "app", Label: "fixed", Value: 8080, To: 80, HostNetwork: "default", Addresses: []string{"127.0.0.1"}},
		{Type: cluster.DiffAdded, TaskGroup: "app", Label: "http", HostNetwork: "default", Services: []string{"web"}, Addresses: []string{"127.0.0.1"}}}
	if !reflect.DeepEqual(answer.Ports, want) {
		t.Errorf("ports are %+v", answer.Ports)
	}
	if w.Snapshot().Job("default", "web") != nil {
		t.Error("the job was registered")
	}
}

func TestPlanOfAChange(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	same := w.plan(jobText("web"))
	old := w.Snapshot().Job("default", "web")
	if same.Diff.Type != cluster.DiffNone || same.JobModifyIndex != old.JobModifyIndex || same.Annotations.DesiredTGUpdates["app"].Ignore != 1 {
		t.Errorf("planned the same: %+v", same)
	}
	changed := w.plan(strings.NewReplacer(`/bin/true`, `/bin/false`, `"Label": "http"`, `"Label": "admin"`, `"PortLabel": "http"`, `"PortLabel": "admin"`).Replace(jobText("web")))
	if got := changed.Annotations.DesiredTGUpdates["app"]; got != (cluster.DesiredUpdates{Place: 1, DestructiveUpdate: 1}) {
		t.Errorf("counted are %+v", got)
	}
	var fields []string
	for _, f := range changed.Diff.TaskGroups[0].Tasks[0].Fields {
		fields = append(fields, f.Type, f.Name, f.Old, f.New, strings.Join(f.Annotations, ","))
	}
	if got := strings.Join(fields, " "); got != "Edited Config[command] /bin/true /bin/false forces create/destroy update" {
		t.Errorf("fields are %s", got)
	}
	if p := changed.Ports; len(p) != 2 || p[0].Type != cluster.DiffAdded || p[0].Label != "admin" || p[1].Type != cluster.DiffDeleted || p[1].Label != "http" {
		t.Errorf("ports are %+v", p)
	}
	if p := changed.Placements; len(p) == 0 || p[0].JobVersion != old.Version+1 {
		t.Errorf("placements are %+v", p)
	}
	stopped := w.plan(strings.Replace(jobText("web"), `"ID"`, `"Stop": true, "ID"`, 1))
	if got := stopped.Annotations.DesiredTGUpdates["app"]; got != (cluster.DesiredUpdates{Stop: 1}) || len(stopped.Ports) != 1 || stopped.Ports[0].Type != cluster.DiffDeleted {
		t.Errorf("counted are %+v, ports %+v", got, stopped.Ports)
	}
}

// A launch can be planned from the file of the job that it is a launch of, as it can be run.
func TestPlanOfALaunchsChange(t *testing.T) {
	w := newWorld(t)
	w.populate()
	w.submit(batchText("encode", parameterized))
	answer, err := w.client.DispatchJob(context.Background(), "encode", api.JobDispatchRequest{Payload: []byte("a"), Meta: map[string]string{"input": "x"}}, "once", api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	var changed struct{ Job json.RawMessage }
	if err := json.Unmarshal([]byte(batchText(answer.DispatchedJobID, parameterized+`, "Priority": 70`)), &changed); err != nil {
		t.Fatal(err)
	}
	plan := w.plan(string(changed.Job))
	var fields []string
	for _, f := range plan.Diff.Fields {
		fields = append(fields, f.Type+" "+f.Name)
	}
	if got := strings.Join(fields, ", "); got != "Edited Priority, Deleted Meta[input]" || plan.Annotations.DesiredTGUpdates["app"].Place != 1 {
		t.Errorf("changed are %s, counted %+v", got, plan.Annotations)
	}
}

func TestPlanAnswersHaveTheFieldsThatClientsExpect(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	text := w.ask("POST", "/v1/job/web/plan", `{"Job": `+strings.Replace(jobText("web"), `"Count": 2`, `"Count": 3`, 1)+`, "Diff": true}`)
	fieldsAre(t, "plan", text.body, "Annotations FailedTGAllocs JobModifyIndex CreatedEvals Diff NextPeriodicLaunch Warnings Index")
	if text.header.Get(api.HeaderIndex) == "" || text.header.Get(api.HeaderKnownLeader) != "" {
		t.Errorf("headers are %v", text.header)
	}
	var answer struct {
		Annotations struct {
			DesiredTGUpdates map[string]json.RawMessage
			PreemptedAllocs  []json.RawMessage
		}
		Diff json.RawMessage
	}
	if err := json.Unmarshal([]byte(text.body), &answer); err != nil {
		t.Fatal(err)
	}
	fieldsAre(t, "updates", string(answer.Annotations.DesiredTGUpdates["app"]), `Ignore Place Migrate Stop InPlaceUpdate DestructiveUpdate Canary
		Preemptions Disconnect Reconnect RescheduleNow RescheduleLater`)
	fieldsAre(t, "diff", string(answer.Diff), "Type ID Fields Objects TaskGroups")
	var diff struct{ TaskGroups []json.RawMessage }
	if err := json.Unmarshal(answer.Diff, &diff); err != nil {
		t.Fatal(err)
	}
	fieldsAre(t, "group", string(diff.TaskGroups[0]), "Type Name Fields Objects Tasks Updates")
	var group struct{ Fields, Tasks []json.RawMessage }
	if err := json.Unmarshal(diff.TaskGroups[0], &group); err != nil {
		t.Fatal(err)
	}
	fieldsAre(t, "field", string(group.Fields[0]), "Type Name Old New Annotations")
	fieldsAre(t, "task", string(group.Tasks[0]), "Type Name Fields Objects Annotations")
	if got := w.ask("POST", "/v1/job/web/plan", `{"Job": `+jobText("web")+`}`).body; !strings.Contains(got, `"Diff":null`) {
		t.Errorf("without asking for it: %s", got)
	}
}

func TestPlanOfAPeriodicJob(t *testing.T) {
	w := newWorld(t)
	w.populate()
	text := strings.Replace(jobText("web"), `"service"`, `"batch", "Periodic": {"Specs": ["0 3 * * *"]}`, 1)
	answer := w.plan(text)
	if next := answer.NextPeriodicLaunch; next.Before(time.Now()) || next.Hour() != 3 || answer.Annotations.DesiredTGUpdates["app"].Place != 2 {
		t.Errorf("next launch at %s, counted are %+v", next, answer.Annotations.DesiredTGUpdates)
	}
	if resting := w.plan(strings.Replace(text, `"Specs"`, `"Enabled": false, "Specs"`, 1)); !resting.NextPeriodicLaunch.IsZero() {
		t.Errorf("one that rests is launched at %s", resting.NextPeriodicLaunch)
	}
}

func TestPlanWarnsOfWhatARegistrationRefuses(t *testing.T) {
	w := newWorld(t)
	w.populate()
	text := strings.Replace(jobText("web"), `"Driver": "raw_exec"`, `"Driver": "raw_exec", "Vault": {"Role": "r"}`, 1)
	if answer := w.plan(text); !strings.Contains(answer.Warnings, "vault") {
		t.Errorf("warnings are %q", answer.Warnings)
	}
	if got := w.ask("PUT", "/v1/jobs", `{"Job": `+text+`}`); got.status != 500 {
		t.Errorf("registration: %d %s", got.status, got.body)
	}
	if got := w.ask("PUT", "/v1/job/web/plan", `{"Job": {"ID": "web"}}`); got.status != 500 || !strings.Contains(got.body, "Missing job task groups") {
		t.Errorf("an invalid job: %d %s", got.status, got.body)
	}
}

func TestPlansOfWhatIsNoJobAreErrors(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	for _, c := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"PUT", "/v1/job/web/plan", `{}`, 400, "Job must be specified"},
		{"PUT", "/v1/job/other/plan", `{"Job": ` + jobText("web") + `}`, 400, `Job ID does not match: the path has "other", the job "web"`},
		{"PUT", "/v1/job/web/plan?namespace=nope", `{"Job": ` + jobText("web") + `}`, 500, `job "web" is in nonexistent namespace "nope"`},
		{"PUT", "/v1/job/web/plan", `{"Job": ` + strings.Replace(jobText("web"), "service", "batch", 1) + `}`, 500, `cannot update job from type "service" to "batch"`},
	} {
		if got := w.ask(c.method, c.path, c.body); got.status != c.status || got.body != c.text {
			t.Errorf("%s: %d %q", c.path, got.status, got.body)
		}
	}
}
