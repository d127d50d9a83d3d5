package state

import (
	"maps"
	"slices"

	"github.com/a43e60e4/cluster"
)

func (c *UpsertEvals) apply(w *writer) (Result, error) {
	w.putEvals(c.Evals)
	return Result{}, nil
}

func (w *writer) putEvals(evals []cluster.Evaluation) {
	for i := range evals {
		w.putEval(&evals[i])
	}
}

// putEval creates or changes an evaluation; one that is done stays as it is.
func (w *writer) putEval(given *cluster.Evaluation) {
	old, exists := w.evals.get(given.ID)
	if exists && old.Done() {
		return
	}
	copied := *given // which lies within its command
	next := &copied
	next.CreateIndex, next.CreateTime = w.index, w.at
	if exists {
		next.CreateIndex, next.CreateTime = old.CreateIndex, old.CreateTime
		next.Namespace, next.JobID = old.Namespace, old.JobID
		w.unlinkEval(old)
	}
	next.ModifyIndex, next.ModifyTime = w.index, w.at
	w.touchJob(w.linkEval(next), jobEvals)
	w.change(Evals)
	w.touched.add(EvalKey(next.ID))
}

// linkEval stores an evaluation and what is derived from it. It returns the entry of its job.
func (w *writer) linkEval(eval *cluster.Evaluation) *jobEntry {
	age := created{eval.CreateIndex, eval.ID}
	w.evals.set(eval.ID, eval)
	switch eval.Status {
	case cluster.EvalPending:
		w.pending.set(age, eval)
	case cluster.EvalBlocked:
		w.blocked.set(age, eval)
	}
	entry := w.jobForWrite(eval.Namespace, eval.JobID)
	entry.evals = inserted(entry.evals, age, created.compare)
	if !eval.Done() {
		entry.open++
	}
	return entry
}

// unlinkEval takes back what was derived from an evaluation, but for its place in the job's list.
func (w *writer) unlinkEval(eval *cluster.Evaluation) {
	age := created{eval.CreateIndex, eval.ID}
	switch eval.Status {
	case cluster.EvalPending:
		w.pending.remove(age)
	case cluster.EvalBlocked:
		w.blocked.remove(age)
	}
	if !eval.Done() {
		w.jobForWrite(eval.Namespace, eval.JobID).open--
	}
}

// inserted is the sorted list with one more. It may share memory with the old list, which stays as it was.
func inserted[T any](list []T, one T, compare func(a, b T) int) []T {
	i, ok := slices.BinarySearchFunc(list, one, compare)
	if ok {
		return list
	}
	if i == len(list) {
		return append(list, one)
	}
	return slices.Insert(slices.Clone(list), i, one)
}

// removed is the sorted list without one; the old list stays as it was.
func removed[T any](list []T, one T, compare func(a, b T) int) []T {
	i, ok := slices.BinarySearchFunc(list, one, compare)
	if !ok {
		return list
	}
	return slices.Delete(slices.Clone(list), i, i+1)
}

func (c *UpsertDeployments) apply(w *writer) (Result, error) {
	w.putDeployments(c.Deployments)
	w.putEvals(c.Evals)
	if c.StableJob != nil {
		w.markStable(*c.StableJob)
	}
	return Result{}, nil
}

// markStable notes that a version of a job proved good, if it is still kept.
func (w *writer) markStable(v JobVersion) {
	entry := w.job(v.Namespace, v.ID)
	if entry == nil || entry.job == nil || entry.version(v.CreateIndex, v.Version) == nil {
		return
	}
	w.changeVersion(w.jobForWrite(v.Namespace, v.ID), v, func(j *cluster.Job) { j.Stable = true })
}

func (w *writer) putDeployments(deployments []cluster.Deployment) {
	for i := range deployments {
		w.putDeployment(&deployments[i])
	}
}

// putDeployment creates or changes a deployment; one that is final stays as it is. Its counts are kept, not taken.
func (w *writer) putDeployment(given *cluster.Deployment) {
	old, exists := w.deployments.get(given.ID)
	if exists && !old.Active() {
		return
	}
	next := *given
	next.CreateIndex, next.CreateTime = w.index, w.at
	if exists {
		next.CreateIndex, next.CreateTime = old.CreateIndex, old.CreateTime
		next.Namespace, next.JobID = old.Namespace, old.JobID
	}
	next.TaskGroups = make(map[string]cluster.DeploymentGroup, len(given.TaskGroups))
	for name, group := range given.TaskGroups {
		group.PlacedAllocs, group.HealthyAllocs, group.UnhealthyAllocs = 0, 0, 0
		if exists {
			was := old.TaskGroups[name]
			group.PlacedAllocs, group.HealthyAllocs, group.UnhealthyAllocs = was.PlacedAllocs, was.HealthyAllocs, was.UnhealthyAllocs
		}
		next.TaskGroups[name] = group
	}
	w.storeDeployment(&next)
}

// storeDeployment stores a deployment as it is now, made for this batch.
func (w *writer) storeDeployment(d *cluster.Deployment) {
	d.ModifyIndex, d.ModifyTime = w.index, w.at
	w.touchJob(w.linkDeployment(d), jobDeployments)
	w.change(Deployments)
	w.touched.add(DeploymentKey(d.ID))
	w.counting[d.ID] = d
}

// linkDeployment stores a deployment and what is derived from it. It returns the entry of its job.
func (w *writer) linkDeployment(d *cluster.Deployment) *jobEntry {
	age := created{d.CreateIndex, d.ID}
	w.deployments.set(d.ID, d)
	if d.Active() {
		w.active.set(age, d)
	} else {
		w.active.remove(age)
	}
	entry := w.jobForWrite(d.Namespace, d.JobID)
	entry.deployments = inserted(entry.deployments, age, created.compare)
	return entry
}

// countDeployment adds to the counts of a group of a deployment.
func (w *writer) countDeployment(id cluster.ID, group string, add cluster.DeploymentGroup) {
	old, fresh := w.counting[id]
	if !fresh {
		old, _ = w.deployments.get(id)
	}
	if old == nil {
		return
	}
	counts, ok := old.TaskGroups[group]
	if !ok {
		return
	}
	counts.PlacedAllocs += add.PlacedAllocs
	counts.HealthyAllocs += add.HealthyAllocs
	counts.UnhealthyAllocs += add.UnhealthyAllocs
	if fresh && old.ModifyIndex == w.index {
		old.TaskGroups[group] = counts // nobody has seen it yet
		return
	}
	next := *old
	next.TaskGroups = maps.Clone(old.TaskGroups)
	next.TaskGroups[group] = counts
	w.storeDeployment(&next)
}
