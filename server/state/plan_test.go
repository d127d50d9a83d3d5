package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
)

// running is a store with two ready nodes, the job "web" and one instance on each node.
func running(t testing.TB) (*store, []cluster.ID) {
	s := newStore(t)
	s.do(&RegisterNode{At: s.now, Node: testNode(1)}, &RegisterNode{At: s.now, Node: testNode(2)})
	s.register(testJob("web"))
	return s, s.place("web", 1, 2)
}

func (s *store) report(updates ...cluster.AllocUpdate) Result {
	s.t.Helper()
	return s.do(&ReportAllocs{At: s.now, Updates: updates})[0]
}

func TestAPlanIsCarriedOutWhole(t *testing.T) {
	s, ids := running(t)
	sn := s.Snapshot()
	a := sn.Alloc(ids[1])
	if a.NodeID != id(2) || a.NodeName != "node" || a.TaskGroup != "web" || a.Index != 1 || a.Name() != "web.web[1]" ||
		a.CreateIndex != s.index || a.ModifyIndex != s.index || a.AllocModifyIndex != s.index || a.CreateTime == 0 {
		t.Fatalf("allocation: %+v", a)
	}
	if a.ID.Slot() != 1 || a.Job.Version != 0 || a.Job.Status != "" {
		t.Fatalf("slot %d, job %+v", a.ID.Slot(), a.Job)
	}
	eval := sn.Eval(a.EvalID)
	if eval.Status != cluster.EvalComplete || eval.ModifyIndex != s.index || eval.CreateIndex != s.index-1 {
		t.Fatalf("evaluation: %+v", eval)
	}
	if byEval := slices.Collect(sn.AllocsByEval(eval.ID)); len(byEval) != 2 {
		t.Fatalf("%d allocations by evaluation", len(byEval))
	}
	usage := sn.Usage(id(1))
	if usage.Capacity != (cluster.Capacity{CPU: 100, MemoryMB: 300, DiskMB: 300}) || usage.Ports.String() != "20000" {
		t.Fatalf("usage: %+v", usage)
	}
}

func TestWhatAPlanWasNotMadeForIsNotCarriedOut(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(*store)
		places  []uint32
		dropped []int
	}{
		{"nothing changed", func(*store) {}, []uint32{1, 2}, nil},
		{"a node is down", func(s *store) { s.do(&NodeStatus{ID: id(1), Status: cluster.NodeStatusDown}) }, []uint32{1, 2, 1}, []int{0, 2}},
		{"a node is closed", func(s *store) { s.do(&NodeEligibility{ID: id(2), Eligibility: cluster.NodeIneligible}) }, []uint32{1, 2}, []int{1}},
		{"a node is gone", func(s *store) { s.do(&DeleteNode{ID: id(2)}) }, []uint32{1, 2}, []int{1}},
		{"a node is not known", func(*store) {}, []uint32{1, 9}, []int{1}},
		{"a node has other attributes", func(s *store) {
			n := testNode(1)
			n.Attributes = map[string]string{"a": "b"}
			s.do(&RegisterNode{Node: n})
		}, []uint32{1, 2}, []int{0}},
		{"a node says the same again", func(s *store) { s.do(&RegisterNode{Node: testNode(1)}) }, []uint32{1, 2}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _ := running(t)
			planned := s.Snapshot().Index()
			c.change(s)
			eval := *testEval(500, testJob("web"))
			s.do(&UpsertEvals{Evals: []cluster.Evaluation{eval}})
			eval.Status = cluster.EvalComplete
			blocked, later := *testEval(501, testJob("web")), *testEval(502, testJob("web"))
			blocked.Status = cluster.EvalBlocked
			p := cluster.Plan{Namespace: "default", JobID: "web", CreateIndex: s.Snapshot().Job("default", "web").CreateIndex,
				SnapshotIndex: planned, Eval: eval, Evals: []cluster.Evaluation{blocked, later}}
			for i, n := range c.places {
				p.Places = append(p.Places, cluster.Placement{NodeID: id(n), TaskGroup: "web", Index: int32(i + 2)})
			}
			r := s.do(&CommitPlan{Seed: [16]byte{9: 3}, Plan: p})[0].Plan
			if !slices.Equal(r.Dropped, c.dropped) || r.Placed != len(c.places)-len(c.dropped) || r.Stale != "" {
				t.Fatalf("result: %+v", r)
			}
			sn := s.Snapshot()
			if sn.AllocCount() != 2+r.Placed {
				t.Fatalf("%d allocations", sn.AllocCount())
			}
			whole := len(c.dropped) == 0
			if (sn.Eval(id(500)).Status == cluster.EvalComplete) != whole || (sn.Eval(id(501)) != nil) != whole || sn.Eval(id(502)) == nil {
				t.Fatal("evaluations: the plan's and its blocked ones are stored only with all placements")
			}
		})
	}
}

func TestAPlanForAnotherJobOrADoneEvaluationIsStale(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*store, *cluster.Plan)
		want   string
	}{
		{"other version", func(_ *store, p *cluster.Plan) { p.Version = 7 }, `job "web" has become version 0 (create index 11)`},
		{"other life", func(_ *store, p *cluster.Plan) { p.CreateIndex = 3 }, `job "web" has become version 0 (create index 11)`},
		{"purged", func(s *store, p *cluster.Plan) { s.do(&DeregisterJob{Namespace: "default", ID: "web", Purge: true}) }, `job "web" was purged`},
		{"evaluation done", func(s *store, p *cluster.Plan) {
			eval := p.Eval
			eval.Status = cluster.EvalCanceled
			s.do(&UpsertEvals{Evals: []cluster.Evaluation{eval}})
		}, "evaluation " + id(500).String() + " is canceled"},
		{"evaluation unknown", func(_ *store, p *cluster.Plan) { p.Eval.ID = id(99) }, "evaluation " + id(99).String() + " is not there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, ids := running(t)
			eval := *testEval(500, testJob("web"))
			s.do(&UpsertEvals{Evals: []cluster.Evaluation{eval}})
			p := cluster.Plan{Namespace: "default", JobID: "web", CreateIndex: s.Snapshot().Job("default", "web").CreateIndex,
				SnapshotIndex: s.index, Eval: eval, Stops: []cluster.Stop{{ID: ids[0]}}}
			c.change(s, &p)
			if r := s.do(&CommitPlan{Plan: p})[0].Plan; r.Stale != c.want || r.Whole() {
				t.Fatalf("got %+v, want %q", r, c.want)
			}
			if s.Snapshot().Alloc(ids[0]).ServerTerminal() {
				t.Fatal("a stale plan has stopped an allocation")
			}
		})
	}
}

func TestAPurgedJobsAllocationsCanBeStopped(t *testing.T) {
	s, ids := running(t)
	s.do(&DeregisterJob{Namespace: "default", ID: "web", Purge: true})
	if r := s.plan("web", cluster.Plan{Stops: []cluster.Stop{{ID: ids[0], Description: "purged"}}}); !r.Whole() {
		t.Fatalf("plan: %+v", r)
	}
	a := s.Snapshot().Alloc(ids[0])
	if a.DesiredStatus != cluster.DesiredStop || a.Details().DesiredDescription != "purged" || a.JobID() != "web" {
		t.Fatalf("allocation: %+v", a)
	}
}

func TestAReplacementIsLinkedAndItsStopWaitsForIt(t *testing.T) {
	s, ids := running(t)
	replace := cluster.Plan{Stops: []cluster.Stop{{ID: ids[0], Description: "update"}},
		Places: []cluster.Placement{{NodeID: id(2), TaskGroup: "web", Previous: ids[0]}}}
	planned := s.index
	s.do(&NodeEligibility{ID: id(2), Eligibility: cluster.NodeIneligible})
	replace.SnapshotIndex = planned
	if r := s.plan("web", replace); len(r.Dropped) != 1 {
		t.Fatalf("plan: %+v", r)
	}
	if s.Snapshot().Alloc(ids[0]).ServerTerminal() {
		t.Fatal("stopped, though its replacement was dropped")
	}
	replace.Stops[0].Lost = true
	s.plan("web", replace)
	if a := s.Snapshot().Alloc(ids[0]); a.ClientStatus != cluster.ClientLost || a.Details().ClientDescription != "update" {
		t.Fatalf("what is lost is lost: %+v", a)
	}
	s.do(&NodeEligibility{ID: id(2), Eligibility: cluster.NodeEligible})
	replace.SnapshotIndex = 0
	if r := s.plan("web", replace); !r.Whole() {
		t.Fatalf("plan: %+v", r)
	}
	sn := s.Snapshot()
	next := sn.Alloc(sn.Alloc(ids[0]).Details().NextAllocation)
	if next == nil || next.Details().PreviousAllocation != ids[0] {
		t.Fatal("the two are not linked")
	}
}

func TestAnInPlaceUpdateTakesTheNewVersionAndJoinsTheDeployment(t *testing.T) {
	s, ids := running(t)
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, Health: cluster.HealthHealthy, HealthTime: 5, Passing: 1})
	job := testJob("web")
	job.TaskGroups[0].Tasks[0].Resources.CPU = 700
	s.register(job)
	d := cluster.Deployment{ID: id(50), Namespace: "default", JobID: "web", Status: cluster.DeploymentRunning,
		TaskGroups: map[string]cluster.DeploymentGroup{"web": {DesiredTotal: 2, PlacedAllocs: 99}}}
	r := s.plan("web", cluster.Plan{Deployments: []cluster.Deployment{d},
		Updates: []cluster.Update{{ID: ids[0], DeploymentID: d.ID}, {ID: ids[1]}}})
	if !r.Whole() {
		t.Fatalf("plan: %+v", r)
	}
	sn := s.Snapshot()
	a := sn.Alloc(ids[0])
	if a.Job.Version != 1 || a.DeploymentID != d.ID || a.Health != cluster.HealthUnknown || a.HealthTime != 0 || a.Passing != 1 || a.AllocModifyIndex != s.index {
		t.Fatalf("allocation: %+v", a)
	}
	if b := sn.Alloc(ids[1]); b.Job.Version != 1 || !b.DeploymentID.IsZero() {
		t.Fatalf("allocation: %+v", b)
	}
	if cpu := sn.Usage(id(1)).Capacity.CPU; cpu != 700 {
		t.Fatalf("usage %d MHz", cpu)
	}
	if g := sn.Deployment(d.ID).TaskGroups["web"]; g.PlacedAllocs != 1 || g.HealthyAllocs != 0 || g.DesiredTotal != 2 {
		t.Fatalf("deployment: %+v", g)
	}
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, Health: cluster.HealthHealthy, HealthTime: 6})
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, Health: cluster.HealthUnhealthy, HealthTime: 7})
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, Health: cluster.HealthHealthy, HealthTime: 8})
	if g := s.Snapshot().Deployment(d.ID).TaskGroups["web"]; g.HealthyAllocs != 0 || g.UnhealthyAllocs != 1 {
		t.Fatalf("deployment: %+v", g)
	}
	if len(slices.Collect(s.Snapshot().AllocsByDeployment(d.ID))) != 1 {
		t.Fatal("allocations by deployment")
	}
}

func TestAWaitNamesItsEvaluation(t *testing.T) {
	s, ids := running(t)
	later := *testEval(600, testJob("web"))
	later.WaitUntil = s.now + 30e9
	before := s.Snapshot().Alloc(ids[0])
	s.plan("web", cluster.Plan{Waits: []cluster.Wait{{ID: ids[0], FollowupEvalID: later.ID}}, Evals: []cluster.Evaluation{later}})
	sn := s.Snapshot()
	a := sn.Alloc(ids[0])
	if a.Details().FollowupEvalID != later.ID || a.AllocModifyIndex != before.AllocModifyIndex || a.ServerTerminal() {
		t.Fatalf("allocation: %+v", a)
	}
	if sn.Eval(later.ID).WaitUntil != later.WaitUntil {
		t.Fatal("the evaluation has forgotten its time")
	}
	if before.Rare != nil {
		t.Fatal("a stored allocation was modified")
	}
}

func TestAPlacementMayKeepTheVersionOfWhatItReplaces(t *testing.T) {
	s, ids := running(t)
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientFailed})
	job := testJob("web")
	job.TaskGroups[0].Count = 5
	s.register(job)
	s.plan("web", cluster.Plan{Places: []cluster.Placement{
		{NodeID: id(1), TaskGroup: "web", Previous: ids[0], KeepVersion: true,
			Reschedules: []cluster.RescheduleEvent{{RescheduleTime: 1, PrevAllocID: ids[0], PrevNodeID: id(1), Delay: 5}}},
		{NodeID: id(1), TaskGroup: "web"},
	}})
	var versions []uint64
	for a := range s.Snapshot().AllocsByNode(id(1)) {
		versions = append(versions, a.Job.Version)
	}
	if want := []uint64{0, 0, 1}; !slices.Equal(versions, want) {
		t.Fatalf("versions %v, want %v", versions, want)
	}
}

func TestADeploymentEndsOnceAndMakesItsVersionStable(t *testing.T) {
	s := newStore(t)
	job := s.register(testJob("web"))
	d := cluster.Deployment{ID: id(50), Namespace: "default", JobID: "web", JobCreateIndex: job.CreateIndex, Status: cluster.DeploymentRunning}
	s.do(&UpsertDeployments{At: s.now, Deployments: []cluster.Deployment{d}})
	if sn := s.Snapshot(); len(slices.Collect(sn.ActiveDeployments())) != 1 || sn.LatestDeployment("default", "web") == nil {
		t.Fatal("the deployment is not active")
	}
	d.Status = cluster.DeploymentSuccessful
	s.do(&UpsertDeployments{At: s.now, Deployments: []cluster.Deployment{d}, StableJob: &JobVersion{"default", "web", job.CreateIndex, 0}})
	d.Status = cluster.DeploymentFailed
	s.do(&UpsertDeployments{At: s.now, Deployments: []cluster.Deployment{d}})
	sn := s.Snapshot()
	if got := sn.Deployment(d.ID); got.Status != cluster.DeploymentSuccessful || len(slices.Collect(sn.ActiveDeployments())) != 0 {
		t.Fatalf("deployment: %+v", got)
	}
	if got := sn.Job("default", "web"); !got.Stable || got.Version != 0 || got.JobModifyIndex != job.JobModifyIndex {
		t.Fatalf("job: %+v", got)
	}
	job2 := testJob("web")
	job2.Priority = 70
	s.register(job2)
	s.do(&UpsertDeployments{StableJob: &JobVersion{"default", "web", job.CreateIndex, 0}})
	if versions := s.Snapshot().JobVersions("default", "web"); versions[0].Stable || !versions[1].Stable {
		t.Fatal("stability belongs to a version")
	}
}

func TestPendingAndBlockedEvaluations(t *testing.T) {
	s := newStore(t)
	job := testJob("web")
	a, b := *testEval(2, job), *testEval(1, job)
	s.do(&UpsertEvals{At: s.now, Evals: []cluster.Evaluation{a}}, &UpsertEvals{At: s.now, Evals: []cluster.Evaluation{b}})
	list := func() (pending, blocked string) {
		for eval := range s.Snapshot().PendingEvals() {
			pending += eval.ID.Short() + " "
		}
		for eval := range s.Snapshot().BlockedEvals() {
			blocked += eval.ID.Short() + " "
		}
		return strings.TrimSpace(pending), strings.TrimSpace(blocked)
	}
	if pending, _ := list(); len(strings.Fields(pending)) != 2 {
		t.Fatalf("pending %q", pending)
	}
	a.Status = cluster.EvalBlocked
	s.do(&UpsertEvals{At: s.now, Evals: []cluster.Evaluation{a}})
	if pending, blocked := list(); pending != b.ID.Short() || blocked != a.ID.Short() {
		t.Fatalf("pending %q, blocked %q", pending, blocked)
	}
	a.Status = cluster.EvalCanceled
	s.do(&UpsertEvals{At: s.now, Evals: []cluster.Evaluation{a}})
	a.Status = cluster.EvalPending
	s.do(&UpsertEvals{At: s.now, Evals: []cluster.Evaluation{a}})
	if pending, blocked := list(); pending != b.ID.Short() || blocked != "" {
		t.Fatalf("what is done stays done: pending %q, blocked %q", pending, blocked)
	}
}
