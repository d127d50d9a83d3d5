package agent

import (
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

const second = int64(time.Second)

func TestRestart(t *testing.T) {
	fail := cluster.RestartPolicy{Attempts: 2, Interval: 10 * time.Second, Delay: 4 * time.Second, Mode: cluster.RestartModeFail}
	slow := fail
	slow.Mode = cluster.RestartModeDelay
	never := fail
	never.Attempts = 0
	for _, c := range []struct {
		name   string
		policy cluster.RestartPolicy
		window window
		o      outcome
		now    int64
		jitter float64
		want   verdict
	}{
		{"first failure", fail, window{Start: 100}, outcome{}, 200, 0, verdict{Do: doAgain, Delay: 4 * time.Second, Window: window{100, 1}}},
		{"jitter", fail, window{Start: 100}, outcome{}, 200, 1, verdict{Do: doAgain, Delay: 5 * time.Second, Window: window{100, 1}}},
		{"second failure", fail, window{100, 1}, outcome{}, 200, 0, verdict{Do: doAgain, Delay: 4 * time.Second, Window: window{100, 2}}},
		{"one too many", fail, window{100, 2}, outcome{}, 200, 0, verdict{Do: doFail, Window: window{100, 3}}},
		{"one too many, a new window", fail, window{100, 2}, outcome{}, 100 + 10*second, 0, verdict{Do: doAgain, Delay: 4 * time.Second, Window: window{100 + 10*second, 1}}},
		{"never started", fail, window{}, outcome{}, 200, 0, verdict{Do: doAgain, Delay: 4 * time.Second, Window: window{200, 1}}},
		{"delay mode", slow, window{second, 2}, outcome{}, 3 * second, 1, verdict{Do: doAgain, Delay: 8 * time.Second, Window: window{second, 3}}},
		{"a service that succeeds", fail, window{100, 0}, outcome{Success: true}, 200, 0, verdict{Do: doAgain, Delay: 4 * time.Second, Window: window{100, 1}}},
		{"a batch task that succeeds", fail, window{100, 2}, outcome{Success: true, Batch: true}, 200, 0, verdict{Do: doNothing, Window: window{100, 2}}},
		{"a batch task that fails", fail, window{100, 0}, outcome{Batch: true}, 200, 0, verdict{Do: doAgain, Delay: 4 * time.Second, Window: window{100, 1}}},
		{"hopeless", slow, window{}, outcome{Hopeless: true}, 200, 0, verdict{Do: doFail}},
		{"no restarts", never, window{100, 0}, outcome{}, 200, 0, verdict{Do: doFail, Window: window{100, 0}}},
		{"no restarts, a service that succeeds", never, window{100, 0}, outcome{Success: true}, 200, 0, verdict{Do: doFail, Window: window{100, 0}}},
		{"no restarts, a batch task that succeeds", never, window{100, 0}, outcome{Success: true, Batch: true}, 200, 0, verdict{Do: doNothing, Window: window{100, 0}}},
	} {
		got := restart(c.policy, c.window, c.o, c.now, c.jitter)
		if (got.Reason == "") != (got.Do == doNothing) {
			t.Errorf("%s: reason %q", c.name, got.Reason)
		}
		got.Reason = ""
		if got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestNext(t *testing.T) {
	const now = 1000 * second
	ms := func(n int64) int64 { return now + n*int64(time.Millisecond) }
	running := taskRecord{Stage: stageRunning, Attempt: 1, Oldest: 1, TaskState: cluster.TaskState{State: cluster.TaskRunning}}
	with := func(t taskRecord, edit func(*taskRecord)) taskRecord { edit(&t); return t }
	ending := func(why reason, signal, kill int64) taskRecord {
		return with(running, func(t *taskRecord) { t.Ending = ending{why, signal, kill} })
	}
	dead := func(failed bool) taskRecord {
		return taskRecord{TaskState: cluster.TaskState{State: cluster.TaskDead, Failed: failed}}
	}
	watching, acting := flight{Watching: true}, flight{Acting: true}
	both := flight{Watching: true, Acting: true}
	starting := taskRecord{Stage: stageStarting, Attempt: 1, Oldest: 1}
	ended := taskRecord{Stage: stageEnded, Attempt: 1, Oldest: 1}
	for _, c := range []struct {
		name    string
		want    want
		tasks   []taskRecord
		flights []flight
		unsaved bool
		step    step
	}{
		{"new", want{}, []taskRecord{{}}, nil, false, step{Do: actBegin}},
		{"new, unwanted", want{Stop: true}, []taskRecord{{}}, nil, false, step{Do: actFinish}},
		{"new, held back", want{Blocked: true}, []taskRecord{{}}, nil, false, step{}},
		{"new, but nothing can be written", want{}, []taskRecord{{}}, nil, true, step{}},
		{"waits for its restart", want{}, []taskRecord{{Due: ms(5)}}, nil, false, step{Until: ms(5)}},
		{"the restart is due", want{}, []taskRecord{{Due: ms(0)}}, nil, false, step{Do: actBegin}},
		{"on record as begun", want{}, []taskRecord{starting}, nil, false, step{Do: actStart}},
		{"being started", want{}, []taskRecord{starting}, []flight{acting}, false, step{}},
		{"being started, unwanted", want{Stop: true}, []taskRecord{starting}, []flight{acting}, false, step{Do: actAbort}},
		{"being started, told to give up", want{Stop: true}, []taskRecord{starting}, []flight{{Acting: true, Aborting: true}}, false, step{}},
		{"on record as begun, unwanted", want{Stop: true}, []taskRecord{starting}, nil, false, step{Do: actDestroy}},
		{"runs, nobody looks", want{}, []taskRecord{running}, nil, false, step{Do: actWatch}},
		{"runs, looking failed", want{}, []taskRecord{running}, []flight{{WatchAt: ms(9)}}, false, step{Until: ms(9)}},
		{"runs", want{}, []taskRecord{running}, []flight{watching}, false, step{}},
		{"runs, unwanted", want{Stop: true}, []taskRecord{running}, []flight{watching}, false, step{Do: actEnd, Why: reasonStop, SignalAt: ms(3000)}},
		{"runs, unwanted and in a hurry", want{Stop: true, Hurry: true}, []taskRecord{running}, []flight{watching}, false, step{Do: actEnd, Why: reasonStop, SignalAt: now}},
		{"leaves the service list", want{Stop: true}, []taskRecord{ending(reasonStop, ms(5), 0)}, []flight{watching}, false, step{Until: ms(5)}},
		{"leaves the service list, in a hurry", want{Stop: true, Hurry: true}, []taskRecord{ending(reasonStop, ms(5), 0)}, []flight{watching}, false, step{Do: actSignal}},
		{"has left it", want{Stop: true}, []taskRecord{ending(reasonStop, now, 0)}, []flight{watching}, false, step{Do: actSignal}},
		{"is being asked to end", want{Stop: true}, []taskRecord{ending(reasonStop, now, 0)}, []flight{both}, false, step{}},
		{"was asked to end", want{Stop: true}, []taskRecord{ending(reasonStop, now, ms(7))}, []flight{watching}, false, step{Until: ms(7)}},
		{"does not end", want{Stop: true}, []taskRecord{ending(reasonStop, now, now)}, []flight{watching}, false, step{Do: actDestroy}},
		{"a user restarts it", want{}, []taskRecord{ending(reasonRestart, now, 0)}, []flight{watching}, false, step{Do: actSignal}},
		{"a user restarts it, then it is unwanted", want{Stop: true}, []taskRecord{ending(reasonRestart, now, ms(7))}, []flight{watching}, false, step{Do: actEnd, Why: reasonStop, SignalAt: ms(3000)}},
		{"its sibling failed", want{}, []taskRecord{dead(true), running}, []flight{{}, watching}, false, step{Do: actEnd, Task: 1, Why: reasonSibling, SignalAt: ms(1000)}},
		{"its sibling is done", want{}, []taskRecord{dead(false), running}, []flight{{}, watching}, false, step{}},
		{"its sibling failed before it began", want{}, []taskRecord{dead(true), {}}, nil, false, step{Do: actFinish, Task: 1}},
		{"ended", want{}, []taskRecord{ended}, nil, false, step{Do: actDestroy}},
		{"ended, not on disk", want{}, []taskRecord{ended}, nil, true, step{}},
		{"ended, being destroyed", want{}, []taskRecord{ended}, []flight{acting}, false, step{}},
		{"ended, destroying failed", want{}, []taskRecord{ended}, []flight{{Retry: ms(3)}}, false, step{Until: ms(3)}},
		{"all over", want{}, []taskRecord{dead(false), dead(false)}, nil, false, step{}},
		{"the earliest counts", want{}, []taskRecord{{Due: ms(9)}, {Due: ms(2)}, {Due: ms(5)}}, nil, false, step{Until: ms(2)}},
		{"one waits, another acts", want{}, []taskRecord{{Due: ms(9)}, ended}, nil, false, step{Do: actDestroy, Task: 1}},
	} {
		a := testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
			j.TaskGroups[0].ShutdownDelay = 2 * time.Second
			for i := range j.TaskGroups[0].Tasks {
				j.TaskGroups[0].Tasks[i].ShutdownDelay = time.Second
			}
		}, "a", "b", "c")
		for i := range c.tasks {
			c.tasks[i].Name = string(rune('a' + i))
		}
		flights := append(c.flights, make([]flight, 3)...)
		got := next(c.want, life{record: record{Alloc: a, Tasks: c.tasks}, Flights: flights, Now: now, Unsaved: c.unsaved})
		if got != c.step {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.step)
		}
	}
}

// vitals is a record of a deployment whose tasks all run and whose check passes since second 10.
func vitals(edit func(*record)) record {
	a := testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
		j.TaskGroups[0].Services = []cluster.Service{{Name: "web", PortLabel: "http", Checks: []cluster.Check{{Type: "tcp"}, {Type: "tcp", Name: "soft", OnUpdate: cluster.OnUpdateIgnore}}}}
		j.TaskGroups[0].Update.MinHealthyTime, j.TaskGroups[0].Update.HealthyDeadline = 10*time.Second, 60*time.Second
	}, "a", "b")
	a.DeploymentID = cluster.ID{5}
	r := newRecord(a, "boot", second)
	for i := range r.Tasks {
		r = r.begun(i, 2*second).started(i, 10*second)
	}
	r = r.checked(r.checks()[0].id, cluster.CheckSuccess).settle(10 * second)
	if edit != nil {
		edit(&r)
	}
	return r
}

func TestHealth(t *testing.T) {
	fails := func(r *record) { *r = r.checked(r.checks()[0].id, cluster.CheckFailure) }
	for _, c := range []struct {
		name string
		edit func(*record) // at second 12
		now  int64
		want cluster.HealthStatus
		next int64
	}{
		{"too early", nil, 19, cluster.HealthUnknown, 20},
		{"long enough", nil, 20, cluster.HealthHealthy, 0},
		{"a check fails", fails, 30, cluster.HealthUnknown, 70},
		{"a check fails for too long", fails, 70, cluster.HealthUnhealthy, 0},
		{"a check that does not count fails", func(r *record) { *r = r.checked(r.checks()[1].id, cluster.CheckFailure) }, 20, cluster.HealthHealthy, 0},
		{"only the tasks count", func(r *record) {
			fails(r)
			r.Alloc = testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) { j.TaskGroups[0].Update.HealthCheck = cluster.HealthCheckTaskStates }, "a", "b")
			r.Alloc.DeploymentID = cluster.ID{5}
		}, 20, cluster.HealthHealthy, 0},
		{"a task ended", func(r *record) { *r = r.exited(0, driver.Exit{Code: 1}, moment{Now: 12 * second}) }, 20, cluster.HealthUnknown, 70},
		{"a task failed for good", func(r *record) {
			*r = r.startFailed(0, cluster.EventDriverFailure, "no", true, moment{Now: 12 * second})
		}, 13, cluster.HealthUnhealthy, 0},
		{"a task runs again", func(r *record) {
			*r = r.exited(0, driver.Exit{Code: 1}, moment{Now: 12 * second}).settle(12*second).destroyed(0).begun(0, 13*second).started(0, 13*second)
			*r = r.checked(r.checks()[0].id, cluster.CheckSuccess).settle(13 * second)
		}, 20, cluster.HealthUnknown, 23},
		{"an image takes its time", func(r *record) { r.Tasks[1].Tried, r.Tasks[1].Stage = 0, stageStarting }, 1000, cluster.HealthUnknown, 0},
		{"no deployment", func(r *record) {
			r.Alloc = testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) { j.TaskGroups[0].Migrate.MinHealthyTime = 15 * time.Second }, "a", "b")
		}, 20, cluster.HealthUnknown, 25},
		{"no deployment, and only the tasks count", func(r *record) {
			fails(r)
			r.Alloc = testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) { j.TaskGroups[0].Migrate.HealthCheck = cluster.HealthCheckTaskStates }, "a", "b")
		}, 20, cluster.HealthHealthy, 0},
		{"no deployment, and nothing that migrates", func(r *record) { r.Alloc = testAlloc(1, cluster.JobTypeSystem, nil, "a", "b") }, 20, cluster.HealthUnknown, 0},
		{"decided before", func(r *record) { r.Health = cluster.HealthHealthy; fails(r) }, 100, cluster.HealthHealthy, 0},
		{"another deployment takes it over", func(r *record) {
			a := *r.Alloc
			a.DeploymentID = cluster.ID{6}
			r.Health = cluster.HealthHealthy
			*r = r.assigned(&a, 15*second).settle(15 * second)
		}, 24, cluster.HealthUnknown, 25},
	} {
		r := vitals(c.edit).settle(12 * second)
		got, next := r.decideHealth(true, c.now*second)
		if got.Health != c.want || next != c.next*second {
			t.Errorf("%s: %v, again at %d s, want %v at %d s", c.name, got.Health, next/second, c.want, c.next)
		}
		if (got.HealthTime == c.now*second) != (c.want != r.Health) {
			t.Errorf("%s: decided at %d s", c.name, got.HealthTime/second)
		}
	}
	if got, _ := vitals(nil).decideHealth(false, 20*second); got.Health != cluster.HealthUnknown {
		t.Error("decided by what nobody has seen")
	}
}

func TestPassing(t *testing.T) {
	check := []cluster.Check{{Type: "tcp"}}
	a := testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
		g := &j.TaskGroups[0]
		g.Services = []cluster.Service{{Name: "group", Checks: check}, {Name: "bare"}}
		g.Tasks[1].Services = []cluster.Service{{Name: "own"}}
	}, "a", "b")
	r := newRecord(a, "boot", 1)
	bits := func(r record) uint64 { return r.settle(2).Passing }
	if got := bits(r); got != 0 {
		t.Errorf("before the start: %b", got)
	}
	r = r.begun(1, 1).started(1, 1)
	if got := bits(r); got != 0b100 {
		t.Errorf("only the second runs: %b", got)
	}
	r = r.begun(0, 1).started(0, 1)
	if got := bits(r); got != 0b110 {
		t.Errorf("both run: %b", got)
	}
	r = r.checked(r.checks()[0].id, cluster.CheckSuccess)
	if got := bits(r); got != 0b111 {
		t.Errorf("the check passes: %b", got)
	}
	if got := bits(r.endingBegun(0, reasonRestart, 5, 2)); got != 0b100 {
		t.Errorf("the first is to end: %b", got)
	}
	r = r.exited(0, driver.Exit{}, moment{Now: 3}).settle(3)
	if r.Passing != 0b100 || len(r.Checks) != 0 {
		t.Errorf("the first ended: %b, %v", r.Passing, r.Checks)
	}
}

func TestStatusMovesForward(t *testing.T) {
	a := testAlloc(1, cluster.JobTypeService, nil, "a", "b")
	r := newRecord(a, "boot", 1).settle(1)
	if r.Status != cluster.ClientPending {
		t.Errorf("new: %v", r.Status)
	}
	r = r.begun(0, 1).started(0, 1).settle(1)
	if r.Status != cluster.ClientRunning {
		t.Errorf("one runs: %v", r.Status)
	}
	r = r.exited(0, driver.Exit{Code: 1}, moment{Now: 2}).settle(2)
	if r.Status != cluster.ClientRunning {
		t.Errorf("one waits to run again: %v", r.Status)
	}
	r = r.startFailed(1, cluster.EventDriverFailure, "no", true, moment{Now: 2}).settle(2)
	if r.Status != cluster.ClientRunning || !r.failed() {
		t.Errorf("one failed, another has not ended: %v", r.Status)
	}
	r = r.finished(0, 3).settle(3)
	if r.Status != cluster.ClientFailed || r.over() {
		t.Errorf("all ended: %v, over %v", r.Status, r.over())
	}
	if r = r.destroyed(0).destroyed(1); !r.over() {
		t.Error("not over")
	}
}

// TestATaskThatEndsFasterThanItIsAsked: its diary says that it was asked, whichever is noticed first.
func TestATaskThatEndsFasterThanItIsAsked(t *testing.T) {
	a := testAlloc(1, cluster.JobTypeService, nil, "a")
	r := newRecord(a, "boot", 1).begun(0, 1).started(0, 1)
	at := moment{Now: 5, MaxKill: time.Minute, Stop: true}
	for _, c := range []struct {
		name string
		r    record
		want string
	}{
		{"asked, on record", r.endingBegun(0, reasonStop, 2, 2).signaled(0, time.Second, 3), "Killing, Terminated, Killed"},
		{"asked, not yet on record", r.endingBegun(0, reasonStop, 2, 2), "Killing, Terminated, Killed"},
		{"not asked", r.endingBegun(0, reasonStop, 9, 2), "Waiting for shutdown delay, Terminated, Killed"},
		{"not wanted to end", r, "Terminated, Killed"},
	} {
		got := c.r.exited(0, driver.Exit{Signal: 2}, at)
		if want := "Received, Task Setup, Started, " + c.want; diary(got.Tasks[0].TaskState) != want {
			t.Errorf("%s: %s", c.name, diary(got.Tasks[0].TaskState))
		}
	}
}
