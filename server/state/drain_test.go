package state

import (
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

// drained is a store with a node, and what a drain makes of it.
func drained(t *testing.T) (s *store, node func() *cluster.Node) {
	s = newStore(t)
	s.do(&RegisterNode{At: s.now, Node: testNode(1)})
	return s, func() *cluster.Node { return s.Snapshot().Node(id(1)) }
}

func TestADrainClosesTheNodeAndItsEndLeavesItClosed(t *testing.T) {
	s, node := drained(t)
	began := time.Unix(1_700_000_100, 0).UTC()
	event := &cluster.NodeEvent{Message: "Node drain strategy set", Subsystem: "Drain"}
	s.do(&DrainNode{At: began.UnixNano(), ID: id(1), Spec: &cluster.DrainSpec{Deadline: time.Hour}, Meta: map[string]string{"why": "disk"}, Event: event})
	n := node()
	want := &cluster.DrainStrategy{DrainSpec: cluster.DrainSpec{Deadline: time.Hour}, ForceDeadline: began.Add(time.Hour), StartedAt: began}
	if !reflect.DeepEqual(n.DrainStrategy, want) || n.Ready() || n.LastDrain.Status != cluster.DrainStatusDraining || n.LastDrain.Meta["why"] != "disk" {
		t.Fatalf("after the beginning: %+v, %+v", n, n.LastDrain)
	}
	if e := n.Events[len(n.Events)-1]; e.Message != event.Message || e.CreateIndex != s.index {
		t.Errorf("the diary ends with %+v", e)
	}

	// A node that registers again, from a file that knows no drains, is still drained.
	again := testNode(1)
	again.NodeClass, again.SchedulingEligibility = "big", cluster.NodeEligible
	s.do(&RegisterNode{At: s.now, Node: again})
	if n = node(); n.NodeClass != "big" || n.Ready() || !reflect.DeepEqual(n.DrainStrategy, want) {
		t.Errorf("after registering again: %+v", n)
	}
	if r := s.try(&NodeEligibility{At: s.now, ID: id(1), Eligibility: cluster.NodeEligible}); cluster.CodeOf(r[0].Err) != cluster.CodeRejected {
		t.Errorf("made eligible while it is drained: %v", r[0].Err)
	}
	s.do(&NodeEligibility{At: s.now, ID: id(1), Eligibility: cluster.NodeIneligible})

	// The drain is changed: it goes on, with a new deadline.
	s.do(&DrainNode{At: began.Add(time.Minute).UnixNano(), ID: id(1), Spec: &cluster.DrainSpec{Deadline: -1, IgnoreSystemJobs: true}, Meta: map[string]string{"who": "me"}})
	n = node()
	if d := n.DrainStrategy; !d.StartedAt.Equal(began) || !d.ForceDeadline.Equal(began.Add(time.Minute)) || !d.IgnoreSystemJobs ||
		!d.Forced(time.Time{}) || !reflect.DeepEqual(n.LastDrain.Meta, map[string]string{"why": "disk", "who": "me"}) {
		t.Errorf("after the change: %+v, %+v", d, n.LastDrain)
	}

	// An end that was decided before the change does not count.
	s.do(&EndDrain{At: s.now, ID: id(1), ModifyIndex: n.ModifyIndex - 1})
	if node().DrainStrategy == nil {
		t.Fatal("ended by a decision about an older drain")
	}
	s.do(&EndDrain{At: began.Add(2 * time.Minute).UnixNano(), ID: id(1), ModifyIndex: n.ModifyIndex, Event: &cluster.NodeEvent{Message: "Node drain complete"}})
	n = node()
	if last := n.LastDrain; n.DrainStrategy != nil || n.SchedulingEligibility != cluster.NodeIneligible || last.Status != cluster.DrainStatusComplete ||
		!last.UpdatedAt.Equal(began.Add(2*time.Minute)) || !last.StartedAt.Equal(began) || len(last.Meta) != 2 {
		t.Errorf("after the end: %+v, %+v", n, last)
	}
	s.do(&DrainNode{At: s.now, ID: id(1), MarkEligible: true})
	if n = node(); !n.Ready() || n.LastDrain.Status != cluster.DrainStatusComplete {
		t.Errorf("opened again: %+v, %+v", n, n.LastDrain)
	}
	if index := node().ModifyIndex; s.do(&DrainNode{At: s.now, ID: id(1), MarkEligible: true}) == nil || node().ModifyIndex != index {
		t.Error("ending no drain changed the node")
	}
}

func TestADrainIsEndedByHand(t *testing.T) {
	for _, open := range []bool{true, false} {
		s, node := drained(t)
		s.do(&DrainNode{At: s.now, ID: id(1), Spec: &cluster.DrainSpec{}})
		if d := node().DrainStrategy; !d.ForceDeadline.IsZero() || d.Forced(time.Unix(1<<40, 0)) {
			t.Errorf("a drain without a deadline ends by force: %+v", d)
		}
		s.do(&DrainNode{At: s.now, ID: id(1), MarkEligible: open})
		if n := node(); n.DrainStrategy != nil || n.Ready() != open || n.LastDrain.Status != cluster.DrainStatusCanceled {
			t.Errorf("ended by hand, to be opened %v: %+v, %+v", open, n, n.LastDrain)
		}
	}
	s, _ := drained(t)
	if r := s.try(&DrainNode{ID: id(9), Spec: &cluster.DrainSpec{}}); cluster.CodeOf(r[0].Err) != cluster.CodeNotFound {
		t.Errorf("a node that is not there: %v", r[0].Err)
	}
	if r := s.try(&EndDrain{ID: id(9)}); r[0].Err != nil {
		t.Errorf("the end for a node that is gone: %v", r[0].Err)
	}
}

// What a release has written, all later ones must read.
func TestCommandsOfDrainsStayReadable(t *testing.T) {
	node := cluster.ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	for text, want := range map[string]Command{
		"1001270201720102030405060708090a0b0c0d0e0f10010e0100010006726561736f6e046469736b0000": &DrainNode{At: 1, RequestID: "r", ID: node,
			Spec: &cluster.DrainSpec{Deadline: 7, IgnoreSystemJobs: true}, Meta: map[string]string{"reason": "disk"}},
		"110113020102030405060708090a0b0c0d0e0f100700": &EndDrain{At: 1, ID: node, ModifyIndex: 7},
	} {
		entry, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		commands, err := decodeEntry(entry, nil)
		if err != nil || len(commands) != 1 || !reflect.DeepEqual(commands[0], want) {
			t.Errorf("%s is read as %+v, %v, want %+v", text, commands, err, want)
		}
	}
}

// What waited says nothing of what waits once another evaluation has taken over, also in the same plan.
func TestCanceledEvaluationsQueueNothing(t *testing.T) {
	s := newStore(t)
	job := testJob("web")
	s.do(&RegisterJob{At: s.now, Job: job, Eval: testEval(1, job)})
	for _, waiting := range []uint32{2, 0xffff} { // IDs below and above
		done, canceled := *testEval(1, job), *testEval(waiting, job)
		done.ID, canceled.ID = id(1000+waiting), id(2000-waiting%1000)
		canceled.Status, canceled.QueuedAllocations = cluster.EvalBlocked, map[string]int{"web": 1}
		s.do(&UpsertEvals{At: s.now, Evals: []cluster.Evaluation{done, canceled}})
		if got := s.Snapshot().JobSummary("default", "web").Summary["web"].Queued; got != 1 {
			t.Errorf("%d are queued while one waits", got)
		}
		done.Status, done.QueuedAllocations, canceled.Status = cluster.EvalComplete, map[string]int{"web": 0}, cluster.EvalCanceled
		s.do(&UpsertEvals{At: s.now, Evals: []cluster.Evaluation{done, canceled}})
		if got := s.Snapshot().JobSummary("default", "web").Summary["web"].Queued; got != 0 {
			t.Errorf("%d are queued after the plan", got)
		}
	}
}
