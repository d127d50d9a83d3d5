package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
)

func ended(code int) []cluster.TaskState {
	return []cluster.TaskState{{Name: "server", State: cluster.TaskDead, FinishedAt: 9,
		Events: []cluster.TaskEvent{{Time: 9, Type: cluster.EventTerminated, Details: &cluster.EventDetails{ExitCode: code}}}}}
}

func TestStatusesMoveForwardAlone(t *testing.T) {
	for _, c := range []struct {
		from, report, want cluster.ClientStatus
	}{
		{cluster.ClientPending, cluster.ClientRunning, cluster.ClientRunning},
		{cluster.ClientPending, cluster.ClientFailed, cluster.ClientFailed},
		{cluster.ClientRunning, cluster.ClientPending, cluster.ClientRunning},
		{cluster.ClientRunning, cluster.ClientComplete, cluster.ClientComplete},
		{cluster.ClientComplete, cluster.ClientFailed, cluster.ClientComplete},
		{cluster.ClientFailed, cluster.ClientComplete, cluster.ClientFailed},
		{cluster.ClientFailed, cluster.ClientRunning, cluster.ClientFailed},
	} {
		s, ids := running(t)
		s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: c.from})
		s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: c.report})
		if got := s.Snapshot().Alloc(ids[0]).ClientStatus; got != c.want {
			t.Errorf("%d after a report of %d became %d, want %d", c.from, c.report, got, c.want)
		}
	}
}

func TestWhatHasEndedLearnsOnlyHow(t *testing.T) {
	s, ids := running(t)
	s.plan("web", cluster.Plan{Stops: []cluster.Stop{{ID: ids[0], Lost: true, Description: "node lost"}}})
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, TaskStates: []cluster.TaskState{{Name: "server"}}, Passing: 1})
	if a := s.Snapshot().Alloc(ids[0]); a.ClientStatus != cluster.ClientLost || a.TaskStates != nil || a.Passing != 0 {
		t.Fatalf("after late news: %+v", a)
	}
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientComplete, TaskStates: ended(143)})
	a := s.Snapshot().Alloc(ids[0])
	if a.ClientStatus != cluster.ClientLost || a.Task("server").Events[0].Details.ExitCode != 143 {
		t.Fatalf("after the news of its end: %+v", a)
	}
	index := a.ModifyIndex
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientComplete, TaskStates: ended(143)})
	if s.Snapshot().Alloc(ids[0]).ModifyIndex != index {
		t.Fatal("the same news is no change")
	}
}

func TestAReportIsNotTheServersChange(t *testing.T) {
	s, ids := running(t)
	placed := s.index
	r := s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, ClientDescription: "fine"},
		cluster.AllocUpdate{ID: id(77), ClientStatus: cluster.ClientRunning})
	if !slices.Equal(r.Unknown, []cluster.ID{id(77)}) {
		t.Fatalf("result: %+v", r)
	}
	sn := s.Snapshot()
	a := sn.Alloc(ids[0])
	if a.AllocModifyIndex != placed || a.ModifyIndex != s.index || a.Details().ClientDescription != "fine" {
		t.Fatalf("allocation: %+v", a)
	}
	if sn.KeyIndex(NodeAllocsKey(id(1))) != placed || sn.KeyIndex(JobAllocsKey("default", "web")) != s.index || sn.KeyIndex(AllocKey(ids[0])) != s.index {
		t.Fatal("indexes of a report")
	}
}

func TestStop(t *testing.T) {
	s, ids := running(t)
	r := s.do(&StopAllocs{At: s.now, Stops: []cluster.Stop{{ID: ids[0], Description: "asked"}, {ID: id(77)}},
		Evals: []cluster.Evaluation{*testEval(5, testJob("web"))}})[0]
	if !slices.Equal(r.Unknown, []cluster.ID{id(77)}) {
		t.Fatalf("result: %+v", r)
	}
	sn := s.Snapshot()
	a, b := sn.Alloc(ids[0]), sn.Alloc(ids[1])
	if a.DesiredStatus != cluster.DesiredStop || a.ClientStatus != cluster.ClientPending || !a.Occupies() || a.AllocModifyIndex != s.index {
		t.Fatalf("stopped: %+v", a)
	}
	if b.DesiredStatus != cluster.DesiredRun || sn.Eval(id(5)) == nil {
		t.Fatalf("not stopped: %+v", b)
	}
}

func TestUsageAndSummaryFollowTheAllocations(t *testing.T) {
	s, ids := running(t)
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning})
	// The follower takes the port of the one that stops, before that has ended.
	s.plan("web", cluster.Plan{Stops: []cluster.Stop{{ID: ids[0]}}, Places: []cluster.Placement{
		{NodeID: id(1), TaskGroup: "web", Previous: ids[0], Ports: []cluster.AllocatedPort{{Label: "http", Value: 20000}}}}})
	if u := s.Snapshot().Usage(id(1)); u.Capacity.CPU != 200 || u.Ports.String() != "20000" {
		t.Fatalf("both: %+v", u)
	}
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientComplete}, cluster.AllocUpdate{ID: ids[1], ClientStatus: cluster.ClientFailed})
	if u := s.Snapshot().Usage(id(1)); u.Capacity.CPU != 100 || u.Ports.String() != "20000" {
		t.Fatalf("the follower: %+v", u)
	}
	if u := s.Snapshot().Usage(id(2)); u.Capacity != (cluster.Capacity{}) || len(u.Ports) != 0 {
		t.Fatalf("nobody: %+v", u)
	}
	blocked := *testEval(6, testJob("web"))
	blocked.Status, blocked.QueuedAllocations = cluster.EvalBlocked, map[string]int{"web": 4, "gone": 1}
	s.do(&UpsertEvals{At: s.now, Evals: []cluster.Evaluation{blocked}})
	summary := s.Snapshot().JobSummary("default", "web")
	if got := summary.Summary["web"]; got != (cluster.GroupSummary{Queued: 4, Complete: 1, Failed: 1, Starting: 1}) || len(summary.Summary) != 1 {
		t.Fatalf("summary: %+v", summary)
	}
}

func TestAJobsStatus(t *testing.T) {
	s, ids := running(t)
	want := func(status string) {
		t.Helper()
		if got := s.Snapshot().Job("default", "web"); got.Status != status || got.JobModifyIndex != got.CreateIndex {
			t.Fatalf("job is %s, want %s", got.Status, status)
		}
	}
	want(cluster.JobStatusRunning)
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientComplete}, cluster.AllocUpdate{ID: ids[1], ClientStatus: cluster.ClientFailed})
	want(cluster.JobStatusDead)
	s.do(&UpsertEvals{Evals: []cluster.Evaluation{*testEval(6, testJob("web"))}})
	want(cluster.JobStatusPending)
	s.place("web", 1)
	want(cluster.JobStatusRunning)
}

func TestServicesAreThoseThatPassWhileTheyShouldRun(t *testing.T) {
	s, ids := running(t)
	endpoints := func() (names string) {
		for service := range s.Snapshot().Services("*") {
			for a, i := range service.Endpoints() {
				names += service.Namespace + "/" + service.Name + ":" + a.Group().AllServices()[i].Name + "@" + a.NodeName + " "
			}
		}
		return strings.TrimSpace(names)
	}
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientPending, Passing: 1})
	if got := endpoints(); got != "" {
		t.Fatalf("pending: %s", got)
	}
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, Passing: 1}, cluster.AllocUpdate{ID: ids[1], ClientStatus: cluster.ClientRunning, Passing: 1})
	if got := endpoints(); got != "default/site:site@node default/site:site@node" {
		t.Fatalf("running: %s", got)
	}
	old := s.Snapshot().Service("default", "site")
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning})
	if got := s.Snapshot().Service("default", "site"); got.Index != s.index || len(got.endpoints) != 1 || len(old.endpoints) != 2 {
		t.Fatalf("one fails: %+v, before: %+v", got, old)
	}
	s.do(&StopAllocs{Stops: []cluster.Stop{{ID: ids[1]}}})
	if got := s.Snapshot().Service("default", "site"); endpoints() != "" || got.Index != s.index {
		t.Fatalf("none: %+v", got)
	}
}

func TestIDsMayBeShortened(t *testing.T) {
	s, ids := running(t)
	sn := s.Snapshot()
	for _, c := range []struct {
		text string
		want int
	}{
		{ids[0].String(), 1}, {ids[0].Short(), 1}, {strings.ToUpper(ids[0].Short()), 1}, {ids[0].String()[:9], 1}, {ids[0].String()[:23], 1},
		{ids[0].String() + "0", 0}, {ids[0].Short() + "-ffff", 0}, {"", 2}, {ids[1].Short()[:7], 1}, {"zz", 0}, {"0-", 0},
	} {
		if got := sn.AllocsByPrefix(c.text); len(got) != c.want {
			t.Errorf("allocations %q: %d, want %d", c.text, len(got), c.want)
		}
	}
	if n := sn.NodesByPrefix(id(1).String()[:10]); len(n) != 1 || n[0].ID != id(1) {
		t.Errorf("nodes: %v", n)
	}
	if n := sn.NodesByPrefix(""); len(n) != 2 {
		t.Errorf("all nodes: %v", n)
	}
	eval := slices.Collect(sn.Evals())[0]
	if e := sn.EvalsByPrefix(eval.ID.Short()[:3]); len(e) != 1 || e[0] != eval {
		t.Errorf("evaluations: %v", e)
	}
	if d := sn.DeploymentsByPrefix("0"); len(d) != 0 {
		t.Errorf("deployments: %v", d)
	}
}

func TestNodesKeepWhatTheServersSay(t *testing.T) {
	s := newStore(t)
	fresh := testNode(1)
	fresh.Status = ""
	s.do(&RegisterNode{At: 5e9, Node: fresh, Event: &cluster.NodeEvent{Message: "registered"}})
	n := s.Snapshot().Node(id(1))
	if n.Status != cluster.NodeStatusInitializing || n.SchedulingEligibility != cluster.NodeEligible || n.StatusUpdatedAt != 5 || n.Events[0].CreateIndex != s.index {
		t.Fatalf("node: %+v", n)
	}
	s.do(&NodeStatus{At: 6e9, ID: id(1), Status: cluster.NodeStatusReady})
	s.do(&NodeEligibility{ID: id(1), Eligibility: cluster.NodeIneligible})
	again := testNode(1)
	again.Name, again.Status = "renamed", cluster.NodeStatusDown
	s.do(&RegisterNode{At: 9e9, Node: again})
	n = s.Snapshot().Node(id(1))
	if n.Name != "renamed" || n.Status != cluster.NodeStatusReady || n.SchedulingEligibility != cluster.NodeIneligible ||
		n.CreateIndex != 10 || n.ModifyIndex != s.index || n.StatusUpdatedAt != 6 || len(n.Events) != 1 {
		t.Fatalf("node: %+v", n)
	}
	changed := n.ModifyIndex
	s.do(&RegisterNode{At: 10e9, Node: again}, &NodeStatus{ID: id(1), Status: cluster.NodeStatusReady}, &NodeEligibility{ID: id(1), Eligibility: cluster.NodeIneligible})
	if n = s.Snapshot().Node(id(1)); n.ModifyIndex != changed {
		t.Fatal("nothing new, but the node has changed")
	}
	s.refused(cluster.CodeConflict, "update status of node "+id(1).String()+": it has changed since the decision", &NodeStatus{ID: id(1), ModifyIndex: changed - 1, Status: cluster.NodeStatusDown})
	if n = s.Snapshot().Node(id(1)); n.ModifyIndex != changed {
		t.Fatal("a decision about another state of the node was carried out")
	}
	s.do(&NodeStatus{ID: id(1), ModifyIndex: changed, Status: cluster.NodeStatusDown})
	if n = s.Snapshot().Node(id(1)); n.Status != cluster.NodeStatusDown {
		t.Fatal("a decision about the node as it is was not carried out")
	}
	s.do(&DeleteNode{ID: id(1)})
	if s.Snapshot().Node(id(1)) != nil {
		t.Fatal("a deleted node is there")
	}
	s.refused(cluster.CodeNotFound, "delete node "+id(1).String()+": node not found", &DeleteNode{ID: id(1)})
	s.refused(cluster.CodeNotFound, "update status of node "+id(1).String()+": node not found", &NodeStatus{ID: id(1)})
	s.refused(cluster.CodeNotFound, "update eligibility of node "+id(1).String()+": node not found", &NodeEligibility{ID: id(1)})
}

func TestOnlyWhatIsOverAndUnreferredIsReaped(t *testing.T) {
	s, ids := running(t)
	sn := s.Snapshot()
	eval := sn.Alloc(ids[0]).EvalID
	all := &Reap{Allocs: ids, Evals: []cluster.ID{eval, id(99)}, Jobs: []cluster.JobKey{{Namespace: "default", ID: "web"}, {ID: "none"}},
		Nodes: []cluster.ID{id(1), id(99)}, Deployments: []cluster.ID{id(98)}}
	if r := s.do(all)[0]; r.Reaped != 0 {
		t.Fatalf("%d reaped of what lives", r.Reaped)
	}
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientComplete})
	if r := s.do(all)[0]; r.Reaped != 1 || s.Snapshot().Alloc(ids[0]) != nil || s.Snapshot().Eval(eval) == nil {
		t.Fatalf("%d reaped", r.Reaped)
	}
	if sn := s.Snapshot(); sn.KeyIndex(AllocKey(ids[0])) != s.index || sn.KeyIndex(NodeAllocsKey(id(1))) != s.index || sn.AllocCount() != 1 {
		t.Fatal("indexes of a deletion")
	}
	reused := s.place("web", 2)
	if reused[0].Slot() != ids[0].Slot() || reused[0] == ids[0] || s.Snapshot().Alloc(ids[0]) != nil {
		t.Fatalf("slot %d is to be used again by another ID", ids[0].Slot())
	}
	s.report(cluster.AllocUpdate{ID: ids[1], ClientStatus: cluster.ClientComplete}, cluster.AllocUpdate{ID: reused[0], ClientStatus: cluster.ClientComplete})
	s.do(&NodeStatus{ID: id(1), Status: cluster.NodeStatusDown})
	all.Allocs = append(all.Allocs, reused...)
	for eval := range s.Snapshot().EvalsByJob("default", "web") {
		all.Evals = append(all.Evals, eval.ID)
	}
	if r := s.do(all)[0]; r.Reaped != 2+2+1+1 {
		t.Fatalf("%d reaped", r.Reaped)
	}
	sn = s.Snapshot()
	if sn.AllocCount() != 0 || sn.Eval(eval) != nil || sn.Job("default", "web") != nil || sn.Node(id(1)) != nil || sn.Node(id(2)) == nil || sn.job("default", "web") != nil {
		t.Fatal("something is left")
	}
}
