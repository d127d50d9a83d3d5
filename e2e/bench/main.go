// Command bench measures the built program from outside: how soon it takes work, what it costs idle and with many
// tasks, how soon a task runs, what its binary is made of. It prints figures and judges none; `make bench` runs it and
// docs/benchmarks.md keeps what it found.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is one run: the program under test, and a directory for its data.
type bench struct {
	program string // absolute path of the program under test
	dir     string
	idle    time.Duration // how long the idle node is watched
	settle  time.Duration // how long a node is left alone before it counts as idle
	runs    int           // of measurements that start an agent
	jobs    int           // of measurements that start a job
}

// rows are the measurements by name, in the order in which they run.
var rows = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"size", (*bench).size},
	{"start", (*bench).start},
	{"latency", (*bench).latency},
	{"tasks", (*bench).tasks},
	{"idle", (*bench).idleNode},
	{"dns", (*bench).names},
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "stamp" {
		stamp(os.Args[2])
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures the named rows, or all.
func run(names []string) error {
	b := &bench{idle: time.Minute, settle: 10 * time.Second, runs: 20, jobs: 100}
	err := errors.Join(duration("BENCH_IDLE", &b.idle), duration("BENCH_SETTLE", &b.settle), number("BENCH_RUNS", &b.runs), number("BENCH_JOBS", &b.jobs))
	if err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(os.Getenv("BENCH_DIR"), "cluster-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	// A copy of our own: pages of the program that another agent maps too would count by half.
	b.program = filepath.Join(b.dir, "cluster")
	program, err := os.ReadFile(env("CLUSTER_BIN", "bin/cluster"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(b.program, program, 0o755); err != nil {
		return err
	}
	for _, row := range rows {
		if len(names) > 0 && !slices.Contains(names, row.name) {
			continue
		}
		before := load()
		if err := row.run(b, context.Background()); err != nil {
			return fmt.Errorf("measure %s: %w", row.name, err)
		}
		fmt.Printf("  (load average %s before, %s after)\n", before, load())
	}
	return nil
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func duration(name string, d *time.Duration) (err error) {
	if text := os.Getenv(name); text != "" {
		if *d, err = time.ParseDuration(text); err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
	}
	return nil
}

func number(name string, n *int) (err error) {
	if text := os.Getenv(name); text != "" {
		if *n, err = strconv.Atoi(text); err != nil || *n < 1 {
			return fmt.Errorf("read %s: want a number above 0, not %q", name, text)
		}
	}
	return nil
}

// load is the machine's load average over one minute, without which no figure means anything.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// spread says how durations are spread.
func spread(all []time.Duration) string {
	all = slices.Sorted(slices.Values(all))
	at := func(q float64) time.Duration {
		return all[int(q*float64(len(all)-1)+0.5)].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("median %v, p95 %v, least %v, most %v of %d", at(0.5), at(0.95), at(0), at(1), len(all))
}

// wait does nothing for d.
func wait(d time.Duration) { <-time.After(d) }
