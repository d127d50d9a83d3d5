package agent

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

func TestAnAllocationRunsAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web", "side"), nil)
		sleep(time.Second)
		if got := w.running(); len(got) != 2 {
			t.Fatalf("running: %v", got)
		}
		if got := w.alloc(a.ID); got.ClientStatus != cluster.ClientRunning {
			t.Fatalf("status: %v", got.ClientStatus)
		}
		w.change(a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
		sleep(time.Second)
		if got := w.known(); len(got) != 0 {
			t.Errorf("left at the driver: %v", got)
		}
		got := w.alloc(a.ID)
		if got.ClientStatus != cluster.ClientComplete {
			t.Errorf("status: %v", got.ClientStatus)
		}
		want := "Received, Task Setup, Started, Killing, Terminated, Killed"
		if s := taskOf(t, got, "web"); diary(s) != want || s.State != cluster.TaskDead || s.Failed || s.FinishedAt == 0 {
			t.Errorf("web: %s, %+v", diary(s), s)
		}
	})
}

func TestAStubbornTaskIsKilledAfterItsTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["web"] = func(int) script { return script{stubborn: true} }
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
			j.TaskGroups[0].Tasks[0].KillTimeout = time.Hour // the node allows 30 s
			j.TaskGroups[0].Tasks[0].KillSignal = "SIGUSR1"
			j.TaskGroups[0].ShutdownDelay = 3 * time.Second
			j.TaskGroups[0].Services = []cluster.Service{{Name: "web", PortLabel: "http"}}
		}, "web"), nil)
		sleep(time.Second)
		if got := w.alloc(a.ID).Passing; got != 1 {
			t.Fatalf("passing: %b", got)
		}
		w.change(a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
		sleep(2 * time.Second)
		if got := w.alloc(a.ID); got.Passing != 0 || got.ClientStatus != cluster.ClientRunning || len(w.sent()) != 0 {
			t.Fatalf("during the shutdown delay: passing %b, status %v, signals %v", got.Passing, got.ClientStatus, w.sent())
		}
		sleep(2 * time.Second)
		if want := []string{a.ID.String() + "/web/1 SIGUSR1"}; !slices.Equal(w.sent(), want) {
			t.Fatalf("signals: %v", w.sent())
		}
		sleep(28 * time.Second)
		if len(w.running()) != 1 {
			t.Fatal("killed too early")
		}
		sleep(2 * time.Second)
		if got := w.alloc(a.ID); got.ClientStatus != cluster.ClientComplete || len(w.known()) != 0 {
			t.Errorf("status %v, left %v", got.ClientStatus, w.known())
		}
	})
}

func TestRestartsAndTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["web"] = func(int) script { return script{runs: time.Second, exit: driver.Exit{Code: 3}} }
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web", "side"), nil)
		sleep(time.Minute)
		got := w.alloc(a.ID)
		web, side := taskOf(t, got, "web"), taskOf(t, got, "side")
		if got.ClientStatus != cluster.ClientFailed || !web.Failed || web.Restarts != 3 || side.Failed || side.State != cluster.TaskDead {
			t.Errorf("status %v, web %+v, side %+v", got.ClientStatus, web, side)
		}
		if !strings.HasSuffix(diary(web), "Restarting, Started, Terminated, Not Restarting") {
			t.Errorf("web: %s", diary(web))
		}
		if want := "Received, Task Setup, Started, Sibling Task Failed, Killing, Terminated, Killed"; diary(side) != want {
			t.Errorf("side: %s", diary(side))
		}
		if text := side.Events[3].DisplayMessage(); text != `Task's sibling "web" failed` {
			t.Errorf("side: %s", text)
		}
		if len(w.known()) != 0 {
			t.Errorf("left: %v", w.known())
		}
	})
}

func TestStartsThatFail(t *testing.T) {
	for _, c := range []struct {
		name     string
		err      error
		restarts uint32
		diary    string
	}{
		{"hopeless", driver.Invalidf("no such image"), 0, "Received, Task Setup, Driver Failure, Not Restarting"},
		{"passing", fmt.Errorf("engine away"), 3, "Restarting, Driver Failure, Not Restarting"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.scripts["web"] = func(int) script { return script{startFails: c.err} }
				n := w.start(0)
				defer n.stop()
				a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
				sleep(time.Minute)
				got := w.alloc(a.ID)
				web := taskOf(t, got, "web")
				if got.ClientStatus != cluster.ClientFailed || web.Restarts != c.restarts || !strings.HasSuffix(diary(web), c.diary) {
					t.Errorf("status %v, restarts %d, %s", got.ClientStatus, web.Restarts, diary(web))
				}
			})
		})
	}
}

func TestAMissingDriverFailsTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) { j.TaskGroups[0].Tasks[0].Driver = "warp" }, "web"), nil)
		sleep(time.Second)
		web := taskOf(t, w.alloc(a.ID), "web")
		if !web.Failed || web.Events[2].DisplayMessage() != `start task: this node has no driver "warp"` {
			t.Errorf("%+v", web.Events)
		}
	})
}

func TestAStopEndsALongStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["web"] = func(int) script { return script{startTakes: time.Hour} }
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(time.Minute)
		got := w.alloc(a.ID)
		if web := taskOf(t, got, "web"); got.ClientStatus != cluster.ClientPending || diary(web) != "Received, Task Setup, Driver" {
			t.Fatalf("status %v, %s", got.ClientStatus, diary(web))
		}
		w.change(a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
		sleep(time.Second)
		got = w.alloc(a.ID)
		if web := taskOf(t, got, "web"); got.ClientStatus != cluster.ClientComplete || web.Failed || len(w.known()) != 0 {
			t.Errorf("status %v, %+v, left %v", got.ClientStatus, web, w.known())
		}
	})
}

func TestAUserRestartIsImmediateAndNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
			j.TaskGroups[0].Tasks[0].RestartPolicy.Attempts = 0
		}, "web", "side"), nil)
		sleep(time.Second)
		for range 3 {
			if !n.restart(a.ID) {
				t.Fatal("the wish was refused")
			}
			sleep(time.Second)
		}
		got := w.alloc(a.ID)
		web := taskOf(t, got, "web")
		if got.ClientStatus != cluster.ClientRunning || web.Restarts != 3 || web.State != cluster.TaskRunning || len(w.running()) != 2 {
			t.Errorf("status %v, web %+v, running %v", got.ClientStatus, web, w.running())
		}
		if !strings.HasSuffix(diary(web), "Restart Signaled, Killing, Terminated, Restarting, Started") {
			t.Errorf("web: %s", diary(web))
		}
		n.stop()
		again := w.start(0) // the wish was heeded: another agent does not heed it again
		defer again.stop()
		sleep(time.Second)
		if web := taskOf(t, w.alloc(a.ID), "web"); web.Restarts != 3 || len(w.begun()) != 8 {
			t.Errorf("restarts %d, starts %v", web.Restarts, w.begun())
		}
	})
}

func TestBatchTasksAreDoneWhenTheySucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["work"] = func(attempt int) script {
			return script{runs: time.Second, exit: driver.Exit{Code: 2 - min(attempt, 2)}}
		}
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeBatch, nil, "work"), nil)
		sleep(time.Minute)
		got := w.alloc(a.ID)
		if work := taskOf(t, got, "work"); got.ClientStatus != cluster.ClientComplete || work.Restarts != 1 || work.Failed {
			t.Errorf("status %v, %+v", got.ClientStatus, work)
		}
	})
}

func TestAReplacementWaitsForWhatItReplaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["web"] = func(int) script { return script{stubborn: true} }
		n := w.start(0)
		defer n.stop()
		old := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(time.Second)
		w.change(old, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
		next := testAlloc(2, cluster.JobTypeService, nil, "web")
		next.Rare = &cluster.AllocationRare{PreviousAllocation: old.ID}
		w.change(next, nil)
		sleep(4 * time.Second)
		if len(w.begun()) != 1 {
			t.Fatalf("starts: %v", w.begun())
		}
		sleep(2 * time.Second)
		if got := w.running(); len(got) != 1 || !strings.HasPrefix(got[0], next.ID.String()) {
			t.Errorf("running: %v", got)
		}
	})
}

func TestOnlyDevelopmentNodesTakeTheirTasksAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		a := w.change(testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) { j.TaskGroups[0].ShutdownDelay = time.Hour }, "web"), nil)
		sleep(time.Second)
		n.stop()
		if len(w.running()) != 1 {
			t.Fatal("the task ended with the agent")
		}
		n = w.start(0, func(c *Config) { c.StopTasks = true })
		sleep(time.Second)
		if got := w.running(); len(got) != 1 || len(w.begun()) != 1 {
			t.Fatalf("running %v, starts %v", got, w.begun())
		}
		n.stop()
		if len(w.known()) != 0 || w.alloc(a.ID).ClientStatus != cluster.ClientComplete {
			t.Errorf("left %v, status %v", w.known(), w.alloc(a.ID).ClientStatus)
		}
	})
}

func TestWhatTheServersForgotIsStoppedAndRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["work"] = func(int) script { return script{runs: time.Millisecond} }
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(time.Second)
		b := w.change(testAlloc(2, cluster.JobTypeBatch, nil, "work"), nil)
		sleep(time.Second)
		dir := string(n.node.dirs(b.ID))
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
		n.stop()
		w.forget(a.ID)
		w.forget(b.ID)
		n = w.start(0)
		defer n.stop()
		sleep(time.Second)
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Error("the directory is still there")
		}
		if c := n.node.Counters(); c != (Counters{}) || len(w.known()) != 0 {
			t.Errorf("%+v, left %v", c, w.known())
		}
	})
}

func TestEndedAllocationsAreKeptUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["work"] = func(int) script { return script{runs: time.Second} }
		n := w.start(0, func(c *Config) { c.GCMaxAllocs = 3; c.GCDiskUsage = 101 })
		defer n.stop()
		for i := range 6 {
			w.change(testAlloc(byte(i+1), cluster.JobTypeBatch, nil, "work"), nil)
			sleep(2 * time.Second)
		}
		sleep(time.Minute)
		if c := n.node.Counters(); c != (Counters{Allocations: 3}) {
			t.Errorf("%+v", c)
		}
		if n.node.runner(cluster.ID{6, 15: 6}) == nil {
			t.Error("the newest was removed")
		}
		sleep(time.Minute)
		if len(w.begun()) != 6 {
			t.Errorf("what was removed was started again: %v", w.begun())
		}
	})
}

func TestNothingIsLostWhileTheServersAreAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["work"] = func(int) script { return script{runs: time.Minute, exit: driver.Exit{Code: 7}} }
		n := w.start(0)
		a := w.change(testAlloc(1, cluster.JobTypeBatch, func(j *cluster.Job) {
			j.TaskGroups[0].Tasks[0].RestartPolicy.Attempts = 0
		}, "work"), nil)
		sleep(time.Second)
		w.setDown(true)
		sleep(2 * time.Minute)
		n.stop() // the report dies with the agent
		n = w.start(0)
		defer n.stop()
		sleep(time.Minute)
		w.setDown(false)
		sleep(10 * time.Second)
		got := w.alloc(a.ID)
		if work := taskOf(t, got, "work"); got.ClientStatus != cluster.ClientFailed || len(work.Events) != 5 || work.Events[3].Details.ExitCode != 7 {
			t.Errorf("status %v, %s", got.ClientStatus, diary(work))
		}
	})
}

func TestAnIdleNodeOnlyBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		w.change(testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
			j.TaskGroups[0].Services = []cluster.Service{{Name: "web", PortLabel: "http", Checks: []cluster.Check{{Type: "tcp", Interval: time.Second, Timeout: time.Second}}}}
		}, "web"), nil)
		sleep(time.Minute)
		count := func() (points []string, beats int) {
			n.pmu.Lock()
			defer n.pmu.Unlock()
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.points, w.beats
		}
		points, beats := count()
		sleep(10 * time.Minute)
		pointsLater, beatsLater := count()
		if len(pointsLater) != len(points) { // no write, no report, no registration
			t.Errorf("it did %v", pointsLater[len(points):])
		}
		if beatsLater-beats != 600 {
			t.Errorf("%d beats in 10 minutes", beatsLater-beats)
		}
	})
}

func TestReportsAreFewAndSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		sleep(time.Second)
		begun := time.Now()
		for i := range 100 {
			w.change(testAlloc(byte(i+1), cluster.JobTypeService, nil, "web"), nil)
		}
		synctest.Wait()
		sleep(400 * time.Millisecond)
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, a := range w.allocs {
			if a.ClientStatus != cluster.ClientRunning {
				t.Fatalf("%v after %v", a.ClientStatus, time.Since(begun))
			}
		}
		if w.reports > 3 {
			t.Errorf("%d reports", w.reports)
		}
	})
}

func TestTheNodeSaysWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.driver.Attributes = map[string]string{"version": "27.1"}
		n := w.start(0, func(c *Config) {
			c.Meta = map[string]string{"rack": "r1"}
			c.Total.MemoryMB, c.Reserved.MemoryMB = 1000, 100
		})
		defer n.stop()
		sleep(time.Second)
		self := w.registrations()[0]
		for key, want := range map[string]string{"nomad.service_discovery": "true", "nomad.version": "2.0.6", "driver.fake": "1",
			"driver.fake.version": "27.1", "unique.network.ip-address": "127.0.0.1"} {
			if got := self.Attributes[key]; got != want {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
		if self.Address() != "127.0.0.1" || self.NodeResources.Cpu.CpuShares < 100 || self.Schedulable().MemoryMB != 900 || self.ID.IsZero() {
			t.Errorf("%+v", self)
		}
		w.mu.Lock()
		w.driver.Healthy, w.driver.HealthDescription = false, "engine away"
		w.status = cluster.NodeStatusDown
		w.mu.Unlock()
		sleep(time.Minute)
		all := w.registrations()
		last := all[len(all)-1]
		if last.Drivers["fake"].Healthy || last.Attributes["driver.fake"] != "" || last.ComputedClass == self.ComputedClass {
			t.Errorf("%+v", last.Drivers)
		}
		if len(all) != 3 { // at the start, when it was taken for lost, when the driver fell ill
			t.Errorf("registered %d times", len(all))
		}
		if last.ID != self.ID {
			t.Error("another ID")
		}
	})
}

func TestADriverThatFailsIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, method := range []string{"wait", "signal", "destroy"} {
			w.fail(method, 3)
		}
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(time.Minute)
		w.change(a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
		sleep(time.Minute)
		if got := w.alloc(a.ID); got.ClientStatus != cluster.ClientComplete || len(w.known()) != 0 || len(w.begun()) != 1 {
			t.Errorf("status %v, left %v, starts %v", got.ClientStatus, w.known(), w.begun())
		}
		if c := n.node.Counters(); c.DriverFailures != 7 {
			t.Errorf("%+v", c)
		}
	})
}

// TestServersRestoredFromABackupAreToldEverything: what they had been told since is compared, not believed.
func TestServersRestoredFromABackupAreToldEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["work"] = func(int) script { return script{runs: time.Second} }
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		b := w.change(testAlloc(2, cluster.JobTypeBatch, nil, "work"), nil)
		c := w.change(testAlloc(3, cluster.JobTypeService, nil, "web"), nil)
		sleep(10 * time.Second)
		w.mu.Lock()
		w.allocs[a.ID], w.allocs[b.ID] = a, b // as they were when they were placed
		delete(w.allocs, c.ID)                // and this one never was
		w.index = 2
		close(w.news)
		w.news = make(chan struct{})
		w.mu.Unlock()
		sleep(10 * time.Second)
		if a, b := w.alloc(a.ID), w.alloc(b.ID); a.ClientStatus != cluster.ClientRunning || b.ClientStatus != cluster.ClientComplete {
			t.Errorf("%v, %v", a.ClientStatus, b.ClientStatus)
		}
		if len(w.begun()) != 3 || len(w.running()) != 1 {
			t.Errorf("starts %v, running %v", w.begun(), w.running())
		}
	})
}

// TestAnInPlaceUpdateRestartsNothing: a new version with another service is offered by the task that runs, and its
// health is watched anew.
func TestAnInPlaceUpdateRestartsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), func(a *cluster.Allocation) { a.DeploymentID = cluster.ID{5} })
		sleep(9 * time.Second)
		if got := w.alloc(a.ID).Health; got != cluster.HealthUnknown {
			t.Fatalf("after 9 s: %v", got)
		}
		sleep(2 * time.Second)
		if got := w.alloc(a.ID).Health; got != cluster.HealthHealthy {
			t.Fatalf("after 11 s: %v", got)
		}
		w.change(a, func(a *cluster.Allocation) {
			job := *a.Job
			job.Version++
			job.TaskGroups = slices.Clone(job.TaskGroups)
			job.TaskGroups[0].Services = []cluster.Service{{Name: "web", PortLabel: "http"}}
			a.Job, a.DeploymentID, a.Health = &job, cluster.ID{6}, cluster.HealthUnknown
		})
		sleep(time.Second)
		if got := w.alloc(a.ID); got.Passing != 1 || got.Health != cluster.HealthUnknown || len(w.begun()) != 1 {
			t.Fatalf("passing %b, health %v, starts %v", got.Passing, got.Health, w.begun())
		}
		sleep(10 * time.Second)
		if got := w.alloc(a.ID).Health; got != cluster.HealthHealthy {
			t.Errorf("after the update: %v", got)
		}
	})
}
