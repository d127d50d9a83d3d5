package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// story is the life of an allocation with everything in it: a task that fails twice and then stays, one that is
// restarted by a user, and an end that needs force.
type story struct {
	w *world
	a *cluster.Allocation
	b *cluster.Allocation
}

func tell(t *testing.T, w *world) *story {
	w.scripts["web"] = func(attempt int) script {
		if attempt <= 2 {
			return script{runs: 2 * time.Second, exit: driver.Exit{Code: 3}}
		}
		return script{stubborn: true}
	}
	w.scripts["work"] = func(attempt int) script {
		return script{runs: 20 * time.Second, exit: driver.Exit{Code: 2 - min(attempt, 2)}}
	}
	s := &story{w: w}
	s.a = w.change(testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
		j.TaskGroups[0].Services = []cluster.Service{{Name: "web", PortLabel: "http", Checks: []cluster.Check{{Type: "tcp", Interval: time.Second, Timeout: time.Second}}}}
	}, "web", "side"), func(a *cluster.Allocation) { a.DeploymentID = cluster.ID{5} })
	s.b = w.change(testAlloc(2, cluster.JobTypeBatch, nil, "work"), nil)
	return s
}

// act is what users and servers do at a time, again and again until it reports that it is done.
type act struct {
	at time.Duration
	do func(n *incarnation) bool
}

func (s *story) acts() []act {
	return []act{
		{30 * time.Second, s.restart},
		{60 * time.Second, func(*incarnation) bool {
			s.w.change(s.a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
			return true
		}},
		{90 * time.Second, func(*incarnation) bool { return true }},
	}
}

// restart is a user who wants the first allocation restarted, and asks again where the agent died without a trace of it.
func (s *story) restart(n *incarnation) bool {
	run := n.node.runner(s.a.ID)
	if run == nil {
		return false
	}
	web := run.record().Tasks[0]
	if web.Attempt > 3 {
		return true
	}
	if web.Stage == stageRunning && web.Ending.Why == reasonNone {
		n.restart(s.a.ID)
	}
	return false
}

// check compares the end with what must have come of it: every attempt started once, every end counted once.
func (s *story) check(t *testing.T, name string) {
	t.Helper()
	fail := func(format string, args ...any) { t.Errorf("killed at %s: "+format, append([]any{name}, args...)...) }
	if left := s.w.known(); len(left) != 0 {
		fail("left at the driver: %v", left)
	}
	a, b := s.w.alloc(s.a.ID), s.w.alloc(s.b.ID)
	web, side, work := taskOf(s.w.t, a, "web"), taskOf(s.w.t, a, "side"), taskOf(s.w.t, b, "work")
	if a.ClientStatus != cluster.ClientComplete || web.Failed || web.Restarts != 3 || side.Restarts != 1 {
		fail("first: %v, web %d restarts (failed %v), side %d", a.ClientStatus, web.Restarts, web.Failed, side.Restarts)
	}
	if a.Health != cluster.HealthHealthy {
		fail("health %v", a.Health)
	}
	if b.ClientStatus != cluster.ClientComplete || work.Restarts != 1 {
		fail("second: %v, %d restarts", b.ClientStatus, work.Restarts)
	}
	began := map[string]int{}
	for _, id := range s.w.begun() {
		began[id]++
	}
	want := map[string]int{}
	for id, attempts := range map[string]int{s.a.ID.String() + "/web/": 4, s.a.ID.String() + "/side/": 2, s.b.ID.String() + "/work/": 2} {
		for i := range attempts {
			want[fmt.Sprint(id, i+1)] = 1
		}
	}
	if !maps.Equal(began, want) {
		fail("starts: %v", s.w.begun())
	}
	if strings.Count(diary(work), "Terminated") != 2 {
		fail("work: %s", diary(work))
	}
}

// play runs the story with an agent that is killed when it comes to a point, and another that takes over.
func play(t *testing.T, dieAt int, away time.Duration) (points []string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := tell(t, w)
		n := w.start(dieAt)
		begun := time.Now()
		revive := func() {
			select {
			case <-n.done:
				time.Sleep(away)
				points = n.points
				n = w.start(0)
			default:
			}
		}
		for _, act := range s.acts() {
			for time.Since(begun) < act.at || !act.do(n) {
				sleep(250 * time.Millisecond)
				revive()
			}
		}
		n.stop()
		name := "the end"
		if dieAt > 0 && dieAt <= len(points) {
			name = fmt.Sprintf("%d (%s), away %v", dieAt, points[dieAt-1], away)
		}
		if dieAt == 0 {
			points = n.points
		}
		s.check(t, name)
	})
	return points
}

// TestAnAgentKilledAtAnyPointGoesOn kills the agent before and after everything that it does to the disk, the driver
// and the servers, each in a life of its own, for a moment or so long that tasks end meanwhile.
func TestAnAgentKilledAtAnyPointGoesOn(t *testing.T) {
	points := play(t, 0, 0)
	if len(points) < 60 {
		t.Fatalf("only %d points: %v", len(points), points)
	}
	for i := range points {
		play(t, i+1, time.Duration(i%3)*2500*time.Millisecond)
		if t.Failed() {
			return
		}
	}
}

// TestWhatIsStoppedWhileTheAgentIsAwayEnds: whatever was under way when the agent was killed, nothing of it is left.
func TestWhatIsStoppedWhileTheAgentIsAwayEnds(t *testing.T) {
	var points []string
	away := func(t *testing.T, dieAt int) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			n := w.start(dieAt)
			a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
			sleep(2 * time.Second)
			n.stop()
			if dieAt == 0 {
				points = n.points
			}
			w.change(a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
			n = w.start(0)
			defer n.stop()
			sleep(10 * time.Second)
			if got := w.alloc(a.ID).ClientStatus; got != cluster.ClientComplete || len(w.known()) != 0 {
				t.Errorf("killed at %d (%s): %v, left %v", dieAt, points[max(dieAt, 1)-1], got, w.known())
			}
		})
	}
	away(t, 0)
	for i := range points {
		away(t, i+1)
	}
}

// TestAMachineStartedAnewRunsWhatItRan reboots at every point: afterwards all runs again, and no attempt is used up.
func TestAMachineStartedAnewRunsWhatItRan(t *testing.T) {
	var points int
	reboot := func(t *testing.T, dieAt int) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			n := w.start(dieAt)
			a := w.change(testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
				j.TaskGroups[0].Tasks[0].RestartPolicy.Attempts = 0
			}, "web"), nil)
			sleep(2 * time.Second)
			n.stop()
			points = len(n.points)
			w.reboot("boot-2")
			n = w.start(0)
			defer n.stop()
			sleep(2 * time.Second)
			got := w.alloc(a.ID)
			web := taskOf(t, got, "web")
			if len(w.running()) != 1 || len(w.known()) != 1 || web.Restarts != 0 || got.ClientStatus != cluster.ClientRunning {
				t.Errorf("killed at %d: runs %v, known %v, %d restarts, %v, %s", dieAt, w.running(), w.known(), web.Restarts, got.ClientStatus, diary(web))
			}
		})
	}
	reboot(t, 0)
	for i := range points {
		reboot(t, i+1)
	}
}

// TestALostStartIsNotTakenForItsSuccessor: the newest start may be missing in the journal of a machine that lost its
// power. What is left of it under the driver is not the next attempt.
func TestALostStartIsNotTakenForItsSuccessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["web"] = func(attempt int) script {
			if attempt == 1 {
				return script{runs: time.Second, exit: driver.Exit{Code: 1}}
			}
			return script{}
		}
		n := w.start(0)
		a := w.change(testAlloc(1, cluster.JobTypeService, nil, "web"), nil)
		sleep(1100 * time.Millisecond) // the first attempt ended, the second has not begun
		n.stop()
		w.begin(a.ID.String()+"/web/2", script{})
		w.reboot("boot-2")
		n = w.start(0)
		defer n.stop()
		sleep(5 * time.Second)
		if got := w.running(); len(got) != 1 || got[0] != a.ID.String()+"/web/3" || !slices.Equal(w.known(), got) {
			t.Errorf("running %v, known %v", got, w.known())
		}
		if web := taskOf(t, w.alloc(a.ID), "web"); web.Restarts != 1 || web.Failed {
			t.Errorf("%+v", web)
		}
	})
}

// TestAnEndWhileTheAgentWasAwayHasItsTime: and its code.
func TestAnEndWhileTheAgentWasAwayHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.scripts["work"] = func(int) script { return script{runs: 10 * time.Second, exit: driver.Exit{Code: 42}} }
		begun := time.Now()
		n := w.start(0)
		a := w.change(testAlloc(1, cluster.JobTypeBatch, nil, "work"), nil)
		sleep(time.Second)
		n.stop()
		sleep(time.Hour)
		n = w.start(0)
		defer n.stop()
		sleep(500 * time.Millisecond)
		work := taskOf(t, w.alloc(a.ID), "work")
		end := work.Events[len(work.Events)-2]
		if end.Type != cluster.EventTerminated || end.Details.ExitCode != 42 || time.Unix(0, end.Time).Sub(begun).Round(time.Second) != 10*time.Second {
			t.Errorf("%s: %+v, %v", diary(work), end, time.Unix(0, end.Time).Sub(begun))
		}
	})
}

// TestAnExitNobodySawIsAFailure: the driver lost the task.
func TestAnExitNobodySawIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		a := w.change(testAlloc(1, cluster.JobTypeBatch, nil, "work"), nil)
		sleep(time.Second)
		n.stop()
		w.mu.Lock()
		clear(w.tasks)
		w.mu.Unlock()
		n = w.start(0)
		defer n.stop()
		sleep(5 * time.Second)
		work := taskOf(t, w.alloc(a.ID), "work")
		if work.Restarts != 1 || len(w.running()) != 1 {
			t.Errorf("%s, running %v", diary(work), w.running())
		}
	})
}
