package state

import (
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
)

// nodeEntry is a node with what hangs on it. One whose batch is over is never changed.
type nodeEntry struct {
	batch         uint64
	id            cluster.ID
	node          *cluster.Node // nil: deleted, but there are allocations
	slots         []uint32
	used          cluster.Capacity
	ports         cluster.PortSet
	twice         []int32 // ports that more allocations hold: the one that stops and the one that follows
	changed       uint64
	allocsChanged uint64 // by the servers
}

// jobChange is what of a job changed.
type jobChange uint8

const (
	jobItself jobChange = iota
	jobAllocs
	jobEvals
	jobDeployments
	jobChanges // how many there are
)

// jobEntry is a job with what hangs on it. One whose batch is over is never changed.
type jobEntry struct {
	batch       uint64
	dirty       bool // listed in writer.dirty
	key         cluster.JobKey
	job         *cluster.Job // the newest version as it stands; nil: purged, but something hangs on it
	versions    []version    // ascending by CreateIndex and Version
	slots       []uint32
	groups      []groupCount                      // ascending by name
	living      int                               // allocations that are not Terminal
	evals       []created                         // oldest first
	open        int                               // evaluations that are not done
	deployments []created                         // oldest first
	scaling     map[string][]cluster.ScalingEvent // by group, the newest first; replaced, never changed
	changed     [jobChanges]uint64
	launches    *cluster.Launches // of a periodic job, else nil
}

// version is one version of a job.
type version struct {
	spec   *cluster.Job // as it was registered; what allocations share
	job    *cluster.Job // the same with its status and tag as they stand
	source *Submission
	allocs int // that run or ran it
}

type groupCount struct {
	name   string
	counts [cluster.ClientUnknown + 1]int32
}

func (j *jobEntry) version(createIndex, number uint64) *version {
	for i := len(j.versions) - 1; i >= 0; i-- {
		if v := &j.versions[i]; v.spec.CreateIndex == createIndex && v.spec.Version == number {
			return v
		}
	}
	return nil
}

// newest is the version that the job stands at, nil if the job is not registered.
func (j *jobEntry) newest() *version {
	if j == nil || j.job == nil {
		return nil
	}
	return j.version(j.job.CreateIndex, j.job.Version)
}

func (j *jobEntry) empty() bool {
	return j.job == nil && len(j.slots) == 0 && len(j.evals) == 0 && len(j.deployments) == 0
}

func (j *jobEntry) count(group string, status cluster.ClientStatus, by int32) {
	i, ok := slices.BinarySearchFunc(j.groups, group, func(g groupCount, name string) int { return strings.Compare(g.name, name) })
	if !ok {
		j.groups = slices.Insert(j.groups, i, groupCount{name: group})
	}
	j.groups[i].counts[status] += by
	if j.groups[i].counts == (groupCount{}).counts {
		j.groups = slices.Delete(j.groups, i, i+1)
	}
}

// nodeForWrite is the entry of a node, made if need be, which may be changed until the batch ends.
func (w *writer) nodeForWrite(id cluster.ID) *nodeEntry {
	number, ok := w.nodeOf[id]
	if !ok {
		number = take(&w.freeNodes, len(w.nodeOf))
		w.nodeOf[id] = number
		w.nodeNumbers.set(id, number)
		entry := &nodeEntry{batch: w.batch, id: id, changed: w.index, allocsChanged: w.index}
		w.nodes.set(number, entry)
		w.touched.add(NodeAllocsKey(id))
		return entry
	}
	entry := w.nodes.at(number)
	if entry.batch != w.batch {
		copied := *entry
		copied.batch = w.batch
		entry = &copied
		w.nodes.set(number, entry)
	}
	return entry
}

// take is a free number, or the next one that was never used.
func take(free *[]uint32, used int) uint32 {
	n := len(*free)
	if n == 0 {
		return uint32(used)
	}
	number := (*free)[n-1]
	*free = (*free)[:n-1]
	return number
}

// dropNode forgets a node's entry if nothing is left of it.
func (w *writer) dropNode(id cluster.ID) {
	number, ok := w.nodeOf[id]
	if !ok {
		return
	}
	if entry := w.nodes.at(number); entry.node == nil && len(entry.slots) == 0 {
		w.nodes.set(number, nil)
		delete(w.nodeOf, id)
		w.nodeNumbers.remove(id)
		w.freeNodes = append(w.freeNodes, number)
		w.remove(Nodes)
	}
}

// touchNode notes a change of the node itself.
func (w *writer) touchNode(entry *nodeEntry) {
	entry.changed = w.index
	w.change(Nodes)
	w.touched.add(NodeKey(entry.id))
}

// touchNodeAllocs notes a change by the servers of the node's allocations.
func (w *writer) touchNodeAllocs(entry *nodeEntry) {
	if entry.allocsChanged != w.index {
		entry.allocsChanged = w.index
		w.touched.add(NodeAllocsKey(entry.id))
	}
}

func (w *writer) job(namespace, id string) *jobEntry {
	number, ok := w.jobOf[cluster.JobKey{Namespace: namespace, ID: id}]
	if !ok {
		return nil
	}
	return w.jobs.at(number)
}

// jobForWrite is the entry of a job, made if need be, which may be changed until the batch ends.
func (w *writer) jobForWrite(namespace, id string) *jobEntry {
	key := cluster.JobKey{Namespace: namespace, ID: id}
	number, ok := w.jobOf[key]
	if !ok {
		number = take(&w.freeJobs, len(w.jobOf))
		w.jobOf[key] = number
		w.jobNumbers.set(key, number)
		entry := &jobEntry{batch: w.batch, key: key}
		for i := range entry.changed {
			entry.changed[i] = w.index
			w.touched.add(jobKey(jobChange(i), namespace, id))
		}
		w.jobs.set(number, entry)
	}
	return w.jobByNumber(number)
}

func (w *writer) jobByNumber(number uint32) *jobEntry {
	entry := w.jobs.at(number)
	if entry.batch != w.batch {
		copied := *entry
		copied.batch = w.batch
		copied.groups = slices.Clone(entry.groups)
		copied.versions = slices.Clone(entry.versions)
		entry = &copied
		w.jobs.set(number, entry)
	}
	if !entry.dirty {
		entry.dirty = true
		w.dirty = append(w.dirty, number)
	}
	return entry
}

// touchJob notes a change of a job or of what hangs on it.
func (w *writer) touchJob(entry *jobEntry, what jobChange) {
	if entry.changed[what] != w.index || what == jobItself {
		entry.changed[what] = w.index
		w.touched.add(jobKey(what, entry.key.Namespace, entry.key.ID))
	}
}

// settleJob derives what follows from a job's parts at the end of an entry: its status, which versions are
// kept, and whether anything is left of it.
func (w *writer) settleJob(number uint32) {
	entry := w.jobs.at(number)
	entry.dirty = false
	w.dropVersions(entry)
	w.listByClock(number, entry)
	if entry.empty() {
		w.jobs.set(number, nil)
		delete(w.jobOf, entry.key)
		w.jobNumbers.remove(entry.key)
		w.freeJobs = append(w.freeJobs, number)
		w.remove(Jobs)
		w.touched.add(JobKey(entry.key.Namespace, entry.key.ID))
		return
	}
	if entry.job == nil {
		return
	}
	if status := entry.status(); status != entry.job.Status {
		w.changeJob(entry, func(j *cluster.Job) { j.Status = status })
		w.touchParent(entry.job)
	}
}

// status derives a job's status from what hangs on it.
func (j *jobEntry) status() string {
	switch {
	case j.living > 0:
		return cluster.JobStatusRunning
	case j.job.Stop:
		return cluster.JobStatusDead
	case j.job.IsTemplate():
		return cluster.JobStatusRunning // its launches are jobs of their own
	case j.open > 0 || len(j.evals) == 0 && len(j.slots) == 0:
		return cluster.JobStatusPending
	case j.job.Type == cluster.JobTypeSystem:
		return cluster.JobStatusRunning // it waits for nodes
	}
	return cluster.JobStatusDead
}

// changeJob replaces the newest version as it stands. What allocations share stays as it is.
func (w *writer) changeJob(entry *jobEntry, edit func(*cluster.Job)) {
	next := *entry.job
	edit(&next)
	next.ModifyIndex = w.index
	entry.job = &next
	entry.newest().job = &next
	w.change(Jobs)
	w.touchJob(entry, jobItself)
}
