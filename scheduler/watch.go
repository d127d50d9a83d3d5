package scheduler

import (
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
)

// Progress is what became of a deployment since it was last looked at.
type Progress struct {
	Deployment *cluster.Deployment // as it is to be stored; nil: unchanged
	Stable     bool                // the deployment just succeeded: its job version is to be marked stable
	Eval       *cluster.Evaluation // to be created because the rollout can go on; nil: nothing to do now
	Wake       time.Time           // when to look again if nothing changes before; zero: not at all
}

// Watch looks at the deployment of the input after anything about it, its job or its allocations changed, or at Progress.Wake.
// It ends a deployment that has succeeded or failed, extends the deadline of one that progresses, and asks for an
// evaluation when the next step may be taken. The input needs no Eval, but it
// does need the nodes: whether a step is possible is found by planning it. Without an active deployment there is no progress, nor
// for one whose job was stopped or changed: the evaluation of that change cancels it. Looking twice does no harm: an evaluation is not asked for while one is pending.
func Watch(in Input) Progress {
	d := in.Deployment
	if d == nil || !d.Active() || outdated(d, in.Job) != "" {
		return Progress{}
	}
	next := cloneDeployment(d)
	var result Progress
	complete := true
	for i := range in.Job.TaskGroups {
		name := in.Job.TaskGroups[i].Name
		part, member := d.TaskGroups[name]
		if !member {
			continue
		}
		c := count(in.Allocs, d, name)
		if c.healthy >= part.DesiredTotal {
			continue
		}
		complete = false
		if part.ProgressDeadline <= 0 {
			if c.unhealthy > 0 {
				return Progress{Deployment: ended(d, cluster.DeploymentFailed, deploymentUnhealthyFail)}
			}
			continue
		}
		deadline := c.deadline(d, part)
		if deadline.IsZero() {
			continue
		}
		if !in.Now.Before(deadline) {
			return Progress{Deployment: ended(next, cluster.DeploymentFailed, deploymentPastDeadline)}
		}
		if !deadline.Equal(part.RequireProgressBy) {
			part.RequireProgressBy = deadline
			next.TaskGroups[name] = part
			result.Deployment = next
		}
		if result.Wake.IsZero() || deadline.Before(result.Wake) {
			result.Wake = deadline
		}
	}
	if complete {
		return Progress{Deployment: ended(d, cluster.DeploymentSuccessful, deploymentSuccessful), Stable: true}
	}
	result.Eval = nextStep(in)
	return result
}

// counts is how far a group of a deployment is.
type counts struct {
	healthy     int // instances that run and are healthy
	unhealthy   int // instances that turned out unhealthy, also those replaced since
	firstPlaced int64
	lastHealthy int64 // both in unix nanoseconds, 0: none
}

func count(allocs []*cluster.Allocation, d *cluster.Deployment, group string) counts {
	var c counts
	for _, a := range allocs {
		if a.DeploymentID != d.ID || a.TaskGroup != group {
			continue
		}
		if c.firstPlaced == 0 || a.CreateTime < c.firstPlaced {
			c.firstPlaced = a.CreateTime
		}
		switch a.Health {
		case cluster.HealthUnhealthy:
			c.unhealthy++
		case cluster.HealthHealthy:
			// A node's clock may be ahead: the servers stamped the report.
			c.lastHealthy = max(c.lastHealthy, min(a.HealthTime, a.ModifyTime))
			if !a.Terminal() && (a.ClientStatus != cluster.ClientUnknown || !yields(a.Group())) {
				c.healthy++
			}
		}
	}
	return c
}

// deadline is when the next instance must be healthy: the progress deadline after the newest one became so, or after the
// first one was placed. It never moves backward; zero while nothing is placed.
func (c counts) deadline(d *cluster.Deployment, part cluster.DeploymentGroup) time.Time {
	deadline := part.RequireProgressBy
	if deadline.IsZero() && c.firstPlaced > 0 {
		deadline = time.Unix(0, max(d.CreateTime, c.firstPlaced)).Add(part.ProgressDeadline)
	}
	if c.lastHealthy > 0 {
		if extended := time.Unix(0, c.lastHealthy).Add(part.ProgressDeadline); extended.After(deadline) {
			deadline = extended
		}
	}
	return deadline
}

// nextStep is an evaluation of the job if that would move the rollout, or say for the first time why it cannot go on; nil if
// not, or if one is pending anyway.
func nextStep(in Input) *cluster.Evaluation {
	if pending(in) {
		return nil
	}
	eval := &cluster.Evaluation{
		ID:             cluster.IDFrom(in.Seed, 0),
		Namespace:      in.Job.Namespace,
		Priority:       in.Job.Priority,
		Type:           in.Job.Type,
		TriggeredBy:    cluster.TriggerDeploymentWatcher,
		JobID:          in.Job.ID,
		JobModifyIndex: in.Job.JobModifyIndex,
		DeploymentID:   in.Deployment.ID,
		Status:         cluster.EvalPending,
	}
	if !mayStep(in) {
		return nil
	}
	in.Eval = eval
	if plan := Schedule(in); len(plan.Stops)+len(plan.Places)+len(plan.Updates) > 0 || newlyBlocked(in, &plan) {
		return eval
	}
	return nil
}

// newlyBlocked reports whether the plan says why something waits for room, and no evaluation does so far.
func newlyBlocked(in Input, plan *Plan) bool {
	return len(plan.Eval.FailedTGAllocs) > 0 &&
		!slices.ContainsFunc(in.Evals, func(e *cluster.Evaluation) bool { return e.Status == cluster.EvalBlocked })
}

// pending reports whether an evaluation of the job is about to be planned.
func pending(in Input) bool {
	return slices.ContainsFunc(in.Evals, func(e *cluster.Evaluation) bool {
		return e.Status == cluster.EvalPending && e.WaitUntil <= in.Now.UnixNano()
	})
}

// mayStep is a quick look whether in some group an old instance is left and another step is allowed: only then a whole
// plan is tried.
func mayStep(in Input) bool {
	room, old := map[string]int{}, map[string]bool{}
	for name := range in.Deployment.TaskGroups {
		if g := in.Job.Group(name); g != nil && g.Update != nil {
			room[name] = g.Update.MaxParallel
		}
	}
	for _, a := range in.Allocs {
		switch current := a.Job.Version == in.Job.Version && a.Job.CreateIndex == in.Job.CreateIndex; {
		case a.ServerTerminal() || a.ClientStatus == cluster.ClientLost || a.ClientStatus == cluster.ClientUnknown:
		case !current:
			old[a.TaskGroup] = true
		case a.Health != cluster.HealthHealthy && a.DeploymentID == in.Deployment.ID:
			room[a.TaskGroup]--
		}
	}
	for name := range old {
		if room[name] > 0 {
			return true
		}
	}
	return false
}
