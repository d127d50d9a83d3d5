package server

import (
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// TestHeartbeatsArePassedOnToTheLeader has nodes that only other servers hear, one of which was given up.
func TestHeartbeatsArePassedOnToTheLeader(t *testing.T) {
	r, a, b, c := three(t)
	ctx := t.Context()
	r.must(a.Register(ctx, newNode(nodeID, "one")))
	r.must(a.Register(ctx, newNode(otherID, "two")))
	_, err := a.Apply(ctx, &state.NodeStatus{At: 1, ID: nodeID, Status: cluster.NodeStatusDown})
	r.must(err)
	r.eventually("the nodes", func() bool {
		return b.Snapshot().Node(nodeID) != nil && b.Snapshot().Node(nodeID).Status == cluster.NodeStatusDown && b.Leadership().ID == a.id && c.Leadership().ID == a.id
	})

	// Without being asked to, a server passes nothing on.
	if got, err := b.beat(ctx, nodeID, false); err != nil || got != (link.Standing{Status: cluster.NodeStatusDown}) {
		t.Errorf("told: %+v, %v", got, err)
	}
	before := time.Now()
	if a.leases.last(nodeID).After(before) {
		t.Error("the leader heard of it")
	}

	ready := link.Standing{Status: cluster.NodeStatusReady, Leader: true, Passed: true}
	var beats sync.WaitGroup
	for _, s := range []*seatedServer{b, c} {
		for _, id := range []cluster.ID{nodeID, otherID} {
			for range 20 {
				beats.Go(func() {
					if got, err := s.beat(ctx, id, true); err != nil || got != ready {
						t.Errorf("passed on: %+v, %v", got, err)
					}
				})
			}
		}
	}
	beats.Wait()
	if !a.leases.last(nodeID).After(before) || !a.Snapshot().Node(nodeID).Ready() {
		t.Errorf("the node is %s", a.Snapshot().Node(nodeID).Status)
	}
	if got, err := b.beat(ctx, cluster.ID{1}, true); err != nil || got != (link.Standing{Leader: true, Unknown: true, Passed: true}) {
		t.Errorf("a node that nobody knows: %+v, %v", got, err)
	}
	if got, err := a.beat(ctx, nodeID, true); err != nil || got != (link.Standing{Status: cluster.NodeStatusReady, Leader: true}) {
		t.Errorf("the leader itself: %+v, %v", got, err)
	}

	// Who does not lead renews nothing in the name of the leader.
	if got, err := c.vouched(ctx, nodeID); err != nil || got != (link.Standing{}) {
		t.Errorf("a server that does not lead: %+v, %v", got, err)
	}

	// A leader that does not answer is not waited for any longer than the node waits for this server.
	r.change(func() { r.moved[a.id] = true })
	b.config.Dialer.Close()
	began := time.Now()
	if got, err := b.beat(ctx, nodeID, true); err != nil || got.Leader || time.Since(began) > 2*passPatience {
		t.Errorf("with no way to the leader: %+v, %v, after %v", got, err, time.Since(began))
	}
}

func TestLeasesKnowWhoRenewedThem(t *testing.T) {
	var l leases
	now := time.Now()
	at := func(s float64) time.Time { return now.Add(time.Duration(s * float64(time.Second))) }
	l.renew(nodeID, at(0))
	l.vouch(nodeID, at(1))
	if l.passed(nodeID, leaseTTL) || !l.last(nodeID).Equal(at(1)) {
		t.Error("a node that was here a second ago is taken for one that comes through others alone")
	}
	l.vouch(nodeID, at(2))
	if !l.passed(nodeID, leaseTTL) || !l.last(nodeID).Equal(at(2)) {
		t.Error("a node that comes through others alone is not noticed")
	}
	l.renew(nodeID, at(3))
	if l.passed(nodeID, leaseTTL) || l.passed(otherID, leaseTTL) {
		t.Error("a node that is here again, or never was, is taken for one that comes through others")
	}
}
