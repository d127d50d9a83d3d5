package scheduler

import (
	"maps"

	"github.com/a43e60e4/cluster"
)

// Why a deployment ended.
const (
	deploymentSuccessful    = "Deployment completed successfully"
	deploymentRunning       = "Deployment is running"
	deploymentNewerVersion  = "Cancelled due to newer version of job"
	deploymentJobStopped    = "Cancelled because job is stopped"
	deploymentPastDeadline  = "Failed due to progress deadline"
	deploymentUnhealthyFail = "Failed due to unhealthy allocations"
)

// rollout is the deployment of the version that is planned.
type rollout struct {
	deployment *cluster.Deployment // a copy, nil while there is none
	overtaken  *cluster.Deployment // that of an older version, which this plan cancels; nil if none
	begun      bool                // by this plan
	changed    bool
}

// mayBegin reports whether this plan may begin a deployment of the version: there is none, or one that has ended well. That
// of a system job may have ended while some nodes took nothing new.
func (r *rollout) mayBegin() bool {
	d := r.deployment
	return d == nil || r.begun || d.Status == cluster.DeploymentSuccessful || d.Status == cluster.DeploymentCancelled
}

// phase says what a group's rollout allows.
type phase uint8

const (
	free    phase = iota // no rollout, or it is over: the newest version may go everywhere
	rolling              // step by step
	frozen               // it failed: the newest version goes nowhere it was not
)

// phase is the state of the group's rollout. A version whose deployment does not know the group had nothing to do there.
func (r *rollout) phase(group string) phase {
	if r.deployment == nil {
		return free
	}
	if _, part := r.deployment.TaskGroups[group]; !part {
		return free
	}
	switch r.deployment.Status {
	case cluster.DeploymentRunning:
		return rolling
	case cluster.DeploymentFailed:
		return frozen
	}
	return free
}

// overtakes reports whether the group was part of a rollout that this plan cancels for the newest version.
func (r *rollout) overtakes(group string) bool {
	if r.overtaken == nil {
		return false
	}
	_, part := r.overtaken.TaskGroups[group]
	return part
}

// id is the deployment that new allocations of the group belong to, zero if none.
func (r *rollout) id(group string) cluster.ID {
	if r.phase(group) != rolling {
		return cluster.ID{}
	}
	return r.deployment.ID
}

// strategy is the group's way of replacing step by step, nil if everything may change at once.
func strategy(j *cluster.Job, g *cluster.TaskGroup) *cluster.UpdateStrategy {
	if j.RunsToEnd() || g.Update == nil || g.Update.MaxParallel <= 0 {
		return nil
	}
	return g.Update
}

// ofVersion reports whether the deployment rolls out that very version of the job.
func ofVersion(d *cluster.Deployment, j *cluster.Job) bool {
	return j != nil && d.JobVersion == j.Version && d.JobCreateIndex == j.CreateIndex
}

func cloneDeployment(d *cluster.Deployment) *cluster.Deployment {
	next := *d
	next.TaskGroups = maps.Clone(d.TaskGroups)
	return &next
}

// outdated is the description under which an active deployment must end because of what its job is now, "" if it may go on.
func outdated(d *cluster.Deployment, j *cluster.Job) string {
	switch {
	case !d.Active():
		return ""
	case j == nil || j.Stop:
		return deploymentJobStopped
	case !ofVersion(d, j):
		return deploymentNewerVersion
	}
	return ""
}

// ended is the deployment with a final status.
func ended(d *cluster.Deployment, status, description string) *cluster.Deployment {
	next := cloneDeployment(d)
	next.Status, next.StatusDescription = status, description
	return next
}

func (p *planner) cancelOutdated() {
	d := p.in.Deployment
	if d == nil {
		return
	}
	if reason := outdated(d, p.in.Job); reason != "" {
		cancelled := ended(d, cluster.DeploymentCancelled, reason)
		p.plan.Deployments = append(p.plan.Deployments, *cancelled)
		switch {
		case ofVersion(d, p.in.Job):
			p.rollout.deployment = cancelled
		case p.in.Job != nil && d.JobCreateIndex == p.in.Job.CreateIndex:
			p.rollout.overtaken = d
		}
	}
}

// join makes the group part of the version's deployment, which is begun if there is none yet.
func (p *planner) join(g *cluster.TaskGroup, s *cluster.UpdateStrategy) {
	j := p.in.Job
	if !p.rollout.begun {
		p.rollout.deployment = &cluster.Deployment{
			ID:                 p.newID(),
			Namespace:          j.Namespace,
			JobID:              j.ID,
			JobVersion:         j.Version,
			JobModifyIndex:     j.ModifyIndex,
			JobSpecModifyIndex: j.JobModifyIndex,
			JobCreateIndex:     j.CreateIndex,
			TaskGroups:         map[string]cluster.DeploymentGroup{},
			Status:             cluster.DeploymentRunning,
			StatusDescription:  deploymentRunning,
		}
		p.rollout.begun = true
	}
	p.rollout.deployment.TaskGroups[g.Name] = cluster.DeploymentGroup{ProgressDeadline: s.ProgressDeadline}
	p.rollout.changed = true
}

// progress writes what the group's part of a running deployment is to reach, and since when it is under way.
func (p *planner) progress(group string, total int, placed bool) {
	if p.rollout.phase(group) != rolling {
		return
	}
	part := p.rollout.deployment.TaskGroups[group]
	begins := placed && part.RequireProgressBy.IsZero() && part.ProgressDeadline > 0
	if part.DesiredTotal == total && !begins {
		return
	}
	part.DesiredTotal = total
	if begins {
		part.RequireProgressBy = p.in.Now.Add(part.ProgressDeadline).Round(0)
	}
	p.rollout.deployment.TaskGroups[group] = part
	p.rollout.changed = true
}

func (p *planner) finishRollout() {
	if p.rollout.changed {
		p.plan.Deployments = append(p.plan.Deployments, *p.rollout.deployment)
	}
	if d := p.rollout.deployment; d != nil && d.Active() {
		p.plan.Eval.DeploymentID = d.ID
	}
}
