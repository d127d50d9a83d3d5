package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// fieldsAre checks that the JSON object has all the fields named, separated by blanks.
func fieldsAre(t *testing.T, what, text, fields string) {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Errorf("%s is %.200s: %v", what, text, err)
		return
	}
	for _, field := range strings.Fields(fields) {
		if _, ok := object[field]; !ok {
			t.Errorf("%s lacks %s: %s", what, field, text)
		}
	}
}

// first is the first object of a list.
func firstOf(t *testing.T, list string) string {
	t.Helper()
	var objects []json.RawMessage
	if err := json.Unmarshal([]byte(list), &objects); err != nil || len(objects) == 0 {
		t.Fatalf("list is %.200s: %v", list, err)
	}
	return string(objects[0])
}

func TestAnswersHaveTheFieldsThatClientsExpect(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web")[0]
	get := func(path string) string { return w.ask("GET", path, "").body }

	fieldsAre(t, "job stub", firstOf(t, get("/v1/jobs?meta=true")), `ID ParentID Name Namespace Datacenters NodePool Multiregion Type Priority
		Periodic ParameterizedJob Stop Status StatusDescription JobSummary CreateIndex ModifyIndex JobModifyIndex SubmitTime Meta`)
	summary := get("/v1/job/web/summary")
	fieldsAre(t, "summary", summary, "JobID Namespace Summary Children CreateIndex ModifyIndex")
	var counts struct{ Summary map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(summary), &counts); err != nil {
		t.Fatal(err)
	}
	fieldsAre(t, "group summary", string(counts.Summary["app"]), "Queued Complete Failed Running Starting Lost Unknown")
	fieldsAre(t, "job", get("/v1/job/web"), `ID Name Namespace Region Type Priority Datacenters NodePool Meta Constraints Spreads Update TaskGroups
		Stop Status StatusDescription Stable Version SubmitTime CreateIndex ModifyIndex JobModifyIndex`)
	fieldsAre(t, "versions", get("/v1/job/web/versions"), "Versions Diffs Index LastContact KnownLeader NextToken")

	const stub = `ID EvalID Name Namespace NodeID NodeName JobID JobType JobVersion TaskGroup DesiredStatus DesiredDescription ClientStatus
		ClientDescription DesiredTransition TaskStates DeploymentStatus FollowupEvalID NextAllocation RescheduleTracker PreemptedAllocations
		PreemptedByAllocation CreateIndex ModifyIndex CreateTime ModifyTime`
	for _, path := range []string{"/v1/allocations", "/v1/job/web/allocations", "/v1/evaluation/" + alloc.EvalID.String() + "/allocations",
		"/v1/deployment/allocations/" + alloc.DeploymentID.String()} {
		fieldsAre(t, path, firstOf(t, get(path)), stub)
	}
	// An allocation leaves out what is empty.
	const whole = `ID Namespace EvalID Name NodeID NodeName JobID Job TaskGroup AllocatedResources DesiredStatus ClientStatus
		TaskStates DeploymentID CreateIndex ModifyIndex AllocModifyIndex CreateTime ModifyTime`
	fieldsAre(t, "allocation", get("/v1/allocation/"+alloc.ID.String()), whole)
	fieldsAre(t, "allocation of a node", firstOf(t, get("/v1/node/"+nodeID.String()+"/allocations")), whole)
	// So does an evaluation.
	const eval = "ID Namespace Priority Type TriggeredBy JobID JobModifyIndex Status CreateIndex ModifyIndex CreateTime ModifyTime"
	fieldsAre(t, "evaluation", get("/v1/evaluation/"+alloc.EvalID.String()), eval)
	fieldsAre(t, "evaluation of a job", firstOf(t, get("/v1/job/web/evaluations")), eval)

	const deployment = `ID Namespace JobID JobVersion JobModifyIndex JobSpecModifyIndex JobCreateIndex IsMultiregion TaskGroups Status
		StatusDescription EvalPriority CreateIndex ModifyIndex CreateTime ModifyTime`
	fieldsAre(t, "deployment", get("/v1/deployment/"+alloc.DeploymentID.String()), deployment)
	fieldsAre(t, "newest deployment", get("/v1/job/web/deployment"), deployment)
	fieldsAre(t, "deployment in a list", firstOf(t, get("/v1/deployments")), deployment)
	var groups struct{ TaskGroups map[string]json.RawMessage }
	if err := json.Unmarshal([]byte(get("/v1/job/web/deployment")), &groups); err != nil {
		t.Fatal(err)
	}
	fieldsAre(t, "deployment's group", string(groups.TaskGroups["app"]), `AutoRevert AutoPromote ProgressDeadline RequireProgressBy Promoted
		PlacedCanaries DesiredCanaries DesiredTotal PlacedAllocs HealthyAllocs UnhealthyAllocs`)

	fieldsAre(t, "node stub", firstOf(t, get("/v1/nodes?resources=true&os=true")), `Address ID Attributes Datacenter Name NodePool NodeClass Version Drain
		SchedulingEligibility Status StatusDescription Drivers HostVolumes NodeResources ReservedResources LastDrain CreateIndex ModifyIndex`)
	fieldsAre(t, "node", get("/v1/node/"+nodeID.String()), `ID SecretID Datacenter Name CgroupParent HTTPAddr TLSEnabled Attributes NodeResources
		ReservedResources Links Meta NodeClass NodePool ComputedClass Drain DrainStrategy SchedulingEligibility Status StatusDescription
		StatusUpdatedAt Events Drivers CSIControllerPlugins CSINodePlugins HostVolumes HostNetworks LastDrain NodeMaxAllocs
		LastMissedHeartbeatIndex LastAllocUpdateIndex CreateIndex ModifyIndex`)
	fieldsAre(t, "namespace", get("/v1/namespace/default"), `Name Description Quota Capabilities NodePoolConfiguration VaultConfiguration
		ConsulConfiguration Meta RequiredExtraClaims OptionalExtraClaims CreateIndex ModifyIndex`)
	fieldsAre(t, "services", firstOf(t, get("/v1/services")), "Namespace Services")
	for _, path := range []string{"/v1/service/web", "/v1/job/web/services", "/v1/allocation/" + alloc.ID.String() + "/services"} {
		fieldsAre(t, path, firstOf(t, get(path)), "ID ServiceName Namespace NodeID Datacenter JobID AllocID Tags Address Port CreateIndex ModifyIndex")
	}
	fieldsAre(t, "members", get("/v1/agent/members"), "ServerName ServerRegion ServerDC Members")
	fieldsAre(t, "self", get("/v1/agent/self"), "config member stats")
	fieldsAre(t, "metrics", get("/v1/metrics"), "Timestamp Gauges Points Counters Samples")
}

func TestWritesAnswerWithTheFieldsThatClientsExpect(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web")[0]
	const meta = " Index LastContact KnownLeader NextToken"
	for _, c := range []struct{ method, path, body, fields string }{
		{"PUT", "/v1/jobs", `{"Job": ` + jobText("web") + `}`, "EvalID EvalCreateIndex JobModifyIndex Warnings" + meta},
		{"POST", "/v1/job/web", `{"Job": ` + jobText("web") + `}`, "EvalID EvalCreateIndex JobModifyIndex Warnings" + meta},
		{"PUT", "/v1/job/web/evaluate", ``, "EvalID EvalCreateIndex JobModifyIndex Warnings" + meta},
		{"PUT", "/v1/allocation/" + alloc.ID.String() + "/stop", ``, "EvalID" + meta},
		{"PUT", "/v1/node/" + nodeID.String() + "/eligibility", `{"Eligibility": "ineligible"}`, "EvalIDs EvalCreateIndex NodeModifyIndex" + meta},
		{"DELETE", "/v1/job/web", ``, "EvalID EvalCreateIndex JobModifyIndex VolumeEvalID VolumeEvalIndex" + meta},
		{"DELETE", "/v1/job/unknown", ``, "EvalID EvalCreateIndex JobModifyIndex VolumeEvalID VolumeEvalIndex" + meta},
	} {
		before := w.Snapshot().Index()
		got := w.ask(c.method, c.path, c.body)
		if got.status != 200 {
			t.Errorf("%s %s: %d %s", c.method, c.path, got.status, got.body)
			continue
		}
		fieldsAre(t, c.method+" "+c.path, got.body, c.fields)
		var index struct{ Index uint64 }
		if err := json.Unmarshal([]byte(got.body), &index); err != nil || index.Index < before || got.header.Get(api.HeaderIndex) != formatIndex(index.Index) {
			t.Errorf("%s %s: index %d, header %q, %v", c.method, c.path, index.Index, got.header.Get(api.HeaderIndex), err)
		}
	}
	if a := w.Snapshot().Alloc(alloc.ID); a.DesiredStatus != cluster.DesiredStop {
		t.Errorf("the stopped allocation should %s", a.DesiredStatus)
	}
	if n := w.Snapshot().Node(nodeID); n.SchedulingEligibility != cluster.NodeIneligible {
		t.Errorf("the node is %s", n.SchedulingEligibility)
	}
}

func TestAnUnchangedJobIsPlannedAllTheSame(t *testing.T) {
	w := newWorld(t)
	before := w.register("web")
	after := w.register("web")
	if after.EvalID.IsZero() || after.EvalID == before.EvalID {
		t.Errorf("evaluations %s and %s", before.EvalID, after.EvalID)
	}
	if after.JobModifyIndex != before.JobModifyIndex || w.Snapshot().Job("default", "web").Version != 0 {
		t.Errorf("an unchanged job became version %d", w.Snapshot().Job("default", "web").Version)
	}
	if eval := w.Snapshot().Eval(after.EvalID); eval.TriggeredBy != cluster.TriggerJobRegister || eval.Status != cluster.EvalPending || eval.Priority != 50 {
		t.Errorf("evaluation is %+v", eval)
	}
}

func TestEvaluationsNameTheirRelatives(t *testing.T) {
	w := newWorld(t)
	w.register("web")
	stranger := w.register("web").EvalID
	line := []cluster.Evaluation{
		{ID: cluster.ID{1}, BlockedEval: cluster.ID{2}},
		{ID: cluster.ID{2}, PreviousEval: cluster.ID{1}},
		{ID: cluster.ID{3}, PreviousEval: cluster.ID{2}},
	}
	for i := range line {
		line[i].Namespace, line[i].JobID, line[i].Status = "default", "web", cluster.EvalComplete
	}
	w.apply(&state.UpsertEvals{At: 1, Evals: line})
	for i := range line {
		var eval struct{ RelatedEvals []*cluster.Evaluation }
		got := w.ask("GET", "/v1/evaluation/"+line[i].ID.String()+"?related=true", "")
		if err := json.Unmarshal([]byte(got.body), &eval); err != nil || len(eval.RelatedEvals) != 2 || strings.Contains(got.body, stranger.String()) {
			t.Errorf("evaluation %d: %s, %v", i, got.body, err)
		}
	}
	if got := w.ask("GET", "/v1/evaluation/"+stranger.String()+"?related=true", ""); strings.Contains(got.body, "RelatedEvals") {
		t.Errorf("one without relatives has some: %s", got.body)
	}
}

func TestNamespaceOfAJob(t *testing.T) {
	for _, c := range []struct{ query, body, job, want string }{
		{"", "", "", "default"},
		{"", "", "three", "three"},
		{"", "two", "three", "two"},
		{"one", "two", "three", "one"},
		{"one", "", "", "one"},
	} {
		w := newWorld(t)
		for _, name := range []string{"one", "two", "three"} {
			if err := w.client.WriteNamespace(context.Background(), cluster.Namespace{Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		got := w.ask("PUT", "/v1/jobs?namespace="+c.query, `{"Namespace": "`+c.body+`", "Job": {"Namespace": "`+c.job+`", `+jobText("web")[1:]+`}`)
		if got.status != 200 || w.Snapshot().Job(c.want, "web") == nil {
			t.Errorf("%+v: %d %s", c, got.status, got.body)
		}
	}
}

func TestRegionOfAJob(t *testing.T) {
	w := newWorld(t)
	for region, want := range map[string]int{"global": 200, "": 200, "mars": 500} {
		if got := w.ask("PUT", "/v1/jobs", `{"Region": "`+region+`", "Job": `+jobText("web")+`}`); got.status != want {
			t.Errorf("body's region %q: %d %s", region, got.status, got.body)
		}
		if got := w.ask("PUT", "/v1/jobs", `{"Job": {"Region": "`+region+`", `+jobText("web")[1:]+`}`); got.status != want {
			t.Errorf("job's region %q: %d %s", region, got.status, got.body)
		}
	}
	if got := w.ask("PUT", "/v1/jobs", `{"Region": "global", "Job": {"Region": "mars", `+jobText("web")[1:]+`}`); got.status != 200 {
		t.Errorf("the body's region goes before the job's: %d %s", got.status, got.body)
	}
}

func TestListsOfAllNamespaces(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	if err := w.client.WriteNamespace(context.Background(), cluster.Namespace{Name: "team"}); err != nil {
		t.Fatal(err)
	}
	if got := w.ask("PUT", "/v1/jobs?namespace=team", `{"Job": `+jobText("web")+`}`); got.status != 200 {
		t.Fatal(got.body)
	}
	for namespace, want := range map[string]int{"": 1, "default": 1, "team": 1, "*": 2} {
		jobs, _, err := w.client.Jobs(context.Background(), api.Query{Namespace: namespace})
		if err != nil || len(jobs) != want {
			t.Errorf("%q has %d jobs, want %d, %v", namespace, len(jobs), want, err)
		}
		evals, _, err := w.client.Evaluations(context.Background(), api.Query{Namespace: namespace})
		if err != nil || len(evals) != want {
			t.Errorf("%q has %d evaluations, want %d, %v", namespace, len(evals), want, err)
		}
	}
	if _, err := w.client.DeregisterJob(context.Background(), "web", false, api.Query{Namespace: "team"}); err != nil {
		t.Fatal(err)
	}
	if w.Snapshot().Job("default", "web").Stop || !w.Snapshot().Job("team", "web").Stop {
		t.Error("the wrong namespace's job was stopped")
	}
}

func TestJobIDsMayHaveSlashes(t *testing.T) {
	w := newWorld(t)
	if got := w.ask("PUT", "/v1/job/team%2Fweb", `{"Job": `+jobText("team/web")+`}`); got.status != 200 {
		t.Fatal(got.body)
	}
	for _, read := range []func() error{
		func() error { _, _, err := w.client.Job(context.Background(), "team/web", api.Query{}); return err },
		func() error {
			_, _, err := w.client.JobSummary(context.Background(), "team/web", api.Query{})
			return err
		},
		func() error {
			evals, _, err := w.client.JobEvaluations(context.Background(), "team/web", api.Query{})
			if len(evals) != 1 {
				t.Errorf("%d evaluations", len(evals))
			}
			return err
		},
	} {
		if err := read(); err != nil {
			t.Error(err)
		}
	}
}

// A job whose ID ends like a route can be read, changed and stopped all the same: the escapes of a path say where the ID ends.
func TestJobIDsMayEndLikeRoutes(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	for _, id := range []string{"team/web/plan", "a/allocations", "a/versions/b/tag", "a/versions/x", "b/scale", "plan"} {
		job, err := cluster.DecodeJob([]byte(jobText(id)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.client.RegisterJob(ctx, job, api.RegisterOptions{}); err != nil {
			t.Fatal(err)
		}
		if got, _, err := w.client.Job(ctx, id, api.Query{}); err != nil || got.ID != id {
			t.Errorf("read %s: %v", id, err)
		}
		if tag, err := w.client.TagJob(ctx, id, "a/tag", api.JobTagRequest{Latest: true}, api.Query{}); err != nil || tag.Name != "a/tag" {
			t.Errorf("tag %s: %v", id, err)
		}
		if list, _, err := w.client.JobVersions(ctx, id, api.Query{}); err != nil || len(list) != 1 || list[0].VersionTag == nil {
			t.Errorf("versions of %s: %v", id, err)
		}
		if _, err := w.client.DeregisterJob(ctx, id, false, api.Query{}); err != nil || !w.Snapshot().Job("default", id).Stop {
			t.Errorf("stop %s: %v", id, err)
		}
	}
	if got := w.ask("GET", "/v1/job/team/web/plan/summary", ""); got.status != 200 {
		t.Errorf("without escapes: %d %s", got.status, got.body)
	}
}

func TestRepeatedRequestsDoNoHarm(t *testing.T) {
	w := newWorld(t)
	name := func(r *http.Request) { r.Header.Set(api.HeaderRequestID, "once") }
	one := w.ask("PUT", "/v1/jobs", `{"Job": `+jobText("web")+`}`, name)
	two := w.ask("PUT", "/v1/jobs", `{"Job": `+jobText("web")+`}`, name)
	if one.status != 200 || one.body != two.body {
		t.Errorf("a repeated request made a difference: %s, then %s", one.body, two.body)
	}
}

func TestCountsMayBePreserved(t *testing.T) {
	w := newWorld(t)
	w.register("web")
	scaled := strings.Replace(jobText("web"), `"Count": 2`, `"Count": 7`, 1)
	if got := w.ask("PUT", "/v1/jobs", `{"PreserveCounts": true, "Job": `+scaled+`}`); got.status != 200 {
		t.Fatal(got.body)
	}
	if count := w.Snapshot().Job("default", "web").TaskGroups[0].Count; count != 2 {
		t.Errorf("count is %d", count)
	}
}

// Nothing is kept that the job itself forbids, or that somebody else has changed meanwhile.
func TestWhatIsPreservedIsValidAndTheNewest(t *testing.T) {
	w := newWorld(t)
	bounded := func(most string) string {
		return `{"PreserveCounts": true, "Job": ` + strings.Replace(jobText("web"), `"Count": 2,`, `"Count": 1, "Scaling": {"Min": 1, "Max": `+most+`},`, 1) + `}`
	}
	scale := func(count int64) {
		job := w.Snapshot().Job("default", "web")
		w.apply(&state.ScaleJob{At: 1, Namespace: "default", ID: "web", Group: "app", JobModifyIndex: job.JobModifyIndex, Event: cluster.ScalingEvent{Count: &count}})
	}
	if got := w.ask("PUT", "/v1/jobs", bounded("9")); got.status != 200 || w.Snapshot().Job("default", "web").TaskGroups[0].Count != 1 {
		t.Fatalf("a new job: %s", got.body)
	}
	scale(7)
	w.refused("PUT", "/v1/jobs", bounded("5"), 500, "keep counts or resources of version 1: invalid job: 1 problem:")
	meanwhile := int64(8)
	w.overtake = func(state.Command) {
		if count := meanwhile; count > 0 {
			meanwhile = 0
			scale(count)
		}
	}
	if got := w.ask("PUT", "/v1/jobs", bounded("10")); got.status != 200 {
		t.Fatal(got.body)
	}
	if job := w.Snapshot().Job("default", "web"); job.TaskGroups[0].Count != 8 || *job.TaskGroups[0].Scaling.Max != 10 || job.Version != 3 {
		t.Errorf("version %d has the count %d", job.Version, job.TaskGroups[0].Count)
	}
	meanwhile = 9
	job := w.Snapshot().Job("default", "web")
	enforced := strings.Replace(bounded("11"), `{`, fmt.Sprintf(`{"EnforceIndex": true, "JobModifyIndex": %d, `, job.JobModifyIndex), 1)
	if got := w.ask("PUT", "/v1/jobs", enforced); got.status != 500 || !strings.Contains(got.body, "job exists with conflicting job modify index") {
		t.Errorf("overtaken: %+v", got)
	}
}

func TestResourcesMayBePreserved(t *testing.T) {
	w := newWorld(t)
	sized := func(cpu string) string {
		return strings.Replace(jobText("web"), `"Name": "main"`, `"Name": "main", "Resources": {"CPU": `+cpu+`}`, 1)
	}
	for _, body := range []string{`{"Job": ` + sized("300") + `}`, `{"PreserveResources": true, "Job": ` + strings.Replace(sized("50"), `"Count": 2`, `"Count": 7`, 1) + `}`} {
		if got := w.ask("PUT", "/v1/jobs", body); got.status != 200 {
			t.Fatal(got.body)
		}
	}
	if g := w.Snapshot().Job("default", "web").TaskGroups[0]; g.Count != 7 || g.Tasks[0].Resources.CPU != 300 {
		t.Errorf("count is %d, cpu %d", g.Count, g.Tasks[0].Resources.CPU)
	}
}

func TestTheTextOfAJobIsKept(t *testing.T) {
	w := newWorld(t)
	got := w.ask("PUT", "/v1/jobs", `{"Job": `+jobText("web")+`, "Submission": {"Source": "job \"web\" {}", "Format": "hcl2", "VariableFlags": {"a": "b"}}}`)
	if got.status != 200 {
		t.Fatal(got.body)
	}
	source, _, err := w.client.JobSubmission(context.Background(), "web", 0, api.Query{})
	if err != nil || source.Source != `job "web" {}` || source.VariableFlags["a"] != "b" || source.JobID != "web" || source.JobModifyIndex == 0 {
		t.Errorf("%+v, %v", source, err)
	}
}

func TestValidationListsWhatIsWrong(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		body string
		want string // "" when the job is good
	}{
		{jobText("web"), ""},
		{`{"ID": "a b"}`, "Job ID contains a space"},
		{`{"ID": "web", "Namespace": "nope", ` + jobText("web")[1:], `job "web" is in nonexistent namespace "nope"`},
		{`{"ID": "web", "TaskGroups": 3}`, "group: want a list"},
	} {
		got := w.ask("PUT", "/v1/validate/job", `{"Job": `+c.body+`}`)
		var response api.JobValidateResponse
		if err := json.Unmarshal([]byte(got.body), &response); err != nil || got.status != 200 {
			t.Errorf("%s: %d %s", c.body, got.status, got.body)
			continue
		}
		fieldsAre(t, "validation", got.body, "DriverConfigValidated ValidationErrors Error Warnings")
		all := strings.Join(response.ValidationErrors, "\n")
		if c.want == "" && (all != "" || response.Error != "") || !strings.Contains(all, c.want) {
			t.Errorf("%s: %s", c.body, got.body)
		}
	}
}

// What there is not yet is accepted by validation and by parsing, which say it; a job that must not run without it is not registered.
func TestWhatThereIsNotYetIsToldOrRefused(t *testing.T) {
	w := newWorld(t)
	with := func(more string) string { return strings.Replace(jobText("web"), `{`, `{`+more+`, `, 1) }
	const refused = `multiregion: the \"multiregion\" block is not supported yet`
	const warned = `all_at_once: \"all_at_once\" is not supported yet`
	for _, c := range []struct {
		verb, body, want string
		status           int
	}{
		{"/v1/jobs", `{"Job": ` + with(`"Multiregion": {"Regions": [{"Name": "x"}]}`) + `}`, `multiregion: the "multiregion" block is not supported yet`, 500},
		{"/v1/validate/job", `{"Job": ` + with(`"Multiregion": {"Regions": [{"Name": "x"}]}, "AllAtOnce": true`) + `}`, `"ValidationErrors":null,"Error":"","Warnings":"` + refused, 200},
		{"/v1/validate/job", `{"Job": ` + with(`"AllAtOnce": true`) + `}`, `"Warnings":"` + warned, 200},
		{"/v1/jobs", `{"Job": ` + with(`"AllAtOnce": true`) + `}`, `"Warnings":"` + warned, 200},
	} {
		if got := w.ask("PUT", c.verb, c.body); got.status != c.status || !strings.Contains(got.body, c.want) {
			t.Errorf("%s %s: %d %s", c.verb, c.body, got.status, got.body)
		}
	}
}

// What is misspelled in a job's JSON has no effect, and whoever submits, plans or checks it is told.
func TestWhatIsNotReadOfAJobIsTold(t *testing.T) {
	w := newWorld(t)
	body := `{"Job": ` + strings.Replace(jobText("web"), `{`, `{"Prioriti": 60, `, 1) + `}`
	const want = `"Warnings":"\"Prioriti\" is not known here and has no effect; did you mean \"Priority\"?`
	for _, path := range []string{"/v1/validate/job", "/v1/job/web/plan", "/v1/jobs"} {
		if got := w.ask("PUT", path, body); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

func TestServersReadJobFiles(t *testing.T) {
	w := newWorld(t)
	job, err := w.client.ParseJob(context.Background(), api.JobParseRequest{JobHCL: `
variable "count" { default = 1 }
job "web" {
  group "app" {
    count = var.count
    task "main" {
      driver = "raw_exec"
      config { command = "/bin/true" }
    }
  }
}`, Variables: "count = 3"})
	if err != nil || job.ID != "web" || job.TaskGroups[0].Count != 3 {
		t.Errorf("%+v, %v", job, err)
	}
	_, err = w.client.ParseJob(context.Background(), api.JobParseRequest{JobHCL: `job "web" { meta { x = file("/etc/passwd") } }`})
	if cluster.CodeOf(err) != cluster.CodeInvalid || strings.Contains(err.Error(), "root:") {
		t.Errorf("a file of the server: %v", err)
	}
}

func TestSearchFindsByPrefix(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web", "api")[0]
	found, err := w.client.Search(context.Background(), api.SearchRequest{Prefix: alloc.ID.Short()}, api.Query{})
	if err != nil || len(found.Matches["allocs"]) != 1 || found.Matches["allocs"][0] != alloc.ID.String() || len(found.Matches["jobs"]) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	for range 21 {
		w.register("many-" + strings.Repeat("x", int(w.Snapshot().Index())%100))
	}
	found, err = w.client.Search(context.Background(), api.SearchRequest{Prefix: "many", Context: "jobs"}, api.Query{})
	if err != nil || len(found.Matches["jobs"]) != 20 || !found.Truncations["jobs"] {
		t.Errorf("%+v, %v", found, err)
	}
}
