package server

import (
	"context"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/state"
)

// await returns when one of the keys changes after index, at next (unless it is zero), when also has something, or
// when ctx ends, whichever is first.
func (s *Server) await(ctx context.Context, index uint64, next time.Time, also <-chan struct{}, keys ...state.Key) {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	if !next.IsZero() {
		limited, cancel = context.WithDeadline(limited, next)
		defer cancel()
	}
	if also == nil {
		s.store.Wait(limited, index, keys...)
		return
	}
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		s.store.Wait(limited, index, keys...)
	}()
	select {
	case <-changed:
	case <-also:
		cancel()
		<-changed
	}
}

// driveDeployments carries rollouts on: it judges progress and asks for the next step when one is due.
func (s *Server) driveDeployments(ctx context.Context) error {
	for ctx.Err() == nil {
		snapshot, now := s.Snapshot(), time.Now()
		next := time.Time{}
		var nodes []scheduler.Node
		keys := []state.Key{state.TableKey(state.Deployments)}
		for deployment := range snapshot.ActiveDeployments() {
			if len(keys) == 1 { // the first: without any, nothing else is of interest
				nodes = s.overlay.nodes(snapshot)
				keys = append(keys, state.TableKey(state.Evals), state.TableKey(state.Allocs), state.TableKey(state.Nodes))
			}
			in := s.watched(snapshot, deployment, now)
			in.Nodes = nodes
			progress := scheduler.Watch(in)
			if !progress.Wake.IsZero() {
				next = earlier(next, progress.Wake)
			}
			if err := s.record(ctx, deployment, progress, now); err != nil {
				return err
			}
		}
		s.await(ctx, snapshot.Index(), next, nil, keys...)
	}
	return nil
}

// watched is what a deployment is judged by.
func (s *Server) watched(snapshot *state.Snapshot, d *cluster.Deployment, now time.Time) scheduler.Input {
	in := scheduler.Input{
		Now: now, Seed: dice(), Deployment: d, SnapshotIndex: snapshot.Index(),
		Job:    snapshot.Job(d.Namespace, d.JobID),
		Allocs: slices.Collect(snapshot.AllocsByJob(d.Namespace, d.JobID)),
	}
	for eval := range snapshot.EvalsByJob(d.Namespace, d.JobID) {
		if !eval.Done() {
			in.Evals = append(in.Evals, eval)
		}
	}
	return in
}

// record stores what became of a deployment, if anything did.
func (s *Server) record(ctx context.Context, d *cluster.Deployment, progress scheduler.Progress, now time.Time) error {
	if progress.Deployment == nil && progress.Eval == nil {
		return nil
	}
	command := &state.UpsertDeployments{At: now.UnixNano()}
	if progress.Deployment != nil {
		command.Deployments = []cluster.Deployment{*progress.Deployment}
		if progress.Deployment.Status != d.Status {
			s.logger.Info("deployment ended", "deployment", d.ID, "job", d.JobID, "status", progress.Deployment.Status, "why", progress.Deployment.StatusDescription)
		}
	}
	if progress.Eval != nil {
		command.Evals = []cluster.Evaluation{*progress.Eval}
	}
	if progress.Stable {
		command.StableJob = &state.JobVersion{Namespace: d.Namespace, ID: d.JobID, CreateIndex: d.JobCreateIndex, Version: d.JobVersion}
	}
	_, err := s.Apply(ctx, command)
	return err
}
