package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster/e2e/lan"
)

// Role is what an agent is in its cluster.
type Role string

// The roles of agents.
const (
	Both   Role = "node" // a server that runs work as well
	Server Role = "server"
	Client Role = "client"
)

// Config says what a fleet is made of.
type Config struct {
	Dir     string   // of the machines' directories; short, as a socket's path may have 107 bytes
	Program string   // the program under test, an absolute path
	Env     []string // of all that is started, besides PATH
	LAN     lan.Config
}

// Fleet is several machines with one agent each, not all of which need be started.
type Fleet struct {
	LAN *lan.LAN

	config Config
	mu     sync.Mutex
	nodes  map[string]*Node
}

// New opens a fleet for a test and closes it at its end, which shows the end of every log if the test has failed. Without
// a directory in the configuration it makes one.
func New(t T, c Config) *Fleet {
	t.Helper()
	if c.Dir == "" {
		dir, err := os.MkdirTemp("", "fleet")
		if err != nil {
			t.Fatalf("%v", err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		c.Dir = dir
	}
	f := &Fleet{config: c, nodes: map[string]*Node{}}
	t.Cleanup(func() { // after the LAN has killed everything
		f.reap()
		if t.Failed() {
			t.Log(f.Said(60))
		}
	})
	f.LAN = lan.New(t, c.LAN)
	return f
}

// T is a test, as far as a fleet needs one.
type T interface {
	lan.T
	Failed() bool
	Log(args ...any)
}

// Open opens a fleet outside tests.
func Open(c Config) (*Fleet, error) {
	l, err := lan.Open(c.LAN)
	if err != nil {
		return nil, err
	}
	return &Fleet{LAN: l, config: c, nodes: map[string]*Node{}}, nil
}

// Close kills everything and removes the machines; their directories stay.
func (f *Fleet) Close() error {
	err := f.LAN.Close()
	f.reap()
	return err
}

// reap ends what killed agents have left: zombies and empty control groups.
func (f *Fleet) reap() {
	for _, n := range f.Nodes() {
		n.reap()
	}
}

// Node makes a machine on which an agent can be started.
func (f *Fleet) Node(name string) (*Node, error) {
	dir := filepath.Join(f.config.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	m, err := f.LAN.Machine(name)
	if err != nil {
		return nil, err
	}
	n := &Node{Machine: m, Dir: dir, fleet: f, ends: map[int]chan struct{}{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[name] = n
	return n, nil
}

// Named is the node of that name, nil if there is none.
func (f *Fleet) Named(name string) *Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[name]
}

// Nodes are all, by name.
func (f *Fleet) Nodes() []*Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Values(f.nodes), func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
}

// Begin starts a cluster: the first node bootstraps, and the others join it by token, all of them at once.
func (f *Fleet) Begin(ctx context.Context, roles map[string]Role, first string) error {
	begin := f.Named(first)
	if err := begin.Start(roles[first], "-bootstrap"); err != nil {
		return err
	}
	tokens := map[Role]string{}
	var joined sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, n := range f.Nodes() {
		role, wanted := roles[n.Name]
		if n == begin || !wanted {
			continue
		}
		if tokens[role] == "" {
			token, err := begin.Token(ctx, role)
			if err != nil {
				return err
			}
			tokens[role] = token
		}
		joined.Go(func() {
			err := n.Join(role, tokens[role])
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	joined.Wait()
	return errors.Join(errs...)
}

// Leader is the node that says of itself that it leads.
func (f *Fleet) Leader(ctx context.Context) (*Node, error) {
	for _, n := range f.Nodes() {
		if n.leads(ctx) {
			return n, nil
		}
	}
	return nil, errors.New("no node leads")
}

// leads reports whether the node says that it is the leader.
func (n *Node) leads(ctx context.Context) bool {
	if !n.Running() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	said, err := n.API().Leader(ctx)
	if err != nil {
		return false
	}
	leader, err := netip.ParseAddrPort(said)
	return err == nil && slices.Contains(n.Addresses(), leader.Addr())
}

// Said is the end of what each agent has logged.
func (f *Fleet) Said(lines int) string {
	var out strings.Builder
	for _, n := range f.Nodes() {
		text, _ := os.ReadFile(n.Log())
		all := strings.SplitAfter(string(text), "\n")
		fmt.Fprintf(&out, "the end of %s's log:\n%s\n", n.Name, strings.Join(all[max(0, len(all)-lines):], ""))
	}
	return out.String()
}

// errOver is what no waiting changes.
var errOver = errors.New("it does not run")

// Wait tries, quickly at first, until done succeeds or the patience has gone; then it fails with the last error.
func Wait(ctx context.Context, patience time.Duration, what string, done func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	pause := 10 * time.Millisecond
	for {
		err := done(ctx)
		if err == nil {
			return nil
		}
		if errors.Is(err, errOver) {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting for %s: %w", what, err)
		case <-time.After(pause):
		}
		pause = min(pause*5/4, 200*time.Millisecond)
	}
}
