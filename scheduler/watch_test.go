package scheduler

import (
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

// underWay is a world in the first deployment of a service of three, all running, none healthy yet.
func underWay(extra string) *world {
	w := newWorld()
	w.addNode([]string{"n1"})
	w.setJob("service / web count=3 " + extra)
	w.settle()
	for _, a := range w.allocs {
		w.report(a, cluster.ClientRunning, cluster.HealthUnknown)
	}
	return w
}

// The deadline moves with each instance that becomes healthy, and with nothing else.
func TestDeadlineMovesWithHealth(t *testing.T) {
	w := underWay("progress_deadline=10m")
	expect := func(wake time.Duration, stored bool) {
		t.Helper()
		progress := Watch(w.input(nil))
		if got := progress.Wake.Sub(w.now); got != wake {
			t.Errorf("the next look is in %s, want %s", got, wake)
		}
		if (progress.Deployment != nil) != stored {
			t.Errorf("a deployment to store: %t, want %t", progress.Deployment != nil, stored)
		}
		if progress.Deployment != nil {
			w.storeDeployment(progress.Deployment)
		}
	}
	expect(10*time.Minute, false)
	w.now = w.now.Add(4 * time.Minute)
	expect(6*time.Minute, false)
	w.report(w.find("web[0]"), cluster.ClientRunning, cluster.HealthHealthy)
	expect(10*time.Minute, true)
	expect(10*time.Minute, false)
	w.now = w.now.Add(9 * time.Minute)
	w.report(w.find("web[1]"), cluster.ClientRunning, cluster.HealthUnhealthy)
	expect(time.Minute, false)

	// A node whose clock is a year ahead does not buy time.
	w.report(w.find("web[2]"), cluster.ClientRunning, cluster.HealthHealthy)
	w.edit(w.find("web[2]").ID, func(a *cluster.Allocation) { a.HealthTime = w.now.Add(365 * 24 * time.Hour).UnixNano() })
	expect(10*time.Minute, true)
	w.now = w.now.Add(time.Minute)
	expect(9*time.Minute, false)
	w.now = w.now.Add(9 * time.Minute)
	if progress := Watch(w.input(nil)); progress.Deployment == nil || progress.Deployment.Status != cluster.DeploymentFailed {
		t.Errorf("the deployment goes on past its deadline: %+v", progress)
	}
}

// A deployment that has placed nothing has no deadline; it has one as soon as something is placed.
func TestBlockedDeploymentHasNoDeadline(t *testing.T) {
	w := newWorld()
	w.setJob("service / web")
	w.settle()
	w.now = w.now.Add(time.Hour)
	if progress := Watch(w.input(nil)); progress != (Progress{}) {
		t.Errorf("there is progress without an allocation: %+v", progress)
	}
	w.addNode([]string{"n1"})
	w.settle()
	if got := Watch(w.input(nil)).Wake.Sub(w.now); got != 10*time.Minute {
		t.Errorf("the deadline is in %s, want 10m", got)
	}
}

// Nobody asks twice for the same step, and nobody asks for a step of what is over.
func TestWatchAsksOnce(t *testing.T) {
	w := underWay("")
	w.agents()
	w.watch()
	w.setJob("service / web count=3 command=v1")
	if progress := Watch(w.input(nil)); progress != (Progress{}) {
		t.Errorf("the deployment of an older version progresses: %+v", progress)
	}
	w.settle()
	w.agents()
	progress := Watch(w.input(nil))
	if progress.Eval == nil || progress.Eval.TriggeredBy != cluster.TriggerDeploymentWatcher {
		t.Fatalf("the next step is not asked for: %+v", progress)
	}
	w.evals = append(w.evals, progress.Eval)
	if again := Watch(w.input(nil)); again.Eval != nil {
		t.Errorf("the step is asked for twice: %+v", again.Eval)
	}
	w.plan(progress.Eval)
	if again := Watch(w.input(nil)); again.Eval != nil {
		t.Errorf("a step is asked for while one is under way: %+v", again.Eval)
	}
}

// A job that was purged and registered again has nothing to do with what ran before, though its version is the same.
func TestPurgedJobStartsAnew(t *testing.T) {
	w := underWay("")
	w.agents()
	w.watch()
	w.job = nil
	w.setJob("service / web count=2 command=v1")
	plan := w.settle()
	if len(plan.Stops) != 2 || len(plan.Places) != 1 || len(plan.Deployments) != 1 {
		t.Errorf("one instance is surplus and one may be replaced at a time, but the plan is\n%s", w.describe(&plan))
	}
	batch := newWorld()
	batch.addNode([]string{"n1"})
	batch.setJob("batch / work")
	batch.settle()
	batch.report(batch.find("work[0]"), cluster.ClientComplete, cluster.HealthUnknown)
	batch.job = nil
	batch.setJob("batch / work")
	if plan := batch.settle(); len(plan.Places) != 1 {
		t.Errorf("work of the purged job counts as done:\n%s", batch.describe(&plan))
	}
}
