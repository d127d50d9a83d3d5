package state

import "github.com/a43e60e4/cluster"

func (c *Reap) apply(w *writer) (Result, error) {
	reaped := w.reapAllocs(c.Allocs)
	referred := w.referred(c)
	for _, id := range c.Evals {
		if eval, ok := w.evals.get(id); ok && eval.Done() && !referred[id] {
			w.deleteEval(eval)
			reaped++
		}
	}
	for _, id := range c.Deployments {
		if d, ok := w.deployments.get(id); ok && !d.Active() && !referred[id] {
			w.deleteDeployment(d)
			reaped++
		}
	}
	for _, key := range c.Jobs {
		entry := w.job(key.Namespace, key.ID)
		if entry == nil || entry.job == nil || entry.job.Status != cluster.JobStatusDead ||
			len(entry.slots)+len(entry.evals)+len(entry.deployments) > 0 {
			continue
		}
		w.purge(w.jobForWrite(key.Namespace, key.ID))
		reaped++
	}
	for _, id := range c.Nodes {
		node := w.node(id)
		if node == nil || node.Status != cluster.NodeStatusDown || len(w.nodes.at(w.nodeOf[id]).slots) > 0 {
			continue
		}
		w.deleteNode(id)
		reaped++
	}
	return Result{Reaped: reaped}, nil
}

// reapAllocs deletes those of the allocations whose tasks have ended for good.
func (w *writer) reapAllocs(ids []cluster.ID) (reaped int) {
	nodes := make(map[cluster.ID]map[uint32]bool)
	jobs := make(map[cluster.JobKey]map[uint32]bool)
	for _, id := range ids {
		a := w.alloc(id)
		if a == nil || !a.ClientStatus.Terminal() {
			continue
		}
		slot := id.Slot()
		w.allocs.set(slot, nil)
		w.used.free(slot)
		job := w.jobOfAlloc(a)
		job.version(a.Job.CreateIndex, a.Job.Version).allocs--
		w.tally(job, a, -1)
		mark(nodes, a.NodeID, slot)
		mark(jobs, job.key, slot)
		w.touched.allocs = append(w.touched.allocs, id)
		w.remove(Allocs)
		reaped++
	}
	for id, gone := range nodes {
		entry := w.nodeForWrite(id)
		entry.slots = withoutSlots(entry.slots, gone)
		w.touchNodeAllocs(entry)
		w.dropNode(id)
	}
	for key, gone := range jobs {
		entry := w.jobForWrite(key.Namespace, key.ID)
		entry.slots = withoutSlots(entry.slots, gone)
		w.touchJob(entry, jobAllocs)
	}
	return reaped
}

func mark[K comparable](sets map[K]map[uint32]bool, key K, slot uint32) {
	if sets[key] == nil {
		sets[key] = make(map[uint32]bool)
	}
	sets[key][slot] = true
}

// referred collects the evaluations and deployments to be deleted that an allocation of their job still refers to.
func (w *writer) referred(c *Reap) map[cluster.ID]bool {
	jobs := make(map[cluster.JobKey]bool)
	for _, id := range c.Evals {
		if eval, ok := w.evals.get(id); ok {
			jobs[cluster.JobKey{Namespace: eval.Namespace, ID: eval.JobID}] = true
		}
	}
	for _, id := range c.Deployments {
		if d, ok := w.deployments.get(id); ok {
			jobs[cluster.JobKey{Namespace: d.Namespace, ID: d.JobID}] = true
		}
	}
	referred := make(map[cluster.ID]bool)
	for key := range jobs {
		for _, slot := range w.job(key.Namespace, key.ID).slots {
			a := w.allocs.at(slot)
			referred[a.EvalID], referred[a.DeploymentID] = true, true
			referred[a.Details().FollowupEvalID] = true
		}
	}
	return referred
}

func (w *writer) deleteEval(eval *cluster.Evaluation) {
	w.unlinkEval(eval)
	w.evals.remove(eval.ID)
	entry := w.jobForWrite(eval.Namespace, eval.JobID)
	entry.evals = removed(entry.evals, created{eval.CreateIndex, eval.ID}, created.compare)
	w.remove(Evals)
	w.touched.add(EvalKey(eval.ID))
	w.touchJob(entry, jobEvals)
}

func (w *writer) deleteDeployment(d *cluster.Deployment) {
	w.deployments.remove(d.ID)
	delete(w.counting, d.ID)
	entry := w.jobForWrite(d.Namespace, d.JobID)
	entry.deployments = removed(entry.deployments, created{d.CreateIndex, d.ID}, created.compare)
	w.remove(Deployments)
	w.touched.add(DeploymentKey(d.ID))
	w.touchJob(entry, jobDeployments)
}
