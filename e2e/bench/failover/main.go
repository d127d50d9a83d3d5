// Command failover measures, with the built program on machines made of network namespaces, how long it takes until work,
// writes and names are there again after a loss, and how little happens when nothing is lost. It prints figures and judges
// none; `make bench-failover` runs it and docs/benchmarks.md keeps what it found. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster/e2e/fleet"
	"github.com/a43e60e4/cluster/e2e/lan"
)

// bench is one run: the program under test, and how long and how often to look.
type bench struct {
	program, hello string // absolute paths
	dir            string
	runs           int
	settle         time.Duration // between runs, with everything whole
	window         time.Duration // how long the calm is watched
	idle           time.Duration // how long the idle nodes are watched
	keep           bool
	fleets         int // made so far
}

// rows are the measurements by name, in the order in which they run.
var rows = []struct {
	name, what string
	run        func(*bench, context.Context) error
}{
	{"leader", "3 servers + 3 clients: leader killed (-9) to the next accepted write", (*bench).leaderKilled},
	{"client", "3 + 3: a client's machine cut off to its work running elsewhere, and its names gone", (*bench).clientCut},
	{"client-after-leader", "the same, cut 3 s after the leader was killed", (*bench).clientCutAfterLeader},
	{"three", "three nodes, each server and client: the leader's machine cut to its work running elsewhere", (*bench).leaderCut},
	{"start", "3 + 3, started from nothing, to all ready", (*bench).start},
	{"loss10", "moves and restarts at a loss of 10 % on every link of 5 nodes", (*bench).loss10},
	{"loss30", "moves and restarts at a loss of 30 %", (*bench).loss30},
	{"busy", "moves and restarts with all cores busy", (*bench).busy},
	{"blips", "moves and restarts in cuts of 1 s every 20 s", (*bench).blips},
	{"idle", "traffic and CPU of 5 idle nodes", (*bench).idleNodes},
}

func main() {
	b := &bench{}
	flag.IntVar(&b.runs, "runs", 20, "how often each loss is measured")
	flag.DurationVar(&b.settle, "settle", 3*time.Second, "how long everything must be whole before the next loss")
	flag.DurationVar(&b.window, "window", 10*time.Minute, "how long the calm is watched")
	flag.DurationVar(&b.idle, "idle", time.Minute, "how long idle nodes are watched")
	flag.BoolVar(&b.keep, "keep", false, "keep the machines' directories with their logs")
	chosen := flag.String("rows", "", "only these rows, by comma; all: "+names())
	flag.StringVar(&b.program, "program", "bin/cluster", "the program under test")
	flag.StringVar(&b.hello, "hello", "bin/hello", "the web service that it runs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := b.measure(ctx, *chosen); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		os.Exit(1)
	}
}

func names() string {
	var all []string
	for _, row := range rows {
		all = append(all, row.name)
	}
	return strings.Join(all, ",")
}

func (b *bench) measure(ctx context.Context, chosen string) (err error) {
	if err := lan.Missing(); err != nil {
		return err
	}
	if b.program, err = filepath.Abs(b.program); err != nil {
		return err
	}
	if b.hello, err = filepath.Abs(b.hello); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "fo"); err != nil {
		return err
	}
	if b.keep {
		fmt.Println("directories are kept in", b.dir)
	} else {
		defer os.RemoveAll(b.dir)
	}
	fmt.Printf("machine: %d CPUs, Linux %s; network: 1500 byte frames, no loss or delay but where said; %d runs each, %v of rest between them\n",
		runtime.NumCPU(), release(), b.runs, b.settle)
	wanted := strings.FieldsFunc(chosen, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range wanted {
		if !strings.Contains(","+names()+",", ","+name+",") {
			return fmt.Errorf("there is no row %s; there are %s", name, names())
		}
	}
	var errs []error
	for _, row := range rows {
		if len(wanted) > 0 && !slices.Contains(wanted, row.name) || ctx.Err() != nil {
			continue
		}
		fmt.Printf("%s: %s\n", row.name, row.what)
		before := load()
		if err := row.run(b, ctx); err != nil { // the others are still worth knowing
			errs = append(errs, fmt.Errorf("%s was not measured", row.name))
			fmt.Printf("  not measured: %v\n", err)
		}
		fmt.Printf("  (load average %s before, %s after)\n", before, load())
	}
	return errors.Join(errs...)
}

func release() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace(string(text))
}

// load is the machine's load average over one minute, without which no figure means anything.
func load() string {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// spread says how durations are spread.
func spread(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	all = slices.Sorted(slices.Values(all))
	at := func(q float64) time.Duration {
		return all[int(q*float64(len(all)-1)+0.5)].Round(time.Millisecond)
	}
	return fmt.Sprintf("median %v, p95 %v, least %v, most %v of %d", at(0.5), at(0.95), at(0), at(1), len(all))
}

// topology is which nodes a fleet has.
type topology map[string]fleet.Role

var (
	apart = topology{"s1": fleet.Server, "s2": fleet.Server, "s3": fleet.Server, "c1": fleet.Client, "c2": fleet.Client, "c3": fleet.Client}
	three = topology{"n1": fleet.Both, "n2": fleet.Both, "n3": fleet.Both}
	five  = topology{"n1": fleet.Both, "n2": fleet.Both, "n3": fleet.Both, "n4": fleet.Client, "n5": fleet.Client}
)

// first is the node that begins the cluster.
func (t topology) first() string {
	for _, name := range []string{"s1", "n1"} {
		if _, ok := t[name]; ok {
			return name
		}
	}
	return ""
}

// machines makes a fleet whose agents are not started.
func (b *bench) machines(t topology) (*fleet.Fleet, error) {
	b.fleets++
	f, err := fleet.Open(fleet.Config{Dir: filepath.Join(b.dir, fmt.Sprint(b.fleets)), Program: b.program})
	if err != nil {
		return nil, err
	}
	for name := range t {
		if _, err := f.Node(name); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// open makes a fleet, all of it ready.
func (b *bench) open(ctx context.Context, t topology) (*fleet.Fleet, error) {
	f, err := b.machines(t)
	if err != nil {
		return nil, err
	}
	err = f.Begin(ctx, t, t.first())
	for _, n := range f.Nodes() {
		if err == nil {
			err = n.Ready(ctx)
		}
	}
	if err != nil {
		return nil, errors.Join(err, b.explain(f), f.Close())
	}
	return f, nil
}

// explain is the end of all logs as an error.
func (b *bench) explain(f *fleet.Fleet) error { return errors.New(f.Said(10)) }
