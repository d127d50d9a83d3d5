package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// living is a server that runs on a directory, with a real log and a real socket.
type living struct {
	*Server
	t    testing.TB
	port *link.Port
	log  *logBook
	stop func() error // ends it and says what Run returned
}

// logBook collects what a server logs.
type logBook struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start opens a server on the directory, runs it and waits until it leads.
func start(t testing.TB, dir string) *living {
	t.Helper()
	l := open(t, dir)
	l.run()
	return l
}

func open(t testing.TB, dir string) *living {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return openOn(t, dir, listener)
}

func openOn(t testing.TB, dir string, listener net.Listener) *living {
	t.Helper()
	l := &living{t: t, log: new(logBook)}
	logger := slog.New(slog.NewTextHandler(l.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	identity, err := identityIn(dir, nodeID)
	if err == nil {
		l.port = link.NewPort(link.PortConfig{Listener: listener, Identity: identity, Logger: logger,
			MayRaft: func(id cluster.ID) bool { return l.Server.MayRaft(id) }})
		l.Server, err = Open(Config{Dir: dir, Identity: identity, Bootstrap: true, Raft: l.port.Raft(), Advertise: listener.Addr().String(),
			Dialer: link.NewDialer(link.DialerConfig{Identity: identity, Address: func(cluster.ID) (string, bool) { return "", false }}),
			Logger: logger, Reach: func(id cluster.ID) (Carry, error) { return nil, fmt.Errorf("no path to %s", id) }})
	}
	if err != nil {
		listener.Close()
		t.Fatal(err)
	}
	return l
}

// identityIn is that of the cluster that was, or now is, founded in the directory.
func identityIn(dir string, id cluster.ID) (*link.Identity, error) {
	within := filepath.Join(dir, "identity")
	if !link.HasIdentity(within) {
		if err := Found(dir, within, id, time.Now()); err != nil {
			return nil, err
		}
	}
	return link.OpenIdentity(within)
}

func (l *living) run() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	wired, cut := context.WithCancel(context.Background())
	unwired := make(chan error, 1)
	go func() { unwired <- l.port.Run(wired) }()
	go func() {
		err := l.Run(ctx)
		cut()
		done <- errors.Join(err, <-unwired)
	}()
	l.stop = sync.OnceValue(func() error { cancel(); return <-done })
	l.t.Cleanup(func() {
		if err := l.stop(); err != nil {
			l.t.Errorf("run server: %v", err)
		}
		if l.t.Failed() {
			l.t.Logf("the server's log:\n%s", l.log)
		}
	})
	l.eventually("a leader", func(*state.Snapshot) bool { return l.Leadership().Self })
}

// eventually waits until the state is as wanted.
func (l *living) eventually(what string, wanted func(*state.Snapshot) bool) *state.Snapshot {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		sn := l.Snapshot()
		if wanted(sn) {
			return sn
		}
		if ctx.Err() != nil {
			l.t.Fatalf("waited in vain for %s at index %d", what, sn.Index())
		}
		look, enough := context.WithTimeout(ctx, 20*time.Millisecond) // leadership is not in the state
		l.Store().Wait(look, sn.Index(), everything...)
		enough()
	}
}

var everything = []state.Key{state.TableKey(state.Jobs), state.TableKey(state.Nodes), state.TableKey(state.Allocs),
	state.TableKey(state.Evals), state.TableKey(state.Deployments), state.TableKey(state.Meta)}

func (l *living) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// node registers a node of that many MHz and MB.
func (l *living) node(id cluster.ID, share int) {
	l.t.Helper()
	n := newNode(id, "n"+id.Short())
	n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB = share, share
	l.must(l.Register(context.Background(), n))
}

// newJob is a job of count instances, each of that many MHz and MB.
func newJob(id string, count, share int) *cluster.Job {
	job := cluster.DefaultJob(cluster.JobTypeService)
	job.ID, job.Name, job.Namespace, job.Datacenters = id, id, cluster.DefaultNamespace, []string{"*"}
	group := cluster.DefaultGroup(&job)
	group.Name, group.Count = "app", count
	task := cluster.DefaultTask(&group)
	task.Name, task.Driver, task.Config = "main", "raw_exec", map[string]any{"command": "/bin/true"}
	task.Resources.CPU, task.Resources.MemoryMB = share, share
	group.Tasks = []cluster.Task{task}
	job.TaskGroups = []cluster.TaskGroup{group}
	return &job
}

// register hands in a job, as the API does.
func (l *living) register(job *cluster.Job) {
	l.t.Helper()
	now := time.Now()
	eval := newEval(cluster.IDFrom(dice(), 0), job, cluster.TriggerJobRegister, now)
	_, err := l.Apply(context.Background(), &state.RegisterJob{At: now.UnixNano(), Job: job, Eval: &eval})
	l.must(err)
}

// allocs are the job's allocations that are wanted.
func wanted(sn *state.Snapshot, job string) (allocs []*cluster.Allocation) {
	for a := range sn.AllocsByJob(cluster.DefaultNamespace, job) {
		if !a.Terminal() {
			allocs = append(allocs, a)
		}
	}
	return allocs
}

// quiet reports whether nothing is left to be planned.
func quiet(sn *state.Snapshot) bool {
	for range sn.PendingEvals() {
		return false
	}
	return true
}

// obey plays a node that does at once what it is told: what should run is running and healthy, what should stop has.
func (l *living) obey(ctx context.Context, id cluster.ID) {
	for ctx.Err() == nil {
		sn := l.Snapshot()
		var updates []cluster.AllocUpdate
		for a := range sn.AllocsByNode(id) {
			switch {
			case a.ClientStatus == cluster.ClientPending && !a.ServerTerminal():
				updates = append(updates, cluster.AllocUpdate{ID: a.ID, ClientStatus: cluster.ClientRunning,
					Health: cluster.HealthHealthy, HealthTime: time.Now().UnixNano()})
			case a.Occupies() && a.ServerTerminal():
				updates = append(updates, cluster.AllocUpdate{ID: a.ID, ClientStatus: cluster.ClientComplete})
			}
		}
		if len(updates) > 0 {
			if err := l.Report(ctx, id, updates); err != nil && ctx.Err() == nil && cluster.CodeOf(err) != cluster.CodeUnavailable {
				l.t.Errorf("report: %v", err)
				return
			}
			continue
		}
		l.Store().Wait(ctx, sn.Index(), state.NodeAllocsKey(id))
	}
}

// serve runs obedient nodes until the returned function is called.
func (l *living) serve(ids ...cluster.ID) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var nodes sync.WaitGroup
	for _, id := range ids {
		nodes.Go(func() { l.obey(ctx, id) })
	}
	stop = sync.OnceFunc(func() { cancel(); nodes.Wait() })
	l.t.Cleanup(stop)
	return stop
}

// saved is the state as bytes: equal states are saved equally.
func saved(t testing.TB, sn *state.Snapshot) string {
	t.Helper()
	var b strings.Builder
	if err := sn.Persist(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestStateSurvivesARestart(t *testing.T) {
	for _, c := range []struct {
		name                    string
		before, snapshot, after bool
	}{
		{"log alone", true, false, false},
		{"snapshot alone", true, true, false},
		{"snapshot and log", true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l := start(t, dir)
			l.node(nodeID, 1000)
			l.register(newJob("web", 2, 100))
			l.eventually("two allocations", func(sn *state.Snapshot) bool { return len(wanted(sn, "web")) == 2 && quiet(sn) })
			if c.snapshot {
				l.must(l.replica.raft.Snapshot().Error())
			}
			if c.after {
				l.register(newJob("api", 1, 100))
				l.eventually("another", func(sn *state.Snapshot) bool { return len(wanted(sn, "api")) == 1 && quiet(sn) })
			}
			l.must(l.stop())
			want, index := saved(t, l.Snapshot()), l.Snapshot().Index()
			again := open(t, dir)
			before := again.Snapshot().Index()
			if c.snapshot != (before > 0) {
				t.Errorf("after opening the state has index %d", before)
			}
			// The first index after all that is old is a leader's own, which holds no command.
			again.run()
			again.eventually("the old index", func(sn *state.Snapshot) bool { return sn.Index() >= index })
			if got := saved(t, again.Snapshot()); got != want {
				t.Errorf("the state has changed: index %d, before %d", again.Snapshot().Index(), index)
			}
			again.register(newJob("more", 1, 100))
			again.eventually("work goes on", func(sn *state.Snapshot) bool { return len(wanted(sn, "more")) == 1 })
		})
	}
}

func TestADeploymentGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	l := start(t, dir)
	l.node(nodeID, 4000)
	stop := l.serve(nodeID)
	job := newJob("web", 4, 100)
	l.register(job)
	deployed := func(version uint64) func(*state.Snapshot) bool {
		return func(sn *state.Snapshot) bool {
			d := sn.LatestDeployment("default", "web")
			return d != nil && d.JobVersion == version && d.Status == cluster.DeploymentSuccessful
		}
	}
	l.eventually("the first deployment", deployed(0))
	stop()
	next := *job
	next.TaskGroups = slices.Clone(job.TaskGroups)
	next.TaskGroups[0].Tasks = slices.Clone(job.TaskGroups[0].Tasks)
	next.TaskGroups[0].Tasks[0].Config = map[string]any{"command": "/bin/false"}
	l.register(&next)
	l.eventually("the first step", func(sn *state.Snapshot) bool {
		d := sn.LatestDeployment("default", "web")
		return d != nil && d.JobVersion == 1 && d.TaskGroups["app"].PlacedAllocs == 1 && quiet(sn)
	})
	l.must(l.stop())
	again := start(t, dir)
	again.serve(nodeID)
	sn := again.eventually("the second deployment", deployed(1))
	for _, a := range wanted(sn, "web") {
		if a.Job.Version != 1 {
			t.Errorf("%s still runs version %d", a.Name(), a.Job.Version)
		}
	}
	if n := len(wanted(sn, "web")); n != 4 {
		t.Errorf("%d instances, want 4", n)
	}
	if !sn.Job("default", "web").Stable {
		t.Error("the new version is not marked stable")
	}
}

func TestManyJobsAtOnceNeverOvercommit(t *testing.T) {
	l := start(t, t.TempDir())
	nodes := []cluster.ID{nodeID, otherID, {0xcc, 8: 1}}
	for _, id := range nodes {
		l.node(id, 1000)
	}
	const jobs, share = 40, 100 // 120 instances are wanted, 30 fit
	var all sync.WaitGroup
	for i := range jobs {
		all.Go(func() { l.register(newJob(fmt.Sprintf("job-%d", i), 3, share)) })
	}
	all.Wait()
	sn := l.eventually("all planned", quiet)
	placed := 0
	for node, used := range sn.Usages() {
		if used.Capacity.CPU > 1000 || used.Capacity.MemoryMB > 1000 {
			t.Errorf("node %s has %+v placed on it", node.Name, used.Capacity)
		}
		placed += used.Capacity.CPU / share
	}
	if placed != 30 {
		t.Errorf("%d instances run, 30 fit", placed)
	}
	// Whatever makes room is used, and what is still too much goes on waiting under its ID.
	blocked := map[cluster.ID]bool{}
	for eval := range sn.BlockedEvals() {
		blocked[eval.ID] = true
	}
	l.serve(nodes...)
	for a := range sn.Allocs() {
		l.must(l.deregister(a.JobID()))
		break
	}
	sn = l.eventually("full again", func(sn *state.Snapshot) bool {
		placed := 0
		for _, used := range sn.Usages() {
			placed += used.Capacity.CPU / share
		}
		return placed == 30 && quiet(sn)
	})
	for eval := range sn.BlockedEvals() {
		if !blocked[eval.ID] {
			t.Errorf("blocked evaluation %s of %s is new", eval.ID, eval.JobID)
		}
	}
}

func (l *living) deregister(job string) error {
	eval := newEval(cluster.IDFrom(dice(), 0), l.Snapshot().Job("default", job), cluster.TriggerJobDeregister, time.Now())
	_, err := l.Apply(context.Background(), &state.DeregisterJob{At: time.Now().UnixNano(), Namespace: "default", ID: job, Eval: &eval})
	return err
}

func TestTriesInVainWriteNothing(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	l.register(newJob("big", 1, 900))
	l.register(newJob("small", 1, 50))
	l.register(newJob("huge", 1, 2000))
	l.eventually("huge to be blocked", func(sn *state.Snapshot) bool {
		blocked := 0
		for range sn.BlockedEvals() {
			blocked++
		}
		return blocked == 1 && quiet(sn)
	})
	stop := l.serve(nodeID)
	l.must(l.deregister("small"))
	sn := l.eventually("small to have ended", func(sn *state.Snapshot) bool {
		_, all := l.overlay.room(sn)
		return sn.TableIndex(state.Room) > 0 && all > 0 && quiet(sn)
	})
	stop()
	tries := tries{}
	due, _ := l.due(sn, &tries, time.Now())
	if len(due) != 1 || due[0].JobID != "huge" {
		t.Fatalf("due after room appeared: %v", due)
	}
	before := l.Snapshot().Index()
	l.must(l.planOne(context.Background(), due[0].ID, &tries))
	if after := l.Snapshot().Index(); after != before {
		t.Errorf("a try in vain wrote entries %d to %d", before+1, after)
	}
	if due, _ := l.due(l.Snapshot(), &tries, time.Now().Add(time.Hour)); len(due) != 0 {
		t.Errorf("it is tried again although nothing changed")
	}
}

func TestASilentNodesWorkMovesAndItComesBack(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	l.register(newJob("web", 2, 100))
	l.eventually("two allocations", func(sn *state.Snapshot) bool { return len(wanted(sn, "web")) == 2 && quiet(sn) })
	l.node(otherID, 1000)
	l.serve(otherID)
	// The leader hears of the other node alone, and looks at a time when the first was silent for long enough.
	l.leases.renew(otherID, time.Now().Add(time.Hour))
	l.leases.renew(nodeID, time.Now().Add(-restartGrace))
	sn := l.eventually("the work to move", func(sn *state.Snapshot) bool {
		allocs := wanted(sn, "web")
		return sn.Node(nodeID).Status == cluster.NodeStatusDown && len(allocs) == 2 && allocs[0].NodeID == otherID && allocs[1].NodeID == otherID &&
			allocs[0].ClientStatus == cluster.ClientRunning
	})
	for a := range sn.AllocsByNode(nodeID) {
		if a.ClientStatus != cluster.ClientLost || a.DesiredStatus != cluster.DesiredStop {
			t.Errorf("%s on the lost node is %v, desired %v", a.Name(), a.ClientStatus, a.DesiredStatus)
		}
	}
	_, err := l.Heartbeat(context.Background(), nodeID)
	l.must(err)
	l.eventually("the node to be ready", func(sn *state.Snapshot) bool { return sn.Node(nodeID).Ready() && quiet(sn) })
	if n := len(wanted(l.Snapshot(), "web")); n != 2 {
		t.Errorf("%d instances after the node came back, want 2", n)
	}
	if standing, err := l.Heartbeat(context.Background(), cluster.ID{1}); err != nil || !standing.Unknown {
		t.Errorf("an unknown node's heartbeat: %+v, %v", standing, err)
	}
}

// TestANodeThatIsBackIsPlannedForOnce has the heartbeats of a node that was down come several ways at once, as after a cut.
func TestANodeThatIsBackIsPlannedForOnce(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	l.register(newJob("web", 1, 100))
	l.eventually("an allocation", func(sn *state.Snapshot) bool { return len(wanted(sn, "web")) == 1 && quiet(sn) })
	planned := func() (n int) {
		for e := range l.Snapshot().EvalsByJob("default", "web") {
			if e.TriggeredBy == cluster.TriggerNodeUpdate {
				n++
			}
		}
		return n
	}
	for round := range 3 {
		l.must(l.setNodeStatus(t.Context(), l.Snapshot().Node(nodeID), cluster.NodeStatusDown, "test"))
		before, events := planned(), len(l.Snapshot().Node(nodeID).Events)
		var ways sync.WaitGroup
		for i := range 10 {
			ways.Go(func() {
				standing, err := l.Heartbeat(t.Context(), nodeID)
				if i%2 == 0 {
					standing, err = l.vouched(t.Context(), nodeID)
				}
				if err != nil || standing.Status != cluster.NodeStatusReady {
					t.Errorf("round %d: %+v, %v", round, standing, err)
				}
			})
		}
		ways.Wait()
		if more, lines := planned()-before, len(l.Snapshot().Node(nodeID).Events)-events; more > 1 || lines != 1 || !l.Snapshot().Node(nodeID).Ready() {
			t.Errorf("round %d: planned %d times, %d lines in the node's diary", round, more, lines)
		}
	}
}

// TestADecisionAboutANodeIsAboutWhatWasSeen shows that what a node or a person says between a decision against the node and its
// commit is not overruled, and that a heartbeat meanwhile is answered afterwards.
func TestADecisionAboutANodeIsAboutWhatWasSeen(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	before := l.Snapshot().Node(nodeID)
	_, err := l.Apply(t.Context(), &state.NodeEligibility{At: 1, ID: nodeID, Eligibility: cluster.NodeIneligible})
	l.must(err)
	l.must(l.giveUp(t.Context(), before, "test"))
	if now := l.Snapshot().Node(nodeID); now.Status != cluster.NodeStatusReady {
		t.Errorf("a node that changed meanwhile is %s", now.Status)
	}

	decided, silent := l.leases.condemn(nodeID, time.Now())
	if !silent {
		t.Fatal("it was heard of")
	}
	answered := make(chan link.Standing, 1)
	go func() {
		standing, err := l.Heartbeat(t.Context(), nodeID)
		if err != nil {
			t.Error(err)
		}
		answered <- standing
	}()
	limited, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if standing, err := l.vouched(limited, nodeID); err == nil {
		t.Errorf("a heartbeat that another server passes on is answered %+v before that", standing)
	}
	l.must(l.giveUp(t.Context(), l.Snapshot().Node(nodeID), "test"))
	if status := l.Snapshot().Node(nodeID).Status; status != cluster.NodeStatusDown {
		t.Errorf("a node that was given up is %s", status)
	}
	select {
	case standing := <-answered:
		t.Errorf("a heartbeat is answered %+v before it is known what becomes of the node", standing)
	default:
	}
	decided()
	if standing := <-answered; standing.Status != cluster.NodeStatusReady || l.Snapshot().Node(nodeID).Status != cluster.NodeStatusReady {
		t.Errorf("after its heartbeat the node is %s, and hears %+v", l.Snapshot().Node(nodeID).Status, standing)
	}
}

// silence is a listener to which nobody connects.
type silence struct{ closed chan struct{} }

func newSilence() silence { return silence{make(chan struct{})} }

func (s silence) Accept() (net.Conn, error) { <-s.closed; return nil, net.ErrClosed }
func (s silence) Close() error              { close(s.closed); return nil }
func (s silence) Addr() net.Addr            { return &net.TCPAddr{} }

// heartbeats renews a node's lease twice a second until the returned function is called.
func (l *living) heartbeats(id cluster.ID) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			l.Heartbeat(ctx, id)
			pause(ctx, 500*time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

func TestSilenceCountsFromTheLastHeartbeatAndFromTheLastElection(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := openOn(t, dir, newSilence())
		l.run()
		l.node(nodeID, 1000)
		l.node(otherID, 1000)
		stop, stopOther := l.heartbeats(nodeID), l.heartbeats(otherID)
		l.register(newJob("web", 2, 100))
		l.register(newJob("old", 2, 100))
		l.eventually("all planned", func(sn *state.Snapshot) bool {
			return len(wanted(sn, "web")) == 2 && len(wanted(sn, "old")) == 2 && quiet(sn)
		})
		_, err := l.Apply(t.Context(), &state.DeregisterJob{At: 1, Namespace: "default", ID: "old", Purge: true})
		l.must(err)
		status := func() string { return l.Snapshot().Node(nodeID).Status }
		stop()
		<-time.After(restartGrace - time.Second)
		if status() != cluster.NodeStatusReady {
			t.Errorf("down too early")
		}
		<-time.After(2*vigilance + time.Second)
		if status() != cluster.NodeStatusDown {
			t.Errorf("%s after %v of silence", status(), restartGrace+2*vigilance)
		}
		sn := l.eventually("all planned", quiet)
		for a := range sn.AllocsByNode(nodeID) {
			if a.ClientStatus != cluster.ClientLost {
				t.Errorf("%s on the lost node is %v", a.Name(), a.ClientStatus)
			}
		}
		if len(wanted(sn, "web")) != 2 || len(wanted(sn, "old")) != 0 {
			t.Errorf("%d of web and %d of the purged job are wanted", len(wanted(sn, "web")), len(wanted(sn, "old")))
		}
		stopOther()
		l.must(l.stop())

		// Nobody knows how long the other node has been silent: the next leader grants it a whole lease.
		<-time.After(time.Hour)
		l = openOn(t, dir, newSilence())
		l.run()
		<-time.After(restartGrace - time.Second)
		if got := l.Snapshot().Node(otherID).Status; got != cluster.NodeStatusReady {
			t.Errorf("a new leader takes a node for %s too early", got)
		}
		<-time.After(2*vigilance + time.Second)
		if got := l.Snapshot().Node(otherID).Status; got != cluster.NodeStatusDown {
			t.Errorf("a node that a new leader never heard of is %s", got)
		}
		l.must(l.stop())
	})
}

func TestACrashOfTheSchedulerIsThatOfOneEvaluation(t *testing.T) {
	l := open(t, t.TempDir())
	plan := l.planner
	l.planner = func(in scheduler.Input) cluster.Plan {
		if in.Eval.JobID == "poison" {
			panic("poisoned")
		}
		return plan(in)
	}
	l.run()
	l.node(nodeID, 1000)
	l.register(newJob("poison", 1, 100))
	l.register(newJob("web", 1, 100))
	sn := l.eventually("all planned", func(sn *state.Snapshot) bool { return len(wanted(sn, "web")) == 1 && quiet(sn) })
	for eval := range sn.EvalsByJob("default", "poison") {
		if eval.Status != cluster.EvalFailed || !strings.Contains(eval.StatusDescription, "bug") {
			t.Errorf("the evaluation is %s: %s", eval.Status, eval.StatusDescription)
		}
	}
	if !strings.Contains(l.log.String(), "level=ERROR") {
		t.Error("nothing is logged")
	}
}

func TestRegistrationIsOneEntry(t *testing.T) {
	l := start(t, t.TempDir())
	before := l.Snapshot().Index()
	l.node(nodeID, 1000)
	if sn := l.Snapshot(); sn.Index() != before+1 || !sn.Node(nodeID).Ready() {
		t.Errorf("registration took entries %d to %d, the node is %s", before+1, sn.Index(), sn.Node(nodeID).Status)
	}
	index := l.Snapshot().TableIndex(state.Nodes)
	l.node(nodeID, 1000)
	if got := l.Snapshot().TableIndex(state.Nodes); got != index {
		t.Error("the same registration changed the node")
	}
}

func TestReportsOfManyNodesGoTogether(t *testing.T) {
	sn := state.New().Snapshot()
	foreign := cluster.IDFrom([16]byte{1}, 1)
	command := merged(sn, []report{{node: nodeID, updates: []cluster.AllocUpdate{{ID: foreign}}}}, [16]byte{}, time.Unix(1, 0))
	if len(command.Updates) != 0 {
		t.Error("what is not known is passed on")
	}
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	l.node(otherID, 1000)
	l.register(newJob("web", 6, 200))
	sn = l.eventually("six allocations", func(sn *state.Snapshot) bool { return len(wanted(sn, "web")) == 6 && quiet(sn) })
	var batch []report
	for _, id := range []cluster.ID{nodeID, otherID} {
		for a := range sn.Allocs() { // each speaks of all, and is believed for its own alone
			batch = append(batch, report{node: id, updates: []cluster.AllocUpdate{{ID: a.ID, ClientStatus: cluster.ClientFailed}}})
		}
	}
	command = merged(sn, batch, [16]byte{1}, time.Unix(1, 0))
	if len(command.Updates) != 6 || len(command.Evals) != 1 {
		t.Errorf("%d updates and %d evaluations, want 6 and 1", len(command.Updates), len(command.Evals))
	}
}

func TestCallersMayLeaveAndComeLate(t *testing.T) {
	l := start(t, t.TempDir())
	gone, cancel := context.WithCancelCause(context.Background())
	why := errors.New("the caller has gone home")
	cancel(why)
	for range 100 {
		if _, err := l.Apply(gone, &state.SetMeta{At: 1, Key: "k"}); err != nil && !errors.Is(err, why) {
			t.Fatal(err)
		}
		if err := l.Barrier(gone); err != nil && !errors.Is(err, why) {
			t.Fatal(err)
		}
	}
	l.must(l.Barrier(context.Background()))
	l.must(l.stop())
	if _, err := l.Apply(context.Background(), &state.SetMeta{At: 1, Key: "k"}); cluster.CodeOf(err) != cluster.CodeUnavailable {
		t.Errorf("a write after the end: %v", err)
	}
	if err := l.Barrier(context.Background()); cluster.CodeOf(err) != cluster.CodeUnavailable {
		t.Errorf("a read after the end: %v", err)
	}
	if err := l.Report(context.Background(), nodeID, nil); cluster.CodeOf(err) != cluster.CodeUnavailable {
		t.Errorf("a report after the end: %v", err)
	}
}

func TestAnEntryOfANewerProgramEndsTheServer(t *testing.T) {
	l := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	wired, cut := context.WithCancel(context.Background())
	unwired := make(chan error, 1)
	go func() { unwired <- l.port.Run(wired) }()
	go func() {
		err := l.Run(ctx)
		cut()
		done <- errors.Join(err, <-unwired)
	}()
	l.eventually("a leader", func(*state.Snapshot) bool { return l.Leadership().Self })
	_, err := l.commits.apply(ctx, []byte{250, 1, 0})
	if err != nil {
		t.Fatal(err)
	}
	err = <-done
	if !errors.Is(err, state.ErrNewer) || !strings.Contains(err.Error(), "upgrade this server") {
		t.Errorf("Run returned %v", err)
	}
}

func TestASnapshotOfANewerProgramIsRefused(t *testing.T) {
	m := &machine{store: state.New(), newer: make(chan error, 1)}
	var b strings.Builder
	if err := state.New().Snapshot().Persist(&b); err != nil {
		t.Fatal(err)
	}
	text := []byte(b.String())
	at := slices.IndexFunc(text, func(c byte) bool { return c < ' ' }) // the version follows the words
	text[at] = 200
	if err := m.Restore(io.NopCloser(strings.NewReader(string(text)))); !errors.Is(err, state.ErrNewer) {
		t.Fatalf("restored a newer snapshot: %v", err)
	}
	if err := (&replica{machine: m, bolt: new(keptLog)}).watch(context.Background()); !errors.Is(err, state.ErrNewer) {
		t.Errorf("the server goes on: %v", err)
	}
}

func TestASecondAgentOnTheSameDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	start(t, dir)
	if _, err := openLog(filepath.Join(dir, "raft.db"), time.Millisecond); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("opened twice: %v", err)
	}
}

func TestWorkGoesOnAfterAVainTransferOfLeadership(t *testing.T) {
	l := start(t, t.TempDir())
	l.node(nodeID, 1000)
	future := l.replica.raft.LeadershipTransfer() // there is nobody to take it
	if err := future.Error(); err == nil || errors.Is(err, raft.ErrRaftShutdown) {
		t.Fatalf("transferred leadership to nobody: %v", err)
	}
	l.register(newJob("web", 1, 100))
	l.eventually("work goes on", func(sn *state.Snapshot) bool { return len(wanted(sn, "web")) == 1 })
}
