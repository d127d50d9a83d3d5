package scheduler

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/a43e60e4/cluster"
)

// ailing is how many of the group's instances that are to run are not healthy.
func (w *world) ailing(g *cluster.TaskGroup) int {
	well := map[int32]bool{}
	for _, a := range w.allocs {
		if a.TaskGroup == g.Name && !a.Terminal() && healthy(a) {
			well[a.Index] = true
		}
	}
	return g.Count - len(well)
}

// on are the live allocations on the node.
func (w *world) on(node *cluster.Node) []*cluster.Allocation {
	return slices.DeleteFunc(slices.Clone(w.allocs), func(a *cluster.Allocation) bool { return a.Terminal() || a.NodeID != node.ID })
}

// drained carries out what the drains ask for until they ask for nothing more, or for the given number of steps.
func (w *world) drained(t *rapid.T, steps int, look func()) {
	for range steps {
		eval := Drain(w.input(nil))
		if eval == nil {
			return
		}
		checkedPlan(t, w, eval)
		look()
		w.agents()
	}
	t.Fatalf("the drain never ends:\n%s", w.show())
}

// A drain takes no more instances of a service at a time than its group allows, whatever room there is; before the deadline
// what has no place to go to stays, and with room enough all leaves. The deadline ends it for everything.
func TestDrainsGoStepByStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		ample := rapid.Bool().Draw(t, "ample")
		for i := range rapid.IntRange(2, 5).Draw(t, "nodes") {
			w.addNode([]string{fmt.Sprintf("n%d", i), fmt.Sprintf("cpu=%d", 1000*rapid.IntRange(1, 2).Draw(t, "cpu"))})
			if ample {
				w.nodes[i].NodeResources.Cpu.CpuShares = 10_000
			}
		}
		kind := rapid.SampledFrom([]string{"service", "service", "batch"}).Draw(t, "kind")
		text := kind
		for _, group := range []string{"web", "api"}[:rapid.IntRange(1, 2).Draw(t, "groups")] {
			text += fmt.Sprintf(" / %s cpu=300 count=%d", group, rapid.IntRange(0, 5).Draw(t, "count"))
			if kind == "service" {
				text += fmt.Sprintf(" migrate=%d", rapid.IntRange(0, 3).Draw(t, "migrate"))
			}
		}
		w.setJob(text)
		converge(t, w, kind)
		missing := map[string]int{}
		for i := range w.job.TaskGroups {
			missing[w.job.TaskGroups[i].Name] = w.ailing(&w.job.TaskGroups[i])
		}
		leaving := rapid.SliceOfNDistinct(rapid.IntRange(0, len(w.nodes)-1), 1, 2, rapid.ID[int]).Draw(t, "leaving")
		for _, i := range leaving {
			w.changeNode(w.nodes[i].Name, func(n *cluster.Node) { setNode(n, "drain-all=1h", w.now) })
		}
		w.drained(t, 50, func() {
			for i := range w.job.TaskGroups {
				g := &w.job.TaskGroups[i]
				if n := w.ailing(g); kind == "service" && n > max(missing[g.Name], g.Migrate.MaxParallel) {
					t.Fatalf("%d of group %s are down at a time, %d may be:\n%s", n, g.Name, g.Migrate.MaxParallel, w.show())
				}
			}
		})
		for _, i := range leaving {
			for _, a := range w.on(w.nodes[i]) {
				switch {
				case kind == "service" && ample && len(leaving) < len(w.nodes) && a.Group().Migrate.MaxParallel > 0:
					t.Fatalf("%s has not left %s:\n%s", a.Name(), a.NodeName, w.show())
				case !healthy(a):
					t.Fatalf("%s stayed on %s in vain:\n%s", a.Name(), a.NodeName, w.show())
				}
			}
		}
		w.now = w.now.Add(time.Hour)
		w.drained(t, 2, func() {})
		for _, i := range leaving {
			if left := w.on(w.nodes[i]); len(left) > 0 {
				t.Fatalf("%s is on %s after the deadline", left[0].Name(), left[0].NodeName)
			}
		}
	})
}

// What a drain is asked for in the middle of anything, it asks for nothing that would come to nothing.
func TestDrainsAskForNothingInVain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for i := range rapid.IntRange(1, 4).Draw(t, "nodes") {
			w.addNode([]string{fmt.Sprintf("n%d", i), "cpu=1500", "meta.rack=r0", "dynamic=20000-20003"})
		}
		kind := rapid.SampledFrom([]string{"service", "batch", "system"}).Draw(t, "kind")
		w.setJob(drawJob(t, kind))
		checkedPlan(t, w, w.newEval())
		for range rapid.IntRange(1, 10).Draw(t, "steps") {
			disturb(t, w, kind)
			checkedPlan(t, w, w.newEval())
			if eval := Drain(w.input(nil)); eval != nil {
				t.Fatalf("after a plan a drain still asks for one:\n%s", w.show())
			}
		}
	})
}

func TestSystemJobsLeaveLast(t *testing.T) {
	w := newWorld()
	w.addNode([]string{"n1"})
	w.setJob("system / agent")
	w.settle()
	w.agents()
	w.changeNode("n1", func(n *cluster.Node) { setNode(n, "drain-all=1h", w.now) })
	in := w.input(nil)
	in.Nodes[0].Emptied = false // something else runs there
	if Drain(in) != nil {
		t.Error("it leaves first")
	}
	in.Nodes[0].Emptied = true
	if Drain(in) == nil {
		t.Error("it does not leave when it is the last")
	}
	in.Nodes[0].Emptied, in.Now = false, w.now.Add(time.Hour)
	if Drain(in) == nil {
		t.Error("it does not leave when the deadline has come")
	}
}

// The plan that was tried is not asked for while another is about to be made.
func TestADrainWaitsForPendingEvaluations(t *testing.T) {
	w := newWorld()
	w.addNode([]string{"n1"})
	w.setJob("service / web")
	w.settle()
	w.agents()
	w.addNode([]string{"n2"})
	w.changeNode("n1", func(n *cluster.Node) { setNode(n, "drain-all=1h", w.now) })
	in := w.input(nil)
	if eval := Drain(in); eval == nil || eval.TriggeredBy != cluster.TriggerNodeDrain || eval.NodeID != w.nodes[0].ID {
		t.Fatalf("asked for %+v", eval)
	}
	in.Evals = append(in.Evals, w.newEval())
	if Drain(in) != nil {
		t.Error("asked for one more")
	}
	stopped := *w.job
	stopped.Stop = true
	for _, job := range []*cluster.Job{nil, &stopped} {
		in := w.input(nil)
		in.Job = job
		if Drain(in) != nil {
			t.Errorf("asked to plan job %+v", job)
		}
	}
}
