package server

import (
	"context"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

// maxReported bounds how many updates of allocations go into one command.
const maxReported = 4096

// report is what a node said, on its way into the state.
type report struct {
	node    cluster.ID
	updates []cluster.AllocUpdate
	done    chan<- error // has room for one
}

// Report takes in what a node says of its allocations; what it says of others' is not looked at. Work that ended
// although it should run is planned anew. It returns when the report is in the state.
func (s *Server) Report(ctx context.Context, node cluster.ID, updates []cluster.AllocUpdate) error {
	done := make(chan error, 1)
	select {
	case s.reports <- report{node, updates, done}:
	case <-s.commits.ended:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeReports commits reports until ctx ends: those that came while the last ones were written go together.
func (s *Server) takeReports(ctx context.Context) error {
	for {
		select {
		case first := <-s.reports:
			batch := s.withWaiting(first)
			var err error
			if command := merged(s.Snapshot(), batch, dice(), time.Now()); len(command.Updates) > 0 {
				_, err = s.Apply(ctx, command)
			}
			for _, r := range batch {
				r.done <- err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// withWaiting is the report and those that wait now.
func (s *Server) withWaiting(first report) []report {
	batch := []report{first}
	for size := len(first.updates); size < maxReported; {
		select {
		case next := <-s.reports:
			batch, size = append(batch, next), size+len(next.updates)
		default:
			return batch
		}
	}
	return batch
}

// merged is the command for several reports, with an evaluation for every job that lost work that should run, or of
// whose unknown work something is heard again.
func merged(snapshot *state.Snapshot, batch []report, seed [16]byte, now time.Time) *state.ReportAllocs {
	command := &state.ReportAllocs{At: now.UnixNano()}
	lost := map[cluster.JobKey]bool{}
	for _, r := range batch {
		for _, update := range r.updates {
			alloc := snapshot.Alloc(update.ID)
			if alloc == nil || alloc.NodeID != r.node {
				continue
			}
			command.Updates = append(command.Updates, update)
			trigger := cluster.TriggerAllocFailure
			switch {
			case alloc.Terminal():
				continue
			case alloc.ClientStatus == cluster.ClientUnknown && !update.ClientStatus.Terminal() && !believed(snapshot, r.node):
				continue // it says so again when it is believed in
			case alloc.ClientStatus == cluster.ClientUnknown:
				trigger = cluster.TriggerReconnect
			case !update.ClientStatus.Terminal():
				continue
			}
			if key := alloc.Job.Key(); !lost[key] {
				lost[key] = true
				if job := snapshot.Job(key.Namespace, key.ID); job != nil {
					command.Evals = append(command.Evals, newEval(cluster.IDFrom(seed, uint32(len(command.Evals))), job, trigger, now))
				}
			}
		}
	}
	return command
}
