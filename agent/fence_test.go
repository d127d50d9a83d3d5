package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// fakeFence remembers what it was told. What falls is for the test to say.
type fakeFence struct {
	mu     sync.Mutex
	told   map[cluster.ID]Guarded
	calls  int
	fallen []cluster.ID
}

func (f *fakeFence) Guard(_ context.Context, sent time.Duration, allocs map[cluster.ID]Guarded) ([]cluster.ID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	for id, how := range allocs {
		f.told[id] = how
	}
	if sent <= 0 {
		panic("a lease without a time")
	}
	return slices.Clone(f.fallen), nil
}

func (f *fakeFence) Unguard(_ context.Context, allocs []cluster.ID) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range allocs {
		delete(f.told, id)
		f.fallen = slices.DeleteFunc(f.fallen, func(other cluster.ID) bool { return other == id })
	}
	return nil
}

func (f *fakeFence) guards(id cluster.ID) (how Guarded, told bool, calls int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how, told = f.told[id]
	return how, told, f.calls
}

func (f *fakeFence) fall(id cluster.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fallen = append(f.fallen, id)
}

func fencedJob(j *cluster.Job) {
	d := cluster.DefaultDisconnect()
	d.StopOnClientAfter = time.Minute
	j.TaskGroups[0].Disconnect = &d
}

func TestAFencedAllocationIsKilledForGood(t *testing.T) {
	for _, hears := range []bool{true, false} { // whether the servers are there when it falls
		synctest.Test(t, func(t *testing.T) {
			w, f := newWorld(t), &fakeFence{told: map[cluster.ID]Guarded{}}
			n := w.start(0, func(c *Config) { c.Fence = f })
			defer n.stop()
			a := w.change(testAlloc(1, cluster.JobTypeBatch, fencedJob, "web"), nil)
			free := w.change(testAlloc(2, cluster.JobTypeBatch, nil, "web"), nil)
			sleep(3 * time.Second)
			how, told, before := f.guards(a.ID)
			if !told || how.After != time.Minute || how.Containers || len(w.running()) != 2 {
				t.Fatalf("guarded %v as %+v, running %v", told, how, w.running())
			}
			if _, told, _ := f.guards(free.ID); told {
				t.Error("what needs no guard has one")
			}
			sleep(3 * time.Second)
			if _, _, calls := f.guards(a.ID); calls < before+2 {
				t.Errorf("%d renewals in 3 s", calls-before)
			}
			w.setDown(!hears)
			sleep(2 * time.Second)
			f.fall(a.ID)
			w.end(taskID(a.ID, "web", 1), driver.Exit{Signal: 9})
			sleep(time.Minute)
			w.setDown(false)
			sleep(10 * time.Second)
			got := w.alloc(a.ID)
			if got.ClientStatus != cluster.ClientFailed || !strings.HasPrefix(got.Details().ClientDescription, "Killed: ") {
				t.Errorf("status %v: %q; %s", got.ClientStatus, got.Details().ClientDescription, diary(taskOf(t, got, "web")))
			}
			if running := w.running(); len(running) != 1 {
				t.Errorf("running: %v", running)
			}
			if begun := w.begun(); slices.Contains(begun, taskID(a.ID, "web", 2)) {
				t.Errorf("it was begun again: %v", begun)
			}
			if _, told, _ := f.guards(a.ID); told {
				t.Error("what is over is guarded")
			}
		})
	}
}

func TestWithoutAFenceNothingFencedStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.start(0)
		defer n.stop()
		a := w.change(testAlloc(1, cluster.JobTypeService, fencedJob, "web"), nil)
		sleep(time.Minute)
		if got := w.alloc(a.ID); got.ClientStatus != cluster.ClientFailed || len(w.begun()) != 0 {
			t.Errorf("status %v, begun %v", got.ClientStatus, w.begun())
		}
	})
}

// deaf are servers that renew leases and do not say what they want before hear is closed.
type deaf struct {
	Control
	hear <-chan struct{}
}

func (d deaf) Allocations(ctx context.Context, node cluster.ID, index uint64) (Assignments, error) {
	select {
	case <-d.hear:
		return d.Control.Allocations(ctx, node, index)
	case <-ctx.Done():
		return Assignments{}, ctx.Err()
	}
}

// TestFencedWorkWaitsForWhatTheServersWant starts a machine anew whose work was given to another node meanwhile, or was not: the lease
// is renewed before the node hears which of the two it is.
func TestFencedWorkWaitsForWhatTheServersWant(t *testing.T) {
	for _, lost := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w, hear := newWorld(t), make(chan struct{})
			n := w.start(0, func(c *Config) { c.Fence = &fakeFence{told: map[cluster.ID]Guarded{}} })
			a := w.change(testAlloc(1, cluster.JobTypeService, fencedJob, "web"), nil)
			sleep(3 * time.Second)
			n.stop()
			w.reboot("boot-2")
			n = w.start(0, func(c *Config) {
				c.Fence, c.Control = &fakeFence{told: map[cluster.ID]Guarded{}}, deaf{c.Control, hear}
			})
			defer n.stop()
			sleep(5 * time.Second)
			if begun := w.begun(); len(begun) != 1 {
				t.Errorf("started before the servers said what they want: %v", begun)
			}
			if lost {
				w.change(a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
			}
			close(hear)
			sleep(5 * time.Second)
			if begun := w.begun(); (len(begun) == 1) != lost {
				t.Errorf("lost %v, started: %v", lost, begun)
			}
		})
	}
}

// An agent takes up the guard of the one before it, and ends what nothing here needs.
func TestAGuardIsTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, f := newWorld(t), &fakeFence{told: map[cluster.ID]Guarded{}}
		withFence := func(c *Config) { c.Fence = f }
		n := w.start(0, withFence)
		a := w.change(testAlloc(1, cluster.JobTypeService, fencedJob, "web"), nil)
		sleep(3 * time.Second)
		n.stop()
		f.Unguard(t.Context(), []cluster.ID{a.ID})
		gone := cluster.ID{7}
		f.fall(gone)
		n = w.start(0, withFence)
		defer n.stop()
		sleep(3 * time.Second)
		if _, told, _ := f.guards(a.ID); !told || len(w.running()) != 1 {
			t.Errorf("guarded %v, running %v", told, w.running())
		}
		if f.mu.Lock(); len(f.fallen) != 0 {
			t.Errorf("still fallen: %v", f.fallen)
		}
		f.mu.Unlock()
	})
}
