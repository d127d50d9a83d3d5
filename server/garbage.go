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

// garbage is what may go: nothing that is not over, and nothing that what stays refers to.
func garbage(snapshot *state.Snapshot, now time.Time, all bool) *state.Reap {
	c := collection{snapshot: snapshot, going: map[cluster.ID]bool{},
		old: func(nanos int64, age time.Duration) bool { return all || now.Sub(time.Unix(0, nanos)) > age }}
	for job := range snapshot.Jobs(cluster.AllNamespaces, "") {
		if job.Status == cluster.JobStatusDead && (job.Stop || job.RunsToEnd()) {
			c.whole(job)
		}
	}
	for eval := range snapshot.Evals() {
		age := evalAge
		if eval.Type == cluster.JobTypeBatch || eval.Type == cluster.JobTypeSysBatch {
			age = batchEvalAge
		}
		if eval.Done() && c.old(eval.ModifyTime, age) {
			c.going[eval.ID] = true
			c.ended(eval)
		}
	}
	for deployment := range snapshot.Deployments() {
		if !deployment.Active() && c.old(deployment.ModifyTime, deploymentAge) {
			c.going[deployment.ID] = true
		}
	}
	return c.reap()
}

// collection is what garbage has found so far.
type collection struct {
	snapshot *state.Snapshot
	old      func(nanos int64, age time.Duration) bool
	going    map[cluster.ID]bool // evaluations, allocations and deployments
	jobs     []cluster.JobKey
}

// whole takes a job that is over with all that hangs on it, if all of that has been over for long.
func (c *collection) whole(job *cluster.Job) {
	for range c.snapshot.Launched(job.Namespace, job.ID) {
		return // they say whose launches they are
	}
	last, ids := job.SubmitTime, []cluster.ID{}
	for eval := range c.snapshot.EvalsByJob(job.Namespace, job.ID) {
		if !eval.Done() {
			return
		}
		last, ids = max(last, eval.ModifyTime), append(ids, eval.ID)
	}
	for alloc := range c.snapshot.AllocsByJob(job.Namespace, job.ID) {
		if alloc.Occupies() {
			return
		}
		last, ids = max(last, alloc.ModifyTime), append(ids, alloc.ID)
	}
	for deployment := range c.snapshot.DeploymentsByJob(job.Namespace, job.ID) {
		if deployment.Active() {
			return
		}
		last, ids = max(last, deployment.ModifyTime), append(ids, deployment.ID)
	}
	if !c.old(last, jobAge) {
		return
	}
	c.jobs = append(c.jobs, job.Key())
	for _, id := range ids {
		c.going[id] = true
	}
}

// ended takes the allocations of an evaluation that nothing more will come of. Those of a batch job that still stands
// stay: that they completed is what keeps the work from being done again.
func (c *collection) ended(eval *cluster.Evaluation) {
	for alloc := range c.snapshot.AllocsByEval(eval.ID) {
		job := c.snapshot.Job(alloc.Namespace(), alloc.JobID())
		standing := job != nil && !job.Stop && job.RunsToEnd() && job.CreateIndex == alloc.Job.CreateIndex
		if !alloc.Occupies() && (alloc.ServerTerminal() || !standing) {
			c.going[alloc.ID] = true
		}
	}
}

// reap names what goes and is not referred to by what stays.
func (c *collection) reap() *state.Reap {
	reap := &state.Reap{Jobs: c.jobs}
	held := map[cluster.ID]bool{} // evaluations, deployments and nodes
	for alloc := range c.snapshot.Allocs() {
		if c.going[alloc.ID] {
			reap.Allocs = append(reap.Allocs, alloc.ID)
			continue
		}
		held[alloc.EvalID], held[alloc.DeploymentID], held[alloc.NodeID] = true, true, true
		held[alloc.Details().FollowupEvalID] = true
	}
	for eval := range c.snapshot.Evals() {
		if c.going[eval.ID] && !held[eval.ID] {
			reap.Evals = append(reap.Evals, eval.ID)
		}
	}
	for deployment := range c.snapshot.Deployments() {
		if c.going[deployment.ID] && !held[deployment.ID] {
			reap.Deployments = append(reap.Deployments, deployment.ID)
		}
	}
	for node := range c.snapshot.Nodes() {
		if node.Status == cluster.NodeStatusDown && c.old(node.StatusUpdatedAt*int64(time.Second), nodeAge) && !held[node.ID] {
			reap.Nodes = append(reap.Nodes, node.ID)
		}
	}
	return reap
}
