package scheduler

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"pgregory.net/rapid"
)

// drawJob is a job file's worth of text for world.setJob.
func drawJob(t *rapid.T, kind string) string {
	text := kind
	if rapid.IntRange(0, 5).Draw(t, "apart") == 0 {
		text += rapid.SampledFrom([]string{" constraint=distinct_hosts", " constraint=distinct_property|meta.rack|2"}).Draw(t, "distinct")
	}
	everywhere, toEnd := kind == "system" || kind == "sysbatch", kind == "batch" || kind == "sysbatch"
	for _, group := range []string{"web", "api"}[:rapid.IntRange(1, 2).Draw(t, "groups")] {
		count := rapid.IntRange(0, 6).Draw(t, "count")
		if everywhere {
			count = 1
		}
		text += fmt.Sprintf(" / %s count=%d cpu=%d command=v%d", group, count,
			rapid.SampledFrom([]int{100, 500, 900}).Draw(t, "cpu"), rapid.IntRange(0, 3).Draw(t, "command"))
		for _, extra := range []string{"static=http:8080", "dynamic=admin", "constraint=meta.rack|!=|r1", "constraint=node.unique.name|!=|n2"} {
			if rapid.IntRange(0, 3).Draw(t, "extra") == 0 {
				text += " " + extra
			}
		}
		if !everywhere && rapid.Bool().Draw(t, "spread") {
			text += rapid.SampledFrom([]string{" spread=meta.rack", " affinity=meta.rack|=|r1|50"}).Draw(t, "wish")
		}
		text += rapid.SampledFrom([]string{"", "", " lost_after=30m", " lost_after=2m reconcile=keep_original", " replace=false",
			" replace=false lost_after=2m", " lost_after=1h reconcile=longest_running"}).Draw(t, "disconnect")
		if !everywhere && rapid.IntRange(0, 5).Draw(t, "fence") == 0 {
			text += " lost_after=0s stop_on_client_after=1m"
		}
		if !toEnd {
			text += fmt.Sprintf(" max_parallel=%d", rapid.IntRange(0, 2).Draw(t, "max_parallel"))
		}
	}
	return text
}

// Whatever happens, each plan is right by itself, planning twice plans nothing, and in the end what is wanted runs.
func TestEveryCourseConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for i := range rapid.IntRange(1, 5).Draw(t, "nodes") {
			w.addNode([]string{fmt.Sprintf("n%d", i), "cpu=" + rapid.SampledFrom([]string{"1000", "2000"}).Draw(t, "cpu"),
				"meta.rack=" + rapid.SampledFrom([]string{"r0", "r1", "r2"}).Draw(t, "rack"), "dynamic=20000-20003"})
		}
		kind := rapid.SampledFrom([]string{"service", "batch", "system", "sysbatch"}).Draw(t, "kind")
		w.setJob(drawJob(t, kind))
		checkedPlan(t, w, w.newEval())
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			disturb(t, w, kind)
			checkedPlan(t, w, w.newEval())
		}
		converge(t, w, kind)
	})
}

// disturb lets one thing happen.
func disturb(t *rapid.T, w *world, kind string) {
	anyNode := func() string { return rapid.SampledFrom(w.nodes).Draw(t, "node").Name }
	switch rapid.SampledFrom([]string{"agents", "agents", "watch", "advance", "job", "down", "disconnected", "ready", "ineligible", "drain", "report", "user-stop"}).Draw(t, "event") {
	case "agents":
		w.agents()
	case "watch":
		if progress := Watch(w.input(nil)); progress.Eval != nil || progress.Deployment != nil {
			if progress.Deployment != nil {
				w.storeDeployment(progress.Deployment)
			}
			if progress.Eval != nil {
				checkedPlan(t, w, progress.Eval)
			}
		}
	case "advance":
		w.now = w.now.Add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, time.Hour}).Draw(t, "span"))
	case "job":
		w.setJob(drawJob(t, kind))
	case "down", "disconnected", "ineligible":
		word := rapid.SampledFrom([]string{"down", "disconnected", "ineligible"}).Draw(t, "how")
		w.changeNode(anyNode(), func(n *cluster.Node) { setNode(n, word, w.now) })
	case "drain":
		word := rapid.SampledFrom([]string{"drain=0s", "drain-all=2m", "drain-all=-1s"}).Draw(t, "how")
		w.changeNode(anyNode(), func(n *cluster.Node) { setNode(n, word, w.now) })
	case "ready":
		name := anyNode()
		w.changeNode(name, func(n *cluster.Node) {
			setNode(n, "ready", w.now)
			setNode(n, "drain-none", w.now)
			setNode(n, "eligible", w.now)
		})
	case "report", "user-stop":
		live := slices.DeleteFunc(slices.Clone(w.allocs), func(a *cluster.Allocation) bool { return a.Terminal() })
		if len(live) == 0 {
			return
		}
		a := rapid.SampledFrom(live).Draw(t, "alloc")
		if rapid.IntRange(0, 3).Draw(t, "stop") == 0 {
			w.edit(a.ID, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
			return
		}
		w.report(a, rapid.SampledFrom([]cluster.ClientStatus{cluster.ClientRunning, cluster.ClientComplete, cluster.ClientFailed}).Draw(t, "status"),
			rapid.SampledFrom([]cluster.HealthStatus{cluster.HealthUnknown, cluster.HealthHealthy, cluster.HealthUnhealthy}).Draw(t, "health"))
	}
}

// checkedPlan plans an evaluation, carries the plan out and checks everything that must hold of any plan.
func checkedPlan(t *rapid.T, w *world, eval *cluster.Evaluation) {
	in := w.input(eval)
	plan := Schedule(in)
	if again := Schedule(in); !reflect.DeepEqual(plan, again) {
		t.Fatalf("equal inputs gave\n%+v\nand\n%+v", plan, again)
	}
	checkLook(t, in, &plan)
	checkSteps(t, w, &plan)
	for i := range plan.Places {
		if n := in.Nodes[slices.IndexFunc(in.Nodes, func(n Node) bool { return n.ID == plan.Places[i].NodeID })]; !n.Ready() {
			t.Fatalf("placed on %s, which is %s and %s", n.Name, n.Status, n.SchedulingEligibility)
		}
	}
	w.apply(&plan)
	checkAllocs(t, w, &plan)
	if again := Schedule(w.input(w.newEval())); !quiet(w, again) {
		t.Fatalf("the plan\n%swas followed by\n%s", w.describe(&plan), w.describe(&again))
	}
}

// quiet reports whether the plan changes nothing but the reasons why something still waits: what was
// stopped goes on taking room until it has ended.
func quiet(w *world, plan Plan) bool {
	for _, e := range plan.Evals {
		if !slices.ContainsFunc(w.evals, func(old *cluster.Evaluation) bool { return old.ID == e.ID && old.Status == e.Status }) {
			return false
		}
	}
	plan.Evals = nil
	return plan.Empty()
}

// checkSteps says whether the plan takes down more running instances for the new version than the job allows.
func checkSteps(t *rapid.T, w *world, plan *Plan) {
	down, stopped := map[string]int{}, map[cluster.ID]bool{}
	for _, s := range plan.Stops {
		stopped[s.ID] = true
		a := w.allocs[slices.IndexFunc(w.allocs, func(a *cluster.Allocation) bool { return a.ID == s.ID })]
		if !a.Terminal() && strings.HasPrefix(s.Description, "replaced by version") {
			down[a.TaskGroup]++
		}
	}
	for i := range w.job.TaskGroups {
		g := &w.job.TaskGroups[i]
		s := strategy(w.job, g)
		if s == nil || down[g.Name] == 0 {
			continue
		}
		for _, a := range w.allocs {
			if a.TaskGroup == g.Name && !a.Terminal() && !stopped[a.ID] && a.Job.Version == w.job.Version && !a.DeploymentID.IsZero() && a.Health != cluster.HealthHealthy &&
				a.ClientStatus != cluster.ClientUnknown && !slices.Contains(plan.Unknown, a.ID) {
				down[g.Name]++
			}
		}
		if down[g.Name] > s.MaxParallel {
			t.Fatalf("%d of group %s are down at a time, %d may be:\n%s", down[g.Name], g.Name, s.MaxParallel, w.show())
		}
	}
}

// checkAllocs says whether the allocations that are to run fit on their nodes, once each, where and as often as wanted.
func checkAllocs(t *rapid.T, w *world, plan *Plan) {
	seen := map[string]bool{}
	once := func(format string, args ...any) {
		key := fmt.Sprintf(format, args...)
		if seen[key] {
			t.Fatalf("twice %s:\n%s", key, w.show())
		}
		seen[key] = true
	}
	used := map[cluster.ID]cluster.Capacity{}
	present := map[string]int{}
	for _, a := range w.allocs {
		if !a.ServerTerminal() && a.ClientStatus != cluster.ClientLost || w.standsAlone(a) {
			present[a.TaskGroup]++
		}
		if a.Terminal() || a.ClientStatus == cluster.ClientUnknown && yields(a.Group()) {
			continue
		}
		used[a.NodeID] = used[a.NodeID].Plus(a.Group().Resources())
		if w.job.OnEveryNode() {
			once("%s on %s", a.TaskGroup, a.NodeName)
		} else {
			once("%s[%d]", a.TaskGroup, a.Index)
		}
		for _, port := range a.Ports {
			once("port %d on %s", port.Value, a.NodeName)
		}
		if f := newFilter(a.Job, a.Group()); f.distinctJob && a.Job == w.job && placedNow(w, a) {
			for _, b := range w.allocs {
				if b != a && !b.Terminal() && b.NodeID == a.NodeID && b.Job == a.Job {
					t.Fatalf("%s is with %s on %s after\n%s%s", a.Name(), b.Name(), a.NodeName, w.describe(plan), w.show())
				}
			}
		}
		if g := w.job.Group(a.TaskGroup); g == nil || int(a.Index) >= max(g.Count, 1) {
			t.Fatalf("%s is not wanted", a.Name())
		}
	}
	for _, n := range w.nodes {
		if lack := n.Schedulable().Lacking(used[n.ID]); lack != "" {
			t.Fatalf("too much %s is given away on %s:\n%s", lack, n.Name, w.show())
		}
	}
	frozen := w.deployment() != nil && w.deployment().Status == cluster.DeploymentFailed
	for _, g := range w.job.TaskGroups {
		if w.job.OnEveryNode() || frozen {
			continue
		}
		if have := present[g.Name] + plan.Eval.QueuedAllocations[g.Name]; have < g.Count {
			t.Fatalf("group %s has and queues %d of %d:\n%s", g.Name, have, g.Count, w.show())
		}
	}
}

// standsAlone reports whether the lost allocation keeps its place.
func (w *world) standsAlone(a *cluster.Allocation) bool {
	node := w.nodes[slices.IndexFunc(w.nodes, func(n *cluster.Node) bool { return n.ID == a.NodeID })]
	return a.ClientStatus == cluster.ClientLost && a.Group().Unique() && a.Job == w.job && a.Details().NextAllocation.IsZero() && !node.Alive()
}

func placedNow(w *world, a *cluster.Allocation) bool { return a.CreateIndex == w.index }

// converge lets time pass without trouble until nothing happens any more, and says whether all is as wanted.
func converge(t *rapid.T, w *world, kind string) {
	for _, n := range w.nodes {
		w.changeNode(n.Name, func(n *cluster.Node) {
			setNode(n, "ready", w.now)
			setNode(n, "drain-none", w.now)
			setNode(n, "eligible", w.now)
		})
	}
	for range 60 {
		w.agents()
		if progress := Watch(w.input(nil)); progress.Deployment != nil {
			w.storeDeployment(progress.Deployment)
		} else if progress.Eval != nil {
			checkedPlan(t, w, progress.Eval)
		}
		for _, e := range slices.Clone(w.evals) {
			if e.Status == cluster.EvalPending && e.WaitUntil <= w.now.UnixNano() || e.Status == cluster.EvalBlocked {
				checkedPlan(t, w, e)
			}
		}
		checkedPlan(t, w, w.newEval())
		w.now = w.now.Add(2 * time.Minute)
	}
	plan := w.settle()
	if w.job.RunsToEnd() || len(plan.Eval.FailedTGAllocs) > 0 {
		return
	}
	d := w.deployment()
	if d != nil && d.Status == cluster.DeploymentFailed {
		return
	}
	if d != nil && d.Active() {
		t.Fatalf("the deployment never ends: %s\n%s", describeDeployment(w, d), w.show())
	}
	for _, g := range w.job.TaskGroups {
		current := 0
		for _, a := range w.allocs {
			if a.TaskGroup == g.Name && !a.Terminal() && a.Job.Version == w.job.Version {
				current++
			}
		}
		wanted := g.Count
		if kind == "system" {
			f := newFilter(w.job, &g)
			wanted = 0
			for _, n := range w.nodes {
				if f.covers(n) && f.rejects(n) == "" {
					wanted++
				}
			}
		}
		if current != wanted {
			t.Fatalf("group %s has %d current instances, not %d:\n%s", g.Name, current, wanted, w.show())
		}
	}
}

// However many are placed at once, each goes where it would go if it were placed alone.
func TestHeapAndScanAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
			w.addNode([]string{fmt.Sprintf("n%d", i), fmt.Sprintf("cpu=%d", rapid.IntRange(1, 40).Draw(t, "cpu")*100),
				fmt.Sprintf("memory=%d", rapid.IntRange(1, 40).Draw(t, "memory")*100),
				"meta.rack=" + rapid.SampledFrom([]string{"r0", "r1", "r2"}).Draw(t, "rack")})
		}
		w.setJob("batch / web count=40 cpu=100 memory=50" + rapid.SampledFrom([]string{"", " spread=meta.rack", " spread=meta.rack:r0:60:r1:30",
			" spread=meta.rack:r0:30", " spread=meta.rack:r0:30:r1:0 spread=node.unique.id",
			" spread=node.unique.id", " spread=meta.rack spread=node.datacenter", " constraint=distinct_hosts", " dynamic=http",
			" affinity=meta.rack|=|r1|50", " affinity=node.unique.name|=|n1|-100 affinity=meta.rack|=|r2|30 spread=meta.rack",
			" constraint=distinct_property|meta.rack|3", " constraint=distinct_property|meta.rack|5 affinity=meta.rack|!=|r0|10 spread=node.unique.id"}).Draw(t, "extra"))
		p, q := newPlanner(w.input(w.newEval())), newPlanner(w.input(w.newEval()))
		g := &w.job.TaskGroups[0]
		scan, heap := newRanker(p, w.job, g, 1), newRanker(q, w.job, g, heapFrom)
		for i := range 40 {
			want, got := scan.best(nil), heap.best(nil)
			if want != got {
				t.Fatalf("instance %d goes to node %d, and alone to %d", i, got, want)
			}
			if want < 0 {
				break
			}
			placement := Placement{NodeID: p.nodes[want].ID, TaskGroup: "web", Needs: scan.need}
			for _, r := range []*ranker{scan, heap} {
				r.p.nodes[want] = r.p.nodes[want].With(&placement)
				r.changed(want, 1)
			}
		}
	})
}

// No value of a property has more instances than it may, and one that has room for more is not left out.
func TestDistinctPropertyHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		racks := map[string]int{}
		for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
			words := []string{fmt.Sprintf("n%d", i), "cpu=99999", "memory=99999"}
			if rack := rapid.SampledFrom([]string{"r0", "r1", "r2", ""}).Draw(t, "rack"); rack != "" {
				racks[rack] = 0
				words = append(words, "meta.rack="+rack)
			}
			w.addNode(words)
		}
		limit, count := rapid.IntRange(1, 4).Draw(t, "limit"), rapid.IntRange(1, 15).Draw(t, "count")
		w.setJob(fmt.Sprintf("batch / web count=%d cpu=1 memory=10 constraint=distinct_property|meta.rack|%d", count, limit))
		w.settle()
		for _, a := range w.allocs {
			node := w.nodes[slices.IndexFunc(w.nodes, func(n *cluster.Node) bool { return n.ID == a.NodeID })]
			racks[node.Meta["rack"]]++
		}
		for rack, n := range racks {
			if n > limit || rack == "" {
				t.Fatalf("%d instances have the rack %q, where %d may", n, rack, limit)
			}
		}
		if total, most := len(w.allocs), min(count, limit*len(racks)); total != most {
			t.Fatalf("%d are placed of %d that could be: %v", total, most, racks)
		}
	})
}

// Values that a target names have their share of the instances, rounded up or down, and the others have the rest among
// them, evenly. Nodes without the attribute have nothing.
func TestTargetsAreMet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		w.addNode([]string{"bare", "cpu=20000", "memory=99999"})
		racks, rack := map[string]int{}, map[cluster.ID]string{}
		for i := range rapid.IntRange(4, 12).Draw(t, "nodes") {
			name := fmt.Sprintf("r%d", i%4)
			racks[name] = 0
			w.addNode([]string{fmt.Sprintf("n%d", i), "meta.rack=" + name, fmt.Sprintf("cpu=%d", rapid.IntRange(20000, 40000).Draw(t, "cpu")), "memory=99999"})
			rack[w.nodes[len(w.nodes)-1].ID] = name
		}
		count, left, spread := rapid.IntRange(1, 60).Draw(t, "count"), 100, "spread=meta.rack"
		named := map[string]int{}
		for i := range rapid.IntRange(1, 3).Draw(t, "targets") {
			name := fmt.Sprintf("r%d", i)
			named[name] = rapid.IntRange(0, left).Draw(t, "percent")
			left -= named[name]
			spread += fmt.Sprintf(":%s:%d", name, named[name])
		}
		w.setJob(fmt.Sprintf("batch / web count=%d cpu=100 memory=100 %s", count, spread))
		w.settle()
		for _, a := range w.allocs {
			racks[rack[a.NodeID]]++
		}
		least, most := 1<<30, 0
		for name, n := range racks {
			percent, share := named[name]
			if share && (n < percent*count/100 || n > (percent*count+99)/100) || name == "" {
				t.Fatalf("%d instances with %s make %v: %q is wrong", count, spread, racks, name)
			}
			if !share {
				least, most = min(least, n), max(most, n)
			}
		}
		if most-least > 1 {
			t.Fatalf("%d instances with %s make %v", count, spread, racks)
		}
	})
}

// Instances differ by at most one over the values, whatever the nodes have and however many share a value.
func TestSpreadIsEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		racks := map[string]int{}
		for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
			rack := rapid.SampledFrom([]string{"r0", "r1", "r2"}).Draw(t, "rack")
			racks[rack] = 0
			w.addNode([]string{fmt.Sprintf("n%d", i), "meta.rack=" + rack, fmt.Sprintf("cpu=%d", rapid.IntRange(3000, 9000).Draw(t, "cpu"))})
		}
		w.setJob(fmt.Sprintf("batch / web count=%d cpu=100 memory=100 spread=meta.rack", rapid.IntRange(1, 30).Draw(t, "count")))
		plan := w.settle()
		if len(plan.Eval.FailedTGAllocs) > 0 {
			t.Skip("no room")
		}
		for _, a := range w.allocs {
			node := w.nodes[slices.IndexFunc(w.nodes, func(n *cluster.Node) bool { return n.ID == a.NodeID })]
			racks[node.Meta["rack"]]++
		}
		least, most := 1<<30, 0
		for _, n := range racks {
			least, most = min(least, n), max(most, n)
		}
		if most-least > 1 {
			t.Fatalf("spread is %v", racks)
		}
	})
}
