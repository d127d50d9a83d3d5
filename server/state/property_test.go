package state

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/a43e60e4/cluster"
)

// world draws random commands, mostly sensible ones: they look at the state that they are to change.
type world struct {
	t     *rapid.T
	sn    *Snapshot
	now   int64
	fresh uint32 // the next ID that nobody has
}

func (w *world) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(w.t, label) }

func (w *world) flip(label string) bool { return rapid.Bool().Draw(w.t, label) }

func (w *world) newID() cluster.ID {
	w.fresh++
	return id(10_000 + w.fresh)
}

func (w *world) nodeID() cluster.ID { return id(uint32(1 + w.pick("node", 4))) }

func (w *world) jobID() string { return []string{"a", "b", "c"}[w.pick("job", 3)] }

func (w *world) job() *cluster.Job {
	job := testJob(w.jobID())
	job.Namespace = []string{"default", "default", "other"}[w.pick("namespace", 3)]
	job.Priority = 50 + w.pick("priority", 3)
	job.Type = []string{cluster.JobTypeService, cluster.JobTypeSystem}[w.pick("type", 8)/7]
	second := job.TaskGroups[0]
	second.Name = "second"
	job.TaskGroups = append(job.TaskGroups, second)
	return job
}

func (w *world) eval(job *cluster.Job) *cluster.Evaluation {
	eval := *testEval(0, job)
	eval.ID = w.newID()
	return &eval
}

func sample[T any](w *world, label string, all []T) []T {
	return slices.DeleteFunc(slices.Clone(all), func(T) bool { return rapid.IntRange(0, 3).Draw(w.t, label) == 0 })
}

func (w *world) allocs() []*cluster.Allocation {
	return sample(w, "alloc", slices.Collect(w.sn.Allocs()))
}

func (w *world) command() Command {
	switch w.pick("command", 21) {
	case 0, 1:
		job := w.job()
		return &RegisterJob{At: w.now, RequestID: []string{"", "r1", "r2"}[w.pick("request", 3)], Job: job, Eval: w.eval(job),
			EnforceIndex: w.pick("enforce", 5) == 0, Source: &Submission{Source: "text"}}
	case 2:
		job := w.job()
		if w.pick("template", 3) == 0 {
			job = templateJob("p")
		}
		return &DeregisterJob{At: w.now, Namespace: job.Namespace, ID: job.ID, Purge: w.flip("purge"), Eval: w.eval(job)}
	case 3, 4, 5, 6:
		return w.plan()
	case 7, 8:
		return w.report()
	case 9:
		c := &StopAllocs{At: w.now}
		for _, a := range w.allocs() {
			if w.flip("stop") {
				c.Stops = append(c.Stops, cluster.Stop{ID: a.ID, Description: "asked", Lost: w.flip("lost")})
			}
		}
		return c
	case 10, 11:
		return w.node()
	case 12:
		return w.deployments()
	case 13:
		if w.flip("delete") {
			return &DeleteNamespace{At: w.now, Name: "other"}
		}
		return &UpsertNamespace{At: w.now, Namespace: &cluster.Namespace{Name: "other"}}
	case 14:
		if w.flip("swap") {
			return &SwapMeta{At: w.now, Swaps: []MetaSwap{{Key: w.jobID(), Old: []byte(w.jobID()), New: []byte(w.jobID())}, {Key: "new", New: []byte{1}}}}
		}
		return &SetMeta{At: w.now, Key: w.jobID(), Value: []byte(w.jobID()), Create: w.flip("create")}
	case 15, 16, 17:
		return w.launch()
	case 18:
		return w.scale()
	case 19:
		return w.mark()
	}
	return w.reap()
}

// launch registers a job that is launched, or launches it by the clock or by hand.
func (w *world) launch() Command {
	parent := w.sn.Job("default", "p")
	if parent == nil || w.pick("register", 4) == 0 {
		job := templateJob("p")
		job.Priority = 50 + w.pick("priority", 2)
		job.Periodic.Specs = []string{"@daily", "@hourly"}[:1+w.pick("crons", 2)]
		job.Periodic.Enabled = w.pick("rests", 4) > 0
		return &RegisterJob{At: w.now, Job: job}
	}
	slot := int64(w.pick("slot", 4))
	c := &LaunchJob{At: w.now, RequestID: []string{"", "l1"}[w.pick("request", 2)], Namespace: "default", ParentID: "p", CreateIndex: parent.CreateIndex}
	if w.flip("by the clock") {
		launches := *w.sn.Launches("default", "p")
		launches.Ran, launches.Last = []cluster.SlotRange{{From: slot, To: slot}}, slot
		launches.Index -= uint64(w.pick("stale", 5) / 4)
		c.Launches = &launches
	}
	if w.pick("skip", 4) > 0 {
		c.Job = parent.PeriodicLaunch(slot)
		c.Job.DispatchIdempotencyToken = []string{"", "once"}[w.pick("token", 2)]
		c.Eval = w.eval(c.Job)
	}
	return c
}

func (w *world) scale() Command {
	job := w.job()
	c := &ScaleJob{At: w.now, RequestID: []string{"", "s1"}[w.pick("request", 2)], Namespace: job.Namespace, ID: job.ID,
		Group: []string{"web", "second", "none"}[w.pick("group", 3)], Event: cluster.ScalingEvent{Message: "why"}}
	if stored := w.sn.Job(job.Namespace, job.ID); stored != nil {
		c.JobModifyIndex = stored.JobModifyIndex
	}
	if w.flip("change") {
		c.Event.Count, c.Eval = new(int64(w.pick("count", 3))), w.eval(job)
	}
	return c
}

func (w *world) mark() Command {
	if w.pick("what", 4) == 0 {
		return &SetMeta{At: w.now, Key: MetaTrackedVersions, Value: []byte{'1' + byte(w.pick("tracked", 3))}}
	}
	job := w.job()
	c := &MarkVersion{At: w.now, Version: JobVersion{Namespace: job.Namespace, ID: job.ID}}
	if versions := w.sn.JobVersions(job.Namespace, job.ID); len(versions) > 0 {
		v := versions[w.pick("version", len(versions))]
		c.Version.CreateIndex, c.Version.Version = v.CreateIndex, v.Version
	}
	switch w.pick("mark", 3) {
	case 0:
		c.Stable = new(w.flip("stable"))
	case 1:
		c.Tag = &cluster.JobVersionTag{Name: w.jobID(), Description: "why"}
	case 2:
		c.Untag = true
	}
	return c
}

func (w *world) plan() Command {
	pending := slices.Collect(w.sn.PendingEvals())
	if len(pending) == 0 {
		job := w.job()
		return &UpsertEvals{At: w.now, Evals: []cluster.Evaluation{*w.eval(job)}}
	}
	eval := *pending[w.pick("eval", len(pending))]
	eval.Status = []string{cluster.EvalComplete, cluster.EvalBlocked, cluster.EvalFailed}[w.pick("status", 3)]
	eval.QueuedAllocations = map[string]int{"web": w.pick("queued", 3)}
	p := cluster.Plan{Namespace: eval.Namespace, JobID: eval.JobID, SnapshotIndex: w.sn.Index(), Eval: eval}
	var deployment cluster.ID
	if job := w.sn.Job(eval.Namespace, eval.JobID); job != nil {
		p.CreateIndex, p.Version = job.CreateIndex, job.Version
		if w.flip("deploy") {
			deployment = w.newID()
			p.Deployments = []cluster.Deployment{{ID: deployment, Namespace: job.Namespace, JobID: job.ID, JobCreateIndex: job.CreateIndex,
				Status: cluster.DeploymentRunning, TaskGroups: map[string]cluster.DeploymentGroup{"web": {DesiredTotal: 3}, "second": {}}}}
		}
	}
	for _, a := range sample(w, "alloc", slices.Collect(w.sn.AllocsByJob(eval.Namespace, eval.JobID))) {
		switch w.pick("fate", 6) {
		case 0:
			p.Stops = append(p.Stops, cluster.Stop{ID: a.ID, Description: "plan", Lost: w.flip("lost")})
		case 1:
			p.Updates = append(p.Updates, cluster.Update{ID: a.ID, DeploymentID: deployment})
		case 2:
			p.Waits = append(p.Waits, cluster.Wait{ID: a.ID, FollowupEvalID: w.newID()})
		case 4:
			p.Unknown = append(p.Unknown, a.ID)
		case 3:
			p.Stops = append(p.Stops, cluster.Stop{ID: a.ID})
			p.Places = append(p.Places, w.placement(a.ID, deployment))
		}
	}
	for range w.pick("places", 5) {
		p.Places = append(p.Places, w.placement(cluster.ID{}, deployment))
	}
	if p.CreateIndex == 0 {
		p.Places, p.Updates = nil, nil
	}
	seed := [16]byte{}
	copy(seed[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(w.t, "seed"))
	return &CommitPlan{At: w.now, Seed: seed, Plan: p}
}

func (w *world) placement(previous, deployment cluster.ID) cluster.Placement {
	return cluster.Placement{NodeID: w.nodeID(), TaskGroup: []string{"web", "second"}[w.pick("group", 2)], Index: int32(w.pick("index", 3)),
		KeepVersion: w.flip("keep"), Previous: previous, DeploymentID: deployment,
		Ports: []cluster.AllocatedPort{{Label: "http", Value: int32(20000 + w.pick("port", 3))}}}
}

func (w *world) report() Command {
	c := &ReportAllocs{At: w.now}
	for _, a := range w.allocs() {
		u := cluster.AllocUpdate{ID: a.ID, ClientStatus: cluster.ClientStatus(w.pick("status", 4)), Passing: uint64(w.pick("passing", 2)),
			Health: cluster.HealthStatus(w.pick("health", 3)), HealthTime: w.now}
		if w.flip("tasks") {
			u.TaskStates = ended(w.pick("code", 2))
		}
		c.Updates = append(c.Updates, u)
	}
	c.Updates = append(c.Updates, cluster.AllocUpdate{ID: id(77)})
	return c
}

func (w *world) node() Command {
	switch w.pick("node command", 8) {
	case 0:
		return &NodeStatus{At: w.now, ID: w.nodeID(), Status: []string{cluster.NodeStatusReady, cluster.NodeStatusDown, cluster.NodeStatusDisconnected}[w.pick("up", 3)],
			Event: &cluster.NodeEvent{Message: "status"}}
	case 1:
		return &NodeEligibility{At: w.now, ID: w.nodeID(), Eligibility: []string{cluster.NodeEligible, cluster.NodeIneligible}[w.pick("open", 2)]}
	case 2:
		return &DeleteNode{At: w.now, ID: w.nodeID()}
	case 3:
		return w.drain()
	case 4:
		c := &EndDrain{At: w.now, ID: w.nodeID(), Event: &cluster.NodeEvent{Message: "done"}}
		if n := w.sn.Node(c.ID); n != nil && w.flip("as it was") {
			c.ModifyIndex = n.ModifyIndex
		}
		return c
	}
	n := testNode(uint32(1 + w.pick("node", 4)))
	n.Name = fmt.Sprint("node", w.pick("name", 2))
	return &RegisterNode{At: w.now, Node: n}
}

func (w *world) drain() Command {
	c := &DrainNode{At: w.now, ID: w.nodeID(), MarkEligible: w.flip("open"), Event: &cluster.NodeEvent{Message: "drain"}}
	if w.flip("on") {
		c.Spec = &cluster.DrainSpec{Deadline: time.Duration(w.pick("deadline", 3)-1) * time.Hour, IgnoreSystemJobs: w.flip("system")}
		c.Meta = map[string]string{w.jobID(): "why"}
	}
	return c
}

func (w *world) deployments() Command {
	c := &UpsertDeployments{At: w.now}
	for d := range w.sn.ActiveDeployments() {
		next := *d
		next.Status = []string{cluster.DeploymentRunning, cluster.DeploymentSuccessful, cluster.DeploymentFailed}[w.pick("status", 3)]
		c.Deployments = append(c.Deployments, next)
		c.StableJob = &JobVersion{d.Namespace, d.JobID, d.JobCreateIndex, d.JobVersion}
	}
	return c
}

func (w *world) reap() Command {
	c := &Reap{At: w.now}
	for _, a := range w.allocs() {
		c.Allocs = append(c.Allocs, a.ID)
	}
	for eval := range w.sn.Evals() {
		c.Evals = append(c.Evals, eval.ID)
	}
	for d := range w.sn.Deployments() {
		c.Deployments = append(c.Deployments, d.ID)
	}
	for n := range w.sn.Nodes() {
		c.Nodes = append(c.Nodes, n.ID)
	}
	c.Jobs = []cluster.JobKey{{Namespace: "default", ID: w.jobID()}, {Namespace: "other", ID: w.jobID()}, {Namespace: "default", ID: "p/periodic-1"}}
	return c
}

// The same log leads to the same state, however it is applied: entry by entry, in batches, twice over, or
// with a save and a restore in the middle, which derives everything anew.
func TestTheSameLogMakesTheSameState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, now: 1_700_000_000e9}
		plain, twice, moved, batched := New(), New(), New(), New()
		length := rapid.IntRange(1, 40).Draw(t, "length")
		half := rapid.IntRange(0, length).Draw(t, "half")
		var log []Entry
		for i := range length {
			w.sn, w.now = plain.Snapshot(), w.now+int64(rapid.IntRange(0, 400).Draw(t, "pause"))*1e9
			var commands []Command
			for range 1 + w.pick("commands", 2) {
				commands = append(commands, w.command())
			}
			entry, err := Encode(commands...)
			if err != nil {
				t.Fatal(err)
			}
			log = append(log, Entry{uint64(10 + i*3), entry})
			results, err := plain.Apply(log[i].Index, entry)
			if err != nil || len(results) != len(commands) {
				t.Fatal(err, results)
			}
			for range 2 {
				twice.Apply(log[i].Index, entry)
			}
			if i == half {
				moved = move(t, moved)
			}
			moved.Apply(log[i].Index, entry)
		}
		batched.ApplyBatch(log[:half])
		batched.ApplyBatch(log[half:])
		want := plainDump(t, plain)
		for name, other := range map[string]*Store{"twice": twice, "moved": moved, "batched": batched, "restored": move(t, plain)} {
			if got := plainDump(t, other); got != want {
				t.Fatalf("%s:\n%s\nwant\n%s", name, got, want)
			}
		}
		checkSense(t, plain.Snapshot())
	})
}

// checkSense looks for what must never be.
func checkSense(t *rapid.T, sn *Snapshot) {
	for a := range sn.Allocs() {
		if sn.Alloc(a.ID) != a || a.Group() == nil || sn.JobVersion(a.Namespace(), a.JobID(), a.Job.Version) == nil && sn.Job(a.Namespace(), a.JobID()) != nil &&
			sn.Job(a.Namespace(), a.JobID()).CreateIndex == a.Job.CreateIndex {
			t.Fatalf("allocation %s has lost its job", a.ID)
		}
		if a.ClientStatus.Terminal() && a.Passing != 0 {
			t.Fatalf("allocation %s has ended but passes", a.ID)
		}
	}
	for n := range sn.Nodes() {
		if last := n.LastDrain; n.DrainStrategy != nil && (n.Ready() || last == nil || last.Status != cluster.DrainStatusDraining) {
			t.Fatalf("node %s is being drained, but it is %s, its last drain %+v", n.Name, n.SchedulingEligibility, last)
		}
	}
	for job, launches := range sn.ByClock() {
		if launches == nil || !job.ByClock() || sn.Job(job.Namespace, job.ID) != job {
			t.Fatalf("the clock launches %s, of which %+v is remembered", job.ID, launches)
		}
	}
	for key := range sn.services.all() {
		if service := sn.Service(key.namespace, key.name); len(service.endpoints) == 0 {
			t.Fatalf("service %v has no endpoint", key)
		}
	}
	for t, index := range sn.tables {
		if index.changed > sn.index || index.removed > index.changed {
			panic(fmt.Sprintf("table %d has indexes %v", t, index))
		}
	}
}

func move(t *rapid.T, s *Store) *Store {
	var saved bytes.Buffer
	if err := s.Snapshot().Persist(&saved); err != nil {
		t.Fatal(err)
	}
	next := New()
	if err := next.Restore(&saved); err != nil {
		t.Fatal(err)
	}
	return next
}

func plainDump(t *rapid.T, s *Store) string { return dump(t, s.Snapshot()) }
