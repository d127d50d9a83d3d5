package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// versionsOf registers a job several times, each time another, and gives its newest version.
func (w *world) versionsOf(id string, n int) *cluster.Job {
	w.t.Helper()
	for i := range n {
		body := fmt.Sprintf(`{"Job": %s, "Submission": {"Source": "source %d", "Format": "hcl2", "VariableFlags": {"a": "%d"}, "Variables": "b = 1"}}`,
			strings.Replace(jobText(id), `"team": `, fmt.Sprintf(`"release": "%d", "team": `, i), 1), i, i)
		if got := w.ask("PUT", "/v1/jobs", body); got.status != 200 {
			w.t.Fatalf("register: %d %s", got.status, got.body)
		}
	}
	return w.Snapshot().Job("default", id)
}

// refused checks that a request is answered with the status and a text.
func (w *world) refused(method, path, body string, status int, text string) {
	w.t.Helper()
	before := w.Snapshot().Index()
	if got := w.ask(method, path, body); got.status != status || !strings.Contains(got.body, text) {
		w.t.Errorf("%s %s %s: %d %s, want %d %s", method, path, body, got.status, got.body, status, text)
	}
	if job := w.Snapshot().Job("default", "web"); job != nil && job.ModifyIndex > before {
		w.t.Errorf("%s %s %s: it was refused, but the job changed", method, path, body)
	}
}

func TestRevertingRegistersAnOlderVersionAnew(t *testing.T) {
	w := newWorld(t)
	w.versionsOf("web", 3)
	w.apply(&state.MarkVersion{At: 1, Version: state.JobVersion{Namespace: "default", ID: "web", CreateIndex: w.Snapshot().Job("default", "web").CreateIndex},
		Stable: new(true), Tag: &cluster.JobVersionTag{Name: "first"}})
	got := w.ask("PUT", "/v1/job/web/revert", `{"JobID": "web", "JobVersion": 0, "EnforcePriorVersion": 2}`)
	if got.status != 200 {
		t.Fatalf("revert: %d %s", got.status, got.body)
	}
	fieldsAre(t, "revert", got.body, "EvalID EvalCreateIndex JobModifyIndex Warnings Index LastContact KnownLeader NextToken")
	job := w.Snapshot().Job("default", "web")
	if job.Version != 3 || job.Meta["release"] != "0" || job.Stable || job.VersionTag != nil {
		t.Errorf("reverted job: %+v", job)
	}
	source, _, err := w.client.JobSubmission(context.Background(), "web", 3, api.Query{})
	if err != nil || source.Source != "source 0" || source.VariableFlags["a"] != "0" || source.Variables != "b = 1" || source.Version != 3 {
		t.Errorf("its text: %+v, %v", source, err)
	}
	var answer api.JobRegisterResponse
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || w.Snapshot().Eval(answer.EvalID).TriggeredBy != cluster.TriggerJobRegister {
		t.Errorf("answer: %+v, %v", answer, err)
	}
}

func TestRevertsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.versionsOf("web", 2)
	for _, c := range []struct {
		job, body string
		status    int
		text      string
	}{
		{"none", `{"JobVersion": 0}`, 500, "job not found"},
		{"web", `{"JobID": "other", "JobVersion": 0}`, 400, "Job ID does not match"},
		{"web", `{"JobVersion": 1}`, 500, "can't revert to current version"},
		{"web", `{"JobVersion": 9}`, 500, `job "web" in namespace "default" at version 9 not found`},
		{"web", `{"JobVersion": 0, "EnforcePriorVersion": 7}`, 500, "Current job has version 1; enforcing version 7"},
		{"web", ``, 400, "Request body is empty"},
	} {
		w.refused("POST", "/v1/job/"+c.job+"/revert", c.body, c.status, c.text)
	}
}

func TestVersionsAreComparedOnRequest(t *testing.T) {
	w := newWorld(t)
	w.versionsOf("web", 3)
	ctx := context.Background()
	if _, err := w.client.TagJob(ctx, "web", "first", api.JobTagRequest{Version: 0}, api.Query{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		against string
		want    []string // the old and the new release of each difference
	}{
		{"", []string{"1 2", "0 1"}},
		{"diff_version=0", []string{"0 2", "0 1", ""}},
		{"diff_tag=first", []string{"0 2", "0 1", ""}},
		{"diff_version=2", []string{"", "2 1", "2 0"}},
	} {
		var answer api.JobVersions
		got := w.ask("GET", "/v1/job/web/versions?diffs=true&"+c.against, "")
		if err := json.Unmarshal([]byte(got.body), &answer); err != nil || len(answer.Versions) != 3 {
			t.Fatalf("%s: %d %s, %v", c.against, got.status, got.body, err)
		}
		var told []string
		for _, d := range answer.Diffs {
			text := ""
			for _, f := range d.Fields {
				if f.Name == "Meta[release]" && f.Type == cluster.DiffEdited {
					text = f.Old + " " + f.New
				}
			}
			told = append(told, text)
		}
		if !slices.Equal(told, c.want) {
			t.Errorf("%s: %q, want %q", c.against, told, c.want)
		}
	}
	if got := w.ask("GET", "/v1/job/web/versions", ""); !strings.Contains(got.body, `"Diffs":null`) {
		t.Errorf("unasked: %s", got.body)
	}
	w.refused("GET", "/v1/job/web/versions?diffs=true&diff_version=9", "", 404, "there is no version \"9\"")
	w.refused("GET", "/v1/job/web/versions?diffs=true&diff_tag=none", "", 404, "there is no version \"none\"")
	w.refused("GET", "/v1/job/web/versions?diffs=true&diff_version=x", "", 400, "want a number")
}

func TestTagsOverTheAPI(t *testing.T) {
	w := newWorld(t)
	w.versionsOf("team/web", 2)
	ctx, q := context.Background(), api.Query{}
	tag, err := w.client.TagJob(ctx, "team/web", "golden", api.JobTagRequest{Version: 0, Description: "as it was"}, q)
	if err != nil || tag.Name != "golden" || tag.Description != "as it was" || tag.TaggedTime == 0 || tag.Index == 0 {
		t.Fatalf("tag: %+v, %v", tag, err)
	}
	if v := w.Snapshot().JobVersion("default", "team/web", 0); v.VersionTag == nil || v.VersionTag.Name != "golden" {
		t.Errorf("tagged version: %+v", v)
	}
	if _, err := w.client.TagJob(ctx, "team/web", "golden", api.JobTagRequest{Latest: true}, q); cluster.CodeOf(err) != cluster.CodeRejected {
		t.Errorf("a second version of the name: %v", err)
	}
	if _, err := w.client.TagJob(ctx, "team/web", "now", api.JobTagRequest{Latest: true}, q); err != nil || w.Snapshot().Job("default", "team/web").VersionTag == nil {
		t.Errorf("tag the newest: %v", err)
	}
	if _, err := w.client.TagJob(ctx, "team/web", strings.Repeat("x", maxTag+1), api.JobTagRequest{}, q); cluster.CodeOf(err) != cluster.CodeInvalid {
		t.Errorf("a name without end: %v", err)
	}
	if err := w.client.UntagJob(ctx, "team/web", "golden", q); err != nil || w.Snapshot().JobVersion("default", "team/web", 0).VersionTag != nil {
		t.Errorf("unset: %v", err)
	}
	if err := w.client.UntagJob(ctx, "team/web", "golden", q); cluster.CodeOf(err) != cluster.CodeNotFound {
		t.Errorf("unset what is not there: %v", err)
	}
	if _, err := w.client.TagJob(ctx, "none", "x", api.JobTagRequest{}, q); cluster.CodeOf(err) != cluster.CodeNotFound {
		t.Errorf("tag a job that is not there: %v", err)
	}
	if err := w.client.MarkStable(ctx, api.JobStableRequest{JobID: "team/web", JobVersion: 0, Stable: true}, q); err != nil || !w.Snapshot().JobVersion("default", "team/web", 0).Stable {
		t.Errorf("mark stable: %v", err)
	}
}

func TestScalingOverTheAPI(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web")[0]
	w.refused("PUT", "/v1/job/web/scale", `{"Count": 3, "Target": {"Group": "app"}}`, 400, "job scaling blocked due to active deployment")
	d := *w.Snapshot().Deployment(alloc.DeploymentID)
	d.Status = cluster.DeploymentSuccessful
	w.apply(&state.UpsertDeployments{At: 1, Deployments: []cluster.Deployment{d}})
	w.apply(&state.ReportAllocs{At: 2, Updates: []cluster.AllocUpdate{{ID: alloc.ID, ClientStatus: cluster.ClientRunning, Health: cluster.HealthHealthy, HealthTime: 2}}})

	answer, err := w.client.ScaleJob(context.Background(), "web", api.JobScaleRequest{Count: new(int64(3)), Message: "busy",
		Target: map[string]string{"Group": "app", "Job": "web"}, Meta: map[string]any{"by": "hand"}}, api.Query{})
	if err != nil || w.Snapshot().Eval(answer.EvalID).TriggeredBy != cluster.TriggerJobScaling {
		t.Fatalf("scale: %+v, %v", answer, err)
	}
	if job := w.Snapshot().Job("default", "web"); job.TaskGroups[0].Count != 3 || job.Version != 1 || job.JobModifyIndex != answer.JobModifyIndex {
		t.Errorf("scaled job: %+v", job)
	}
	note, err := w.client.ScaleJob(context.Background(), "web", api.JobScaleRequest{Message: "cannot tell", Error: true, Target: map[string]string{"Group": "app"}}, api.Query{})
	if err != nil || !note.EvalID.IsZero() || w.Snapshot().Job("default", "web").Version != 1 {
		t.Errorf("note: %+v, %v", note, err)
	}
	scaling, meta, err := w.client.JobScaling(context.Background(), "web", api.Query{})
	if err != nil || meta.Index == 0 {
		t.Fatalf("read scaling: %v", err)
	}
	g := scaling.TaskGroups["app"]
	if scaling.JobID != "web" || g.Desired != 3 || g.Placed != 1 || g.Running != 1 || g.Healthy != 1 || g.Unhealthy != 0 || len(g.Events) != 2 ||
		!g.Events[0].Error || g.Events[1].PreviousCount != 2 || *g.Events[1].Count != 3 || *g.Events[1].EvalID != answer.EvalID || g.Events[1].Meta["by"] != "hand" {
		t.Errorf("scaling: %+v", scaling)
	}
	fieldsAre(t, "scaling", w.ask("GET", "/v1/job/web/scale", "").body, "JobID Namespace JobCreateIndex JobModifyIndex JobStopped TaskGroups")
}

func TestScalingsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	bounded := strings.Replace(jobText("web"), `"Count": 2,`, `"Count": 2, "Scaling": {"Min": 1, "Max": 4},`, 1)
	if got := w.ask("PUT", "/v1/jobs", `{"Job": `+bounded+`}`); got.status != 200 {
		t.Fatal(got.body)
	}
	for _, c := range []struct {
		path, body string
		status     int
		text       string
	}{
		{"none", `{"Count": 3, "Target": {"Group": "app"}}`, 404, "job not found"},
		{"web", `{"Count": 3}`, 400, "a task group is missing"},
		{"web", `{"Count": 3, "Target": {"Group": "none"}}`, 400, "does not exist in job"},
		{"web", `{"Count": -1, "Target": {"Group": "app"}}`, 400, "can't be negative"},
		{"web", `{"Count": 0, "Target": {"Group": "app"}}`, 400, "minimum: 0 < 1"},
		{"web", `{"Count": 5, "Target": {"Group": "app"}}`, 400, "maximum: 5 > 4"},
		{"web", `{"Count": 3, "Error": true, "Target": {"Group": "app"}}`, 400, "has no count"},
		{"web", `{"Count": 3, "JobModifyIndex": 1, "Target": {"Group": "app"}}`, 500, "conflicting job modify index"},
		{"web", `{"Count": 3, "Target": {"Group": "app", "Job": "other"}}`, 400, "Job ID does not match"},
	} {
		w.refused("PUT", "/v1/job/"+c.path+"/scale", c.body, c.status, c.text)
	}
	w.ask("DELETE", "/v1/job/web", "")
	w.refused("PUT", "/v1/job/web/scale", `{"Count": 3, "Target": {"Group": "app"}}`, 400, "it is stopped")
}

func TestChangesThatAreSentTwiceAreMadeOnce(t *testing.T) {
	w := newWorld(t)
	w.versionsOf("web", 2)
	for _, c := range []struct{ path, body string }{
		{"revert", `{"JobVersion": 0}`},
		{"scale", `{"Count": 4, "Target": {"Group": "app"}}`},
		{"evaluate", ``},
	} {
		named := func(r *http.Request) { r.Header.Set(api.HeaderRequestID, "once "+c.path) }
		first := w.ask("PUT", "/v1/job/web/"+c.path, c.body, named)
		version := w.Snapshot().Job("default", "web").Version
		again := w.ask("PUT", "/v1/job/web/"+c.path, c.body, named)
		var a, b api.JobRegisterResponse
		if json.Unmarshal([]byte(first.body), &a) != nil || json.Unmarshal([]byte(again.body), &b) != nil || a.EvalID.IsZero() || a.EvalID != b.EvalID {
			t.Errorf("%s: %s, then %s", c.path, first.body, again.body)
		}
		if got := w.Snapshot().Job("default", "web").Version; got != version {
			t.Errorf("%s: it was done twice", c.path)
		}
	}
}

// TestDifferentRequestsOfOneIDAreAllCarriedOut: an ID that a proxy gives to all that follows from one call makes no two of them one.
func TestDifferentRequestsOfOneIDAreAllCarriedOut(t *testing.T) {
	w := newWorld(t)
	named := func(r *http.Request) { r.Header.Set(api.HeaderRequestID, "trace") }
	for _, c := range []struct {
		method, path, body string
		done               func() bool
	}{
		{"PUT", "/v1/jobs", `{"Job": ` + jobText("web") + `}`, func() bool { return w.Snapshot().Job("default", "web") != nil }},
		{"PUT", "/v1/jobs", `{"Job": ` + jobText("other") + `}`, func() bool { return w.Snapshot().Job("default", "other") != nil }},
		{"PUT", "/v1/job/web/scale", `{"Count": 4, "Target": {"Group": "app"}}`, func() bool { return w.Snapshot().Job("default", "web").TaskGroups[0].Count == 4 }},
		{"PUT", "/v1/job/other/scale", `{"Count": 4, "Target": {"Group": "app"}}`, func() bool { return w.Snapshot().Job("default", "other").TaskGroups[0].Count == 4 }},
		{"DELETE", "/v1/job/web", ``, func() bool { return w.Snapshot().Job("default", "web").Stop }},
		{"DELETE", "/v1/job/web?purge=true", ``, func() bool { return w.Snapshot().Job("default", "web") == nil }},
	} {
		if got := w.ask(c.method, c.path, c.body, named); got.status != 200 || !c.done() {
			t.Errorf("%s %s %s: %d %s, and it was not done", c.method, c.path, c.body, got.status, got.body)
		}
	}
	before := w.Snapshot().Job("default", "other").Version
	if got := w.ask("POST", "/v1/job/other/scale", `{"Count": 4, "Target": {"Group": "app"}}`, named); got.status != 200 || w.Snapshot().Job("default", "other").Version != before {
		t.Errorf("the same again: %d %s", got.status, got.body)
	}
}

// TestWhatWasDoneIsNotRefusedWhenItIsSentAgain repeats changes whose answers were lost, when what they are checked against is not as it
// was, mostly because of them.
func TestWhatWasDoneIsNotRefusedWhenItIsSentAgain(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web")[0]
	w.versionsOf("web", 2)
	for _, job := range []string{
		`{"ID": "made", "Type": "batch", "ParameterizedJob": {}, "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/true"}}]}]}`,
		`{"ID": "timed", "Type": "batch", "Periodic": {"Spec": "0 0 1 1 *"}, "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "raw_exec", "Config": {"command": "/bin/true"}}]}]}`,
	} {
		if got := w.ask("PUT", "/v1/jobs", `{"Job": `+job+`}`); got.status != 200 {
			t.Fatal(got.body)
		}
	}
	deployment := func(status string) {
		d := *w.Snapshot().Deployment(alloc.DeploymentID)
		d.ID[15]++ // a final one stays as it is
		d.Status, d.JobVersion = status, w.Snapshot().Job("default", "web").Version
		alloc.DeploymentID = d.ID
		w.apply(&state.UpsertDeployments{At: 1, Deployments: []cluster.Deployment{d}})
	}
	stop := func(job string) func() { return func() { w.ask("DELETE", "/v1/job/"+job, "") } }
	nothing := func() {}
	deployment(cluster.DeploymentSuccessful)
	w.apply(&state.NodeStatus{At: 1, ID: nodeID, Status: cluster.NodeStatusDown})
	index := w.Snapshot().Job("default", "web").JobModifyIndex
	for _, c := range []struct {
		method, path, body string
		meanwhile          func()
	}{
		{"PUT", "/v1/job/web/scale", fmt.Sprintf(`{"Count": 3, "JobModifyIndex": %d, "Target": {"Group": "app"}}`, index), func() { deployment(cluster.DeploymentRunning) }},
		{"PUT", "/v1/job/web/revert", fmt.Sprintf(`{"JobVersion": 0, "EnforcePriorVersion": %d}`, w.Snapshot().Job("default", "web").Version+1), nothing},
		{"PUT", "/v1/job/web/versions/golden/tag", `{"Version": 0}`, nothing},
		{"DELETE", "/v1/job/web/versions/golden/tag", ``, nothing},
		{"PUT", "/v1/job/made/dispatch", `{}`, stop("made")},
		{"PUT", "/v1/job/timed/periodic/force", ``, stop("timed")},
		{"PUT", "/v1/node/" + nodeID.String() + "/purge", ``, nothing},
		{"DELETE", "/v1/job/web?purge=true", ``, nothing},
	} {
		name := c.method + c.path
		named := func(r *http.Request) { r.Header.Set(api.HeaderRequestID, name) }
		first := w.ask(c.method, c.path, c.body, named)
		c.meanwhile()
		before := w.Snapshot().Index()
		again := w.ask(c.method, c.path, c.body, named)
		if first.status != 200 || again.status != 200 {
			t.Errorf("%s: %d %s, then %d %s", name, first.status, first.body, again.status, again.body)
			continue
		}
		var a, b struct {
			EvalID, DispatchedJobID string
			Index, JobModifyIndex   uint64
		}
		if json.Unmarshal([]byte(first.body), &a) != nil || json.Unmarshal([]byte(again.body), &b) != nil || a != b {
			t.Errorf("%s: %s, then %s", name, first.body, again.body)
		}
		if changed := w.Snapshot(); changed.Job("default", "web") != nil && changed.Job("default", "web").ModifyIndex > before {
			t.Errorf("%s: it was done twice", name)
		}
	}
}

func TestFailedInstancesAreReplacedByForce(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web")[0]
	w.apply(&state.ReportAllocs{At: 2, Updates: []cluster.AllocUpdate{{ID: alloc.ID, ClientStatus: cluster.ClientFailed}}})
	if _, err := w.client.EvaluateJob(context.Background(), "web", false, api.Query{}); err != nil || w.Snapshot().Alloc(alloc.ID).DesiredStatus != cluster.DesiredRun {
		t.Fatalf("without force: %v", err)
	}
	answer, err := w.client.EvaluateJob(context.Background(), "web", true, api.Query{})
	if err != nil || w.Snapshot().Eval(answer.EvalID) == nil {
		t.Fatalf("by force: %+v, %v", answer, err)
	}
	if a := w.Snapshot().Alloc(alloc.ID); a.DesiredStatus != cluster.DesiredStop || a.Details().DesiredDescription != "replaced at a user's wish" {
		t.Errorf("the failed instance: %+v", a)
	}
	w.refused("PUT", "/v1/job/none/evaluate", "", 500, "not found")
}

func TestTextsThatAreTooLongAreNotKept(t *testing.T) {
	w := newSilentWorld(t)
	h := newAPIHandler(HTTPConfig{Core: w, MaxSource: 100})
	for _, c := range []struct {
		submission *api.JobSubmission
		kept       bool
		warning    string
	}{
		{nil, false, ""},
		{&api.JobSubmission{}, false, ""},
		{&api.JobSubmission{Source: strings.Repeat("x", 90), Variables: strings.Repeat("x", 8), VariableFlags: map[string]string{"a": "b"}}, true, ""},
		{&api.JobSubmission{Source: strings.Repeat("x", 90), Variables: strings.Repeat("x", 8), VariableFlags: map[string]string{"a": "bc"}}, false,
			"job source size of 101 B exceeds maximum of 100 B and will be discarded"},
	} {
		kept, warning := h.submission(c.submission)
		if (kept != nil) != c.kept || warning != c.warning {
			t.Errorf("%+v: %+v, %q", c.submission, kept, warning)
		}
	}
	h.MaxSource = -1
	if kept, warning := h.submission(&api.JobSubmission{Source: "x"}); kept != nil || warning == "" {
		t.Errorf("none is to be kept: %+v, %q", kept, warning)
	}
}
