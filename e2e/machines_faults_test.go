package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster/e2e/fleet"
	"github.com/a43e60e4/cluster/e2e/lan"
)

var (
	linearSeed = flag.Uint64("linear.seed", 0, "of the faults of TestJobsAreLinearizable; 0: a new one")
	linearTime = flag.Duration("linear.time", time.Minute, "how long TestJobsAreLinearizable does harm")
	twiceRuns  = flag.Int("twice.runs", 20, "how often TestNothingRunsTwice cuts a machine off")
)

// gather starts a cluster of the roles, first of all the one of that name.
func gather(t *testing.T, first string, roles map[string]fleet.Role) *fleet.Fleet {
	t.Helper()
	f := fleet.New(t, fleet.Config{Program: programs.cluster})
	for name := range roles {
		if _, err := f.Node(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Begin(t.Context(), roles, first); err != nil {
		t.Fatal(err)
	}
	if err := allReady(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	return f
}

func allReady(ctx context.Context, f *fleet.Fleet) error {
	for _, n := range f.Nodes() {
		if err := n.Ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// faults are what can be done to a machine among others. Each lasts until undo.
var faults = []struct {
	name     string
	do, undo func(f *fleet.Fleet, n, other *fleet.Node) error
}{
	{"cut off", quiet(func(_ *fleet.Fleet, n, _ *fleet.Node) { n.CutOff() }), healed},
	{"heard by nobody", quiet(func(_ *fleet.Fleet, n, _ *fleet.Node) { n.Out(func(c *lan.Condition) { c.Cut = true }) }), healed},
	{"hears nobody", quiet(func(_ *fleet.Fleet, n, _ *fleet.Node) { n.In(func(c *lan.Condition) { c.Cut = true }) }), healed},
	{"cut from one", quiet(func(f *fleet.Fleet, n, other *fleet.Node) {
		f.LAN.Set(n.Machine, other.Machine, lan.Condition{Cut: true})
		f.LAN.Set(other.Machine, n.Machine, lan.Condition{Cut: true})
	}), healed},
	{"not heard by one", quiet(func(f *fleet.Fleet, n, other *fleet.Node) {
		f.LAN.Set(n.Machine, other.Machine, lan.Condition{Cut: true})
	}), healed},
	{"losses", quiet(func(_ *fleet.Fleet, n, _ *fleet.Node) { n.Lose(0.3) }), healed},
	{"far away", quiet(func(_ *fleet.Fleet, n, _ *fleet.Node) { n.Delay(200 * time.Millisecond) }), healed},
	{"agent killed", func(_ *fleet.Fleet, n, _ *fleet.Node) error { return n.Crash("agent") }, healed},
	{"supervisor and agent killed", func(_ *fleet.Fleet, n, _ *fleet.Node) error { return n.Crash("both") }, again},
	{"off", func(_ *fleet.Fleet, n, _ *fleet.Node) error { return n.Off() }, again},
	{"suspended", func(_ *fleet.Fleet, n, _ *fleet.Node) error { return n.Suspend() }, quiet(func(_ *fleet.Fleet, n, _ *fleet.Node) { n.Resume() })},
}

func quiet(do func(f *fleet.Fleet, n, other *fleet.Node)) func(f *fleet.Fleet, n, other *fleet.Node) error {
	return func(f *fleet.Fleet, n, other *fleet.Node) error { do(f, n, other); return nil }
}

func healed(f *fleet.Fleet, _, _ *fleet.Node) error { f.LAN.Heal(); return nil }

func again(_ *fleet.Fleet, n, _ *fleet.Node) error { return n.Start("") }

// TestJobsAreLinearizable does one harm after another to three servers while clients of all of them read and write.
func TestJobsAreLinearizable(t *testing.T) {
	t.Parallel()
	seed := *linearSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("go test ./e2e -run ^TestJobsAreLinearizable$ -linear.seed %d -linear.time %v", seed, *linearTime)
	dice := rand.New(rand.NewPCG(seed, 1))
	f := gather(t, "a", map[string]fleet.Role{"a": fleet.Both, "b": fleet.Both, "c": fleet.Both})
	h := newHistory(f.Nodes(), seed)
	stop := h.record(t.Context(), 8)
	defer stop()
	for begun := time.Now(); time.Since(begun) < *linearTime; {
		nodes := f.Nodes()
		dice.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		fault := faults[dice.IntN(len(faults))]
		t.Logf("%v: %s, %s", time.Since(begun).Round(time.Millisecond), nodes[0].Name, fault.name)
		if err := fault.do(f, nodes[0], nodes[1]); err != nil {
			t.Errorf("%s: %v", fault.name, err)
		}
		<-time.After(time.Duration(500+dice.IntN(5000)) * time.Millisecond)
		if err := fault.undo(f, nodes[0], nodes[1]); err != nil {
			t.Errorf("after %s: %v", fault.name, err)
		}
		<-time.After(time.Duration(dice.IntN(3000)) * time.Millisecond)
	}
	f.LAN.Heal()
	if err := allReady(t.Context(), f); err != nil {
		t.Error(err)
	}
	stop()
	h.check(t)
}

// TestNothingRunsTwice kills an agent and cuts its machine off at once, again and again, while it runs work that must not
// run twice: what was there has written its last before the replacement writes its first.
func TestNothingRunsTwice(t *testing.T) {
	t.Parallel()
	f := gather(t, "s", map[string]fleet.Role{"s": fleet.Server, "a": fleet.Client, "b": fleet.Client})
	dir := t.TempDir()
	ctx := t.Context()
	job, err := filepath.Abs("testdata/machines/fenced.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Named("s").CLI(ctx, "job", "run", "-var", "dir="+dir, job); err != nil {
		t.Fatal(err)
	}
	for range *twiceRuns {
		if err := f.AwaitPlaced(ctx, "fenced", 1, patience); err != nil {
			t.Fatal(err)
		}
		placed, err := f.Placed(ctx, "fenced")
		if err != nil {
			t.Fatal(err)
		}
		n := f.Named(placed["fenced.fenced[0]"])
		before := files(t, dir)
		if err := n.Crash("agent"); err != nil {
			t.Error(err)
		}
		n.CutOff()
		err = fleet.Wait(ctx, time.Minute, "a replacement", func(context.Context) error {
			if now := files(t, dir); len(now) == len(before) {
				return errors.New("no new file")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second) // in which the old one could write still
		n.Heal()
		if err := allReady(ctx, f); err != nil {
			t.Fatal(err)
		}
	}
	check(t, spans(t, dir))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*"))
	check(t, err)
	return all
}

// spans wants no two files whose times overlap.
func spans(t *testing.T, dir string) error {
	t.Helper()
	type span struct {
		file        string
		first, last time.Time
	}
	var all []span
	for _, file := range files(t, dir) {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		lines := strings.Fields(string(text))
		if len(lines) == 0 {
			continue
		}
		var times [2]time.Time
		for i, line := range []string{lines[0], lines[len(lines)-1]} {
			n, err := strconv.ParseInt(line, 10, 64)
			if err != nil {
				return err
			}
			times[i] = time.Unix(0, n)
		}
		all = append(all, span{filepath.Base(file), times[0], times[1]})
	}
	slices.SortFunc(all, func(a, b span) int { return a.first.Compare(b.first) })
	for i := range all[:max(0, len(all)-1)] {
		rest := all[i+1].first.Sub(all[i].last)
		t.Logf("%s wrote its last %v before %s wrote its first", all[i].file, rest, all[i+1].file)
		if rest <= 0 {
			return fmt.Errorf("%s and %s wrote at the same time", all[i].file, all[i+1].file)
		}
	}
	return nil
}
