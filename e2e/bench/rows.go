package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster/server/api"
)

// start measures from the exec of `agent -dev` to the first job that is accepted.
func (b *bench) start(ctx context.Context) error {
	var said, accepted []time.Duration
	for range b.runs {
		begin := time.Now()
		a, err := b.launch(ctx, "-dev")
		if err != nil {
			return err
		}
		said = append(said, time.Since(begin))
		err = until(ctx, "a job is accepted", func(ctx context.Context) error {
			return a.submit(ctx, "first", "batch", 1, "/bin/true")
		})
		accepted = append(accepted, time.Since(begin))
		a.stop()
		if err != nil {
			return err
		}
	}
	fmt.Printf("start: exec of agent -dev to the first accepted job: %s\n", spread(accepted))
	fmt.Printf("  of that, until the ports are open: %s\n", spread(said))
	return nil
}

// onDisk starts a node on the disk as a person would, and waits until it takes work.
func (b *bench) onDisk(ctx context.Context, name string) (*agent, error) {
	a, err := b.launch(ctx, "-bootstrap", "-data-dir", filepath.Join(b.dir, name))
	if err != nil {
		return nil, err
	}
	if err := a.ready(ctx); err != nil {
		a.stop()
		return nil, err
	}
	return a, nil
}

// latency measures from the answer to a registration to a time written by the task it started.
func (b *bench) latency(ctx context.Context) error {
	a, err := b.onDisk(ctx, "latency")
	if err != nil {
		return err
	}
	defer a.stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var answered, stamped []time.Duration
	for i := range b.jobs {
		id, file := "job-"+strconv.Itoa(i), filepath.Join(b.dir, "stamp-"+strconv.Itoa(i))
		asked := time.Now()
		if err := a.submit(ctx, id, "batch", 1, self, "stamp", file); err != nil {
			return err
		}
		ok := time.Now()
		at, err := stampIn(ctx, file)
		if err != nil {
			return err
		}
		answered, stamped = append(answered, ok.Sub(asked)), append(stamped, at.Sub(ok))
		if err := a.ended(ctx, id); err != nil {
			return err
		}
	}
	fmt.Printf("latency: answer to a registration to a time written by its task: %s\n", spread(stamped))
	fmt.Printf("  the answer itself: %s\n", spread(answered))
	return nil
}

// stamp is the task: it writes the time and ends. The file appears whole.
func stamp(file string) {
	now := strconv.FormatInt(time.Now().UnixNano(), 10)
	err := os.WriteFile(file+".part", []byte(now), 0o644)
	if err = errors.Join(err, os.Rename(file+".part", file)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func stampIn(ctx context.Context, file string) (at time.Time, err error) {
	err = until(ctx, "the task has written "+file, func(context.Context) error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		at = time.Unix(0, n)
		return err
	})
	return at, err
}

// ended waits until a batch job is over, and purges it, so that the next one has the machine to itself.
func (a *agent) ended(ctx context.Context, id string) error {
	err := until(ctx, id+" is dead", func(ctx context.Context) error {
		wait(10 * pause)
		job, _, err := a.api.Job(ctx, id, api.Query{})
		if err == nil && job.Status != "dead" {
			err = errNotYet
		}
		return err
	})
	if err != nil {
		return err
	}
	_, err = a.api.DeregisterJob(ctx, id, true, api.Query{})
	return err
}

// idleTasks is how many tasks the row of that name starts.
const idleTasks = 200

// tasks measures what many tasks that do nothing add to our own processes.
func (b *bench) tasks(ctx context.Context) error {
	a, err := b.onDisk(ctx, "tasks")
	if err != nil {
		return err
	}
	defer a.stop()
	wait(b.settle)
	ours, err := processes(a.cmd.Process.Pid)
	if err != nil {
		return err
	}
	before, err := ours.pss()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := a.submit(ctx, "many", "service", idleTasks, "/bin/sleep", "1000000"); err != nil {
		return err
	}
	if err := a.running(ctx, "many", idleTasks); err != nil {
		return err
	}
	took := time.Since(begin)
	at, err := ours.pss()
	if err != nil {
		return err
	}
	wait(3 * b.settle)
	after, err := ours.pss()
	if err != nil {
		return err
	}
	from, err := ours.use()
	if err != nil {
		return err
	}
	wait(b.settle)
	to, err := ours.use()
	if err != nil {
		return err
	}
	if _, err := a.api.DeregisterJob(ctx, "many", true, api.Query{}); err != nil {
		return err
	}
	fmt.Printf("tasks: %d idle tasks add %.1f MB to our processes: %.1f MB before, %.1f MB when all ran (after %v), %.1f MB %v later\n",
		idleTasks, mega(after-before), mega(before), mega(at), took.Round(time.Millisecond), mega(after), 3*b.settle)
	fmt.Printf("  with them: %s\n", to.since(from))
	return a.running(ctx, "many", 0)
}

// idleNode watches a node on the disk that has nothing to do.
func (b *bench) idleNode(ctx context.Context) error {
	a, err := b.onDisk(ctx, "idle")
	if err != nil {
		return err
	}
	defer a.stop()
	wait(b.settle)
	ours, err := processes(a.cmd.Process.Pid)
	if err != nil {
		return err
	}
	from, err := ours.use()
	if err != nil {
		return err
	}
	first, err := ours.pss()
	if err != nil {
		return err
	}
	wait(b.idle)
	to, err := ours.use()
	if err != nil {
		return err
	}
	last, err := ours.pss()
	if err != nil {
		return err
	}
	fmt.Printf("idle: %.1f MB PSS at first, %.1f MB in the end; %s\n", mega(first), mega(last), to.since(from))
	for _, p := range ours {
		fmt.Printf("  %s\n", p.describe())
	}
	return nil
}

func mega(bytes int64) float64 { return float64(bytes) / (1 << 20) }
