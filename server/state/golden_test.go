package state

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew instead of comparing with them")

// story is a log that uses every command: what a release writes, all later ones must read.
func story(t testing.TB) []Command {
	job, other := testJob("web"), testJob("api")
	changed := testJob("web")
	changed.TaskGroups[0].Tasks[0].Env = map[string]string{"A": "1"}
	done := func(n uint32, job *cluster.Job) cluster.Evaluation {
		eval := *testEval(n, job)
		eval.Status, eval.QueuedAllocations = cluster.EvalComplete, map[string]int{"web": 0}
		return eval
	}
	blocked := *testEval(104, job)
	blocked.Status = cluster.EvalBlocked
	blocked.FailedTGAllocs = map[string]cluster.AllocMetric{"web": {NodesEvaluated: 2, NodesExhausted: 1, DimensionExhausted: map[string]int{"cpu": 1}}}
	deployment := cluster.Deployment{ID: id(200), Namespace: "default", JobID: "web", JobVersion: 1, JobCreateIndex: 14, Status: cluster.DeploymentRunning,
		TaskGroups: map[string]cluster.DeploymentGroup{"web": {DesiredTotal: 1, ProgressDeadline: 600e9}}}
	finished := deployment
	finished.Status = cluster.DeploymentSuccessful
	port := []cluster.AllocatedPort{{Label: "http", Value: 20000, To: 80}}
	first := cluster.IDFrom([16]byte{15: 1}, 0).WithSlot(0)
	second := cluster.IDFrom([16]byte{15: 2}, 0).WithSlot(1)
	third := cluster.IDFrom([16]byte{15: 3}, 0).WithSlot(2)
	return []Command{
		&SetMeta{At: 1e18, Key: "cluster_id", Value: []byte("0123456789abcdef"), Create: true},
		&UpsertNamespace{At: 1e18, Namespace: &cluster.Namespace{Name: "prod", Description: "real"}},
		&RegisterNode{At: 1e18, Node: testNode(1), Event: &cluster.NodeEvent{Message: "registered", Timestamp: "2026-01-02T03:04:05Z"}},
		&RegisterNode{At: 1e18, Node: testNode(2)},
		&RegisterJob{At: 1e18, RequestID: "first", Job: job, Eval: testEval(101, job), Source: &Submission{Source: "job \"web\" {}", Format: "hcl2"}},
		&CommitPlan{At: 1e18 + 1, Seed: [16]byte{15: 1}, Plan: cluster.Plan{Namespace: "default", JobID: "web", CreateIndex: 14, SnapshotIndex: 14,
			Eval: done(101, job), Places: []cluster.Placement{{NodeID: id(1), TaskGroup: "web", Ports: port}}}},
		&ReportAllocs{At: 1e18 + 2, Updates: []cluster.AllocUpdate{{ID: first, ClientStatus: cluster.ClientRunning, Passing: 1,
			TaskStates: benchUpdate(&cluster.Allocation{}, 1e18).TaskStates}}},
		&RegisterJob{At: 1e18 + 3, Job: changed, Eval: testEval(102, job)},
		&CommitPlan{At: 1e18 + 4, Seed: [16]byte{15: 2}, Plan: cluster.Plan{Namespace: "default", JobID: "web", CreateIndex: 14, Version: 1, SnapshotIndex: 17,
			Eval: done(102, job), Deployments: []cluster.Deployment{deployment}, Evals: []cluster.Evaluation{blocked},
			Stops:  []cluster.Stop{{ID: first, Description: "updated"}},
			Places: []cluster.Placement{{NodeID: id(2), TaskGroup: "web", Previous: first, DeploymentID: id(200), Ports: port}}}},
		&ReportAllocs{At: 1e18 + 5, Updates: []cluster.AllocUpdate{
			{ID: first, ClientStatus: cluster.ClientComplete, TaskStates: ended(143)},
			{ID: second, ClientStatus: cluster.ClientRunning, Health: cluster.HealthHealthy, HealthTime: 1e18 + 5, Passing: 1}}},
		&UpsertDeployments{At: 1e18 + 6, Deployments: []cluster.Deployment{finished}, StableJob: &JobVersion{"default", "web", 14, 1}},
		&RegisterJob{At: 1e18 + 7, Job: other, Eval: testEval(103, other)},
		&CommitPlan{At: 1e18 + 8, Seed: [16]byte{15: 3}, Plan: cluster.Plan{Namespace: "default", JobID: "api", CreateIndex: 21, SnapshotIndex: 21,
			Eval: done(103, other), Places: []cluster.Placement{{NodeID: id(1), TaskGroup: "web"}}}},
		&StopAllocs{At: 1e18 + 9, Stops: []cluster.Stop{{ID: third, Description: "asked"}}, Evals: []cluster.Evaluation{*testEval(105, other)}},
		&NodeEligibility{At: 1e18 + 10, ID: id(2), Eligibility: cluster.NodeIneligible},
		&NodeStatus{At: 1e18 + 11, ID: id(1), Status: cluster.NodeStatusDown, Evals: []cluster.Evaluation{*testEval(106, job)}},
		&DeregisterJob{At: 1e18 + 12, Namespace: "default", ID: "api", Purge: true},
		&UpsertEvals{At: 1e18 + 13, Evals: []cluster.Evaluation{done(106, job)}},
		&Reap{At: 1e18 + 14, Allocs: []cluster.ID{first}, Evals: []cluster.ID{id(101)}},
		&DeleteNode{At: 1e18 + 15, ID: id(1)},
		&DeleteNamespace{At: 1e18 + 16, Name: "prod"},
	}
}

// versionStory is a log of the commands about versions of jobs and counts of groups, which came with format 3.
func versionStory(t testing.TB) []Command {
	job, changed := testJob("web"), testJob("web")
	changed.Meta = map[string]string{"release": "2"}
	first := JobVersion{"default", "web", 10, 0}
	return []Command{
		&RegisterJob{At: 1e18, Job: job, Source: &Submission{Source: "job \"web\" {}", Format: "hcl2"}},
		&RegisterJob{At: 1e18 + 1, Job: changed},
		&MarkVersion{At: 1e18 + 2, RequestID: "tag", Version: first, Tag: &cluster.JobVersionTag{Name: "good", Description: "as it was"}},
		&MarkVersion{At: 1e18 + 3, Version: first, Stable: new(true)},
		&ScaleJob{At: 1e18 + 4, RequestID: "scale", Namespace: "default", ID: "web", Group: "web", JobModifyIndex: 11, Eval: testEval(101, job),
			Event: cluster.ScalingEvent{Count: new(int64(3)), Message: "busy", Meta: map[string]any{"by": "hand"}}},
		&ScaleJob{At: 1e18 + 5, Namespace: "default", ID: "web", Group: "web", JobModifyIndex: 14, Event: cluster.ScalingEvent{Message: "cannot tell", Error: true}},
		&SetMeta{At: 1e18 + 6, Key: MetaTrackedVersions, Value: []byte("2")},
		&DeregisterJob{At: 1e18 + 7, Namespace: "default", ID: "web"},
	}
}

// describe says in lines what a log has led to.
func describe(sn *Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "index %d\n", sn.Index())
	for ns := range sn.Namespaces() {
		fmt.Fprintf(&b, "namespace %s\n", ns.Name)
	}
	for n, usage := range sn.Usages() {
		fmt.Fprintf(&b, "node %s %s %s, %d MHz, ports %q\n", n.ID.Short(), n.Status, n.SchedulingEligibility, usage.Capacity.CPU, usage.Ports)
	}
	for job := range sn.Jobs("*", "") {
		fmt.Fprintf(&b, "job %s/%s version %d, %s, stable %v, running %d\n", job.Namespace, job.ID, job.Version, job.Status, job.Stable,
			sn.JobSummary(job.Namespace, job.ID).Summary["web"].Running)
		for _, v := range sn.JobVersions(job.Namespace, job.ID) {
			if v.VersionTag != nil {
				fmt.Fprintf(&b, "  version %d is %+v, stable %v\n", v.Version, *v.VersionTag, v.Stable)
			}
		}
		for _, e := range sn.ScalingEvents(job.Namespace, job.ID)["web"] {
			fmt.Fprintf(&b, "  scaled from %d at %d: %q, error %v, %v\n", e.PreviousCount, e.CreateIndex, e.Message, e.Error, e.Meta)
		}
	}
	for a := range sn.Allocs() {
		fmt.Fprintf(&b, "allocation %s %s version %d, desired %d, client %d, health %d, ports %+v, changed %d by servers %d\n", a.ID, a.Name(), a.Job.Version,
			a.DesiredStatus, a.ClientStatus, a.Health, a.Ports, a.ModifyIndex, a.AllocModifyIndex)
	}
	for eval := range sn.Evals() {
		fmt.Fprintf(&b, "evaluation %s %s of %s, lacking %v\n", eval.ID.Short(), eval.Status, eval.JobID, eval.FailedTGAllocs["web"].DimensionExhausted)
	}
	for d := range sn.Deployments() {
		g := d.TaskGroups["web"]
		fmt.Fprintf(&b, "deployment %s %s placed %d, healthy %d, unhealthy %d\n", d.ID.Short(), d.Status, g.PlacedAllocs, g.HealthyAllocs, g.UnhealthyAllocs)
	}
	for service := range sn.Services("*") {
		fmt.Fprintf(&b, "service %s/%s: %d endpoints since %d\n", service.Namespace, service.Name, len(service.endpoints), service.Index)
	}
	return b.String()
}

// golden gives the file's content, after writing it if asked to.
func golden(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// The golden logs and snapshots of a format never change again; a new format gets files of its own.
func TestOldLogsAndSnapshotsAreRead(t *testing.T) {
	for name, story := range map[string]func(testing.TB) []Command{"v1": story, "v3": versionStory} {
		t.Run(name, func(t *testing.T) { testGolden(t, name, story(t)) })
	}
}

func testGolden(t *testing.T, name string, story []Command) {
	var log []byte
	for i, c := range story {
		entry, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		log = binary.AppendUvarint(log, uint64(10+i))
		log = binary.AppendUvarint(log, uint64(len(entry)))
		log = append(log, entry...)
	}
	log = golden(t, name+".log", log)

	applied := New()
	for len(log) > 0 {
		index, n := binary.Uvarint(log)
		length, m := binary.Uvarint(log[n:])
		entry := log[n+m : n+m+int(length)]
		log = log[n+m+int(length):]
		results, err := applied.Apply(index, entry)
		if err != nil || results[0].Err != nil || results[0].Plan.Stale != "" || len(results[0].Plan.Dropped) > 0 {
			t.Fatalf("entry %d: %v %+v", index, err, results)
		}
	}
	told := golden(t, name+".txt", []byte(describe(applied.Snapshot())))
	if got := describe(applied.Snapshot()); got != string(told) {
		t.Errorf("the log leads to\n%s\nwant\n%s", got, told)
	}

	saved := golden(t, name+".snapshot", save(t, applied).Bytes())
	next := New()
	if err := next.Restore(bytes.NewReader(saved)); err != nil {
		t.Fatal(err)
	}
	if got, want := dump(t, next.Snapshot()), dump(t, applied.Snapshot()); got != want {
		t.Errorf("the snapshot holds\n%s\nthe log led to\n%s", got, want)
	}
}
