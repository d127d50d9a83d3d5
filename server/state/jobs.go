package state

import (
	"bytes"
	"encoding/json"

	"github.com/a43e60e4/cluster"
)

func (c *RegisterJob) apply(w *writer) (Result, error) {
	job := c.Job
	var old *cluster.Job
	if entry := w.job(job.Namespace, job.ID); entry != nil {
		old = entry.job
	}
	_, known := w.namespaces.get(job.Namespace)
	if err := admits(known, old, job); err != nil {
		return Result{}, err
	}
	if err := c.enforce(old); err != nil {
		return Result{}, err
	}
	result := Result{NewVersion: old == nil || !sameSpec(old, job)}
	entry := w.jobForWrite(job.Namespace, job.ID)
	if result.NewVersion {
		w.addVersion(entry, job, c.Source)
		w.beginSchedule(entry, old)
	}
	result.JobModifyIndex = entry.job.JobModifyIndex
	result.EvalID = w.evalForJob(c.Eval, entry.job)
	return result, nil
}

// Admits is the error with which the state refuses the job whatever its author expects of the one that is there, nil if it does not.
func (sn *Snapshot) Admits(job *cluster.Job) error {
	return admits(sn.Namespace(job.Namespace) != nil, sn.Job(job.Namespace, job.ID), job)
}

func admits(known bool, old, job *cluster.Job) error {
	switch {
	case !known:
		return cluster.Errorf(cluster.CodeRejected, "job %q is in nonexistent namespace %q", job.ID, job.Namespace)
	case old != nil && old.Type != job.Type:
		return cluster.Errorf(cluster.CodeRejected, "cannot update job from type %q to %q", old.Type, job.Type)
	case old != nil:
		return sameTemplate(old, job)
	}
	return nil
}

// enforce refuses a registration that was made for another state of the job.
func (c *RegisterJob) enforce(old *cluster.Job) error {
	switch {
	case !c.EnforceIndex:
		return nil
	case old == nil && c.JobModifyIndex == 0:
		return nil
	case old == nil:
		return cluster.Errorf(cluster.CodeConflict, "Enforcing job modify index %d: job does not exist", c.JobModifyIndex)
	case c.JobModifyIndex == 0:
		return cluster.Errorf(cluster.CodeConflict, "Enforcing job modify index 0: job already exists")
	case c.JobModifyIndex != old.JobModifyIndex:
		return cluster.Errorf(cluster.CodeConflict, "Enforcing job modify index %d: job exists with conflicting job modify index: %d",
			c.JobModifyIndex, old.JobModifyIndex)
	}
	return nil
}

// sameSpec reports whether two jobs say the same, but for what the servers write.
func sameSpec(a, b *cluster.Job) bool { return bytes.Equal(specOf(a), specOf(b)) }

func specOf(j *cluster.Job) []byte {
	text, err := json.Marshal((*plainJob)(j.Spec()))
	if err != nil {
		panic("state: a job that came as JSON cannot be written as JSON: " + err.Error())
	}
	return text
}

// addVersion makes the job the entry's newest version.
func (w *writer) addVersion(entry *jobEntry, job *cluster.Job, source *Submission) {
	spec := *job
	spec.Status, spec.StatusDescription, spec.Stable, spec.VersionTag = "", "", false, nil
	spec.Version, spec.CreateIndex = 0, w.index
	if entry.job != nil {
		spec.Version, spec.CreateIndex = entry.job.Version+1, entry.job.CreateIndex
	}
	spec.SubmitTime = w.at
	spec.ModifyIndex, spec.JobModifyIndex = w.index, w.index
	live := spec
	if entry.job != nil {
		live.Status = entry.job.Status
	} else {
		live.Status = cluster.JobStatusPending
	}
	entry.job = &live
	entry.versions = append(entry.versions, version{spec: &spec, job: &live, source: source})
	w.specOf[&spec] = w.jobOf[entry.key]
	w.noteToken(&live)
	w.change(Jobs)
	w.touchJob(entry, jobItself)
	w.touchParent(&live)
}

// evalForJob stores the evaluation that a change of a job comes with, if there is one.
func (w *writer) evalForJob(eval *cluster.Evaluation, job *cluster.Job) cluster.ID {
	if eval == nil {
		return cluster.ID{}
	}
	next := *eval
	if job != nil {
		next.JobModifyIndex = job.JobModifyIndex
	}
	w.putEval(&next)
	return next.ID
}

func (c *DeregisterJob) apply(w *writer) (Result, error) {
	entry := w.job(c.Namespace, c.ID)
	if entry == nil || entry.job == nil {
		return Result{}, nil
	}
	entry = w.jobForWrite(c.Namespace, c.ID)
	if c.Purge {
		w.purge(entry)
		return Result{JobModifyIndex: w.index, EvalID: w.evalForJob(c.Eval, nil)}, nil
	}
	if !entry.job.Stop {
		stopped := *entry.newest().spec
		stopped.Stop = true
		w.addVersion(entry, &stopped, entry.newest().source)
	}
	return Result{JobModifyIndex: entry.job.JobModifyIndex, EvalID: w.evalForJob(c.Eval, entry.job)}, nil
}

// purge forgets a job. What hangs on it keeps its entry alive.
func (w *writer) purge(entry *jobEntry) {
	w.touchParent(entry.job)
	w.forgetToken(entry.job)
	entry.job, entry.launches, entry.scaling = nil, nil, nil
	w.remove(Jobs)
	w.touchJob(entry, jobItself)
}

func (c *UpsertNamespace) apply(w *writer) (Result, error) {
	next := *c.Namespace
	next.CreateIndex, next.ModifyIndex = w.index, w.index
	if old, ok := w.namespaces.get(next.Name); ok {
		next.CreateIndex = old.CreateIndex
	}
	w.namespaces.set(next.Name, &next)
	w.change(Namespaces)
	w.touched.add(NamespaceKey(next.Name))
	return Result{}, nil
}

func (c *DeleteNamespace) apply(w *writer) (Result, error) {
	if c.Name == cluster.DefaultNamespace {
		return Result{}, cluster.Errorf(cluster.CodeRejected, "delete namespace %q: it always exists", c.Name)
	}
	if _, ok := w.namespaces.get(c.Name); !ok {
		return Result{}, cluster.Errorf(cluster.CodeNotFound, "Namespace not found")
	}
	var dead []string
	for key, number := range w.jobNumbers.from(cluster.JobKey{Namespace: c.Name}) {
		if key.Namespace != c.Name {
			break
		}
		entry := w.jobs.at(number)
		if entry.job != nil && entry.job.Status != cluster.JobStatusDead {
			return Result{}, cluster.Errorf(cluster.CodeRejected, "delete namespace %q: job %q is %s: stop it first", c.Name, key.ID, entry.job.Status)
		}
		dead = append(dead, key.ID)
	}
	for _, id := range dead {
		if entry := w.jobForWrite(c.Name, id); entry.job != nil {
			w.purge(entry)
		}
	}
	w.namespaces.remove(c.Name)
	w.remove(Namespaces)
	w.touched.add(NamespaceKey(c.Name))
	return Result{}, nil
}

func (c *SetMeta) apply(w *writer) (Result, error) {
	if _, ok := w.meta.get(c.Key); ok && c.Create {
		return Result{}, cluster.Errorf(cluster.CodeConflict, "set %q: it is set already", c.Key)
	}
	w.setMeta(c.Key, c.Value)
	return Result{}, nil
}
