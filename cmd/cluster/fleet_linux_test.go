package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
)

// fleet is a whole cluster in memory: several machines, each with its agent, on a network that can be cut. The logs and
// journals lie on a real disk.
type fleet struct {
	t       testing.TB
	dice    *rand.Rand
	network *fleetNetwork
	nodes   []*fleetNode
	jobs    map[string]*fleetJob
	cut     map[fleetLine]bool // of the network itself; the lines of dead machines are besides
	healed  time.Time          // when the last cut ended
	states  map[uint64]fleetState
	told    map[string]bool // broken promises, so that each is told once
	slowest time.Duration   // that it took to come to rest
	through *fleetNode      // whom changes go through; nil: any

	mu    sync.Mutex // guards what follows
	limit map[string]int
}

// fleetState is what some server's state was at an index.
type fleetState struct {
	server string
	sum    [sha256.Size]byte
}

// fleetJob is what a job may be: the last version that was accepted, and those of which nobody knows. nil is stopped.
type fleetJob struct{ may []*cluster.Job }

// fleetNode is a machine.
type fleetNode struct {
	*memoryMachine
	f         *fleet
	name      string
	id        cluster.ID
	host      netip.Addr
	role      pki.Role
	works     bool // runs allocations
	dir       dataDir
	log       *fleetLog
	boots     int
	seen      uint64 // index of the state that was looked at last
	running   *running
	client    *api.Client
	end       func()    // of its agent
	apart     bool      // the cut that there is takes it from the others
	dead      bool      // the machine neither sends nor hears
	disturbed bool      // it is cut off, or its agent does not run; under f.mu
	calm      time.Time // it is undisturbed since then; under f.mu
}

// fleetLog is what a machine's agents, one after the other, and the fleet write.
type fleetLog struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

// Write appends to the log.
func (l *fleetLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String is the log so far.
func (l *fleetLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// fleetGrace is how long a node that was disturbed may take to be as the others.
const fleetGrace = 45 * time.Second

// newFleet makes the machines, of which the first so many are servers, and starts their agents.
func newFleet(t testing.TB, seed uint64, path string, servers, clients int) *fleet {
	f := &fleet{t: t, dice: rand.New(rand.NewPCG(seed, 0)), network: newFleetNetwork(seed), jobs: map[string]*fleetJob{},
		cut: map[fleetLine]bool{}, states: map[uint64]fleetState{}, told: map[string]bool{}, limit: map[string]int{}}
	for i := range servers + clients {
		n := &fleetNode{f: f, name: fmt.Sprintf("node-%d", i), host: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), log: new(fleetLog),
			role: pki.RoleServer, works: i%2 == 0 || servers < 5,
			memoryMachine: &memoryMachine{t: t, tasks: map[string]*memoryTask{}, limit: map[string]int{}, lazy: time.Second}}
		if i >= servers {
			n.role, n.works = pki.RoleClient, true
		}
		dir, err := openDataDir(filepath.Join(path, n.name))
		if err != nil {
			t.Fatal(err)
		}
		n.dir = dir
		if n.id, err = dir.nodeID(); err != nil {
			t.Fatal(err)
		}
		f.nodes = append(f.nodes, n)
		if i > 0 {
			f.enroll(n)
		}
		n.start()
		f.disturb(false, n)
	}
	return f
}

// enroll gives a machine what it gets by joining.
func (f *fleet) enroll(n *fleetNode) {
	first := f.nodes[0]
	must := func(text []byte, err error) []byte {
		if err != nil {
			f.t.Fatal(err)
		}
		return text
	}
	read := func(dir, name string) []byte { return must(os.ReadFile(filepath.Join(dir, name))) }
	authority, err := pki.Unseal(read(first.dir.identity(), "ca.crt"), read(first.dir.server(), "ca.sealed"), read(first.dir.server(), "seal.key"))
	if err != nil {
		f.t.Fatal(err)
	}
	key, public, err := pki.NewKey()
	must(key, err)
	certificate := must(authority.Issue(n.id, n.role, public, time.Now()))
	ring, err := link.ReadKeyring(first.dir.identity())
	must(nil, err)
	must(nil, link.WriteIdentity(n.dir.identity(), authority.PEM(), key, certificate))
	must(nil, link.WriteKeyring(n.dir.identity(), ring))
	must(nil, link.WriteServers(n.dir.identity(), []link.ServerAddress{{ID: first.id,
		Address: netip.AddrPortFrom(first.host, 4647).String(), Gossip: gossipAt(first.host).String()}}))
}

// start runs the machine's agent, built as `cluster agent` builds it, until end is called.
func (n *fleetNode) start() {
	t := n.f.t
	t.Helper()
	doors := map[string]*loopback{}
	config := defaultAgentConfig(false, machine{hostname: n.name})
	config.Name, config.Bootstrap, config.Bind, config.DataDir = n.name, n.id == n.f.nodes[0].id, n.host.String(), string(n.dir)
	config.Server.Enabled, config.Client.Enabled = roleOff, roleOff
	if n.role == pki.RoleServer {
		config.Server.Enabled = roleOn
	}
	if n.works {
		config.Client.Enabled = roleOn
	}
	config.Client.CPUTotalCompute, config.Client.MemoryTotalMB, config.Client.DiskTotalMB = 4000, 4000, 100_000
	os.Setenv(envBootID, fmt.Sprint(n.boots))
	defer os.Unsetenv(envBootID)
	r, err := openAgent(t.Context(), machineConfig{agent: config, dir: n.dir, supervisor: noSupervisor{}, nameless: true,
		logger:  slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		drivers: map[string]driver.Driver{"raw_exec": n},
		packets: n.f.network.gossip.Open(gossipAt(n.host)),
		listen: func(network, address string) (net.Listener, error) {
			if at, err := netip.ParseAddrPort(address); err == nil && !at.Addr().IsLoopback() {
				return n.f.network.listen(at)
			}
			doors[address] = newLoopback(address)
			return doors[address], nil
		},
		dial: func(ctx context.Context, _, address string) (net.Conn, error) {
			return n.f.network.dial(ctx, n.host, address)
		},
	})
	if err != nil {
		t.Fatalf("start %s: %v", n.name, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	client, err := api.New(api.Config{HTTP: doors["127.0.0.1:4646"].client()})
	if err != nil {
		t.Fatal(err)
	}
	n.running, n.client = r, client
	n.end = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run agent of %s: %v", n.name, err)
		}
		client.Close()
		n.running, n.client, n.end = nil, nil, nil
	}
}

// Start runs a task, and makes sure that there are not too many of its job: copies on machines that were cut off a moment ago
// do not count, they may not have heard of their end.
func (n *fleetNode) Start(ctx context.Context, task driver.Task, status func(string)) error {
	n.mu.Lock()
	n.memoryMachine.limit[task.JobID] = 1 << 30
	n.mu.Unlock()
	if err := n.memoryMachine.Start(ctx, task, status); err != nil {
		return err
	}
	f := n.f
	f.mu.Lock()
	most, living, where := f.limit[task.JobID], 0, ""
	for _, other := range f.nodes {
		if count := other.living(task.JobID); count > 0 && other.quietLocked(fleetGrace) {
			living += count
			where += fmt.Sprintf(" %s:%d", other.name, count)
		}
	}
	f.mu.Unlock()
	if living > most {
		f.broken("instances "+task.JobID, "%d instances of %s live at once on machines that nothing happened to, allowed are %d:%s", living, task.JobID, most, where)
	}
	return nil
}

// quietLocked reports whether nothing has happened to the machine for that long.
func (n *fleetNode) quietLocked(grace time.Duration) bool {
	return !n.disturbed && time.Since(n.calm) > grace
}

func (n *fleetNode) quiet(grace time.Duration) bool {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	return n.quietLocked(grace)
}

// broken tells of a broken promise, once.
func (f *fleet) broken(what, format string, args ...any) {
	f.mu.Lock()
	told := f.told[what]
	f.told[what] = true
	f.mu.Unlock()
	if !told {
		f.t.Errorf("%s: "+format, append([]any{clock()}, args...)...)
	}
}

// clock is the fake time, as the logs have it.
func clock() string { return time.Now().UTC().Format("15:04:05.000") }

// note writes to all logs what happens to the fleet.
func (f *fleet) note(format string, args ...any) {
	for _, n := range f.nodes {
		fmt.Fprintf(n.log, "%s ======== %s\n", clock(), fmt.Sprintf(format, args...))
	}
	f.t.Logf("%s %s", clock(), fmt.Sprintf(format, args...))
}

// disturb begins or ends a disturbance of machines.
func (f *fleet) disturb(begin bool, nodes ...*fleetNode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range nodes {
		n.disturbed = begin
		n.calm = time.Now()
	}
}

// sever cuts the lines.
func (f *fleet) sever(lines ...fleetLine) {
	for _, line := range lines {
		f.cut[line] = true
		f.network.sever(line.from, line.to)
	}
}

// heal ends all cuts but those of dead machines.
func (f *fleet) heal() {
	clear(f.cut)
	f.healed = time.Now()
	f.mend()
}

// mend lets come through whatever is not cut.
func (f *fleet) mend() {
	dead := map[netip.Addr]bool{}
	for _, n := range f.nodes {
		dead[n.host] = n.dead
	}
	f.network.heal(func(line fleetLine) bool { return f.cut[line] || dead[line.from] || dead[line.to] })
}

// crash ends an agent without a word to anybody; with machine its tasks too, and nothing answers for it.
func (n *fleetNode) crash(machine bool) {
	f := n.f
	f.disturb(true, n)
	n.dead = true
	f.network.fail(n.host, !machine)
	for _, other := range f.nodes {
		if other != n {
			f.network.sever(n.host, other.host)
			f.network.sever(other.host, n.host)
		}
	}
	n.end()
	if machine {
		n.boots++
		n.mu.Lock()
		tasks := n.tasks
		n.tasks = map[string]*memoryTask{}
		n.mu.Unlock()
		for _, task := range tasks {
			n.endTask(task, driver.Exit{Signal: 9})
		}
		return
	}
	n.dead = false
	f.mend()
}

// comeBack starts the agent of a machine that does not run.
func (n *fleetNode) comeBack() {
	if n.dead {
		n.dead = false
		n.f.mend()
	}
	n.start()
	n.f.disturb(false, n)
}
