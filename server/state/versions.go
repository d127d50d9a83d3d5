package state

import (
	"maps"
	"slices"
	"strconv"

	"github.com/a43e60e4/cluster"
)

// DefaultTrackedVersions is how many versions of a job are kept while MetaTrackedVersions says nothing else.
const DefaultTrackedVersions = 6

// MetaTrackedVersions is the key of a fact about the cluster that the state itself reads: a number of at least 1, as text. It
// counts the versions of a job that are kept besides those that are tagged or that an allocation runs or ran. A job takes
// it up at its next change.
const MetaTrackedVersions = "job_tracked_versions"

// ScaleJob changes how many instances of a job's group are wanted, as the job's next version, and notes that; or only notes
// something.
type ScaleJob struct {
	At             int64
	RequestID      string
	Namespace      string
	ID             string
	Group          string
	JobModifyIndex uint64               // refuse (CodeConflict) unless the job's is this one
	Event          cluster.ScalingEvent // with the Count that is wanted; Time, PreviousCount, EvalID and CreateIndex are the state's
	Eval           *cluster.Evaluation  // nil for none
}

// MarkVersion says something about one version of a job that changes nothing of what runs.
type MarkVersion struct {
	At        int64
	RequestID string
	Version   JobVersion
	Stable    *bool                  // nil leaves it
	Tag       *cluster.JobVersionTag // a name that no other version has, to be given; nil gives none. TaggedTime is the state's
	Untag     bool                   // takes the name that it has
}

func (c *ScaleJob) kind() Kind         { return KindScaleJob }
func (c *MarkVersion) kind() Kind      { return KindMarkVersion }
func (c *ScaleJob) at() int64          { return c.At }
func (c *MarkVersion) at() int64       { return c.At }
func (c *ScaleJob) request() string    { return c.RequestID }
func (c *MarkVersion) request() string { return c.RequestID }

func (c *ScaleJob) apply(w *writer) (Result, error) {
	entry := w.job(c.Namespace, c.ID)
	if entry == nil || entry.job == nil {
		return Result{}, cluster.Errorf(cluster.CodeNotFound, "job not found")
	}
	if entry.job.JobModifyIndex != c.JobModifyIndex {
		return Result{}, cluster.Errorf(cluster.CodeConflict, "scale job %q: it has changed meanwhile", c.ID)
	}
	group := entry.job.Group(c.Group)
	if group == nil {
		return Result{}, cluster.Errorf(cluster.CodeInvalid, "scale job %q: it has no group %q", c.ID, c.Group)
	}
	entry = w.jobForWrite(c.Namespace, c.ID)
	event := c.Event
	event.Time, event.PreviousCount, event.CreateIndex, event.EvalID = w.at, int64(group.Count), w.index, nil
	result := Result{NewVersion: event.Count != nil && int64(group.Count) != *event.Count}
	if result.NewVersion {
		last := entry.newest()
		next := *last.spec
		next.TaskGroups = slices.Clone(next.TaskGroups)
		next.Group(c.Group).Count = int(*event.Count)
		w.addVersion(entry, &next, last.source)
	}
	result.JobModifyIndex = entry.job.JobModifyIndex
	if result.EvalID = w.evalForJob(c.Eval, entry.job); c.Eval != nil {
		event.EvalID = &result.EvalID
	}
	w.noteScaling(w.jobForWrite(c.Namespace, c.ID), c.Group, event)
	return result, nil
}

// noteScaling adds an event to those of a group, the newest first.
func (w *writer) noteScaling(entry *jobEntry, group string, event cluster.ScalingEvent) {
	events := append([]cluster.ScalingEvent{event}, entry.scaling[group]...)
	entry.scaling = maps.Clone(entry.scaling)
	if entry.scaling == nil {
		entry.scaling = make(map[string][]cluster.ScalingEvent)
	}
	entry.scaling[group] = slices.Clip(events[:min(len(events), cluster.KeptScalingEvents)])
	w.touchJob(entry, jobItself)
}

func (c *MarkVersion) apply(w *writer) (Result, error) {
	entry := w.job(c.Version.Namespace, c.Version.ID)
	if entry == nil || entry.job == nil || entry.version(c.Version.CreateIndex, c.Version.Version) == nil {
		return Result{}, cluster.Errorf(cluster.CodeNotFound, "job %q in namespace %q at version %d not found",
			c.Version.ID, c.Version.Namespace, c.Version.Version)
	}
	if c.Tag != nil {
		for i := range entry.versions {
			other := entry.versions[i].job
			if tag := other.VersionTag; tag != nil && tag.Name == c.Tag.Name && other.Version != c.Version.Version && other.CreateIndex == c.Version.CreateIndex {
				return Result{}, cluster.Errorf(cluster.CodeRejected, "tag version %d of job %q: version %d has the name %q already: unset that one, or choose another name",
					c.Version.Version, c.Version.ID, other.Version, c.Tag.Name)
			}
		}
	}
	w.changeVersion(w.jobForWrite(c.Version.Namespace, c.Version.ID), c.Version, func(j *cluster.Job) {
		if c.Stable != nil {
			j.Stable = *c.Stable
		}
		if c.Untag {
			j.VersionTag = nil
		}
		if c.Tag != nil {
			tag := *c.Tag
			tag.TaggedTime = w.at
			j.VersionTag = &tag
		}
	})
	return Result{}, nil
}

// changeVersion replaces a version, which is there, as it stands. What allocations share stays as it is.
func (w *writer) changeVersion(entry *jobEntry, of JobVersion, edit func(*cluster.Job)) {
	v := entry.version(of.CreateIndex, of.Version)
	if v.job == entry.job {
		w.changeJob(entry, edit)
		return
	}
	next := *v.job
	edit(&next)
	next.ModifyIndex = w.index
	v.job = &next
	w.change(Jobs)
	w.touchJob(entry, jobItself)
}

// dropVersions forgets the versions that are neither tagged, nor among the newest, nor run by any allocation. The newest stable
// one is among the newest however old it is, for somebody may want to go back to it.
func (w *writer) dropVersions(entry *jobEntry) {
	if len(entry.versions) == 0 || len(entry.versions) == 1 && entry.job != nil && entry.versions[0].job == entry.job {
		return
	}
	keep := w.tracked(entry)
	kept := entry.versions[:0]
	for i, v := range entry.versions {
		if v.allocs > 0 || keep[i] {
			kept = append(kept, v)
			continue
		}
		delete(w.specOf, v.spec)
	}
	clear(entry.versions[len(kept):])
	entry.versions = kept
}

// tracked are the places of the versions that are kept for people.
func (w *writer) tracked(entry *jobEntry) map[int]bool {
	keep, room, stable := make(map[int]bool), w.trackedVersions, -1
	oldest := -1 // of those that are kept for being new, but for the newest
	for i := len(entry.versions) - 1; i >= 0; i-- {
		v := &entry.versions[i]
		switch {
		case entry.job == nil || v.spec.CreateIndex != entry.job.CreateIndex:
		case v.job == entry.job:
			keep[i] = true
			if v.job.VersionTag == nil {
				room--
			}
		case v.job.VersionTag != nil:
			keep[i] = true
		case room > 0:
			keep[i], oldest = true, i
			room--
		}
		if v.job.Stable && stable < 0 && entry.job != nil && v.spec.CreateIndex == entry.job.CreateIndex {
			stable = i
		}
	}
	if stable >= 0 && !keep[stable] && oldest >= 0 {
		delete(keep, oldest)
		keep[stable] = true
	}
	return keep
}

// readTracked is the number that MetaTrackedVersions holds.
func readTracked(value []byte) int {
	n, err := strconv.Atoi(string(value))
	if err != nil || n < 1 {
		return DefaultTrackedVersions
	}
	return n
}

// ScalingEvents are what happened to the counts of a job's groups, by group and the newest first. They must not be modified.
func (sn *Snapshot) ScalingEvents(namespace, id string) map[string][]cluster.ScalingEvent {
	if entry := sn.job(namespace, id); entry != nil && entry.job != nil {
		return entry.scaling
	}
	return nil
}

func encodeScalingEvents(e *encoder, events []cluster.ScalingEvent) {
	encodeSlice(e, events, func(v *cluster.ScalingEvent) { e.json(v) })
}

func decodeScalingEvents(d *decoder) []cluster.ScalingEvent {
	return decodeSlice(d, func(v *cluster.ScalingEvent) { d.json(v) })
}

func (c *ScaleJob) encode(e *encoder) {
	e.bytes(c.RequestID)
	e.string(c.Namespace)
	e.string(c.ID)
	e.string(c.Group)
	e.uint(c.JobModifyIndex)
	e.json(&c.Event)
	encodeOptional(e, c.Eval, encodeEval)
}

func (c *ScaleJob) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Namespace = d.string()
	c.ID = d.string()
	c.Group = d.string()
	c.JobModifyIndex = d.uint()
	d.json(&c.Event)
	c.Eval = decodeOptional(d, decodeEval)
	if n := c.Event.Count; n != nil && (*n < 0 || *n > maxCount) {
		d.fail("count %d is out of range", *n)
	}
}

// maxCount bounds what a damaged count can cost.
const maxCount = 1 << 31

func (c *MarkVersion) encode(e *encoder) {
	e.bytes(c.RequestID)
	encodeJobVersion(e, &c.Version)
	encodeOptional(e, c.Stable, func(e *encoder, v *bool) { e.bool(*v) })
	encodeOptional(e, c.Tag, func(e *encoder, t *cluster.JobVersionTag) {
		e.bytes(t.Name)
		e.bytes(t.Description)
	})
	e.bool(c.Untag)
}

func (c *MarkVersion) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	decodeJobVersion(d, &c.Version)
	c.Stable = decodeOptional(d, func(d *decoder, v *bool) { *v = d.bool() })
	c.Tag = decodeOptional(d, func(d *decoder, t *cluster.JobVersionTag) {
		*t = cluster.JobVersionTag{Name: string(d.bytes()), Description: string(d.bytes())}
	})
	c.Untag = d.bool()
}
