package agent

import (
	"time"

	"github.com/a43e60e4/cluster"
)

// want is what an allocation's tasks should do now.
type want struct {
	Stop    bool // they should end
	Hurry   bool // … without leaving the service list in peace
	Blocked bool // they should not begin yet: the allocation that this one replaces still has tasks here
}

// life is an allocation as it is: what is on record, and what is under way.
type life struct {
	record
	Flights []flight // one per task
	Now     int64
	Unsaved bool          // the record could not be written since it last changed
	MaxKill time.Duration // bound of kill_timeout
}

// flight is what this process does about a task at the moment. Nothing of it survives the process.
type flight struct {
	Acting   bool  // a start, signal or destroy is going on
	Aborting bool  // … a start that was told to give up
	Watching bool  // somebody waits for the task's end
	Retry    int64 // the last action failed: not again before
	WatchAt  int64 // watching failed: not again before
	serial   int   // of the action
}

// action is what can be done about a task.
type action uint8

// The actions. Those from actBegin to actFinish only change the record; the others ask the driver.
const (
	actRest    action = iota // nothing to do, until the step's time or until something happens
	actBegin                 // put the next attempt on record
	actEnd                   // put on record that it is to end
	actFinish                // put on record that it will not run (again)
	actStart                 // make the attempt run, or find that it does
	actAbort                 // give up the start that is going on
	actWatch                 // wait for its end
	actSignal                // ask it to end
	actDestroy               // kill and forget it
)

// step is the next thing to do about an allocation.
type step struct {
	Do   action
	Task int // index of the task
	// Why and SignalAt belong to actEnd.
	Why      reason
	SignalAt int64
	// Until is when resting ends, 0 if only an event ends it.
	Until int64
}

// next decides what to do next. It never waits: when all tasks rest, the step rests too, until the earliest time at
// which one has something to do.
func next(w want, have life) step {
	rest := step{Do: actRest}
	for i := range have.Tasks {
		s := have.nextOf(w, i)
		if s.Do != actRest {
			s.Task = i
			return s
		}
		rest.Until = earlier(rest.Until, s.Until)
	}
	return rest
}

// earlier is the earlier of two times, of which 0 is never.
func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (l life) nextOf(w want, i int) step {
	t, f := l.Tasks[i], l.Flights[i]
	switch t.Stage {
	case stageIdle:
		return l.nextOfIdle(w, t)
	case stageStarting:
		ending := l.ends(w.Stop) || t.Ending.Why != reasonNone
		switch {
		case f.Acting && ending && !f.Aborting:
			return step{Do: actAbort}
		case f.Acting:
			return step{}
		case f.Retry > l.Now:
			return step{Until: f.Retry}
		case ending: // whether it ever ran is not known
			return step{Do: actDestroy}
		}
		return step{Do: actStart}
	case stageRunning:
		if !f.Watching && f.WatchAt <= l.Now {
			return step{Do: actWatch}
		}
		s := l.nextOfRunning(w, i)
		if s.Do == actRest && !f.Watching {
			s.Until = earlier(s.Until, f.WatchAt)
		}
		return s
	}
	switch {
	case f.Acting, l.Unsaved: // what was decided about the end must be on record before the driver forgets it
		return step{}
	case f.Retry > l.Now:
		return step{Until: f.Retry}
	}
	return step{Do: actDestroy}
}

func (l life) nextOfIdle(w want, t taskRecord) step {
	switch {
	case t.State == cluster.TaskDead:
		return step{}
	case l.ends(w.Stop):
		return step{Do: actFinish}
	case w.Blocked || l.Unsaved:
		return step{}
	case t.Due > l.Now:
		return step{Until: t.Due}
	}
	return step{Do: actBegin}
}

func (l life) nextOfRunning(w want, i int) step {
	t, f := l.Tasks[i], l.Flights[i]
	why, delay := t.Ending.Why, l.spec(i).ShutdownDelay
	switch {
	case w.Stop:
		why, delay = reasonStop, delay+l.group().ShutdownDelay
	case l.failed():
		why = max(why, reasonSibling)
	}
	if w.Hurry {
		delay = 0
	}
	e := t.Ending
	switch {
	case why == reasonNone:
		return step{}
	case why > e.Why:
		return step{Do: actEnd, Why: why, SignalAt: l.Now + int64(delay)}
	case f.Acting:
		return step{}
	case f.Retry > l.Now:
		return step{Until: f.Retry}
	case e.KillAt == 0 && e.SignalAt > l.Now && !w.Hurry:
		return step{Until: e.SignalAt}
	case e.KillAt == 0:
		return step{Do: actSignal}
	case e.KillAt > l.Now:
		return step{Until: e.KillAt}
	}
	return step{Do: actDestroy}
}

// patience is how long the i-th task has to end after it was asked to.
func (l life) patience(i int) time.Duration { return min(l.spec(i).KillTimeout, l.MaxKill) }
