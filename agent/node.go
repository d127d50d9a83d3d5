package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// Node is a machine that runs allocations. Open makes it, Run is its life; ID, Self and Handler may be used
// at any time, by anybody.
type Node struct {
	config  Config
	log     *slog.Logger
	boot    string
	journal *journal
	reports *reports
	probe   func(ctx context.Context, c cluster.Check, address string) (status string, code int, output string)
	usage   usage // for the statistics routes
	counted counters

	self    atomic.Pointer[cluster.Node] // what the node says of itself; replaced, never modified
	changed chan struct{}                // holds one token while self has news for the servers
	offers  chan struct{}                // holds one token while Endpoints may have changed

	fencing sync.Mutex // guards guards
	guards  guards

	collecting sync.Mutex // held while allocations that ended are removed

	ending atomic.Bool // tasks end with Run

	mu      sync.Mutex // guards what follows
	runners map[cluster.ID]*runner
	gone    map[cluster.ID]bool // collected here; forgotten when the servers do not list them any more
	live    context.Context     // of the runners; nil while Run does not run
	group   sync.WaitGroup      // of the runners
}

// Open reads what the directory holds and looks at the machine, which takes some milliseconds. Nothing runs before
// Run; the Handler serves already. The directory is this node's alone.
func Open(config Config) (*Node, error) {
	config, err := config.complete()
	if err != nil {
		return nil, err
	}
	if err := makeDir(config.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := makeDir(config.AllocDir, 0o711); err != nil {
		return nil, err
	}
	if config.AllocDir, err = filepath.Abs(config.AllocDir); err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	id, err := nodeID(config)
	if err != nil {
		return nil, err
	}
	n := &Node{
		config: config, log: config.Logger.With("node", id.String()), boot: config.BootID, probe: probe,
		guards:  guards{leased: make(chan struct{}), wished: make(chan struct{}), told: map[cluster.ID]bool{}},
		changed: make(chan struct{}, 1), offers: make(chan struct{}, 1), runners: map[cluster.ID]*runner{}, gone: map[cluster.ID]bool{},
	}
	if n.boot == "" {
		n.boot = bootID()
	}
	n.self.Store(fingerprint(config, id))
	n.reports = newReports(func(ctx context.Context, updates []cluster.AllocUpdate) error {
		err := config.Control.Report(ctx, id, updates)
		if err != nil {
			n.counted.report.Add(1)
		}
		return err
	}, n.acknowledged, n.log)
	if n.journal, err = openJournal(filepath.Join(config.Dir, "allocs")); err != nil {
		return nil, err
	}
	return n, n.restore()
}

func makeDir(dir string, mode os.FileMode) error {
	if err := os.MkdirAll(dir, mode); err != nil {
		return fmt.Errorf("open node: %w", err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("open node: %w", err)
	}
	return nil
}

// nodeID is the configured ID or the one kept on disk.
func nodeID(c Config) (cluster.ID, error) {
	if !c.NodeID.IsZero() {
		return c.NodeID, nil
	}
	text, err := os.ReadFile(idFile(c.Dir))
	if err == nil {
		id, err := cluster.ParseID(strings.TrimSpace(string(text)))
		if err == nil && !id.IsZero() {
			return id, nil
		}
		return cluster.ID{}, fmt.Errorf("read node ID: %s does not hold one: restore the file, or remove it to become a new node", idFile(c.Dir))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return cluster.ID{}, fmt.Errorf("read node ID: %w", err)
	}
	var seed [16]byte
	rand.Read(seed[:])
	id := cluster.IDFrom(seed, 0)
	if err := replaceFile(idFile(c.Dir), []byte(id.String()+"\n"), true); err != nil {
		return cluster.ID{}, fmt.Errorf("write node ID: %w", err)
	}
	return id, nil
}

// restore makes runners of what the journal holds.
func (n *Node) restore() error {
	records, problems, err := n.journal.load()
	if err != nil {
		return err
	}
	for _, problem := range problems {
		n.log.Error("an allocation's journal is unusable: if it still has tasks here they must be ended by hand", "err", problem)
	}
	for _, r := range records {
		n.add(r.rebooted(n.boot, now()), true)
	}
	return nil
}

// add makes a runner and, while Run runs, starts it. The record of one that is over needs none to run.
func (n *Node) add(r record, restored bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	run := newRunner(n, r, restored)
	n.runners[run.id] = run
	if n.live != nil {
		n.group.Go(func() { n.drive(run) })
	}
}

// drive runs a runner to its end and lets those go on that waited for it.
func (n *Node) drive(run *runner) {
	n.mu.Lock()
	ctx := n.live
	n.mu.Unlock()
	ended := run.record().over()
	run.run(ctx)
	if ctx.Err() != nil || ended {
		return
	}
	run.log.Info("allocation has ended", "status", run.record().Status.String())
	for _, other := range n.all() {
		if other.record().Alloc.Details().PreviousAllocation == run.id {
			other.post(ctx, func() {})
		}
	}
	n.collect(ctx)
}

// all are the runners there are, in no order.
func (n *Node) all() []*runner {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make([]*runner, 0, len(n.runners))
	for _, r := range n.runners {
		all = append(all, r)
	}
	return all
}

// runner is that of the allocation, nil if it is not here.
func (n *Node) runner(id cluster.ID) *runner {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.runners[id]
}

// knows reports whether there is a record of the allocation on this node, whatever became of it.
func (n *Node) knows(id cluster.ID) bool { return n.runner(id) != nil }

// Endpoints are those of all services here, with what their checks say now. Offers tells when to ask again.
func (n *Node) Endpoints() []cluster.Endpoint {
	self := n.self.Load()
	var all []cluster.Endpoint
	for _, r := range n.all() {
		if rec := r.record(); !rec.over() {
			all = append(all, cluster.Endpoints(rec.Alloc, self, rec.Passing)...)
		}
	}
	return all
}

// Offers holds a token while Endpoints may have changed since it was last taken. It is for one receiver.
func (n *Node) Offers() <-chan struct{} { return n.offers }

// Self is what the node says of itself to the servers. It must not be modified.
func (n *Node) Self() *cluster.Node { return n.self.Load() }

// offering says that Endpoints may have changed.
func (n *Node) offering() {
	select {
	case n.offers <- struct{}{}:
	default:
	}
}

// ID is the node's.
func (n *Node) ID() cluster.ID { return n.self.Load().ID }

// Counters is what a node counts, since Open where not said otherwise.
type Counters struct {
	Allocations int // on this node's disk now
	Living      int // of them those whose tasks have not all ended

	LeaseFailures   uint64 // registrations and heartbeats that failed and were tried again
	FollowFailures  uint64 // questions for assignments that failed and were asked again
	ReportFailures  uint64 // reports that failed and were sent again
	JournalFailures uint64 // writes of the journal that failed and were tried again
	DriverFailures  uint64 // starts, signals, watches and destroys that drivers refused
}

// counters are the parts of Counters that are counted as they happen.
type counters struct{ lease, follow, report, journal, driver atomic.Uint64 }

// Counters are the node's counters now.
func (n *Node) Counters() Counters {
	c := Counters{LeaseFailures: n.counted.lease.Load(), FollowFailures: n.counted.follow.Load(),
		ReportFailures: n.counted.report.Load(), JournalFailures: n.counted.journal.Load(), DriverFailures: n.counted.driver.Load()}
	for _, r := range n.all() {
		c.Allocations++
		if !r.record().over() {
			c.Living++
		}
	}
	return c
}

// EndTasks has Run end all tasks at its end, as with Config.StopTasks.
func (n *Node) EndTasks() { n.ending.Store(true) }

// Run is the node's life: it takes up what the journal holds, registers, and follows the servers until ctx ends.
// Then, with StopTasks, it ends all tasks and returns when they are gone; otherwise it leaves them running. It may be
// called once.
func (n *Node) Run(ctx context.Context) error {
	// Runners live on for a while after ctx where they are to end their tasks.
	live, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	n.mu.Lock()
	n.live = live
	for _, r := range n.runners {
		n.group.Go(func() { n.drive(r) })
	}
	n.mu.Unlock()
	reporting, stopReporting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopReporting()
	var reporter sync.WaitGroup
	reporter.Go(func() { n.reports.run(reporting) })

	n.judge()
	talk, talking := errgroup.WithContext(ctx)
	registered := make(chan struct{})
	examined := make(chan struct{})
	talk.Go(func() error { n.examine(talking, examined); return nil })
	talk.Go(func() error { n.keepRegistered(talking, examined, registered); return nil })
	talk.Go(func() error { n.follow(talking, registered); return nil })
	talk.Go(func() error { n.keepClean(talking); return nil })
	talk.Go(func() error { n.keepJudging(talking); return nil })
	for _, d := range n.config.Drivers {
		if c, ok := d.(driver.Cleaner); ok {
			talk.Go(func() error { c.Run(talking, n.knows); return nil })
		}
	}
	err := talk.Wait() // from here on nobody adds a runner

	if n.config.StopTasks || n.ending.Load() {
		for _, r := range n.all() {
			r.post(live, func() { r.closing = true })
		}
		n.group.Wait()
	}
	cancel()
	n.group.Wait()
	stopReporting()
	reporter.Wait()
	// The last word, if somebody hears it; what is not heard is compared at the next start.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	if err := n.reports.flush(last); err != nil {
		n.log.Debug("the servers do not hear this node's last report", "err", err)
	}
	return err
}

// examine asks the drivers what they can do, now and every half minute, and looks whether the node's address changed.
// It closes first when all drivers have answered once, or a moment has passed: a slow one follows later.
func (n *Node) examine(ctx context.Context, first chan<- struct{}) {
	const grace, interval, longest = 50 * time.Millisecond, 30 * time.Second, 20 * time.Second
	var drivers, answered sync.WaitGroup
	for name, d := range n.config.Drivers {
		answered.Add(1)
		drivers.Go(func() {
			for again := false; ; again = true {
				asking, cancel := context.WithTimeout(ctx, longest)
				state := d.Fingerprint(asking)
				cancel()
				if ctx.Err() == nil {
					n.change(func(self *cluster.Node) (*cluster.Node, bool) { return withDriver(self, name, state, time.Now()) })
				}
				if !again {
					answered.Done()
				}
				if !rest(ctx, interval) {
					return
				}
			}
		})
	}
	all := make(chan struct{})
	drivers.Go(func() { answered.Wait(); close(all) })
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-all:
	case <-timer.C:
	case <-ctx.Done():
	}
	close(first)
	for rest(ctx, interval) {
		n.change(func(self *cluster.Node) (*cluster.Node, bool) { return withAddress(self, n.config.Address) })
	}
	drivers.Wait()
}

// change replaces what the node says of itself.
func (n *Node) change(edit func(*cluster.Node) (*cluster.Node, bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next, news := edit(n.self.Load())
	if !news {
		return
	}
	n.self.Store(next)
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

// keepRegistered tells the servers what the node is and renews its lease. It closes registered after the first success.
func (n *Node) keepRegistered(ctx context.Context, examined <-chan struct{}, registered chan<- struct{}) {
	<-examined
	var known *cluster.Node // what the servers were told; nil: they must be told again
	failures := 0
	for ctx.Err() == nil {
		self := n.self.Load()
		standing, err := n.speak(ctx, self, known)
		if err == nil {
			known = self
		}
		switch {
		case err == nil && standing.Status == cluster.NodeStatusDown:
			n.log.Warn("the servers took this node for lost: it registers again")
			known, failures = nil, failures+1
		case err == nil:
			failures = 0
		case ctx.Err() != nil:
			return
		default:
			n.counted.lease.Add(1)
			if cluster.CodeOf(err) == cluster.CodeNotFound {
				known = nil
			}
			const notable = 5 // in a row; fewer belong to every start and change of leaders
			if failures++; failures == notable {
				n.log.Warn("the servers do not answer: this node keeps trying, its tasks go on", "err", err)
			}
		}
		if known != nil && registered != nil {
			close(registered)
			registered = nil
		}
		pause := n.config.Heartbeat
		if failures > 0 {
			pause = min(backoff(failures), 2*n.config.Heartbeat)
		}
		if !n.restUnlessChanged(ctx, pause) {
			return
		}
	}
}

// speak renews the lease of a node that the servers know, and tells them what the node is if that is news. The lease does
// not wait for the news, which servers with a full disk cannot take.
func (n *Node) speak(ctx context.Context, self, known *cluster.Node) (Standing, error) {
	if known != nil {
		standing, err := n.beat(ctx)
		if err != nil || self == known {
			return standing, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return Standing{}, n.config.Control.Register(ctx, self)
}

// beat renews the lease, which is worthless when it takes long.
func (n *Node) beat(ctx context.Context) (Standing, error) {
	beating, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer cancel()
	sent := Boottime() // a lease is as old as its renewal's sending
	standing, err := n.config.Control.Heartbeat(beating, n.ID())
	if err == nil && standing.Leader {
		n.renewed(beating, sent)
	}
	return standing, err
}

func (n *Node) restUnlessChanged(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-n.changed:
	}
	return true
}

// follow does what the servers want, as often as that changes.
func (n *Node) follow(ctx context.Context, registered <-chan struct{}) {
	select {
	case <-registered:
	case <-ctx.Done():
		return
	}
	var index uint64
	failures := 0
	wished := n.guards.wished
	for ctx.Err() == nil {
		a, err := n.config.Control.Allocations(ctx, n.ID(), index)
		if err == nil && a.Index == 0 { // no state has this index: taking it for one would end everything
			err = errors.New("follow allocations: the answer has no index")
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			n.counted.follow.Add(1)
			n.log.Debug("the servers do not say what this node should run", "err", err)
			rest(ctx, backoff(failures))
			continue
		case a.Index < index: // another state than before: see all of it
			index = 0
			n.distrust(ctx)
			continue
		}
		failures = 0
		n.assign(ctx, a)
		if wished != nil {
			close(wished)
			wished = nil
		}
		if a.Index == index && len(a.Changed) == 0 {
			rest(ctx, 50*time.Millisecond) // whatever the servers do, it does not spin here
		}
		index = a.Index
	}
}

// distrust makes every allocation compare what the servers say next with what they were told.
func (n *Node) distrust(ctx context.Context) {
	n.mu.Lock()
	clear(n.gone)
	n.mu.Unlock()
	for _, r := range n.all() {
		r.acked.Store(false)
		r.post(ctx, func() { r.compare = true })
	}
}

// assign takes what the servers want now.
func (n *Node) assign(ctx context.Context, a Assignments) {
	// What goes must be known to go before what replaces it is looked at.
	for _, known := range []bool{true, false} {
		for _, alloc := range a.Changed {
			if (n.runner(alloc.ID) != nil) == known {
				n.take(ctx, alloc)
			}
		}
	}
	listed := make(map[cluster.ID]bool, len(a.IDs))
	for _, id := range a.IDs {
		listed[id] = true
	}
	for _, r := range n.all() {
		r.forgotten.Store(!listed[r.id])
		if !listed[r.id] {
			r.post(ctx, func() { r.set(r.rec.orphaned(), keepProcess) })
		}
	}
	n.mu.Lock()
	for id := range n.gone {
		if !listed[id] {
			delete(n.gone, id)
		}
	}
	n.mu.Unlock()
	n.collect(ctx)
}

// take takes one allocation from the servers.
func (n *Node) take(ctx context.Context, a *cluster.Allocation) {
	n.mu.Lock()
	r, gone := n.runners[a.ID], n.gone[a.ID]
	n.mu.Unlock()
	if a.Group() == nil {
		n.log.Error("the servers sent an allocation without its task group: it is ignored", "alloc", a.ID.String())
		return
	}
	switch {
	case r != nil && r.ask(ctx, func() error { r.assign(a); return nil }) == nil:
	case r != nil:
		if ctx.Err() == nil { // it is over: the record stays as it is
			n.reportIfNews(r.record(), a)
		}
	case gone || a.ClientStatus.Terminal():
	case a.ServerTerminal(): // it never began here
		n.reports.put(cluster.AllocUpdate{ID: a.ID, ClientStatus: cluster.ClientComplete, TaskStates: a.TaskStates,
			Health: a.Health, HealthTime: a.HealthTime}, true)
	default:
		n.add(newRecord(a, n.boot, now()), false)
	}
}

// reportIfNews reports the record if the servers know less of it, or mark it acknowledged.
func (n *Node) reportIfNews(r *record, a *cluster.Allocation) {
	known := cluster.AllocUpdate{ID: a.ID, ClientStatus: a.ClientStatus, ClientDescription: a.Details().ClientDescription,
		TaskStates: a.TaskStates, Health: a.Health, HealthTime: a.HealthTime, Passing: a.Passing}
	if mine := r.update(); !sameUpdate(mine, known) && !(a.ClientStatus.Terminal() && !r.Status.Terminal()) {
		n.reports.put(mine, true)
		return
	}
	if a.ClientStatus.Terminal() {
		n.acknowledged(known)
	}
}

// sameUpdate compares what two updates say, whatever stands for "nothing" in them.
func sameUpdate(a, b cluster.AllocUpdate) bool {
	plain := func(u cluster.AllocUpdate) cluster.AllocUpdate {
		states := make([]cluster.TaskState, len(u.TaskStates))
		for i, t := range u.TaskStates {
			t.Events = append([]cluster.TaskEvent{}, t.Events...)
			states[i] = t
		}
		u.TaskStates = states
		return u
	}
	return reflect.DeepEqual(plain(a), plain(b))
}

// acknowledged is told what the servers have stored.
func (n *Node) acknowledged(u cluster.AllocUpdate) {
	if r := n.runner(u.ID); r != nil && u.ClientStatus.Terminal() {
		r.acked.Store(true)
	}
}

// holdsBack reports whether the allocation must wait: the one that it replaces is on its way out here, and may hold
// what this one needs.
func (n *Node) holdsBack(a *cluster.Allocation) bool {
	r := n.runner(a.Details().PreviousAllocation)
	if r == nil {
		return false
	}
	previous := r.record()
	return !previous.over() && (previous.Alloc.Terminal() || previous.failed() || previous.Orphan)
}
