package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// world is all that outlives an agent: the tasks that run on the machine, and the servers. An agent reaches it
// through an incarnation, which can be killed at any point.
type world struct {
	t    *testing.T
	dir  string
	boot string
	full atomic.Bool // the disk is

	faults sync.Map // how often a method of the driver fails (*atomic.Int64), by its name

	mu      sync.Mutex
	scripts map[string]func(attempt int) script // what tasks do, by their name
	tasks   map[string]*process                 // what the driver knows, by ID
	starts  []string                            // IDs, in the order of their first start
	signals []string                            // "<id> <signal>"
	driver  cluster.DriverState

	index    uint64
	allocs   map[cluster.ID]*cluster.Allocation
	changed  map[cluster.ID]uint64
	news     chan struct{} // closed and replaced at every change
	nodes    []*cluster.Node
	reported []cluster.AllocUpdate
	reports  int
	beats    int
	down     bool   // the servers do not answer
	status   string // of the node
}

// script is what one attempt of a task does.
type script struct {
	startFails error
	startTakes time.Duration
	runs       time.Duration // 0: until it is told to end
	exit       driver.Exit
	stubborn   bool // signals do not end it
}

type process struct {
	over   chan struct{} // closed at the end
	ended  bool
	exit   driver.Exit
	script script
}

func newWorld(t *testing.T) *world {
	return &world{t: t, dir: t.TempDir(), boot: "boot-1", scripts: map[string]func(int) script{}, tasks: map[string]*process{},
		driver: cluster.DriverState{Detected: true, Healthy: true}, index: 1, allocs: map[cluster.ID]*cluster.Allocation{},
		changed: map[cluster.ID]uint64{}, news: make(chan struct{}), status: cluster.NodeStatusReady}
}

// incarnation is one life of the agent.
type incarnation struct {
	*world
	node   *Node
	cancel context.CancelFunc
	done   chan struct{}

	pmu    sync.Mutex
	points []string // what it came by
	dieAt  int      // the number of the point at which it is killed; 0: never
	dead   bool
}

// point is a place at which the agent can be killed. It reports whether it lives on.
func (n *incarnation) point(name string) bool {
	n.pmu.Lock()
	defer n.pmu.Unlock()
	if n.dead {
		return false
	}
	n.points = append(n.points, name)
	if len(n.points) == n.dieAt {
		n.dead = true
		n.cancel()
		return false
	}
	return true
}

// start makes an agent of the machine's directory and runs it.
func (w *world) start(dieAt int, edit ...func(*Config)) *incarnation {
	w.t.Helper()
	n := &incarnation{world: w, dieAt: dieAt, done: make(chan struct{})}
	config := Config{Dir: w.dir + "/client", AllocDir: w.dir + "/alloc", NodeID: cluster.ID{9}, Name: "n1", Address: "127.0.0.1", BootID: w.boot,
		Drivers: map[string]driver.Driver{"fake": n}, Control: n}
	for _, f := range edit {
		f(&config)
	}
	var err error
	if n.node, err = Open(config); err != nil {
		w.t.Fatal(err)
	}
	n.node.journal.before = func(what string) error {
		if !n.point("before " + what) {
			return errors.New("killed")
		}
		if w.full.Load() {
			return errors.New("no space left on device")
		}
		return nil
	}
	n.node.journal.lazy = true
	n.node.journal.after = func(what string) { n.point("after " + what) }
	n.node.probe = func(context.Context, cluster.Check, string) (string, int, string) {
		return cluster.CheckSuccess, 200, "ok"
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() {
		defer close(n.done)
		if err := n.node.Run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	}()
	return n
}

// restart wishes for the allocation's tasks to be started anew, and reports whether the agent listened.
func (n *incarnation) restart(id cluster.ID) bool {
	run := n.node.runner(id)
	return run != nil && run.ask(context.Background(), func() error { return run.restart("", "", false) }) == nil
}

// stop ends the agent and waits for it.
func (n *incarnation) stop() {
	n.cancel()
	<-n.done
}

// The driver.

func (n *incarnation) Fingerprint(context.Context) cluster.DriverState {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.driver
}

// died is what a call of an agent that was killed on the way comes to.
func died(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (n *incarnation) Start(ctx context.Context, t driver.Task, notice func(string)) error {
	if !n.point("before start " + t.Name) {
		return died(ctx)
	}
	parts := strings.Split(t.ID, "/")
	var attempt int
	fmt.Sscan(parts[2], &attempt)
	script := n.script(t.Name, attempt)
	if script.startTakes > 0 {
		notice("pulling")
		if !rest(ctx, script.startTakes) {
			return ctx.Err()
		}
	}
	if script.startFails != nil {
		return script.startFails
	}
	n.begin(t.ID, script)
	if !n.point("after start " + t.Name) {
		return died(ctx)
	}
	return nil
}

func (w *world) script(task string, attempt int) script {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.scripts[task]; f != nil {
		return f(attempt)
	}
	return script{}
}

func (w *world) begin(id string, s script) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tasks[id] != nil {
		return
	}
	w.starts = append(w.starts, id)
	p := &process{over: make(chan struct{}), script: s}
	w.tasks[id] = p
	if s.runs > 0 {
		time.AfterFunc(s.runs, func() { w.end(id, s.exit) })
	}
}

func (w *world) end(id string, exit driver.Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.tasks[id]; p != nil && !p.ended {
		exit.At = time.Now()
		p.ended, p.exit = true, exit
		close(p.over)
	}
}

func (n *incarnation) Wait(ctx context.Context, id string) (driver.Exit, error) {
	if err := n.fault("wait"); err != nil {
		return driver.Exit{}, err
	}
	n.mu.Lock()
	p := n.tasks[id]
	n.mu.Unlock()
	if p == nil {
		return driver.Exit{}, driver.ErrUnknown
	}
	select {
	case <-p.over:
	case <-ctx.Done():
		return driver.Exit{}, ctx.Err()
	}
	if !n.point("after wait") {
		return driver.Exit{}, died(ctx)
	}
	return p.exit, nil
}

func (n *incarnation) Signal(ctx context.Context, id, signal string) error {
	if err := n.fault("signal"); err != nil {
		return err
	}
	if !n.point("before signal") {
		return died(ctx)
	}
	n.mu.Lock()
	p := n.tasks[id]
	n.signals = append(n.signals, id+" "+signal)
	n.mu.Unlock()
	if p == nil {
		return driver.ErrUnknown
	}
	if signal == "" && !p.script.stubborn {
		n.end(id, driver.Exit{Signal: 2})
	}
	if !n.point("after signal") {
		return died(ctx)
	}
	return nil
}

func (n *incarnation) Destroy(ctx context.Context, id string) error {
	if err := n.fault("destroy"); err != nil {
		return err
	}
	if !n.point("before destroy") {
		return died(ctx)
	}
	n.end(id, driver.Exit{Signal: 9})
	n.mu.Lock()
	delete(n.tasks, id)
	n.mu.Unlock()
	if !n.point("after destroy") {
		return died(ctx)
	}
	return nil
}

func (n *incarnation) Stats(_ context.Context, id string) (driver.Stats, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.tasks[id] == nil {
		return driver.Stats{}, driver.ErrUnknown
	}
	return driver.Stats{CPUTime: time.Second, MemoryBytes: 1 << 20, Pids: 1}, nil
}

// fault is the error of a driver's method that is to fail now.
func (w *world) fault(method string) error {
	if left, ok := w.faults.Load(method); ok && left.(*atomic.Int64).Add(-1) >= 0 {
		return errors.New("engine away")
	}
	return nil
}

// fail makes the driver's method fail that often.
func (w *world) fail(method string, times int64) {
	left := new(atomic.Int64)
	left.Store(times)
	w.faults.Store(method, left)
}

// running are the IDs of the tasks that run.
func (w *world) running() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for id, p := range w.tasks {
		if !p.ended {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// known are the IDs of all tasks that the driver remembers.
func (w *world) known() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.tasks))
}

// begun, sent and registrations are what was started, signalled and registered so far.
func (w *world) begun() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.starts)
}

func (w *world) sent() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.signals)
}

func (w *world) registrations() []*cluster.Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.nodes)
}

// reboot ends everything on the machine.
func (w *world) reboot(boot string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.boot = boot
	for _, p := range w.tasks {
		if !p.ended {
			p.ended = true
			p.exit = driver.Exit{Code: 255}
			close(p.over)
		}
	}
}

// The servers.

var errDown = errors.New("no answer")

func (n *incarnation) reach(ctx context.Context, name string) error {
	if !n.point(name) {
		return died(ctx)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.world.down {
		return errDown
	}
	return nil
}

func (n *incarnation) Register(ctx context.Context, node *cluster.Node) error {
	if err := n.reach(ctx, "register"); err != nil {
		return err
	}
	if err := n.fault("register"); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes = append(n.nodes, node)
	n.status = cluster.NodeStatusReady
	return nil
}

func (n *incarnation) Heartbeat(context.Context, cluster.ID) (Standing, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.world.down {
		return Standing{}, errDown
	}
	n.beats++
	return Standing{Status: n.status, Leader: true}, nil
}

func (n *incarnation) Allocations(ctx context.Context, _ cluster.ID, index uint64) (Assignments, error) {
	for {
		n.mu.Lock()
		isDown, news, a := n.world.down, n.news, Assignments{Index: n.index}
		if index == 0 || n.index != index {
			for id, alloc := range n.allocs {
				a.IDs = append(a.IDs, id)
				if index == 0 || n.changed[id] > index {
					a.Changed = append(a.Changed, alloc)
				}
			}
		}
		n.mu.Unlock()
		if isDown {
			return Assignments{}, errDown
		}
		if index == 0 || a.Index != index {
			return a, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Assignments{}, ctx.Err()
		}
	}
}

func (n *incarnation) Report(ctx context.Context, _ cluster.ID, updates []cluster.AllocUpdate) error {
	if err := n.reach(ctx, "before report"); err != nil {
		return err
	}
	n.mu.Lock()
	n.reports++
	for _, u := range updates {
		n.reported = append(n.reported, u)
		if a := n.allocs[u.ID]; a != nil {
			next := *a
			next.ClientStatus, next.TaskStates, next.Passing = u.ClientStatus, u.TaskStates, u.Passing
			next.Health, next.HealthTime = u.Health, u.HealthTime
			n.allocs[u.ID] = next.WithDetails(func(r *cluster.AllocationRare) { r.ClientDescription = u.ClientDescription })
		}
	}
	n.mu.Unlock()
	if !n.point("after report") {
		return died(ctx)
	}
	return nil
}

// change replaces an allocation, or adds one, as the servers' own wish.
func (w *world) change(a *cluster.Allocation, edit func(*cluster.Allocation)) *cluster.Allocation {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.allocs[a.ID]; now != nil {
		a = now
	}
	next := *a
	if edit != nil {
		edit(&next)
	}
	w.index++
	next.AllocModifyIndex, next.ModifyIndex = w.index, w.index
	w.allocs[a.ID], w.changed[a.ID] = &next, w.index
	close(w.news)
	w.news = make(chan struct{})
	return &next
}

// forget removes an allocation from the servers.
func (w *world) forget(id cluster.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.allocs, id)
	w.index++
	close(w.news)
	w.news = make(chan struct{})
}

// alloc is the allocation as the servers know it.
func (w *world) alloc(id cluster.ID) *cluster.Allocation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.allocs[id]
}

func (w *world) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
	close(w.news)
	w.news = make(chan struct{})
}

// sleep lets everything happen that happens within d.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// testAlloc is an allocation of a job with the tasks named.
func testAlloc(number byte, jobType string, edit func(*cluster.Job), tasks ...string) *cluster.Allocation {
	job := cluster.DefaultJob(jobType)
	job.ID, job.Name = "job", "job"
	group := cluster.DefaultGroup(&job)
	group.Name = "g"
	group.RestartPolicy = cluster.RestartPolicy{Attempts: 3, Interval: 10 * time.Minute, Delay: time.Second, Mode: cluster.RestartModeFail}
	for _, name := range tasks {
		task := cluster.DefaultTask(&group)
		task.Name, task.Driver = name, "fake"
		group.Tasks = append(group.Tasks, task)
	}
	job.TaskGroups = []cluster.TaskGroup{group}
	if edit != nil {
		edit(&job)
	}
	return &cluster.Allocation{ID: cluster.ID{number, 15: number}, NodeID: cluster.ID{9}, Job: &job, TaskGroup: "g", CreateIndex: 1,
		Ports: []cluster.AllocatedPort{{Label: "http", HostIP: "127.0.0.1", Value: 20001}}}
}

// taskOf is the state of a task, as the servers know it.
func taskOf(t *testing.T, a *cluster.Allocation, name string) cluster.TaskState {
	t.Helper()
	if s := a.Task(name); s != nil {
		return *s
	}
	t.Fatalf("allocation %s: nothing is known of task %q", a.ID, name)
	return cluster.TaskState{}
}

// diary is the types of a task's events.
func diary(s cluster.TaskState) string {
	var all []string
	for _, e := range s.Events {
		all = append(all, e.Type.String())
	}
	return strings.Join(all, ", ")
}
