package state

import (
	"fmt"
	"slices"

	"github.com/a43e60e4/cluster"
)

func (c *CommitPlan) apply(w *writer) (Result, error) {
	p := &c.Plan
	job := w.job(p.Namespace, p.JobID)
	if stale := w.stale(p, job); stale != "" {
		return Result{Plan: PlanResult{Stale: stale}}, nil
	}
	dropped, unreplaced := w.unplaceable(p, job.newest())
	w.putDeployments(p.Deployments)
	for i := range p.Stops {
		if s := &p.Stops[i]; s.Lost || !slices.Contains(unreplaced, s.ID) {
			w.stop(s)
		}
	}
	w.updateInPlace(p, job.newest())
	for _, id := range p.Unknown {
		w.doubt(id)
	}
	for _, wait := range p.Waits {
		w.noteWait(wait)
	}
	w.place(c, job.newest(), dropped)
	for i := range p.Evals {
		if len(dropped) == 0 || p.Evals[i].Status != cluster.EvalBlocked {
			w.putEval(&p.Evals[i])
		}
	}
	if len(dropped) == 0 && !p.Eval.ID.IsZero() {
		w.putEval(&p.Eval)
	}
	return Result{Plan: PlanResult{Placed: len(p.Places) - len(dropped), Dropped: dropped}}, nil
}

// stale says why nothing of a plan can be carried out, "" if it can.
func (w *writer) stale(p *cluster.Plan, job *jobEntry) string {
	if !p.Eval.ID.IsZero() {
		eval, ok := w.evals.get(p.Eval.ID)
		if !ok {
			return fmt.Sprintf("evaluation %s is not there", p.Eval.ID)
		}
		if eval.Done() {
			return fmt.Sprintf("evaluation %s is %s", p.Eval.ID, eval.Status)
		}
	}
	switch {
	case job == nil || job.job == nil:
		if p.CreateIndex != 0 || len(p.Places) > 0 || len(p.Updates) > 0 {
			return fmt.Sprintf("job %q was purged", p.JobID)
		}
	case job.job.CreateIndex != p.CreateIndex || job.job.Version != p.Version:
		return fmt.Sprintf("job %q has become version %d (create index %d)", p.JobID, job.job.Version, job.job.CreateIndex)
	}
	return ""
}

// unplaceable lists the positions of the placements that cannot be carried out, and the allocations that they
// would have replaced.
func (w *writer) unplaceable(p *cluster.Plan, v *version) (dropped []int, unreplaced []cluster.ID) {
	for i := range p.Places {
		place := &p.Places[i]
		node := w.node(place.NodeID)
		if node != nil && node.Ready() && node.ModifyIndex <= p.SnapshotIndex && w.specFor(place, v).Group(place.TaskGroup) != nil {
			continue
		}
		dropped = append(dropped, i)
		if !place.Previous.IsZero() {
			unreplaced = append(unreplaced, place.Previous)
		}
	}
	return dropped, unreplaced
}

// specFor is the version of the job that a placement runs.
func (w *writer) specFor(place *cluster.Placement, v *version) *cluster.Job {
	if place.KeepVersion {
		if previous := w.alloc(place.Previous); previous != nil && previous.Job.Key() == v.spec.Key() {
			return previous.Job
		}
	}
	return v.spec
}

// place makes the plan's new allocations, but for the dropped ones.
func (w *writer) place(c *CommitPlan, v *version, dropped []int) {
	for i := range c.Plan.Places {
		if len(dropped) > 0 && dropped[0] == i {
			dropped = dropped[1:]
			continue
		}
		place := &c.Plan.Places[i]
		spec := w.specFor(place, v)
		a := &cluster.Allocation{
			ID:           cluster.IDFrom(c.Seed, uint32(i)).WithSlot(w.used.next()),
			EvalID:       c.Plan.Eval.ID,
			NodeID:       place.NodeID,
			DeploymentID: place.DeploymentID,
			Job:          spec,
			NodeName:     w.node(place.NodeID).Name,
			TaskGroup:    spec.Group(place.TaskGroup).Name,
			Ports:        place.Ports,
			CreateIndex:  w.index, ModifyIndex: w.index, AllocModifyIndex: w.index,
			CreateTime: w.at, ModifyTime: w.at,
			Index: place.Index,
		}
		if !place.Previous.IsZero() || len(place.Reschedules) > 0 {
			a.Rare = &cluster.AllocationRare{PreviousAllocation: place.Previous, Reschedules: place.Reschedules}
		}
		w.insert(a)
		if old := w.alloc(place.Previous); old != nil && !place.Previous.IsZero() {
			next := old.WithDetails(func(r *cluster.AllocationRare) { r.NextAllocation = a.ID })
			next.ModifyIndex, next.ModifyTime = w.index, w.at
			w.replace(old, next)
		}
	}
}

// updateInPlace gives allocations the plan's version of the job.
func (w *writer) updateInPlace(p *cluster.Plan, v *version) {
	for _, u := range p.Updates {
		old := w.alloc(u.ID)
		if old == nil || old.Terminal() || v.spec.Group(old.TaskGroup) == nil || old.Job.Key() != v.spec.Key() {
			continue
		}
		next := *old
		next.Job = v.spec
		next.TaskGroup = v.spec.Group(old.TaskGroup).Name
		if !sameServices(old.Group(), next.Group()) {
			next.Passing = 0 // until the node has looked at them
		}
		if !u.DeploymentID.IsZero() {
			next.DeploymentID, next.Health, next.HealthTime = u.DeploymentID, cluster.HealthUnknown, 0
		}
		w.replaceByServers(old, &next)
	}
}

func sameServices(a, b *cluster.TaskGroup) bool {
	return slices.EqualFunc(a.AllServices(), b.AllServices(), func(x, y *cluster.Service) bool { return x.Name == y.Name })
}

// noteWait notes on an allocation which evaluation will replace it.
func (w *writer) noteWait(wait cluster.Wait) {
	old := w.alloc(wait.ID)
	if old == nil || old.Details().FollowupEvalID == wait.FollowupEvalID {
		return
	}
	next := old.WithDetails(func(r *cluster.AllocationRare) { r.FollowupEvalID = wait.FollowupEvalID })
	next.ModifyIndex, next.ModifyTime = w.index, w.at
	w.replace(old, next)
}
