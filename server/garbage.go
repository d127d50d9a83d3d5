package server

import (
	"context"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

// How long the leader keeps what is over, and how often it looks.
const (
	garbageInterval = 5 * time.Minute
	evalAge         = time.Hour
	deploymentAge   = time.Hour
	jobAge          = 4 * time.Hour
	nodeAge         = 24 * time.Hour
	batchEvalAge    = 24 * time.Hour // a batch job's ended allocations say that its work is done
)

// collectGarbage forgets what has been over for long, until ctx ends. Nothing is written when nothing is old.
func (s *Server) collectGarbage(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.collect(ctx, false); err != nil {
			return err
		}
		pause(ctx, garbageInterval)
	}
	return nil
}

// Collect forgets what is over, however young.
func (s *Server) Collect(ctx context.Context) error { return s.collect(ctx, true) }

func (s *Server) collect(ctx context.Context, all bool) error {
	now := time.Now()
	reap := garbage(s.Snapshot(), now, all)
	if len(reap.Allocs)+len(reap.Evals)+len(reap.Deployments)+len(reap.Jobs)+len(reap.Nodes) == 0 {
		return nil
	}
	reap.At = now.UnixNano()
	result, err := s.Apply(ctx, reap)
	if err == nil {
		s.logger.Debug("garbage collected", "objects", result.Reaped)
	}
	return err
}

// garbage is what may go. The state keeps what is not over or still referred to, whatever stands here.
func garbage(snapshot *state.Snapshot, now time.Time, all bool) *state.Reap {
	old := func(nanos int64, age time.Duration) bool { return all || now.Sub(time.Unix(0, nanos)) > age }
	reap := &state.Reap{}
	for job := range snapshot.Jobs(cluster.AllNamespaces, "") {
		if job.Status == cluster.JobStatusDead && (job.Stop || job.Type == cluster.JobTypeBatch) && old(job.SubmitTime, jobAge) {
			reap.Jobs = append(reap.Jobs, job.Key())
		}
	}
	for eval := range snapshot.Evals() {
		age := evalAge
		if eval.Type == cluster.JobTypeBatch {
			age = batchEvalAge
		}
		if eval.Done() && old(eval.ModifyTime, age) {
			reap.Evals = append(reap.Evals, eval.ID)
			reap.Allocs = append(reap.Allocs, ended(snapshot, eval)...)
		}
	}
	for deployment := range snapshot.Deployments() {
		if !deployment.Active() && old(deployment.ModifyTime, deploymentAge) {
			reap.Deployments = append(reap.Deployments, deployment.ID)
		}
	}
	for node := range snapshot.Nodes() {
		if node.Status == cluster.NodeStatusDown && old(node.StatusUpdatedAt*int64(time.Second), nodeAge) {
			reap.Nodes = append(reap.Nodes, node.ID)
		}
	}
	return reap
}

// ended are the allocations of an evaluation that nothing more will come of. Those of a batch job that still stands
// stay: that they completed is what keeps the work from being done again.
func ended(snapshot *state.Snapshot, eval *cluster.Evaluation) []cluster.ID {
	var ids []cluster.ID
	for alloc := range snapshot.AllocsByEval(eval.ID) {
		job := snapshot.Job(alloc.Namespace(), alloc.JobID())
		standing := job != nil && !job.Stop && job.Type == cluster.JobTypeBatch && job.CreateIndex == alloc.Job.CreateIndex
		if alloc.ClientStatus.Terminal() && (alloc.ServerTerminal() || !standing) {
			ids = append(ids, alloc.ID)
		}
	}
	return ids
}
