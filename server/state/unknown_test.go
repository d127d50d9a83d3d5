package state

import (
	"testing"

	"github.com/a43e60e4/cluster"
)

// disconnected makes the first allocation of a job unknown: its node is disconnected.
func disconnected(t *testing.T) (*store, cluster.ID) {
	s, ids := running(t)
	s.report(cluster.AllocUpdate{ID: ids[0], ClientStatus: cluster.ClientRunning, Passing: 1, Health: cluster.HealthHealthy, HealthTime: 3})
	s.do(&NodeStatus{ID: s.Snapshot().Alloc(ids[0]).NodeID, Status: cluster.NodeStatusDisconnected})
	s.plan("web", cluster.Plan{Unknown: []cluster.ID{ids[0]}, Waits: []cluster.Wait{{ID: ids[0], FollowupEvalID: id(900)}}})
	a := s.Snapshot().Alloc(ids[0])
	if a.ClientStatus != cluster.ClientUnknown || a.DesiredStatus != cluster.DesiredRun || a.Passing != 0 || a.AllocModifyIndex != s.index ||
		a.Details().FollowupEvalID != id(900) || a.Details().ClientDescription != unreachable || a.Health != cluster.HealthHealthy {
		t.Fatalf("unknown allocation: %+v, %+v", a, a.Details())
	}
	if g := s.Snapshot().JobSummary("default", "web").Summary["web"]; g.Unknown != 1 || g.Running != 0 {
		t.Fatalf("summary: %+v", g)
	}
	return s, ids[0]
}

func TestAnUnknownAllocationComesBackWithItsNode(t *testing.T) {
	s, id := disconnected(t)
	node := s.Snapshot().Alloc(id).NodeID
	used := s.Snapshot().Usage(node).Capacity
	report := cluster.AllocUpdate{ID: id, ClientStatus: cluster.ClientRunning, Passing: 1, ClientDescription: "fine"}
	s.report(report)
	if a := s.Snapshot().Alloc(id); a.ClientStatus != cluster.ClientUnknown || a.Passing != 0 || a.Details().ClientDescription != unreachable {
		t.Fatalf("the leader does not believe in the node, but the allocation is %+v", a)
	}
	s.do(&NodeStatus{ID: node, Status: cluster.NodeStatusReady})
	a := s.Snapshot().Alloc(id)
	if a.ClientStatus != cluster.ClientUnknown || a.AllocModifyIndex != s.index {
		t.Fatalf("the node was not asked again: %+v", a)
	}
	s.report(report)
	a = s.Snapshot().Alloc(id)
	if a.ClientStatus != cluster.ClientRunning || a.Passing != 1 || !a.Details().FollowupEvalID.IsZero() || a.Details().ClientDescription != "fine" {
		t.Fatalf("back: %+v %+v", a, a.Details())
	}
	if got := s.Snapshot().Usage(node).Capacity; got != used {
		t.Errorf("it takes %v of its node, before %v", got, used)
	}
}

func TestAnUnknownAllocationMayEndOrBeLost(t *testing.T) {
	s, id := disconnected(t)
	s.report(cluster.AllocUpdate{ID: id, ClientStatus: cluster.ClientComplete, TaskStates: ended(0)})
	if a := s.Snapshot().Alloc(id); a.ClientStatus != cluster.ClientComplete {
		t.Errorf("ended on a node that is not believed in: %v", a.ClientStatus)
	}
	s.plan("web", cluster.Plan{Unknown: []cluster.ID{id}})
	if a := s.Snapshot().Alloc(id); a.ClientStatus != cluster.ClientComplete {
		t.Errorf("what has ended became %v", a.ClientStatus)
	}

	s, id = disconnected(t)
	s.plan("web", cluster.Plan{Stops: []cluster.Stop{{ID: id, Lost: true, Description: "too late"}}})
	s.do(&NodeStatus{ID: s.Snapshot().Alloc(id).NodeID, Status: cluster.NodeStatusReady})
	s.report(cluster.AllocUpdate{ID: id, ClientStatus: cluster.ClientRunning, Passing: 1})
	if a := s.Snapshot().Alloc(id); a.ClientStatus != cluster.ClientLost || a.DesiredStatus != cluster.DesiredStop || a.Passing != 0 {
		t.Errorf("a lost allocation became %v, wanted %v", a.ClientStatus, a.DesiredStatus)
	}
}

// A plan is written as the first release knew it unless it says what that did not know.
func TestAPlanIsWrittenInTheOldestVersionThatSaysIt(t *testing.T) {
	for version, plan := range map[byte]cluster.Plan{1: {Namespace: "default"}, 2: {Namespace: "default", Unknown: []cluster.ID{id(1)}}} {
		entry, err := Encode(&CommitPlan{Plan: plan})
		if err != nil || entry[1] != version {
			t.Errorf("version %d of a plan is written as %d: %v", version, entry[1], err)
		}
	}
}
