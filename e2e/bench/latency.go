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

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

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
	var stages [len(stageNames)][]time.Duration
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
		took, err := a.stagesOf(ctx, id, at)
		if err != nil {
			return err
		}
		for i, d := range took {
			stages[i] = append(stages[i], d)
		}
		if _, err := a.api.DeregisterJob(ctx, id, true, api.Query{}); err != nil {
			return err
		}
	}
	fmt.Printf("latency: answer to a registration to a time written by its task: %s\n", spread(stamped))
	fmt.Printf("  the answer itself: %s\n", spread(answered))
	for i, name := range stageNames {
		fmt.Printf("  %s: %s\n", name, spread(stages[i]))
	}
	return nil
}

// stageNames are the stages between a registration and the time that its task writes. The first overlaps the answer.
var stageNames = [...]string{
	"registered to planned",
	"planned to known to the node (commit, wake)",
	"known to started (directories, journals, cgroups, fork)",
	"started to the time written (exec, the program's own start)",
}

// stagesOf reads from the diary of a job's only allocation how long each stage took.
func (a *agent) stagesOf(ctx context.Context, id string, written time.Time) (took [len(stageNames)]time.Duration, err error) {
	stubs, _, err := a.api.JobAllocations(ctx, id, true, api.Query{})
	if err != nil {
		return took, err
	}
	if len(stubs) != 1 {
		return took, fmt.Errorf("%s has %d allocations", id, len(stubs))
	}
	alloc, _, err := a.api.Allocation(ctx, stubs[0].ID, api.Query{})
	if err != nil {
		return took, err
	}
	times := [len(stageNames) + 1]int64{alloc.Job.SubmitTime, alloc.CreateTime, 0, 0, written.UnixNano()}
	for _, event := range alloc.Task("task").Events {
		switch event.Type {
		case cluster.EventReceived:
			times[2] = event.Time
		case cluster.EventStarted:
			times[3] = event.Time
		}
	}
	for i := range took {
		took[i] = time.Duration(times[i+1] - times[i])
	}
	return took, nil
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

// ended waits until a batch job is over, so that the next one has the machine to itself.
func (a *agent) ended(ctx context.Context, id string) error {
	return until(ctx, id+" is dead", func(ctx context.Context) error {
		wait(10 * pause)
		job, _, err := a.api.Job(ctx, id, api.Query{})
		if err == nil && job.Status != cluster.JobStatusDead {
			err = errNotYet
		}
		return err
	})
}
