package state

import (
	"iter"
	"strings"

	"github.com/a43e60e4/cluster"
)

// LaunchJob launches a periodic or parameterized job: it stores the launch, a job of its own, and what is to be
// remembered of the launches, both or neither. It is refused (CodeConflict) unless the parent is as its proposer saw it. A
// launch that is there already, by its token or as the job of a slot, is left as it is.
type LaunchJob struct {
	At          int64
	RequestID   string
	Namespace   string
	ParentID    string
	CreateIndex uint64              // of the parent
	Job         *cluster.Job        // nil: none, the slot is skipped
	Eval        *cluster.Evaluation // pending; nil for none. The state fills in JobModifyIndex
	Launches    *cluster.Launches   // of the parent, from now on; its Index is that which they must have had. nil: they stay
}

func (c *LaunchJob) kind() Kind      { return KindLaunchJob }
func (c *LaunchJob) at() int64       { return c.At }
func (c *LaunchJob) request() string { return c.RequestID }

// Needs is the newest kind of command that a server must understand to make of c what its proposer does. It is the
// command's own, but for a job that runs nothing itself: older servers would plan it as any other.
func Needs(c Command) Kind {
	if r, ok := c.(*RegisterJob); ok && r.Job.IsTemplate() {
		return KindLaunchJob
	}
	return c.kind()
}

func (c *LaunchJob) apply(w *writer) (Result, error) {
	parent := w.job(c.Namespace, c.ParentID)
	if parent == nil || parent.job == nil || parent.job.Stop || parent.job.CreateIndex != c.CreateIndex {
		return Result{}, cluster.Errorf(cluster.CodeConflict, "launch job %q: it was stopped or replaced meanwhile", c.ParentID)
	}
	if c.Launches != nil && (parent.launches == nil || parent.launches.Index != c.Launches.Index) {
		return Result{}, cluster.Errorf(cluster.CodeConflict, "launch job %q: it was launched meanwhile", c.ParentID)
	}
	result, err := w.launch(c)
	if err != nil || c.Launches == nil {
		return result, err
	}
	next := *c.Launches
	next.Index = w.index
	parent = w.jobForWrite(c.Namespace, c.ParentID)
	parent.launches = &next
	w.change(Jobs)
	w.touchJob(parent, jobItself)
	return result, nil
}

// launch stores the command's job, if there is one and it is not there already.
func (w *writer) launch(c *LaunchJob) (Result, error) {
	if c.Job == nil {
		return Result{}, nil
	}
	if c.Job.Namespace != c.Namespace || c.Job.ParentID != c.ParentID || !strings.HasPrefix(c.Job.ID, c.ParentID+"/") {
		return Result{}, cluster.Errorf(cluster.CodeRejected, "launch job %q: job %q is no launch of it", c.ParentID, c.Job.ID)
	}
	if launch := w.launchedBefore(c.Job); launch != nil {
		return Result{LaunchID: launch.ID, JobModifyIndex: launch.JobModifyIndex}, nil
	}
	if entry := w.job(c.Namespace, c.Job.ID); entry != nil && entry.job != nil {
		if c.Launches == nil {
			return Result{}, cluster.Errorf(cluster.CodeConflict, "launch job %q: there is a job %q: try again", c.ParentID, c.Job.ID)
		}
		return Result{LaunchID: c.Job.ID, JobModifyIndex: entry.job.JobModifyIndex}, nil
	}
	entry := w.jobForWrite(c.Namespace, c.Job.ID)
	w.addVersion(entry, c.Job, nil)
	w.beginSchedule(entry, nil)
	return Result{LaunchID: c.Job.ID, JobModifyIndex: w.index, NewVersion: true, EvalID: w.evalForJob(c.Eval, entry.job)}, nil
}

// launchToken is a token with the parent of the launch that was asked for with it.
type launchToken struct {
	parent cluster.JobKey
	token  string
}

func tokenOf(launch *cluster.Job) launchToken {
	return launchToken{cluster.JobKey{Namespace: launch.Namespace, ID: launch.ParentID}, launch.DispatchIdempotencyToken}
}

// launchedBefore is the launch that is there and was asked for with the token of the given one, nil if none was.
func (w *writer) launchedBefore(launch *cluster.Job) *cluster.Job {
	if launch.DispatchIdempotencyToken == "" {
		return nil
	}
	entry := w.job(launch.Namespace, w.launchOf[tokenOf(launch)])
	if entry == nil || entry.job == nil || tokenOf(entry.job) != tokenOf(launch) {
		return nil
	}
	return entry.job
}

// noteToken notes the token that the job, which is there, was asked for with.
func (w *writer) noteToken(job *cluster.Job) {
	if job.DispatchIdempotencyToken != "" {
		w.launchOf[tokenOf(job)] = job.ID
	}
}

// forgetToken forgets the token of a job that goes.
func (w *writer) forgetToken(job *cluster.Job) {
	if w.launchOf[tokenOf(job)] == job.ID {
		delete(w.launchOf, tokenOf(job))
	}
}

// beginSchedule notes when the schedule of a job that was registered just now began, unless it is that of the version before.
func (w *writer) beginSchedule(entry *jobEntry, old *cluster.Job) {
	switch job := entry.job; {
	case !job.IsPeriodic():
		entry.launches = nil
	case old == nil || old.Stop || entry.launches == nil || !sameSchedule(old.Periodic, job.Periodic):
		next := *entry.launches.Begin(w.at)
		next.Index = w.index
		entry.launches = &next
	}
}

// sameSchedule reports whether two blocks launch a job at the same times.
func sameSchedule(a, b *cluster.PeriodicConfig) bool {
	if a == nil || b == nil {
		return a == b
	}
	same := a.Enabled == b.Enabled && a.Spec == b.Spec && a.TimeZone == b.TimeZone && len(a.Specs) == len(b.Specs)
	for i := 0; same && i < len(a.Specs); i++ {
		same = a.Specs[i] == b.Specs[i]
	}
	return same
}

// sameTemplate refuses to make a job of another kind out of one by an update: what hangs on it would mean something else.
func sameTemplate(old, next *cluster.Job) error {
	for _, rule := range []struct {
		what     string
		was, now bool
	}{
		{"periodic", old.IsPeriodic(), next.IsPeriodic()},
		{"parameterized", old.IsParameterized(), next.IsParameterized()},
	} {
		if rule.was == rule.now {
			continue
		}
		from, to := "non-"+rule.what, rule.what
		if rule.was {
			from, to = to, from
		}
		return cluster.Errorf(cluster.CodeRejected, "cannot update %s job to being %s: stop and purge it first, or give the new one another ID", from, to)
	}
	return nil
}

// touchParent notes a change of a launch with the job that it is a launch of.
func (w *writer) touchParent(j *cluster.Job) {
	if j.ParentID == "" {
		return
	}
	if parent := w.job(j.Namespace, j.ParentID); parent != nil && parent.job != nil {
		w.touchJob(w.jobForWrite(j.Namespace, j.ParentID), jobItself)
	}
}

// listByClock keeps the list of jobs that the clock launches.
func (w *writer) listByClock(number uint32, entry *jobEntry) {
	if entry.job != nil && entry.job.ByClock() && entry.launches != nil {
		w.byClock.set(entry.key, number)
	} else if _, listed := w.byClock.get(entry.key); listed {
		w.byClock.remove(entry.key)
	}
}

// launched goes through the launches of a job that are there, by their IDs.
func (c *content) launched(namespace, id string) iter.Seq[*cluster.Job] {
	prefix := id + "/"
	return func(yield func(*cluster.Job) bool) {
		for key, number := range c.jobNumbers.from(cluster.JobKey{Namespace: namespace, ID: prefix}) {
			if key.Namespace != namespace || !strings.HasPrefix(key.ID, prefix) {
				return
			}
			if job := c.jobs.at(number).job; job != nil && job.ParentID == id && !yield(job) {
				return
			}
		}
	}
}

// Launched goes through the launches of a periodic or parameterized job that are there, by their IDs.
func (sn *Snapshot) Launched(namespace, id string) iter.Seq[*cluster.Job] {
	return sn.content.launched(namespace, id)
}

// Launches is what is remembered of the launches of a periodic job, nil if it is none.
func (sn *Snapshot) Launches(namespace, id string) *cluster.Launches {
	if entry := sn.job(namespace, id); entry != nil && entry.job != nil {
		return entry.launches
	}
	return nil
}

// ByClock goes through the jobs that the clock launches, by namespace and ID, with what is remembered of their launches.
func (sn *Snapshot) ByClock() iter.Seq2[*cluster.Job, *cluster.Launches] {
	return func(yield func(*cluster.Job, *cluster.Launches) bool) {
		for _, number := range sn.byClock.all() {
			if entry := sn.jobs.at(number); !yield(entry.job, entry.launches) {
				return
			}
		}
	}
}

func (c *LaunchJob) encode(e *encoder) {
	e.bytes(c.RequestID)
	e.string(c.Namespace)
	e.string(c.ParentID)
	e.uint(c.CreateIndex)
	e.bool(c.Job != nil)
	if c.Job != nil {
		encodeJob(e, c.Job)
	}
	encodeOptional(e, c.Eval, encodeEval)
	encodeOptional(e, c.Launches, encodeLaunches)
}

func (c *LaunchJob) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Namespace = d.string()
	c.ParentID = d.string()
	c.CreateIndex = d.uint()
	if d.bool() {
		c.Job = decodeJob(d)
	}
	c.Eval = decodeOptional(d, decodeEval)
	c.Launches = decodeOptional(d, decodeLaunches)
}

func encodeLaunches(e *encoder, l *cluster.Launches) { e.json(l) }
func decodeLaunches(d *decoder, l *cluster.Launches) { d.json(l) }
