package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// leader is the machine that leads; there must be one.
func (f *fleet) leader() *fleetNode {
	f.t.Helper()
	for _, n := range f.nodes {
		if n.running != nil && n.running.server != nil && n.running.server.Leadership().Self {
			return n
		}
	}
	f.t.Fatalf("%s: nobody leads", clock())
	return nil
}

// separate cuts the line between two machines, both ways.
func (f *fleet) separate(a, b *fleetNode) {
	f.note("cut %s from %s", a.name, b.name)
	f.sever(fleetLine{a.host, b.host}, fleetLine{b.host, a.host})
}

// wantStatus makes sure of what the leader thinks of a machine, and since when it may have thought so.
func (f *fleet) wantStatus(n *fleetNode, status string, since time.Time) {
	f.t.Helper()
	node := f.leader().running.server.Snapshot().Node(n.id)
	if at := time.Unix(node.StatusUpdatedAt, 0); node.Status != status || at.Before(since.Add(-time.Second)) {
		f.t.Errorf("%s: %s is %s since %s", clock(), n.name, node.Status, at.UTC().Format("15:04:05"))
	}
}

// TestANodeReachesTheLeaderThroughOthers cuts the line between the leader and one client alone, while that one is down, and later
// while it is there.
func TestANodeReachesTheLeaderThroughOthers(t *testing.T) {
	live(t, 1, 3, 1, func(f *fleet) {
		f.pass(30 * time.Second)
		for _, id := range []string{"job-0", "job-1", "job-2"} {
			f.register(id)
		}
		f.pass(20 * time.Second)
		client, leader := f.nodes[3], f.leader()
		f.note("crash %s", client.name)
		client.crash(true)
		crashed := time.Now()
		f.pass(20 * time.Second)
		f.wantStatus(client, cluster.NodeStatusDown, crashed)

		f.separate(client, leader)
		client.comeBack()
		back := time.Now()
		f.pass(10 * time.Second)
		f.wantStatus(client, cluster.NodeStatusReady, back)
		f.pass(time.Minute)
		f.wantStatus(client, cluster.NodeStatusReady, back)
		if updated := f.leader().running.server.Snapshot().Node(client.id).StatusUpdatedAt; time.Unix(updated, 0).Sub(back) > 10*time.Second {
			f.t.Errorf("it was given up meanwhile")
		}
		if f.leader() != leader || !strings.Contains(leader.log.String(), "its heartbeats come through other servers") {
			f.t.Error("the leader is another, or does not say that the line is cut")
		}

		f.heal()
		f.pass(30 * time.Second)
		f.separate(client, leader)
		cut := time.Now()
		f.pass(5 * time.Second)
		for range 30 {
			f.pass(time.Second)
			if lease := time.Since(cut); lease > 5*time.Second && client.running.control.status() != cluster.NodeStatusReady {
				f.t.Errorf("%v after the cut the client has no lease", lease)
			}
		}
	})
}

// TestAServerReachesTheLeaderThroughOthers cuts the line between the leader and another server alone.
func TestAServerReachesTheLeaderThroughOthers(t *testing.T) {
	live(t, 1, 3, 1, func(f *fleet) {
		f.pass(30 * time.Second)
		f.register("job-0")
		leader := f.leader()
		side := f.nodes[0]
		if side == leader {
			side = f.nodes[1]
		}
		f.separate(side, leader)
		cut := time.Now()
		f.through = side
		for _, id := range []string{"job-1", "job-2", "job-0", "job-3"} {
			began := time.Now()
			f.register(id)
			if took := time.Since(began); len(f.jobs[id].may) != 1 || took > 8*time.Second || began.Sub(cut) > 10*time.Second && took > time.Second {
				f.t.Errorf("%v after the cut %s was registered in %v: %d versions may be", began.Sub(cut), id, took, len(f.jobs[id].may))
			}
			f.pass(10 * time.Second)
			ctx, cancel := context.WithTimeout(f.t.Context(), time.Second)
			job, _, err := side.client.Job(ctx, id, api.Query{})
			cancel()
			if err != nil || !same(f.jobs[id].may[0], job) {
				f.t.Errorf("%v after the cut the server reads %s as another: %v", time.Since(cut), id, err)
			}
		}
		f.through = nil
		f.wantStatus(side, cluster.NodeStatusReady, time.Time{})
		if f.leader() != leader {
			f.t.Error("another leads")
		}
	})
}

// TestANodeIsNotItsOwnTwin has a node meet itself, as on a machine of several addresses, or one that had another until lately.
func TestANodeIsNotItsOwnTwin(t *testing.T) {
	live(t, 1, 2, 0, func(f *fleet) {
		f.pass(10 * time.Second)
		one := f.nodes[0].running
		if twin, err := one.askTwin(f.t.Context(), one.advertise); err == nil || !strings.Contains(err.Error(), "this node itself") {
			f.t.Errorf("it takes itself for another: %+v, %v", twin, err)
		}
		if twin, err := one.askTwin(f.t.Context(), f.nodes[1].running.advertise); err == nil {
			f.t.Errorf("it takes another node for itself: %+v", twin)
		}
	})
}
