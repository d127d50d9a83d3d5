package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/e2e/fleet"
	"github.com/a43e60e4/cluster/e2e/lan"
	"github.com/a43e60e4/cluster/server/api"
)

// calm watches five nodes with a service of five instances while something disturbs them, and counts what should not
// have happened.
func (b *bench) calm(ctx context.Context, disturb func(context.Context, *fleet.Fleet)) (err error) {
	f, err := b.open(ctx, five)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := b.serve(ctx, f, five.first(), 5); err != nil {
		return err
	}
	before, err := life(ctx, f)
	if err != nil {
		return err
	}
	leaders := b.watch(ctx, f, disturb)
	f.LAN.Heal()
	if err := b.whole(ctx, f, 5); err != nil {
		return errors.Join(err, b.explain(f))
	}
	after, err := life(ctx, f)
	if err != nil {
		return err
	}
	moves, restarts := 0, 0
	for id, count := range after {
		was, known := before[id]
		if !known {
			moves++
		}
		restarts += count - was
	}
	fmt.Printf("  in %v: %d moves, %d restarts; the leader changed %d times; 3 servers with clients and 2 clients\n", b.window, moves, restarts, leaders)
	return nil
}

// watch lets the window pass, and counts changes of the leader.
func (b *bench) watch(ctx context.Context, f *fleet.Fleet, disturb func(context.Context, *fleet.Fleet)) (changes int) {
	ctx, cancel := context.WithTimeout(ctx, b.window)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); disturb(ctx, f) }()
	var last *fleet.Node
	for ctx.Err() == nil {
		if leader, err := f.Leader(ctx); err == nil && leader != last {
			if last != nil {
				changes++
			}
			last = leader
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	<-done
	return changes
}

// life is how often each allocation of the service was restarted, those that ended included.
func life(ctx context.Context, f *fleet.Fleet) (restarts map[cluster.ID]int, err error) {
	err = f.Somebody(ctx, func(ctx context.Context, client *api.Client) error {
		allocs, _, err := client.JobAllocations(ctx, service, true, api.Query{})
		restarts = map[cluster.ID]int{}
		for _, a := range allocs {
			restarts[a.ID] = 0
			for _, task := range a.TaskStates {
				restarts[a.ID] += int(task.Restarts)
			}
		}
		return err
	})
	return restarts, err
}

func lossy(part float64) func(context.Context, *fleet.Fleet) {
	return func(ctx context.Context, f *fleet.Fleet) {
		for _, n := range f.Nodes() {
			n.Lose(part)
		}
		<-ctx.Done()
	}
}

func (b *bench) loss10(ctx context.Context) error { return b.calm(ctx, lossy(0.1)) }
func (b *bench) loss30(ctx context.Context) error { return b.calm(ctx, lossy(0.3)) }

// blips cuts one machine after the other off, for a second each.
func (b *bench) blips(ctx context.Context) error {
	return b.calm(ctx, func(ctx context.Context, f *fleet.Fleet) {
		for i := 0; ; i++ {
			n := f.Nodes()[i%len(f.Nodes())]
			for _, step := range []struct {
				do     func()
				length time.Duration
			}{{n.CutOff, time.Second}, {n.Heal, 19 * time.Second}} {
				step.do()
				select {
				case <-ctx.Done():
					return
				case <-time.After(step.length):
				}
			}
		}
	})
}

// busy keeps every core busy with two processes.
func (b *bench) busy(ctx context.Context) error {
	return b.calm(ctx, func(ctx context.Context, _ *fleet.Fleet) {
		var all []*exec.Cmd
		for range 2 * runtime.NumCPU() {
			cmd := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
			if cmd.Start() == nil {
				all = append(all, cmd)
			}
		}
		for _, cmd := range all {
			_ = cmd.Wait() // killed by the context
		}
	})
}

// idleNodes measures what five nodes cost that have nothing to do.
func (b *bench) idleNodes(ctx context.Context) (err error) {
	f, err := b.open(ctx, five)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	select { // until what a start brings is over
	case <-ctx.Done():
	case <-time.After(15 * time.Second):
	}
	type figures struct {
		traffic lan.Traffic
		cpu     time.Duration
	}
	look := func() map[string]figures {
		all := map[string]figures{}
		for _, n := range f.Nodes() {
			all[n.Name] = figures{n.Traffic(), used(n)}
		}
		return all
	}
	before, begun := look(), time.Now()
	select {
	case <-ctx.Done():
	case <-time.After(b.idle):
	}
	after, seconds := look(), time.Since(begun).Seconds()
	for _, n := range f.Nodes() {
		was, is := before[n.Name], after[n.Name]
		kinds := map[string]float64{}
		for flow, count := range is.traffic.Flows {
			kinds[kind(flow)] += float64(count.Bytes-was.traffic.Flows[flow].Bytes) / seconds
		}
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(kinds)) {
			parts = append(parts, fmt.Sprintf("%s %.0f B/s", k, kinds[k]))
		}
		fmt.Printf("  %s (%s): sent %.0f B/s, received %.0f B/s (with Ethernet headers; both: %s), %.2f %% of a core\n", n.Name, n.Role,
			float64(is.traffic.Sent.Bytes-was.traffic.Sent.Bytes)/seconds, float64(is.traffic.Received.Bytes-was.traffic.Received.Bytes)/seconds,
			strings.Join(parts, ", "), 100*(is.cpu-was.cpu).Seconds()/seconds)
	}
	return nil
}

func kind(f lan.Flow) string {
	switch f.Port {
	case 4647:
		return "between nodes"
	case 4648:
		return map[bool]string{true: "gossip TCP", false: "gossip UDP"}[f.Protocol == 6]
	case 0:
		return "neighbours"
	}
	return "other"
}

// used is the CPU that all processes on a machine have consumed, in hundredths of a second.
func used(n *fleet.Node) (total time.Duration) {
	for _, pid := range n.Processes() {
		text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 12 {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			total += time.Duration(user+system) * 10 * time.Millisecond
		}
	}
	return total
}
