package agent

import (
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// record is all that a node remembers of one allocation. It is a value: methods that change it return another, and
// share nothing with the receiver that either could modify.
type record struct {
	Version int
	Boot    string              // of the machine, when the record was written
	Alloc   *cluster.Allocation // as the servers last sent it
	Tasks   []taskRecord        // in the order of the group's
	Status  cluster.ClientStatus
	// Checks holds the last result (success or failure) of each check of what runs, by the ID of the check.
	Checks     map[string]string `json:",omitempty"`
	Passing    uint64
	Health     cluster.HealthStatus
	HealthTime int64 // when Health was decided
	Watched    int64 // since when the health of this deployment is watched
	GoodSince  int64 // since when all that health asks for holds; 0: it does not
	Orphan     bool  // the servers know nothing of it any more
	Fenced     bool  `json:",omitempty"` // the node had lost the servers for too long: it was killed for good
	// Orders are what people wanted done with the tasks lately, the oldest first.
	Orders []order `json:",omitempty"`
}

// recordVersion is the version that this program writes, and the newest that it reads.
const recordVersion = 1

// stage is what a driver may know of a task.
type stage uint8

// The stages. Anything that the driver may know of is destroyed on the way back to idle.
const (
	stageIdle     stage = iota // nothing of it is there
	stageStarting              // a start was decided: it may be there
	stageRunning               // it was started
	stageEnded                 // it ended, and what follows is decided
)

// taskRecord is a record's part of one task. The embedded state is what the servers are told.
type taskRecord struct {
	cluster.TaskState
	Stage   stage
	Attempt int    // number of the newest start; 0: none yet
	Oldest  int    // the lowest attempt of which something may be left
	Due     int64  // not to be started before
	Tried   int64  // when the first start had succeeded or failed
	Since   int64  // when this attempt began to run; 0 while it does not
	Ending  ending // how its end goes on, if it was asked for
	Window  window // of the restart policy
}

// reason is why a running task is made to end. A greater one wins over a smaller.
type reason uint8

const (
	reasonNone    reason = iota
	reasonRestart        // a user wants it started anew
	reasonSibling        // another task of the allocation failed
	reasonStop           // the allocation should stop
)

// ending is how far a task's end has come.
type ending struct {
	Why      reason
	SignalAt int64 // when to ask the task to end
	KillAt   int64 // when to kill it; 0 before it was asked
}

// newRecord is the record of an allocation that was just received.
func newRecord(a *cluster.Allocation, boot string, now int64) record {
	r := record{Version: recordVersion, Boot: boot, Alloc: a, Watched: now}
	if group := a.Group(); group != nil {
		for i := range group.Tasks {
			t := taskRecord{TaskState: cluster.TaskState{Name: group.Tasks[i].Name}, Oldest: 1}
			t.add(now, cluster.EventReceived, nil)
			r.Tasks = append(r.Tasks, t)
		}
	}
	return r
}

// add appends to the task's diary.
func (t *taskRecord) add(now int64, kind cluster.EventType, details *cluster.EventDetails) {
	t.Events = t.AddEvent(cluster.TaskEvent{Time: now, Type: kind, Details: details})
}

func (r record) group() *cluster.TaskGroup { return r.Alloc.Group() }

// spec is what the job says of the i-th task.
func (r record) spec(i int) *cluster.Task { return r.group().Task(r.Tasks[i].Name) }

// change is the record with its i-th task edited.
func (r record) change(i int, edit func(*taskRecord)) record {
	r.Tasks = slices.Clone(r.Tasks)
	edit(&r.Tasks[i])
	return r
}

// changeAll is the record with every task edited.
func (r record) changeAll(edit func(int, *taskRecord)) record {
	r.Tasks = slices.Clone(r.Tasks)
	for i := range r.Tasks {
		edit(i, &r.Tasks[i])
	}
	return r
}

// sound reports whether the record is one that this program can go on from.
func (r record) sound() bool {
	if r.Version != recordVersion || r.Alloc == nil || r.Alloc.Job == nil || r.Alloc.ID.IsZero() {
		return false
	}
	const most = 1000 // attempts that are left to be destroyed; there are one or two
	for _, t := range r.Tasks {
		if t.Stage > stageEnded || t.Attempt < 0 || t.Oldest < 0 || t.Attempt-t.Oldest > most || t.State > cluster.TaskDead {
			return false
		}
	}
	return r.fits(r.Alloc)
}

// fits reports whether the allocation has the tasks that the record has.
func (r record) fits(a *cluster.Allocation) bool {
	group := a.Group()
	if group == nil || len(group.Tasks) != len(r.Tasks) {
		return false
	}
	for i := range r.Tasks {
		if group.Tasks[i].Name != r.Tasks[i].Name {
			return false
		}
	}
	return true
}

// failed reports whether a task failed for good, which ends the others.
func (r record) failed() bool {
	return slices.ContainsFunc(r.Tasks, func(t taskRecord) bool { return t.State == cluster.TaskDead && t.Failed })
}

// over reports whether nothing is left to do: every task ended for good, and nothing is left of it.
func (r record) over() bool {
	return !slices.ContainsFunc(r.Tasks, func(t taskRecord) bool { return t.State != cluster.TaskDead || t.Stage != stageIdle })
}

// offers reports whether the task's services are on offer.
func (t taskRecord) offers() bool { return t.Stage == stageRunning && t.Ending.Why == reasonNone }

// settle brings what follows from the tasks up to date: status, what is registered, whether health may be near.
func (r record) settle(now int64) record {
	r.Status = max(r.Status, r.status())
	r = r.settleChecks()
	r.Passing = r.passing()
	if !r.good() {
		r.GoodSince = 0
	} else if r.GoodSince == 0 {
		r.GoodSince = now
	}
	return r
}

// status is what the tasks' states make of the allocation. It is terminal only when all have ended.
func (r record) status() cluster.ClientStatus {
	running, waiting := false, false
	for _, t := range r.Tasks {
		running = running || t.State == cluster.TaskRunning || t.StartedAt != 0 && t.State != cluster.TaskDead
		waiting = waiting || t.State != cluster.TaskDead
	}
	switch {
	case running, waiting && r.failed():
		return cluster.ClientRunning
	case waiting:
		return cluster.ClientPending
	case r.failed() || r.Fenced:
		return cluster.ClientFailed
	}
	return cluster.ClientComplete
}

// assigned is the record with what the servers now say of the allocation. An in-place update begins a new watch of
// its health if it belongs to another deployment.
func (r record) assigned(a *cluster.Allocation, now int64) record {
	if a.DeploymentID != r.Alloc.DeploymentID {
		r.Health, r.HealthTime, r.GoodSince, r.Watched = cluster.HealthUnknown, 0, 0, now
	}
	r.Alloc, r.Orphan = a, false
	return r
}

// orphaned is the record of an allocation that the servers have forgotten.
func (r record) orphaned() record {
	r.Orphan = true
	return r
}

// begun is the record before the i-th task is started.
func (r record) begun(i int, now int64) record {
	return r.change(i, func(t *taskRecord) {
		if t.Attempt == 0 {
			t.add(now, cluster.EventTaskSetup, nil)
		}
		t.Attempt++
		t.Oldest, t.Stage, t.Ending = t.Attempt, stageStarting, ending{}
	})
}

// held is the record with the reason why its tasks are not started, in the diaries of those that wait for that.
func (r record) held(why string, now int64) record {
	details := cluster.EventDetails{Message: why}
	return r.changeAll(func(_ int, t *taskRecord) {
		n := len(t.Events)
		told := n > 0 && t.Events[n-1].Details != nil && *t.Events[n-1].Details == details
		if t.State == cluster.TaskPending && !told {
			t.add(now, cluster.EventSetupFailure, &details)
		}
	})
}

// started is the record after the driver started the i-th task.
func (r record) started(i int, now int64) record {
	return r.change(i, func(t *taskRecord) {
		t.Stage, t.State, t.Since = stageRunning, cluster.TaskRunning, now
		if t.Tried == 0 {
			t.Tried = now
		}
		if t.StartedAt == 0 {
			t.StartedAt = now
			t.Window.Start = now
		}
		t.add(now, cluster.EventStarted, nil)
	})
}

// noticed is the record after the driver said what takes it long. Of notices in a row the newest stays.
func (r record) noticed(i int, text string, now int64) record {
	return r.change(i, func(t *taskRecord) {
		event := cluster.TaskEvent{Time: now, Type: cluster.EventDriver, Details: &cluster.EventDetails{Message: text}}
		if n := len(t.Events); n > 0 && t.Events[n-1].Type == cluster.EventDriver {
			t.Events = append(slices.Clone(t.Events[:n-1]), event)
			return
		}
		t.Events = t.AddEvent(event)
	})
}

// startFailed is the record after the i-th task could not be started: kind says at what (the setup, the driver).
// wish is what is wanted of the allocation.
func (r record) startFailed(i int, kind cluster.EventType, cause string, hopeless bool, at moment) record {
	return r.change(i, func(t *taskRecord) {
		t.Stage = stageEnded
		if t.Tried == 0 {
			t.Tried = at.Now
		}
		if r.ends(at.Stop) {
			t.finish(at.Now, false)
			return
		}
		t.add(at.Now, kind, &cluster.EventDetails{Message: cause})
		r.retry(i, t, outcome{Hopeless: hopeless}, at)
	})
}

// moment is what a change of the record may depend on besides the record: time, chance, and what is wanted.
type moment struct {
	Now     int64
	Jitter  float64       // 0..1
	Stop    bool          // the allocation should stop
	MaxKill time.Duration // bound of kill_timeout
}

// ends reports whether the tasks are to end, whatever each of them does.
func (r record) ends(stop bool) bool { return stop || r.failed() }

// exited is the record after the i-th task was seen to have ended. What follows is decided here, once: it is on record
// together with the end.
func (r record) exited(i int, exit driver.Exit, at moment) record {
	ended := at.Now // or earlier: nobody may have looked
	if when := exit.At.UnixNano(); !exit.At.IsZero() && when < ended {
		ended = when
	}
	return r.change(i, func(t *taskRecord) {
		t.Stage, t.Since = stageEnded, 0
		why := t.Ending.Why
		if why != reasonNone && t.Ending.KillAt == 0 && t.Ending.SignalAt <= at.Now { // it ended faster than it was asked
			t.add(ended, cluster.EventKilling, &cluster.EventDetails{Timeout: min(r.spec(i).KillTimeout, at.MaxKill)})
		}
		t.Ending = ending{}
		t.add(ended, cluster.EventTerminated, &cluster.EventDetails{ExitCode: exit.Code, Signal: exit.Signal,
			OOMKilled: exit.OOMKilled, Message: exit.Message})
		switch {
		case why > reasonRestart || r.ends(at.Stop):
			t.add(at.Now, cluster.EventKilled, nil)
			t.finish(ended, false)
		case why == reasonRestart:
			t.again(at.Now, 0, "A user asked for it")
		default:
			r.retry(i, t, outcome{Success: exit.Successful()}, at)
		}
	})
}

// retry does what the restart policy says.
func (r record) retry(i int, t *taskRecord, o outcome, at moment) {
	o.Batch = r.Alloc.Job.RunsToEnd()
	v := restart(r.spec(i).RestartPolicy, t.Window, o, at.Now, at.Jitter)
	t.Window = v.Window
	switch v.Do {
	case doAgain:
		t.again(at.Now, v.Delay, v.Reason)
	case doFail:
		t.add(at.Now, cluster.EventNotRestarting, &cluster.EventDetails{Message: v.Reason, FailsTask: true})
		t.finish(at.Now, true)
	default:
		t.finish(at.Now, false)
	}
}

// again makes the task start once more, after a delay.
func (t *taskRecord) again(now int64, delay time.Duration, why string) {
	t.State, t.Due = cluster.TaskPending, now+int64(delay)
	t.Restarts++
	t.LastRestart = now
	t.add(now, cluster.EventRestarting, &cluster.EventDetails{Message: why, StartDelay: delay})
}

// finish ends the task for good.
func (t *taskRecord) finish(now int64, failed bool) {
	t.State, t.Failed, t.FinishedAt, t.Since = cluster.TaskDead, failed, now, 0
}

// finished is the record after the i-th task, of which nothing is there, is to be left alone for good.
func (r record) finished(i int, now int64) record {
	return r.change(i, func(t *taskRecord) { t.finish(now, false) })
}

// destroyed is the record after nothing is left of the i-th task.
func (r record) destroyed(i int) record {
	return r.change(i, func(t *taskRecord) { t.Stage, t.Ending = stageIdle, ending{} })
}

// endingBegun is the record after it was decided that the running i-th task is to end, asked to at signalAt.
func (r record) endingBegun(i int, why reason, signalAt, now int64) record {
	sibling := ""
	for _, t := range r.Tasks {
		if t.State == cluster.TaskDead && t.Failed {
			sibling = t.Name
		}
	}
	return r.change(i, func(t *taskRecord) {
		if t.Ending.Why != reasonNone { // under way already: only the reason is new
			t.Ending.Why = why
			return
		}
		t.Ending = ending{Why: why, SignalAt: signalAt}
		switch why {
		case reasonSibling:
			t.add(now, cluster.EventSiblingFailed, &cluster.EventDetails{Message: sibling})
		case reasonRestart:
			t.add(now, cluster.EventRestartSignaled, &cluster.EventDetails{Message: "A user asked for a restart"})
		}
		if wait := signalAt - now; wait > 0 {
			t.add(now, cluster.EventWaitingShutdownDelay,
				&cluster.EventDetails{Message: "Leaving the service list first: the end comes in " + time.Duration(wait).String()})
		}
	})
}

// signaled is the record after the i-th task was asked to end; it is killed when the patience is over.
func (r record) signaled(i int, patience time.Duration, now int64) record {
	return r.change(i, func(t *taskRecord) {
		t.Ending.KillAt = now + int64(patience)
		t.add(now, cluster.EventKilling, &cluster.EventDetails{Timeout: patience})
	})
}

// restarted is the record after a user asked for a restart of the i-th task: one that runs is ended first (by next),
// one that waits for its next start is started now, one that ended well is started again if dead ones are meant too.
func (r record) restarted(i int, dead bool, now int64) record {
	t := r.Tasks[i]
	switch {
	case t.offers():
		return r.endingBegun(i, reasonRestart, now+int64(r.spec(i).ShutdownDelay), now)
	case t.State == cluster.TaskPending:
		return r.change(i, func(t *taskRecord) { t.Due = min(t.Due, now) })
	case t.State == cluster.TaskDead && dead && !t.Failed && !r.over() && !r.failed():
		return r.change(i, func(t *taskRecord) {
			t.FinishedAt = 0
			t.again(now, 0, "A user asked for it")
		})
	}
	return r
}

// event is the record with a line in the diary of its i-th task.
func (r record) event(i int, kind cluster.EventType, text string, now int64) record {
	return r.change(i, func(t *taskRecord) { t.add(now, kind, &cluster.EventDetails{Message: text}) })
}

// rebooted is the record on a machine that was started anew since it was written: nothing runs any more, and whatever
// ran is to start again without that counting as a failure. The newest start may be missing in the record, so one
// attempt more than it knows is destroyed.
func (r record) rebooted(boot string, now int64) record {
	if r.Boot == boot {
		return r
	}
	r.Boot, r.GoodSince, r.Checks = boot, 0, nil
	return r.changeAll(func(i int, t *taskRecord) {
		if t.State == cluster.TaskDead && t.Stage == stageIdle {
			return
		}
		ran := t.Stage == stageStarting || t.Stage == stageRunning
		why := t.Ending.Why
		t.Stage, t.Since, t.Ending = stageEnded, 0, ending{}
		t.Attempt++
		if t.State == cluster.TaskDead || !ran {
			return
		}
		if why > reasonRestart {
			t.finish(now, false)
			return
		}
		t.State, t.Due = cluster.TaskPending, now
		t.add(now, cluster.EventRestarting, &cluster.EventDetails{Message: "The machine was started anew"})
	})
}

// update is what the servers are told.
func (r record) update() cluster.AllocUpdate {
	u := cluster.AllocUpdate{ID: r.Alloc.ID, ClientStatus: r.Status, ClientDescription: r.description(),
		Health: r.Health, HealthTime: r.HealthTime, Passing: r.Passing}
	for _, t := range r.Tasks {
		u.TaskStates = append(u.TaskStates, t.TaskState)
	}
	return u
}

func (r record) description() string {
	switch r.Status {
	case cluster.ClientPending:
		return "No tasks have started"
	case cluster.ClientRunning:
		return "Tasks are running"
	case cluster.ClientFailed:
		if r.Fenced {
			return "Killed: " + errFallen.Error()
		}
		return "Failed tasks"
	case cluster.ClientComplete:
		return "All tasks have completed"
	}
	return ""
}
