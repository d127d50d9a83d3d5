package lan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// IPv4 and IPv6 are the networks of a LAN that is not told others.
var (
	IPv4 = netip.MustParsePrefix("10.77.0.0/24")
	IPv6 = netip.MustParsePrefix("fd77::/64")
)

// Config says what a LAN is like.
type Config struct {
	Networks []netip.Prefix // every machine has an address in each; none: IPv4 and IPv6
	Seed     uint64         // of the losses
}

// LAN is a switch and the machines at it. Its methods may be called concurrently.
type LAN struct {
	networks []netip.Prefix
	seed     uint64
	dir      string // where the namespaces can be entered
	post     *post
	stop     context.CancelFunc
	running  sync.WaitGroup

	conditions atomic.Pointer[conditions]
	machines   atomic.Pointer[[]*Machine]

	mu       sync.Mutex // for changes of the two above
	numbered int        // the machines and addresses that there have been
}

// T is a test, as far as a LAN needs one.
type T interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// New opens a LAN for a test and closes it at the test's end. Where machines cannot be made the test is skipped, or fails
// if skipping is forbidden.
func New(t T, c Config) *LAN {
	t.Helper()
	if err := Missing(); err != nil {
		if os.Getenv("CLUSTER_FORBID_SKIP") != "" {
			t.Fatalf("make machines: %v", err)
		}
		t.Skipf("machines cannot be made: %v", err)
	}
	l, err := Open(c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close LAN: %v", err)
		}
	})
	return l
}

// Missing says what this machine lacks to make others, nil if nothing.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("only root may make network namespaces")
	}
	for _, program := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("there is no program %s", program)
		}
	}
	const tun = "/dev/net/tun"
	if _, err := os.Stat(tun); errors.Is(err, os.ErrNotExist) { // containers lack it
		err := errors.Join(os.MkdirAll(filepath.Dir(tun), 0o755), unix.Mknod(tun, unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))))
		if err != nil {
			return fmt.Errorf("make %s: %w", tun, err)
		}
	}
	file, err := os.OpenFile(tun, os.O_RDWR, 0)
	if err != nil {
		return err // names the file
	}
	file.Close()
	return apart(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
}

// base is the directory of all LANs.
const base = "/run/cluster-lan"

// opened counts the LANs of this process.
var opened atomic.Int64

// Open makes a LAN without machines.
func Open(c Config) (*LAN, error) {
	if len(c.Networks) == 0 {
		c.Networks = []netip.Prefix{IPv4, IPv6}
	}
	if _, err := home(); err != nil {
		return nil, fmt.Errorf("open LAN: %w", err)
	}
	if err := sweep(); err != nil {
		return nil, fmt.Errorf("remove what is left of earlier LANs: %w", err)
	}
	l := &LAN{networks: c.Networks, seed: c.Seed, post: newPost()}
	l.conditions.Store(&conditions{})
	l.machines.Store(&[]*Machine{})
	l.dir = filepath.Join(base, fmt.Sprintf("%s-%d", owner(os.Getpid()), opened.Add(1)))
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("open LAN: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.running.Go(func() { l.post.run(ctx) })
	return l, nil
}

// Close kills everything that runs on the machines and removes them.
func (l *LAN) Close() error {
	var errs []error
	for _, m := range l.all() {
		errs = append(errs, m.Kill())
	}
	l.stop()
	l.running.Wait()
	return errors.Join(append(errs, os.Remove(l.dir))...)
}

// all are the machines, on or off.
func (l *LAN) all() []*Machine { return *l.machines.Load() }

// number draws a number that no machine has had, and the addresses for it.
func (l *LAN) number() (int, []netip.Prefix, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.numbered++
	var own []netip.Prefix
	for _, network := range l.networks {
		address := network.Masked().Addr()
		for range l.numbered {
			address = address.Next()
		}
		if !network.Contains(address) {
			return 0, nil, fmt.Errorf("network %s is full", network)
		}
		own = append(own, netip.PrefixFrom(address, network.Bits()))
	}
	return l.numbered, own, nil
}

// Set gives what goes from one machine to another a condition, besides those of the two machines.
func (l *LAN) Set(from, to *Machine, c Condition) {
	l.change(func(all *conditions) { all.between[way{from, to}] = c })
}

// Heal takes all conditions away.
func (l *LAN) Heal() { l.conditions.Store(&conditions{}) }

// change replaces the conditions by a changed copy.
func (l *LAN) change(f func(*conditions)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.conditions.Load()
	c := &conditions{out: map[*Machine]Condition{}, in: map[*Machine]Condition{}, between: map[way]Condition{}}
	maps.Copy(c.out, old.out)
	maps.Copy(c.in, old.in)
	maps.Copy(c.between, old.between)
	f(c)
	l.conditions.Store(c)
}

// owner is the name of a process that no later process has: its ID and its start. "" if it is gone.
func owner(pid int) string {
	fields := stat(pid)
	if len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fmt.Sprintf("%d-%s", pid, fields[19])
}

// sweep removes the LANs of processes that are gone, with all that still runs there.
func sweep() error {
	entries, err := os.ReadDir(base)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, entry := range entries {
		first, _, _ := strings.Cut(entry.Name(), "-")
		pid, err := strconv.Atoi(first)
		if alive := owner(pid); err != nil || alive != "" && strings.HasPrefix(entry.Name(), alive+"-") {
			continue
		}
		dir := filepath.Join(base, entry.Name())
		left, err := os.ReadDir(dir)
		if err != nil {
			continue // another process sweeps as well
		}
		for _, file := range left {
			errs = append(errs, discard(filepath.Join(dir, file.Name())))
		}
		if err := os.Remove(dir); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return err == nil })...)
}
