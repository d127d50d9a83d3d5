package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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

// idleTasks is how many tasks the row of that name starts.
const idleTasks = 200

// tasks measures what many tasks that do nothing add to our own processes.
func (b *bench) tasks(ctx context.Context) (err error) {
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
	before, err := ours.use()
	if err != nil {
		return err
	}
	if err := a.submit(ctx, "many", "service", idleTasks, "/bin/sleep", "1000000"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.clear(ctx, "many")) }()
	if err := a.running(ctx, "many", idleTasks); err != nil {
		return err
	}
	begun, err := ours.use()
	if err != nil {
		return err
	}
	wait(3 * b.settle)
	from, err := ours.use()
	if err != nil {
		return err
	}
	wait(b.settle)
	to, err := ours.use()
	if err != nil {
		return err
	}
	fmt.Printf("tasks: %d idle tasks add %.1f MB to our processes: %.1f MB before, %.1f MB when all ran, %.1f MB %v later\n",
		idleTasks, mega(from.pss-before.pss), mega(before.pss), mega(begun.pss), mega(from.pss), 3*b.settle)
	fmt.Printf("  to start them took %v and %v of CPU\n", begun.at.Sub(before.at).Round(time.Millisecond), begun.ticks-before.ticks)
	fmt.Printf("  with them: %s\n", to.since(from))
	return nil
}

// clear stops and forgets a job and waits until nothing of it runs: only tasks of -dev end with their agent.
func (a *agent) clear(ctx context.Context, id string) error {
	if _, err := a.api.DeregisterJob(ctx, id, true, api.Query{}); err != nil {
		return err
	}
	return a.running(ctx, id, 0)
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
	wait(b.idle)
	to, err := ours.use()
	if err != nil {
		return err
	}
	fmt.Printf("idle: %.1f MB PSS at first, %.1f MB in the end; %s\n", mega(from.pss), mega(to.pss), to.since(from))
	for _, p := range ours {
		fmt.Printf("  %s\n", p.describe())
	}
	return nil
}

func mega(bytes int64) float64 { return float64(bytes) / (1 << 20) }
