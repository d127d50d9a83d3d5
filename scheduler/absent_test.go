package scheduler

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"pgregory.net/rapid"
)

// field is what really happens: which instances run on which nodes, whatever the servers know of it.
type field struct {
	*world
	running map[cluster.ID]bool
	dead    map[cluster.ID]bool      // killed by their node, for good
	cut     map[cluster.ID]bool      // nodes that reach nobody
	renewed map[cluster.ID]time.Time // when a node's lease was renewed last
}

func newField(nodes int) *field {
	f := &field{newWorld(), map[cluster.ID]bool{}, map[cluster.ID]bool{}, map[cluster.ID]bool{}, map[cluster.ID]time.Time{}}
	for i := range nodes {
		f.addNode([]string{fmt.Sprintf("n%d", i)})
		f.renewed[f.nodes[i].ID] = f.now
	}
	return f
}

// sync lets each node that reaches the servers do what it should, and say so: first all that ends, then what begins.
func (f *field) sync() {
	for _, begins := range []bool{false, true} {
		for _, a := range slices.Clone(f.allocs) {
			if f.cut[a.NodeID] || a.ServerTerminal() == begins {
				continue
			}
			switch {
			case f.dead[a.ID]:
				f.said(a, cluster.ClientFailed)
			case !begins:
				delete(f.running, a.ID)
				f.said(a, cluster.ClientComplete)
			case !a.ClientStatus.Terminal():
				f.running[a.ID] = true
				f.said(a, cluster.ClientRunning)
			}
		}
	}
}

// said is a report, taken in as the state does.
func (f *field) said(a *cluster.Allocation, status cluster.ClientStatus) {
	node := f.nodes[slices.IndexFunc(f.nodes, func(n *cluster.Node) bool { return n.ID == a.NodeID })]
	if !a.ClientStatus.Terminal() && a.ClientStatus != status && (node.Alive() || a.ClientStatus != cluster.ClientUnknown || status.Terminal()) {
		f.report(a, status, cluster.HealthUnknown)
	}
}

// pass lets time pass: leases are renewed, and nodes that cannot kill what is fenced.
func (f *field) pass(span time.Duration) {
	f.now = f.now.Add(span)
	for _, n := range f.nodes {
		if !f.cut[n.ID] && n.Alive() {
			f.renewed[n.ID] = f.now
		}
		for _, a := range f.allocs {
			d := a.Group().Disconnect
			if a.NodeID == n.ID && d != nil && d.StopOnClientAfter > 0 && f.now.Sub(f.renewed[n.ID]) >= d.StopOnClientAfter && f.running[a.ID] {
				delete(f.running, a.ID)
				f.dead[a.ID] = true
			}
		}
	}
}

// decide lets the leader notice what has become of a node. Its own count began when the lease was renewed last, or later.
func (f *field) decide(n *cluster.Node, late bool) {
	switch cut := f.cut[n.ID]; {
	case cut && n.Alive():
		f.changeNode(n.Name, func(n *cluster.Node) { n.Status = cluster.AbsentStatus(slices.Values(f.on(n))) })
		if f.heard[n.ID] = f.renewed[n.ID]; late {
			f.heard[n.ID] = f.now
		}
	case !cut && !n.Alive():
		f.renewed[n.ID] = f.now
		f.changeNode(n.Name, func(n *cluster.Node) { n.Status = cluster.NodeStatusReady })
	}
}

func (f *field) on(n *cluster.Node) []*cluster.Allocation {
	return slices.DeleteFunc(slices.Clone(f.allocs), func(a *cluster.Allocation) bool { return a.NodeID != n.ID })
}

// work plans what is due.
func (f *field) work(t *rapid.T) {
	for _, e := range slices.Clone(f.evals) {
		if e.Status == cluster.EvalPending && e.WaitUntil <= f.now.UnixNano() || e.Status == cluster.EvalBlocked {
			checkedPlan(t, f.world, e)
		}
	}
	checkedPlan(t, f.world, f.newEval())
}

// check counts what really runs of each instance, and what the servers want to run where they know what happens.
func (f *field) check(t *rapid.T, alone, planned bool) {
	runs, wanted := map[string]int{}, map[string]int{}
	for _, a := range f.allocs {
		if f.running[a.ID] {
			runs[a.Name()]++
		}
		if !a.Terminal() && a.ClientStatus != cluster.ClientUnknown {
			wanted[a.Name()]++
		}
	}
	for name, n := range runs {
		if alone && n > 1 {
			t.Fatalf("%d of %s run:\n%s", n, name, f.show())
		}
	}
	for name, n := range wanted {
		if planned && n > 1 {
			t.Fatalf("%d of %s are wanted:\n%s", n, name, f.show())
		}
	}
}

// Whatever order nodes are cut off, given up and found again in: of what must not run twice never two run, of the rest no
// more than the nodes that nobody reaches may still have, and in the end exactly what is wanted.
func TestNeverMoreThanWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newField(rapid.IntRange(1, 4).Draw(t, "nodes"))
		kind := rapid.SampledFrom([]string{"service", "batch"}).Draw(t, "kind")
		how := rapid.SampledFrom([]string{"", "lost_after=30m", "lost_after=2m reconcile=keep_original", "lost_after=30m reconcile=keep_replacement",
			"lost_after=30m reconcile=longest_running", "replace=false", "stop_on_client_after=1m", "stop_on_client_after=1m replace=false"}).Draw(t, "how")
		count := rapid.IntRange(1, 3).Draw(t, "count")
		text := fmt.Sprintf("%s / web count=%d %s", kind, count, how)
		if kind == "service" {
			text += " max_parallel=0"
		}
		f.setJob(text)
		alone := strings.Contains(how, "replace=false") || strings.Contains(how, "stop_on_client_after")
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			n := rapid.SampledFrom(f.nodes).Draw(t, "node")
			event := rapid.SampledFrom([]string{"cut", "heal", "decide", "decide", "sync", "sync", "work", "work", "pass", "new-leader"}).Draw(t, "event")
			switch event {
			case "cut":
				f.cut[n.ID] = true
			case "heal":
				delete(f.cut, n.ID)
			case "decide":
				f.decide(n, rapid.Bool().Draw(t, "late"))
			case "sync":
				f.sync()
			case "work":
				f.work(t)
			case "pass":
				f.pass(rapid.SampledFrom([]time.Duration{time.Second, 20 * time.Second, 5 * time.Minute}).Draw(t, "span"))
			case "new-leader":
				for id := range f.heard {
					f.heard[id] = f.now
				}
			}
			f.check(t, alone, event == "work")
		}
		f.cut = map[cluster.ID]bool{}
		for range 20 {
			for _, n := range f.nodes {
				f.decide(n, false)
			}
			f.sync()
			f.work(t)
			f.sync()
			f.pass(10 * time.Minute)
			f.check(t, alone, false)
		}
		for i := range count {
			name := cluster.AllocationName("job", "web", i)
			runs := 0
			for _, a := range f.allocs {
				if a.Name() == name && f.running[a.ID] {
					runs++
				}
			}
			if runs != 1 && kind == "service" {
				t.Fatalf("%d of %s run in the end:\n%s", runs, name, f.show())
			}
		}
	})
}
