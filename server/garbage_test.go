package server

import (
	"context"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

// What is over, how old it is, and whether it goes. Everything in the row's state happened at the same time.
var garbageRules = []struct {
	name  string
	build func(w *world)
	age   time.Duration
	all   bool
	want  reaped
}{
	{"a job that runs stays", func(w *world) { w.jobOf("service", cluster.ClientRunning, false) }, 1000 * time.Hour, true, reaped{}},
	{"a stopped job, young", func(w *world) { w.jobOf("service", cluster.ClientComplete, true) }, 59 * time.Minute, false, reaped{}},
	{"a stopped job's work after an hour", func(w *world) { w.jobOf("service", cluster.ClientComplete, true) }, 61 * time.Minute, false,
		reaped{allocs: 1, evals: 1, deployments: 1}},
	{"a stopped job itself after four", func(w *world) { w.jobOf("service", cluster.ClientComplete, true) }, 241 * time.Minute, false,
		reaped{allocs: 1, evals: 1, deployments: 1, jobs: 1}},
	{"a stopped job, asked for", func(w *world) { w.jobOf("service", cluster.ClientComplete, true) }, time.Second, true,
		reaped{allocs: 1, evals: 1, deployments: 1, jobs: 1}},
	{"a stopped job whose work has not ended", func(w *world) { w.jobOf("service", cluster.ClientRunning, true) }, 1000 * time.Hour, true, reaped{}},
	{"a batch job that is done, young", func(w *world) { w.jobOf("batch", cluster.ClientComplete, false) }, 239 * time.Minute, false, reaped{}},
	{"a batch job that is done after four hours", func(w *world) { w.jobOf("batch", cluster.ClientComplete, false) }, 241 * time.Minute, false,
		reaped{allocs: 1, evals: 1, deployments: 1, jobs: 1}},
	{"a batch job that stands keeps the proof", func(w *world) {
		w.jobOf("batch", cluster.ClientComplete, false)
		more := newEval(cluster.ID{3}, w.Snapshot().Job("default", "web"), cluster.TriggerQueuedAllocs, time.Unix(0, garbageTime))
		more.Status = cluster.EvalBlocked
		w.apply(&state.UpsertEvals{At: garbageTime, Evals: []cluster.Evaluation{more}})
	}, 1000 * time.Hour, true, reaped{}},
	{"a purged job's work", func(w *world) {
		w.jobOf("batch", cluster.ClientComplete, false)
		w.apply(&state.DeregisterJob{At: garbageTime, Namespace: "default", ID: "web", Purge: true})
	}, 25 * time.Hour, false, reaped{allocs: 1, evals: 1, deployments: 1}},
	{"a node that is down, for less than a day", func(w *world) { w.downNode() }, 23 * time.Hour, false, reaped{}},
	{"a node that is down, for more", func(w *world) { w.downNode() }, 25 * time.Hour, false, reaped{nodes: 1}},
	{"a node that is ready stays", func(w *world) { w.readyNode() }, 1000 * time.Hour, true, reaped{}},
}

// reaped counts what garbage names.
type reaped struct{ jobs, evals, allocs, deployments, nodes int }

const garbageTime = int64(1_700_000_000e9)

func (w *world) readyNode() {
	w.apply(&state.RegisterNode{At: garbageTime, Node: newNode(nodeID, "one")})
	w.apply(&state.NodeStatus{At: garbageTime, ID: nodeID, Status: cluster.NodeStatusReady})
}

func (w *world) downNode() {
	w.readyNode()
	w.apply(&state.NodeStatus{At: garbageTime, ID: nodeID, Status: cluster.NodeStatusDown})
}

// jobOf is a job of that type whose one allocation is as the status says, and whose deployment is over.
func (w *world) jobOf(kind string, status cluster.ClientStatus, stop bool) {
	w.readyNode()
	job := newJob("web", 1, 100)
	job.Type, job.SubmitTime = kind, garbageTime
	eval := newEval(cluster.ID{1}, job, cluster.TriggerJobRegister, time.Unix(0, garbageTime))
	w.apply(&state.RegisterJob{At: garbageTime, Job: job, Eval: &eval})
	sn := w.Snapshot()
	eval.Status = cluster.EvalComplete
	deployment := cluster.Deployment{ID: cluster.ID{2}, Namespace: "default", JobID: "web", JobCreateIndex: sn.Job("default", "web").CreateIndex,
		Status: cluster.DeploymentSuccessful, TaskGroups: map[string]cluster.DeploymentGroup{"app": {}}}
	w.apply(&state.CommitPlan{At: garbageTime, Seed: [16]byte{1}, Plan: cluster.Plan{Namespace: "default", JobID: "web",
		CreateIndex: sn.Job("default", "web").CreateIndex, SnapshotIndex: sn.Index(), Eval: eval,
		Deployments: []cluster.Deployment{deployment}, Places: []cluster.Placement{{NodeID: nodeID, TaskGroup: "app", DeploymentID: deployment.ID}}}})
	for a := range w.Snapshot().Allocs() {
		w.apply(&state.ReportAllocs{At: garbageTime, Updates: []cluster.AllocUpdate{{ID: a.ID, ClientStatus: status}}})
		if stop {
			w.apply(&state.StopAllocs{At: garbageTime, Stops: []cluster.Stop{{ID: a.ID}}})
		}
	}
	if stop {
		w.apply(&state.DeregisterJob{At: garbageTime, Namespace: "default", ID: "web"})
	}
}

func TestGarbageIsWhatHasBeenOverForLong(t *testing.T) {
	for _, c := range garbageRules {
		t.Run(c.name, func(t *testing.T) {
			w := newSilentWorld(t)
			c.build(w)
			reap := garbage(w.Snapshot(), time.Unix(0, garbageTime).Add(c.age), c.all)
			got := reaped{len(reap.Jobs), len(reap.Evals), len(reap.Allocs), len(reap.Deployments), len(reap.Nodes)}
			if got != c.want {
				t.Errorf("after %v goes %+v, want %+v", c.age, got, c.want)
			}
			if result := w.apply(reap); result.Reaped != got.jobs+got.evals+got.allocs+got.deployments+got.nodes {
				t.Errorf("the state took %d of %+v", result.Reaped, got)
			}
			again := garbage(w.Snapshot(), time.Unix(0, garbageTime).Add(c.age), c.all)
			if len(again.Jobs)+len(again.Evals)+len(again.Allocs)+len(again.Deployments)+len(again.Nodes) > 0 {
				t.Errorf("there is still garbage: %+v", again)
			}
		})
	}
}

func TestNothingOldWritesNothing(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	l.register(newJob("web", 1, 100))
	l.eventually("all planned", func(sn *state.Snapshot) bool { return len(wanted(sn, "web")) == 1 && quiet(sn) })
	before := l.Snapshot().Index()
	l.must(l.collect(context.Background(), false))
	if after := l.Snapshot().Index(); after != before {
		t.Errorf("collecting nothing wrote entries %d to %d", before+1, after)
	}
	l.must(l.Collect(context.Background()))
	if got := len(wanted(l.Snapshot(), "web")); got != 1 {
		t.Errorf("%d instances after collecting, want 1", got)
	}
}
