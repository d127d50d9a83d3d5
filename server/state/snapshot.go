package state

import (
	"cmp"
	"iter"
	"strings"

	"github.com/a43e60e4/cluster"
)

// Table is a kind of object; each has an index of its last change.
type Table uint8

// The tables.
const (
	Jobs Table = iota
	Nodes
	Allocs
	Evals
	Deployments
	Services
	Namespaces
	Meta
	Room   // no objects: it changes when an allocation stops taking its share of a node
	tables // how many there are
)

// tableIndex tells when a table last changed.
type tableIndex struct {
	changed uint64
	removed uint64 // when an object last went; the index of objects that are not there
}

// Snapshot is the state at one index. It is immutable, and what it gives out must not be modified. Lists of allocations
// come in ascending order of slots, which has no meaning but is stable and the same on every server.
type Snapshot struct {
	index      uint64
	tables     [tables]tableIndex
	allocCount int
	content
}

// content is what is stored.
type content struct {
	allocs      vector[cluster.Allocation]
	nodes       vector[nodeEntry]
	jobs        vector[jobEntry]
	nodeNumbers *table[cluster.ID, uint32]
	jobNumbers  *table[cluster.JobKey, uint32]
	byClock     *table[cluster.JobKey, uint32] // jobs that the clock launches
	evals       *table[cluster.ID, *cluster.Evaluation]
	pending     *table[created, *cluster.Evaluation]
	blocked     *table[created, *cluster.Evaluation]
	deployments *table[cluster.ID, *cluster.Deployment]
	active      *table[created, *cluster.Deployment]
	services    *table[serviceKey, *serviceEntry]
	namespaces  *table[string, *cluster.Namespace]
	meta        *table[string, metaEntry]
	requests    *table[string, remembered]
}

// freeze is the content as it is now; the receiver may be changed afterwards.
func (c *content) freeze() content {
	return content{
		allocs:      c.allocs.freeze(),
		nodes:       c.nodes.freeze(),
		jobs:        c.jobs.freeze(),
		nodeNumbers: c.nodeNumbers.freeze(),
		jobNumbers:  c.jobNumbers.freeze(),
		byClock:     c.byClock.freeze(),
		evals:       c.evals.freeze(),
		pending:     c.pending.freeze(),
		blocked:     c.blocked.freeze(),
		deployments: c.deployments.freeze(),
		active:      c.active.freeze(),
		services:    c.services.freeze(),
		namespaces:  c.namespaces.freeze(),
		meta:        c.meta.freeze(),
		requests:    c.requests.freeze(),
	}
}

// Index is the index of the last entry applied.
func (sn *Snapshot) Index() uint64 { return sn.index }

// TableIndex is the index of the table's last change, 0 if it never changed.
func (sn *Snapshot) TableIndex(t Table) uint64 { return sn.tables[t].changed }

func compareJobKeys(a, b cluster.JobKey) int {
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

func (sn *Snapshot) job(namespace, id string) *jobEntry {
	number, ok := sn.jobNumbers.get(cluster.JobKey{Namespace: namespace, ID: id})
	if !ok {
		return nil
	}
	return sn.jobs.at(number)
}

func (sn *Snapshot) node(id cluster.ID) *nodeEntry {
	number, ok := sn.nodeNumbers.get(id)
	if !ok {
		return nil
	}
	return sn.nodes.at(number)
}

// Job is the newest version of a job, nil if there is none.
func (sn *Snapshot) Job(namespace, id string) *cluster.Job {
	if entry := sn.job(namespace, id); entry != nil {
		return entry.job
	}
	return nil
}

// Jobs goes through the jobs of a namespace (or cluster.AllNamespaces) whose ID has the prefix, by namespace and ID.
func (sn *Snapshot) Jobs(namespace, prefix string) iter.Seq[*cluster.Job] {
	start := cluster.JobKey{Namespace: namespace, ID: prefix}
	if namespace == cluster.AllNamespaces {
		start = cluster.JobKey{}
	}
	return func(yield func(*cluster.Job) bool) {
		for key, number := range sn.jobNumbers.from(start) {
			if namespace != cluster.AllNamespaces && (key.Namespace != namespace || !strings.HasPrefix(key.ID, prefix)) {
				return
			}
			entry := sn.jobs.at(number)
			if entry.job != nil && strings.HasPrefix(key.ID, prefix) && !yield(entry.job) {
				return
			}
		}
	}
}

// JobVersions lists the versions of a job that are kept, the newest first: as many of the newest as the cluster keeps (see
// MetaTrackedVersions), those with a tag, and those that an allocation runs or ran.
func (sn *Snapshot) JobVersions(namespace, id string) []*cluster.Job {
	var jobs []*cluster.Job
	entry := sn.job(namespace, id)
	if entry == nil || entry.job == nil {
		return nil
	}
	for i := len(entry.versions) - 1; i >= 0; i-- {
		if v := &entry.versions[i]; v.spec.CreateIndex == entry.job.CreateIndex {
			jobs = append(jobs, v.job)
		}
	}
	return jobs
}

// JobVersion is one version of a job, nil if it is not kept.
func (sn *Snapshot) JobVersion(namespace, id string, version uint64) *cluster.Job {
	for _, job := range sn.JobVersions(namespace, id) {
		if job.Version == version {
			return job
		}
	}
	return nil
}

// Submission is the text that a version of a job was submitted as, nil if there is none.
func (sn *Snapshot) Submission(namespace, id string, version uint64) *Submission {
	entry := sn.job(namespace, id)
	if entry == nil || entry.job == nil {
		return nil
	}
	if v := entry.version(entry.job.CreateIndex, version); v != nil {
		return v.source
	}
	return nil
}

// JobSummary counts the job's allocations, by group. It is nil for a job that is not there.
func (sn *Snapshot) JobSummary(namespace, id string) *cluster.JobSummary {
	entry := sn.job(namespace, id)
	if entry == nil || entry.job == nil {
		return nil
	}
	summary := &cluster.JobSummary{
		JobID: id, Namespace: namespace, Summary: make(map[string]cluster.GroupSummary),
		CreateIndex: entry.job.CreateIndex, ModifyIndex: max(entry.changed[jobItself], entry.changed[jobAllocs], entry.changed[jobEvals]),
	}
	for i := range entry.job.TaskGroups {
		summary.Summary[entry.job.TaskGroups[i].Name] = cluster.GroupSummary{}
	}
	for _, g := range entry.groups {
		summary.Summary[g.name] = cluster.GroupSummary{
			Starting: int(g.counts[cluster.ClientPending]), Running: int(g.counts[cluster.ClientRunning]),
			Complete: int(g.counts[cluster.ClientComplete]), Failed: int(g.counts[cluster.ClientFailed]),
			Lost: int(g.counts[cluster.ClientLost]), Unknown: int(g.counts[cluster.ClientUnknown]),
		}
	}
	if entry.job.IsTemplate() {
		for launch := range sn.Launched(namespace, id) {
			summary.Children.Add(launch.Status)
		}
		summary.Launches = entry.launches
	}
	var newest *cluster.Evaluation
	for eval := range sn.EvalsByJob(namespace, id) {
		if eval.QueuedAllocations == nil || eval.Status == cluster.EvalCanceled {
			continue // what is canceled was overtaken by the other one of the same plan
		}
		if newest == nil || cmp.Or(cmp.Compare(eval.ModifyIndex, newest.ModifyIndex), eval.ID.Compare(newest.ID)) > 0 {
			newest = eval
		}
	}
	if newest != nil {
		for name, queued := range newest.QueuedAllocations {
			if g, ok := summary.Summary[name]; ok {
				g.Queued = queued
				summary.Summary[name] = g
			}
		}
	}
	return summary
}

// Eval is an evaluation, nil if there is none.
func (sn *Snapshot) Eval(id cluster.ID) *cluster.Evaluation {
	eval, _ := sn.evals.get(id)
	return eval
}

// Evals goes through all evaluations by ID.
func (sn *Snapshot) Evals() iter.Seq[*cluster.Evaluation] { return sn.evals.values() }

// PendingEvals goes through the evaluations to be planned, also those whose WaitUntil has not come, oldest first.
func (sn *Snapshot) PendingEvals() iter.Seq[*cluster.Evaluation] { return sn.pending.values() }

// BlockedEvals goes through the evaluations that wait for room, oldest first.
func (sn *Snapshot) BlockedEvals() iter.Seq[*cluster.Evaluation] { return sn.blocked.values() }

// EvalsByJob goes through a job's evaluations, also of a purged one, in order of their creation.
func (sn *Snapshot) EvalsByJob(namespace, id string) iter.Seq[*cluster.Evaluation] {
	return func(yield func(*cluster.Evaluation) bool) {
		entry := sn.job(namespace, id)
		if entry == nil {
			return
		}
		for _, key := range entry.evals {
			if eval, ok := sn.evals.get(key.id); ok && !yield(eval) {
				return
			}
		}
	}
}

// Deployment is a deployment, nil if there is none.
func (sn *Snapshot) Deployment(id cluster.ID) *cluster.Deployment {
	d, _ := sn.deployments.get(id)
	return d
}

// Deployments goes through all deployments by ID.
func (sn *Snapshot) Deployments() iter.Seq[*cluster.Deployment] { return sn.deployments.values() }

// ActiveDeployments goes through those that go on, oldest first.
func (sn *Snapshot) ActiveDeployments() iter.Seq[*cluster.Deployment] { return sn.active.values() }

// DeploymentsByJob goes through a job's deployments, also of a purged one, oldest first.
func (sn *Snapshot) DeploymentsByJob(namespace, id string) iter.Seq[*cluster.Deployment] {
	return func(yield func(*cluster.Deployment) bool) {
		entry := sn.job(namespace, id)
		if entry == nil {
			return
		}
		for _, key := range entry.deployments {
			if d, ok := sn.deployments.get(key.id); ok && !yield(d) {
				return
			}
		}
	}
}

// LatestDeployment is the newest deployment of the job as it is registered now, nil if there is none.
func (sn *Snapshot) LatestDeployment(namespace, id string) *cluster.Deployment {
	entry := sn.job(namespace, id)
	if entry == nil || entry.job == nil {
		return nil
	}
	var latest *cluster.Deployment
	for d := range sn.DeploymentsByJob(namespace, id) {
		if d.JobCreateIndex == entry.job.CreateIndex {
			latest = d
		}
	}
	return latest
}

// Namespace is a namespace, nil if there is none.
func (sn *Snapshot) Namespace(name string) *cluster.Namespace {
	ns, _ := sn.namespaces.get(name)
	return ns
}

// Namespaces goes through the namespaces by name.
func (sn *Snapshot) Namespaces() iter.Seq[*cluster.Namespace] { return sn.namespaces.values() }

// Metas goes through the keys that begin with the prefix, and their values, in the order of the keys.
func (sn *Snapshot) Metas(prefix string) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for key, entry := range sn.meta.from(prefix) {
			if !strings.HasPrefix(key, prefix) || !yield(key, entry.value) {
				return
			}
		}
	}
}

// Meta is the value that SetMeta stored under the key, nil if there is none.
func (sn *Snapshot) Meta(key string) []byte {
	entry, _ := sn.meta.get(key)
	return entry.value
}

// Answered is the result of an earlier request of that ID, if one that is proposed at that time (unix nanoseconds) would be answered
// with it.
func (sn *Snapshot) Answered(request string, at int64) (Result, bool) {
	old, ok := sn.requests.get(request)
	if !ok || request == "" || at-old.at >= RequestWindow {
		return Result{}, false
	}
	old.result.Repeated = true
	return old.result, true
}
