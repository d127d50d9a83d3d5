package server

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// drain begins, changes or ends the drain of a node.
func (l *living) drain(id cluster.ID, spec *cluster.DrainSpec) {
	l.t.Helper()
	now := time.Now()
	command := &state.DrainNode{At: now.UnixNano(), ID: id, Spec: spec, MarkEligible: true}
	if spec == nil {
		command.Evals = evalsForNode(l.Snapshot(), l.Snapshot().Node(id), now)
	}
	_, err := l.Apply(context.Background(), command)
	l.must(err)
}

// onNode are the job's allocations on the node whose tasks may be running.
func onNode(sn *state.Snapshot, job string, id cluster.ID) (allocs []*cluster.Allocation) {
	for a := range sn.AllocsByNode(id) {
		if a.JobID() == job && a.Occupies() {
			allocs = append(allocs, a)
		}
	}
	return allocs
}

// undrained reports whether the node's drain has come to that end.
func undrained(sn *state.Snapshot, id cluster.ID, status string) bool {
	n := sn.Node(id)
	return n.DrainStrategy == nil && n.LastDrain != nil && n.LastDrain.Status == status
}

// setEligible says whether a node may take new work.
func (l *living) setEligible(id cluster.ID, eligibility string) {
	l.t.Helper()
	_, err := l.Apply(context.Background(), &state.NodeEligibility{At: 1, ID: id, Eligibility: eligibility})
	l.must(err)
}

// typed is a job of another type.
func typed(job *cluster.Job, kind string) *cluster.Job {
	next := cluster.DefaultJob(kind)
	next.ID, next.Name = job.ID, job.Name
	group := cluster.DefaultGroup(&next)
	group.Name, group.Count, group.Tasks = "app", job.TaskGroups[0].Count, job.TaskGroups[0].Tasks
	next.TaskGroups = []cluster.TaskGroup{group}
	return &next
}

// Services leave one by one, system jobs when nothing else is left, and the diary says so.
func TestADrainedNodeIsLeftInOrder(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 2000)
	l.serve(nodeID)
	l.register(newJob("web", 3, 100))
	l.register(typed(newJob("agent", 1, 10), cluster.JobTypeSystem))
	l.eventually("all healthy", func(sn *state.Snapshot) bool {
		return len(healthyOf(sn, "web")) == 3 && len(healthyOf(sn, "agent")) == 1 && quiet(sn)
	})
	l.node(otherID, 2000)
	l.serve(otherID)
	l.eventually("the second node's share", func(sn *state.Snapshot) bool { return len(healthyOf(sn, "agent")) == 2 && quiet(sn) })
	from := l.Snapshot().Index()
	l.drain(nodeID, &cluster.DrainSpec{Deadline: time.Hour})
	sn := l.eventually("the end of the drain", func(sn *state.Snapshot) bool {
		if n := 3 - len(healthyOf(sn, "web")); n > 1 {
			t.Fatalf("%d instances are down at a time", n)
		}
		if len(onNode(sn, "web", nodeID)) > 0 && len(onNode(sn, "agent", nodeID)) == 0 {
			t.Fatal("the system job's instance has left first")
		}
		return undrained(sn, nodeID, cluster.DrainStatusComplete)
	})
	node := sn.Node(nodeID)
	if node.SchedulingEligibility != cluster.NodeIneligible || len(healthyOf(sn, "web")) != 3 || len(onNode(sn, "agent", otherID)) != 1 {
		t.Errorf("after the drain: %+v", node)
	}
	last := node.Events[len(node.Events)-1]
	if last.Message != "Node drain complete" || last.Subsystem != "Drain" || last.Details != nil || last.CreateIndex <= from {
		t.Errorf("the diary ends with %+v", last)
	}
	var moved []cluster.Evaluation
	for eval := range sn.Evals() {
		if eval.TriggeredBy == cluster.TriggerNodeDrain {
			moved = append(moved, *eval)
		}
	}
	if len(moved) < 4 || moved[0].NodeID != nodeID || moved[0].CreateTime == 0 {
		t.Errorf("the moves were planned by %+v", moved)
	}
	l.drain(nodeID, nil)
	l.eventually("the node's share", func(sn *state.Snapshot) bool { return sn.Node(nodeID).Ready() && len(healthyOf(sn, "agent")) == 2 })
}

func healthyOf(sn *state.Snapshot, job string) []*cluster.Allocation {
	return slices.DeleteFunc(wanted(sn, job), func(a *cluster.Allocation) bool { return a.Health != cluster.HealthHealthy })
}

// Nothing of a drain is in the leader's memory: one that begins in the middle goes on.
func TestADrainOutlivesItsLeader(t *testing.T) {
	dir := t.TempDir()
	l := start(t, dir)
	l.node(nodeID, 2000)
	stop := l.serve(nodeID)
	l.register(newJob("web", 2, 100))
	l.eventually("all healthy", func(sn *state.Snapshot) bool { return len(healthyOf(sn, "web")) == 2 && quiet(sn) })
	stop()
	l.node(otherID, 2000)
	l.drain(nodeID, &cluster.DrainSpec{Deadline: time.Hour})
	l.eventually("the first to leave", func(sn *state.Snapshot) bool {
		return len(wanted(sn, "web")) == 2 && len(onNode(sn, "web", otherID)) == 1 && quiet(sn)
	})
	l.must(l.stop())
	l = start(t, dir)
	if l.Snapshot().Node(nodeID).DrainStrategy == nil {
		t.Fatal("the drain is forgotten")
	}
	l.serve(nodeID, otherID)
	sn := l.eventually("the end of the drain", func(sn *state.Snapshot) bool { return undrained(sn, nodeID, cluster.DrainStatusComplete) })
	if len(onNode(sn, "web", otherID)) != 2 {
		t.Error("not all is on the other node")
	}
}

// Without room elsewhere services stay, and a batch job stays anyway, until the deadline.
func TestTheDeadlineEndsADrain(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	l.serve(nodeID)
	l.register(newJob("web", 2, 300))
	batch := typed(newJob("work", 1, 100), cluster.JobTypeBatch)
	l.register(batch)
	l.eventually("all running", func(sn *state.Snapshot) bool {
		return len(healthyOf(sn, "web")) == 2 && len(wanted(sn, "work")) == 1 && quiet(sn)
	})
	l.node(otherID, 200)
	l.serve(otherID)
	l.drain(nodeID, &cluster.DrainSpec{})
	sn := l.eventually("a blocked evaluation", func(sn *state.Snapshot) bool {
		for range sn.BlockedEvals() {
			return quiet(sn)
		}
		return false
	})
	if len(onNode(sn, "web", nodeID)) != 2 || len(onNode(sn, "work", nodeID)) != 1 {
		t.Error("something has left without a place to go to")
	}
	for eval := range sn.BlockedEvals() {
		if eval.JobID != "web" || eval.QueuedAllocations["app"] != 1 || eval.FailedTGAllocs["app"].NodesExhausted != 1 {
			t.Errorf("blocked is %+v", eval)
		}
	}
	l.drain(nodeID, &cluster.DrainSpec{Deadline: 500 * time.Millisecond})
	sn = l.eventually("the end of the drain", func(sn *state.Snapshot) bool {
		return undrained(sn, nodeID, cluster.DrainStatusComplete) && len(onNode(sn, "work", otherID)) == 1
	})
	if events := sn.Node(nodeID).Events; events[len(events)-1].Details["deadline_reached"] != "true" {
		t.Errorf("the diary ends with %+v", events[len(events)-1])
	}
	if len(wanted(sn, "web")) != 0 {
		t.Errorf("%d instances have found room", len(wanted(sn, "web")))
	}
	l.drain(nodeID, nil)
	l.eventually("all to run again", func(sn *state.Snapshot) bool { return len(healthyOf(sn, "web")) == 2 })
}

// A drain without a wait takes all at once, but for what it is told to leave.
func TestADrainAtOnceLeavesWhatItIsTold(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	l.node(otherID, 1000)
	l.setEligible(otherID, cluster.NodeIneligible)
	l.serve(nodeID, otherID)
	l.register(newJob("web", 3, 100))
	l.register(typed(newJob("agent", 1, 10), cluster.JobTypeSystem))
	l.eventually("all running", func(sn *state.Snapshot) bool {
		return len(healthyOf(sn, "web")) == 3 && len(healthyOf(sn, "agent")) == 1 && quiet(sn)
	})
	l.setEligible(otherID, cluster.NodeEligible)
	l.drain(nodeID, &cluster.DrainSpec{Deadline: -1, IgnoreSystemJobs: true})
	sn := l.eventually("the end of the drain", func(sn *state.Snapshot) bool { return undrained(sn, nodeID, cluster.DrainStatusComplete) && quiet(sn) })
	if len(onNode(sn, "web", nodeID)) != 0 || len(onNode(sn, "agent", nodeID)) != 1 || len(wanted(sn, "web")) != 3 {
		t.Error("it took too little or too much")
	}
	plans := 0
	for eval := range sn.EvalsByJob("default", "web") {
		if eval.TriggeredBy == cluster.TriggerNodeDrain {
			plans++
		}
	}
	if plans != 1 {
		t.Errorf("%d plans for what leaves at once", plans)
	}
}

func TestDrainsOverTheAPI(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	ctx := context.Background()
	path := "/v1/node/" + nodeID.String()
	out, err := w.client.DrainNode(ctx, nodeID, api.NodeDrainRequest{DrainSpec: &cluster.DrainSpec{Deadline: time.Hour, IgnoreSystemJobs: true},
		Meta: map[string]string{"message": "new disk"}})
	if err != nil || out.NodeModifyIndex != w.Snapshot().Node(nodeID).ModifyIndex || len(out.EvalIDs) != 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, want := range []string{`"Drain":true`, `"DrainStrategy":{"Deadline":3600000000000,"IgnoreSystemJobs":true,"ForceDeadline":"20`,
		`"SchedulingEligibility":"ineligible"`, `"Status":"draining"`, `"Meta":{"message":"new disk"}`, `"Message":"Node drain strategy set","Subsystem":"Drain"`} {
		if got := w.ask("GET", path, "").body; !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	var stubs []api.NodeListStub
	if err := json.Unmarshal([]byte(w.ask("GET", "/v1/nodes", "").body), &stubs); err != nil || !stubs[0].Drain || stubs[0].LastDrain.Status != cluster.DrainStatusDraining {
		t.Errorf("in the list: %+v, %v", stubs, err)
	}
	if _, err := w.client.SetNodeEligibility(ctx, nodeID, true); cluster.CodeOf(err) != cluster.CodeRejected || !strings.Contains(err.Error(), "being drained") {
		t.Errorf("made eligible: %v", err)
	}
	if _, err := w.client.SetNodeEligibility(ctx, nodeID, false); err != nil {
		t.Error(err)
	}
	if _, err := w.client.DrainNode(ctx, nodeID, api.NodeDrainRequest{DrainSpec: &cluster.DrainSpec{}}); err != nil {
		t.Error(err)
	}
	out, err = w.client.DrainNode(ctx, nodeID, api.NodeDrainRequest{MarkEligible: true})
	if node := w.Snapshot().Node(nodeID); err != nil || !node.Ready() || len(out.EvalIDs) != 1 || node.LastDrain.Status != cluster.DrainStatusCanceled {
		t.Errorf("%+v, %v", out, err)
	}
	var messages []string
	for _, e := range w.Snapshot().Node(nodeID).Events {
		messages = append(messages, e.Message)
	}
	if text := strings.Join(messages, "; "); !strings.HasSuffix(text, "Node drain strategy set; Node drain strategy updated; Node drain disabled") {
		t.Errorf("the diary says %s", text)
	}
	for _, c := range []struct {
		path, body string
		status     int
	}{
		{path + "/drain", `{"DrainSpec": {"Deadline": "1h"}}`, http.StatusBadRequest},
		{path + "/drain", ``, http.StatusBadRequest},
		{"/v1/node/" + otherID.String() + "/drain", `{}`, http.StatusNotFound},
		{"/v1/node/nobody/drain", `{}`, http.StatusNotFound},
		{path + "/purge", ``, cluster.CodeRejected.Status()},
	} {
		if got := w.ask("PUT", c.path, c.body); got.status != c.status {
			t.Errorf("%s %s: %d %s", c.path, c.body, got.status, got.body)
		}
	}
}

func TestNodesAreEvaluatedAndForgotten(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web")[0]
	ctx := context.Background()
	out, err := w.client.EvaluateNode(ctx, nodeID)
	if err != nil || len(out.EvalIDs) != 1 || w.Snapshot().Eval(out.EvalIDs[0]).JobID != "web" {
		t.Fatalf("%+v, %v", out, err)
	}
	w.apply(&state.NodeStatus{At: 1, ID: nodeID, Status: cluster.NodeStatusDown})
	out, err = w.client.PurgeNode(ctx, nodeID)
	if err != nil || len(out.EvalIDs) != 1 || w.Snapshot().Node(nodeID) != nil || w.Snapshot().Alloc(alloc.ID) == nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if _, err := w.client.PurgeNode(ctx, nodeID); cluster.CodeOf(err) != cluster.CodeNotFound {
		t.Errorf("forgotten twice: %v", err)
	}
	if err := w.Register(ctx, newNode(otherID, "two")); err != nil {
		t.Fatal(err)
	}
	if out, err := w.client.EvaluateNode(ctx, otherID); err != nil || len(out.EvalIDs) != 0 {
		t.Errorf("a node that runs nothing: %+v, %v", out, err)
	}
}
