package server

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/state"
)

// watchAbsent keeps the status of nodes that are not alive true: such a node is disconnected while something on it is
// waited for, else down. For planning the two are the same, so nothing is planned anew.
func (s *Server) watchAbsent(ctx context.Context) error {
	for ctx.Err() == nil {
		snapshot := s.Snapshot()
		keys := []state.Key{state.TableKey(state.Nodes)}
		for node := range snapshot.Nodes() {
			if node.Alive() {
				continue
			}
			if len(keys) == 1 { // without such a node the allocations are of no interest
				keys = append(keys, state.TableKey(state.Allocs))
			}
			status := cluster.AbsentStatus(snapshot.AllocsByNode(node.ID))
			if status == node.Status {
				continue
			}
			now := time.Now()
			event := &cluster.NodeEvent{Message: "Node status is " + status, Subsystem: "Cluster", Timestamp: now.UTC().Format(time.RFC3339)}
			if _, err := s.Apply(ctx, &state.NodeStatus{At: now.UnixNano(), ID: node.ID, ModifyIndex: node.ModifyIndex, Status: status,
				Description: node.StatusDescription, Event: event}); err != nil && cluster.CodeOf(err) != cluster.CodeNotFound && cluster.CodeOf(err) != cluster.CodeConflict {
				return err
			}
		}
		s.await(ctx, snapshot.Index(), time.Time{}, nil, keys...)
	}
	return nil
}

// believed reports whether the leader believes that the node is there.
func believed(snapshot *state.Snapshot, id cluster.ID) bool {
	node := snapshot.Node(id)
	return node != nil && node.Alive()
}

// silences notes on the nodes that are not alive how long this leader has not heard of them.
func (s *Server) silences(nodes []scheduler.Node, now time.Time) []scheduler.Node {
	for i := range nodes {
		if !nodes[i].Alive() {
			nodes[i].Silent = now.Sub(s.leases.acknowledged(nodes[i].ID))
		}
	}
	return nodes
}

// acknowledged is the latest that the node may have been told, by this leader or one before it, that its lease is renewed.
func (l *leases) acknowledged(id cluster.ID) time.Time {
	last := l.last(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	if last.Before(l.since) {
		return l.since
	}
	return last
}

// concerned are the jobs that the coming or going of the node concerns: those with work on it, be it only ending or the
// job purged, those whose only instance was lost with it, and every system job, which may fit it now.
func concerned(snapshot *state.Snapshot, node cluster.ID) []*cluster.Job {
	jobs := map[cluster.JobKey]*cluster.Job{}
	for alloc := range snapshot.AllocsByNode(node) {
		alone := alloc.ClientStatus == cluster.ClientLost && alloc.Group().Unique() && alloc.Details().NextAllocation.IsZero()
		if alloc.Occupies() || alone {
			jobs[alloc.Job.Key()] = alloc.Job
		}
	}
	for key := range jobs {
		if job := snapshot.Job(key.Namespace, key.ID); job != nil {
			jobs[key] = job
		}
	}
	for job := range snapshot.Jobs(cluster.AllNamespaces, "") {
		if job.OnEveryNode() && !job.Stop {
			jobs[job.Key()] = job
		}
	}
	return slices.Collect(maps.Values(jobs))
}
