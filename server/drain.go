package server

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/state"
)

// drainPause is the shortest time between two looks at what is being drained: a busy cluster changes more often, and
// what to look at costs a plan of each job concerned.
const drainPause = 100 * time.Millisecond

// driveDrains asks for the plans that move what runs on nodes that are being drained, and ends drains that are complete.
func (s *Server) driveDrains(ctx context.Context) error {
	for ctx.Err() == nil {
		snapshot, now := s.Snapshot(), time.Now()
		next, keys := time.Time{}, []state.Key{state.TableKey(state.Nodes)}
		jobs := map[cluster.JobKey]bool{}
		for node := range snapshot.Nodes() {
			if node.DrainStrategy == nil {
				continue
			}
			if at := node.DrainStrategy.ForceDeadline; at.After(now) {
				next = earlier(next, at)
			}
			left := leaving(snapshot, node)
			if len(left) == 0 {
				if err := s.endDrain(ctx, node, now); err != nil {
					return err
				}
			}
			for _, alloc := range left {
				if !alloc.Terminal() {
					jobs[alloc.Job.Key()] = true
				}
			}
			keys = []state.Key{state.TableKey(state.Nodes), state.TableKey(state.Allocs), state.TableKey(state.Evals), state.TableKey(state.Jobs)}
		}
		if err := s.moveOff(ctx, snapshot, jobs, now); err != nil {
			return err
		}
		if len(keys) > 1 {
			pause(ctx, drainPause)
		}
		s.await(ctx, snapshot.Index(), next, nil, keys...)
	}
	return nil
}

// leaving are the allocations that a drain of the node waits for: those whose tasks may be running.
func leaving(snapshot *state.Snapshot, node *cluster.Node) []*cluster.Allocation {
	return slices.Collect(func(yield func(*cluster.Allocation) bool) {
		for alloc := range snapshot.AllocsByNode(node.ID) {
			stays := alloc.Job.Type == cluster.JobTypeSystem && node.DrainStrategy.IgnoreSystemJobs
			if alloc.Occupies() && !stays && !yield(alloc) {
				return
			}
		}
	})
}

// emptied reports whether the node is being drained and runs nothing but the work of system jobs.
func emptied(snapshot *state.Snapshot, node *cluster.Node) bool {
	if node.DrainStrategy == nil {
		return false
	}
	for alloc := range snapshot.AllocsByNode(node.ID) {
		if alloc.Occupies() && alloc.Job.Type != cluster.JobTypeSystem {
			return false
		}
	}
	return true
}

// moveOff asks for a plan of each of the jobs that would move something off a node that is being drained.
func (s *Server) moveOff(ctx context.Context, snapshot *state.Snapshot, jobs map[cluster.JobKey]bool, now time.Time) error {
	command := &state.UpsertEvals{At: now.UnixNano()}
	for key := range jobs {
		in := s.input(snapshot, &cluster.Evaluation{Namespace: key.Namespace, JobID: key.ID})
		in.Eval = nil
		if eval := scheduler.Drain(in); eval != nil {
			eval.CreateTime, eval.ModifyTime = command.At, command.At
			command.Evals = append(command.Evals, *eval)
		}
	}
	if len(command.Evals) == 0 {
		return nil
	}
	slices.SortFunc(command.Evals, func(a, b cluster.Evaluation) int {
		return strings.Compare(a.Namespace+"\x00"+a.JobID, b.Namespace+"\x00"+b.JobID)
	})
	_, err := s.Apply(ctx, command)
	return err
}

// endDrain says that nothing is left on the node. It stays closed for new work.
func (s *Server) endDrain(ctx context.Context, node *cluster.Node, now time.Time) error {
	event := drainEvent("Node drain complete", now)
	if node.DrainStrategy.Deadline != 0 && node.DrainStrategy.Forced(now) {
		event.Details = map[string]string{"deadline_reached": "true"}
	}
	s.logger.Info("node drain complete", "node", node.ID)
	_, err := s.Apply(ctx, &state.EndDrain{At: now.UnixNano(), ID: node.ID, ModifyIndex: node.ModifyIndex, Event: event})
	return err
}

// drainEvent is a line for the diary of a node that is drained.
func drainEvent(message string, now time.Time) *cluster.NodeEvent {
	return &cluster.NodeEvent{Message: message, Subsystem: "Drain", Timestamp: now.UTC().Format(time.RFC3339)}
}
