package server

import (
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

// cutOff runs one instance of a job with that disconnect block on two nodes, and has the leader give up the node that
// has it. It returns the instance, and when its node was heard of last.
func cutOff(t *testing.T, d cluster.DisconnectStrategy) (l *living, original cluster.ID, heard time.Time) {
	l = start(t, t.TempDir())
	l.node(nodeID, 1000)
	l.node(otherID, 1000)
	stops := map[cluster.ID]func(){nodeID: l.serve(nodeID), otherID: l.serve(otherID)}
	job := newJob("web", 1, 100)
	job.TaskGroups[0].Disconnect = &d
	l.register(job)
	sn := l.eventually("the job to run", func(sn *state.Snapshot) bool {
		all := wanted(sn, "web")
		return len(all) == 1 && all[0].ClientStatus == cluster.ClientRunning && quiet(sn)
	})
	a := wanted(sn, "web")[0]
	stops[a.NodeID]()
	heard = time.Now() // the lease is renewed after that, on a slow machine long before the answer is here
	_, err := l.Heartbeat(t.Context(), a.NodeID)
	l.must(err)
	// The leader may have changed the node since sn, on a slow machine also by believing in it anew: what it is now is given up.
	l.must(l.giveUp(t.Context(), l.Snapshot().Node(a.NodeID), "test"))
	if status := l.Snapshot().Node(a.NodeID).Status; status != cluster.NodeStatusDisconnected {
		t.Errorf("the node that was given up is %s", status)
	}
	l.eventually("the instance to be unknown", func(sn *state.Snapshot) bool { return sn.Alloc(a.ID).ClientStatus == cluster.ClientUnknown })
	return l, a.ID, heard
}

// elsewhere is the instance that runs and is not the given one, nil if there is none.
func elsewhere(sn *state.Snapshot, original cluster.ID) *cluster.Allocation {
	for _, a := range wanted(sn, "web") {
		if a.ID != original && a.ClientStatus == cluster.ClientRunning {
			return a
		}
	}
	return nil
}

func TestANodeThatIsBackInTimeKeepsItsWork(t *testing.T) {
	l, original, _ := cutOff(t, cluster.DisconnectStrategy{LostAfter: time.Hour, Replace: true, Reconcile: cluster.ReconcileKeepOriginal})
	sn := l.eventually("a replacement", func(sn *state.Snapshot) bool { return elsewhere(sn, original) != nil })
	replacement, node := elsewhere(sn, original), sn.Alloc(original).NodeID
	news := []cluster.AllocUpdate{{ID: original, ClientStatus: cluster.ClientRunning}}
	l.must(l.Report(t.Context(), node, news)) // before the leader believes in it
	if status := l.Snapshot().Alloc(original).ClientStatus; status != cluster.ClientUnknown {
		t.Errorf("a node that is not believed in made its allocation %v", status)
	}
	_, err := l.Heartbeat(t.Context(), node)
	l.must(err)
	l.must(l.Report(t.Context(), node, news))
	l.eventually("one of the two to stop", func(sn *state.Snapshot) bool {
		return sn.Alloc(replacement.ID).ClientStatus == cluster.ClientComplete && quiet(sn)
	})
	if a := l.Snapshot().Alloc(original); a.Terminal() || a.ClientStatus != cluster.ClientRunning {
		t.Errorf("the original is %v, wanted %v", a.ClientStatus, a.DesiredStatus)
	}
}

func TestANodeThatIsAwayForTooLongIsDown(t *testing.T) {
	l, original, _ := cutOff(t, cluster.DisconnectStrategy{LostAfter: 500 * time.Millisecond, Replace: true, Reconcile: cluster.ReconcileBestScore})
	node := l.Snapshot().Alloc(original).NodeID
	l.eventually("the node to be down", func(sn *state.Snapshot) bool {
		return sn.Node(node).Status == cluster.NodeStatusDown && sn.Alloc(original).ClientStatus == cluster.ClientLost
	})
	_, err := l.Heartbeat(t.Context(), node)
	l.must(err)
	l.must(l.Report(t.Context(), node, []cluster.AllocUpdate{{ID: original, ClientStatus: cluster.ClientRunning}}))
	if a := l.Snapshot().Alloc(original); a.ClientStatus != cluster.ClientLost || a.DesiredStatus != cluster.DesiredStop {
		t.Errorf("what was lost is %v, wanted %v", a.ClientStatus, a.DesiredStatus)
	}
}

func TestFencedWorkMovesAfterItsDeadline(t *testing.T) {
	const after = time.Second
	l, original, heard := cutOff(t, cluster.DisconnectStrategy{StopOnClientAfter: after, Replace: true, Reconcile: cluster.ReconcileBestScore})
	if n := len(wanted(l.Snapshot(), "web")); n != 1 {
		t.Errorf("%d instances before the deadline", n)
	}
	sn := l.eventually("a replacement", func(sn *state.Snapshot) bool { return elsewhere(sn, original) != nil })
	if took := time.Since(heard); took < after+2*time.Second {
		t.Errorf("replaced %v after the last renewal", took)
	}
	if status := sn.Alloc(original).ClientStatus; status != cluster.ClientLost {
		t.Errorf("the original is %v", status)
	}
}

// What a new leader heard as a follower does not count: the one before it may have renewed the lease later.
func TestANewLeaderCountsSilenceAnew(t *testing.T) {
	var l leases
	begun := time.Now()
	l.renew(nodeID, begun.Add(-time.Minute))
	l.begin(begun)
	if got := l.acknowledged(nodeID); !got.Equal(begun) {
		t.Errorf("the lease counts from %v before the term", begun.Sub(got))
	}
	l.renew(nodeID, begun.Add(time.Second))
	if got := l.acknowledged(nodeID); !got.Equal(begun.Add(time.Second)) {
		t.Errorf("the lease counts from %v", got)
	}
}
