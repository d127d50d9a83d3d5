package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// runner carries out the life of one allocation. All decisions happen in its loop (run); what takes time runs in
// goroutines of its own, which send what they found back into the loop.
type runner struct {
	node  *Node
	id    cluster.ID
	log   *slog.Logger
	inbox chan func()            // facts and wishes; each runs in the loop
	over  chan struct{}          // closed when the loop has ended
	state atomic.Pointer[record] // the newest record, for readers anywhere; never modified
	acked atomic.Bool            // the servers know the final state
	// forgotten is set while the servers do not list the allocation.
	forgotten atomic.Bool

	// What follows belongs to the loop alone.

	rec      record
	flights  []flight
	failures []int // actions of the task that failed in a row
	aborts   []context.CancelFunc
	closing  bool  // the node ends and takes its tasks along
	compare  bool  // what the servers know is to be compared with the record when they next say it
	restored int64 // when this process took the record from the journal; 0: what it says has been seen here
	serial   int   // of the newest action
	unsaved  error // why the record could not be written since it last changed
	saveAt   int64 // when to try to save again
	healthAt int64
	reported cluster.AllocUpdate
	checking map[string]context.CancelFunc
	loop     context.Context        // ends with the loop; nil before it
	orders   map[string]*carriedOut // orders that are being carried out, by their ID
	children sync.WaitGroup

	mu       sync.Mutex
	statuses map[string]cluster.CheckStatus // of checks that are asked, by their ID; guarded by mu
}

// durability is how much a change of the record must survive.
type durability uint8

const (
	keepNothing durability = iota // nothing: it may be forgotten
	keepProcess                   // the death of this process
	keepMachine                   // that of the machine
)

func newRunner(n *Node, r record, restored bool) *runner {
	run := &runner{
		node:     n,
		id:       r.Alloc.ID,
		log:      n.log.With("alloc", r.Alloc.ID.String(), "job", r.Alloc.JobID()),
		inbox:    make(chan func()),
		over:     make(chan struct{}),
		rec:      r,
		flights:  make([]flight, len(r.Tasks)),
		failures: make([]int, len(r.Tasks)),
		aborts:   make([]context.CancelFunc, len(r.Tasks)),
		checking: map[string]context.CancelFunc{},
		statuses: map[string]cluster.CheckStatus{},
		orders:   map[string]*carriedOut{},
	}
	if restored {
		run.restored, run.compare, run.reported = now(), true, r.update()
	}
	run.state.Store(&r)
	return run
}

func now() int64 { return time.Now().UnixNano() }

// record is the newest record. Do not modify it.
func (r *runner) record() *record { return r.state.Load() }

// ended reports whether the loop has ended: the record stays as it is.
func (r *runner) ended() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// run returns when nothing is left to do for the allocation, or when ctx ends; then its tasks go on.
func (r *runner) run(ctx context.Context) {
	defer close(r.over)
	defer r.children.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.loop = ctx
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		until := r.advance(ctx)
		if r.rec.over() && r.unsaved == nil {
			return
		}
		var alarm <-chan time.Time
		if until > 0 {
			timer.Reset(max(time.Duration(until-now()), 0))
			alarm = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case fact := <-r.inbox:
			fact()
		case <-alarm:
		}
	}
}

// post hands a fact or wish to the loop and reports whether it will be looked at.
func (r *runner) post(ctx context.Context, fact func()) bool {
	select {
	case r.inbox <- fact:
		return true
	case <-r.over:
	case <-ctx.Done():
	}
	return false
}

// ask runs a wish in the loop and returns its result. An allocation whose loop has ended has no tasks to wish of.
func (r *runner) ask(ctx context.Context, wish func() error) error {
	result := make(chan error, 1)
	if !r.post(ctx, func() { result <- wish() }) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return cluster.Errorf(cluster.CodeRejected, "allocation %s has ended: none of its tasks runs", r.id)
	}
	return <-result
}

// advance takes steps until there are none, and returns when there may be one again (0: after an event).
func (r *runner) advance(ctx context.Context) int64 {
	for ctx.Err() == nil {
		if r.unsaved != nil && r.saveAt <= now() {
			r.save(keepMachine)
		}
		r.set(r.rec, keepProcess)
		r.syncChecks(ctx)
		have := life{record: r.rec, Flights: r.flights, Now: now(), Unsaved: r.unsaved != nil, MaxKill: r.node.config.MaxKillTimeout}
		s := next(r.want(), have)
		if s.Do != actRest {
			r.do(ctx, s, have)
			continue
		}
		if r.unsaved != nil && !r.want().Stop {
			r.set(r.rec.held(impediment(r.unsaved)+": the task is not started until it can", now()), keepNothing)
		}
		until := earlier(s.Until, r.healthAt)
		if r.unsaved != nil {
			until = earlier(until, r.saveAt)
		}
		return until
	}
	return 0
}

// want is what the record's allocation, and this node, want of the tasks.
func (r *runner) want() want {
	a := r.rec.Alloc
	return want{
		Stop:    a.Terminal() || r.rec.Orphan || r.closing || r.rec.Fenced,
		Hurry:   r.closing || r.rec.Fenced,
		Blocked: r.node.holdsBack(a),
	}
}

func (r *runner) moment() moment {
	return moment{Now: now(), Jitter: rand.Float64(), Stop: r.want().Stop, MaxKill: r.node.config.MaxKillTimeout}
}

// set replaces the record, if it is another, and does all that this asks for: what follows from it is settled, it is
// saved, published and reported.
func (r *runner) set(rec record, keep durability) {
	rec = rec.settle(now())
	confirmedAt, confirmed := r.confirmed(rec)
	rec, r.healthAt = rec.decideHealth(confirmed, now())
	r.healthAt = earlier(r.healthAt, confirmedAt)
	if same(rec, r.rec) {
		return
	}
	r.rec = rec
	r.state.Store(&rec)
	r.node.offering()
	if rec.over() {
		keep = keepMachine
	}
	if keep != keepNothing {
		r.save(keep)
	}
	r.report()
}

// same reports whether two records say the same. Allocations are replaced, never modified.
func same(a, b record) bool {
	if a.Alloc != b.Alloc {
		return false
	}
	a.Alloc, b.Alloc = nil, nil
	return reflect.DeepEqual(a, b)
}

// confirmed reports whether this process has seen for itself what the record says of the tasks. That takes a moment
// after a start of the agent: the end of a task may not have been noticed yet, and checks not been asked. Then it
// says when to ask again (0: after an event).
func (r *runner) confirmed(rec record) (int64, bool) {
	const moment = int64(300 * time.Millisecond)
	if r.restored == 0 {
		return 0, true
	}
	if at := r.restored + moment; now() < at {
		return at, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range rec.due() {
		if result := r.statuses[c.id].Status; result != cluster.CheckSuccess && result != cluster.CheckFailure {
			return 0, false
		}
	}
	r.restored = 0
	return 0, true
}

func (r *runner) save(keep durability) {
	err := r.node.journal.save(r.rec, keep == keepMachine)
	if err != nil {
		r.node.judged(err)
		r.node.counted.journal.Add(1)
		if r.unsaved == nil {
			r.log.Warn("the allocation's journal cannot be written: no task is started until it can", "err", err)
		}
	}
	r.unsaved = err
	r.saveAt = now() + int64(time.Second)
}

// report tells the servers what is new to them.
func (r *runner) report() {
	update := r.rec.update()
	if reflect.DeepEqual(update, r.reported) {
		return
	}
	before := r.reported
	r.reported = update
	urgent := before.ClientStatus != update.ClientStatus || before.Passing != update.Passing || before.Health != update.Health
	r.node.reports.put(update, urgent)
}

// assign takes what the servers now say of the allocation.
func (r *runner) assign(a *cluster.Allocation) {
	if r.compare || a.ClientStatus == cluster.ClientUnknown { // the servers ask anew, see server/state
		r.compare = false
		r.node.reportIfNews(&r.rec, a)
	}
	if a.AllocModifyIndex < r.rec.Alloc.AllocModifyIndex {
		return
	}
	if !r.rec.fits(a) {
		r.log.Error("the servers changed the tasks of a running allocation: the change is ignored", "index", a.AllocModifyIndex)
		return
	}
	r.set(r.rec.assigned(a, now()), keepProcess)
}

// do carries out one step.
func (r *runner) do(ctx context.Context, s step, have life) {
	i := s.Task
	switch s.Do {
	case actBegin:
		r.set(r.rec.begun(i, have.Now), keepProcess)
		if r.unsaved != nil { // the driver knows nothing of it: it did not begin
			r.set(have.record, keepNothing)
		}
	case actEnd:
		r.set(r.rec.endingBegun(i, s.Why, s.SignalAt, have.Now), keepProcess)
	case actFinish:
		r.set(r.rec.finished(i, have.Now), keepProcess)
	case actAbort:
		r.flights[i].Aborting = true
		r.aborts[i]()
	case actStart:
		r.start(ctx, i)
	case actWatch:
		r.watch(ctx, i)
	case actSignal:
		r.signal(ctx, i, have.patience(i))
	case actDestroy:
		r.destroy(ctx, i)
	}
}

// taskID names an attempt for the driver.
func taskID(alloc cluster.ID, task string, attempt int) string {
	return fmt.Sprintf("%s/%s/%d", alloc, task, attempt)
}

// driver is that of the i-th task; a task whose driver is not there fails in an orderly way.
func (r *runner) driver(i int) driver.Driver {
	name := r.rec.spec(i).Driver
	if d := r.node.config.Drivers[name]; d != nil {
		return d
	}
	return missing(name)
}

// beside runs work beside the loop, and then fact in it, unless the loop is ending.
func (r *runner) beside(ctx context.Context, work func(), fact func()) {
	r.children.Go(func() {
		work()
		if ctx.Err() == nil {
			r.post(ctx, fact)
		}
	})
}

// act does the same for an action on the i-th task. Its fact is dropped if the task came to its end meanwhile.
func (r *runner) act(ctx context.Context, i int, work func(), fact func()) {
	r.serial++
	mine := r.serial
	r.flights[i].Acting, r.flights[i].serial = true, mine
	r.beside(ctx, work, func() {
		if r.flights[i].serial == mine {
			r.flights[i].Acting = false
			fact()
		}
	})
}

func (r *runner) start(ctx context.Context, i int) {
	attempt, cancel := context.WithCancel(ctx)
	r.flights[i].Aborting = false
	r.aborts[i] = cancel
	rec, d := r.rec, r.driver(i)
	id := taskID(r.id, rec.Tasks[i].Name, rec.Tasks[i].Attempt)
	kind := cluster.EventSetupFailure
	var err error
	r.act(ctx, i, func() {
		defer cancel()
		var t driver.Task
		if err = r.node.enclose(attempt, rec.Alloc); err != nil {
			return
		}
		if t, err = r.node.prepare(rec, i, id, d); err == nil {
			kind = cluster.EventDriverFailure
			err = d.Start(attempt, t, r.notices(ctx, i))
		}
	}, func() {
		if err == nil {
			r.set(r.rec.started(i, now()), keepMachine)
			return
		}
		r.node.counted.driver.Add(1)
		r.log.Warn("task could not be started", "task", rec.Tasks[i].Name, "err", err)
		r.set(r.rec.startFailed(i, kind, err.Error(), errors.Is(err, driver.ErrInvalid), r.moment()), keepMachine)
	})
}

// notices takes what a driver says while it starts a task, at most one a second.
func (r *runner) notices(ctx context.Context, i int) func(string) {
	var last atomic.Int64
	return func(text string) {
		before := last.Load()
		if now()-before < int64(time.Second) || !last.CompareAndSwap(before, now()) {
			return
		}
		r.post(ctx, func() {
			if r.rec.Tasks[i].Stage == stageStarting {
				r.set(r.rec.noticed(i, text, now()), keepNothing)
			}
		})
	}
}

func (r *runner) watch(ctx context.Context, i int) {
	r.flights[i].Watching = true
	d, id := r.driver(i), taskID(r.id, r.rec.Tasks[i].Name, r.rec.Tasks[i].Attempt)
	var exit driver.Exit
	var err error
	r.beside(ctx, func() { exit, err = d.Wait(ctx, id) }, func() {
		r.flights[i].Watching = false
		if err != nil && !errors.Is(err, driver.ErrUnknown) {
			r.node.counted.driver.Add(1)
			r.log.Warn("task cannot be watched", "task", r.rec.Tasks[i].Name, "err", err)
			r.flights[i].WatchAt = now() + int64(r.backoff(i))
			return
		}
		if err != nil {
			exit = driver.Exit{Unknown: true, Message: "nobody saw how it ended"}
			if r.rec.Tasks[i].Ending.KillAt != 0 {
				exit = driver.Exit{Signal: 9}
			}
		}
		r.log.Info("task has ended", "task", r.rec.Tasks[i].Name, "code", exit.Code, "signal", exit.Signal, "unknown", exit.Unknown)
		r.failures[i] = 0
		r.flights[i] = flight{}
		r.set(r.rec.exited(i, exit, r.moment()), keepMachine)
	})
}

// signal asks a task to end. It is killed when the patience is over, or at once if it cannot be asked.
func (r *runner) signal(ctx context.Context, i int, patience time.Duration) {
	d, id := r.driver(i), taskID(r.id, r.rec.Tasks[i].Name, r.rec.Tasks[i].Attempt)
	how := r.rec.spec(i).KillSignal
	var err error
	r.act(ctx, i, func() {
		ctx, cancel := context.WithTimeout(ctx, r.node.config.MaxKillTimeout)
		defer cancel()
		err = d.Signal(ctx, id, how)
	}, func() {
		if err != nil && !errors.Is(err, driver.ErrUnknown) {
			r.node.counted.driver.Add(1)
			r.log.Warn("task cannot be asked to end and is killed", "task", r.rec.Tasks[i].Name, "err", err)
			patience = 0
		}
		r.set(r.rec.signaled(i, patience, now()), keepProcess)
	})
}

func (r *runner) destroy(ctx context.Context, i int) {
	t, d := r.rec.Tasks[i], r.driver(i)
	var err error
	r.act(ctx, i, func() {
		for attempt := max(t.Oldest, 1); attempt <= t.Attempt && err == nil; attempt++ {
			err = d.Destroy(ctx, taskID(r.id, t.Name, attempt))
		}
	}, func() {
		if err != nil {
			r.node.counted.driver.Add(1)
			r.log.Warn("task cannot be destroyed", "task", t.Name, "err", err)
			r.flights[i].Retry = now() + int64(r.backoff(i))
			return
		}
		if r.rec.Tasks[i].Stage == stageRunning { // whoever waits for its end says so in a moment
			r.flights[i].Retry = now() + int64(time.Second)
			return
		}
		r.failures[i] = 0
		r.flights[i] = flight{}
		r.set(r.rec.destroyed(i), keepProcess)
	})
}

// backoff is how long to wait after one more failure in a row: 0.5 s to 30 s.
func (r *runner) backoff(i int) time.Duration {
	r.failures[i] = min(r.failures[i]+1, 7)
	return min(250*time.Millisecond<<r.failures[i], 30*time.Second)
}

// missing stands for a driver that this node does not have.
type missing string

func (m missing) Fingerprint(context.Context) cluster.DriverState { return cluster.DriverState{} }

func (m missing) Start(context.Context, driver.Task, func(string)) error {
	return driver.Invalidf("start task: this node has no driver %q", string(m))
}

func (m missing) Wait(context.Context, string) (driver.Exit, error) {
	return driver.Exit{}, driver.ErrUnknown
}

func (m missing) Signal(context.Context, string, string) error { return driver.ErrUnknown }

func (m missing) Destroy(context.Context, string) error { return nil }

func (m missing) Stats(context.Context, string) (driver.Stats, error) {
	return driver.Stats{}, driver.ErrUnknown
}
