package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
)

// world is a cluster of values with one job: it carries out plans as the state does and lets agents report.
type world struct {
	now         time.Time
	index       uint64
	seed        uint32
	nodes       []*cluster.Node
	job         *cluster.Job
	allocs      []*cluster.Allocation
	deployments []*cluster.Deployment
	evals       []*cluster.Evaluation
	heard       map[cluster.ID]time.Time // of nodes that are not alive: when the leader heard of them last
}

func newWorld() *world {
	return &world{now: time.Unix(1_700_000_000, 0), index: 10, heard: map[cluster.ID]time.Time{}}
}

func (w *world) id(kind byte) cluster.ID {
	w.seed++
	return cluster.ID{0: kind, 14: byte(w.seed >> 8), 15: byte(w.seed)}
}

// addNode adds a node "name dc key=value…".
func (w *world) addNode(words []string) {
	n := &cluster.Node{
		ID: w.id('n'), Name: words[0], Datacenter: cluster.DefaultDatacenter, NodePool: cluster.DefaultNodePool,
		Status: cluster.NodeStatusReady, SchedulingEligibility: cluster.NodeEligible,
		Attributes: map[string]string{}, Meta: map[string]string{},
		Drivers: map[string]cluster.DriverState{"raw_exec": {Detected: true, Healthy: true}},
	}
	n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB, n.NodeResources.Disk.DiskMB = 4000, 4000, 100000
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		number, _ := strconv.Atoi(value)
		switch key {
		case "dc":
			n.Datacenter = value
		case "pool":
			n.NodePool = value
		case "class":
			n.NodeClass = value
		case "cpu":
			n.NodeResources.Cpu.CpuShares = number
		case "memory":
			n.NodeResources.Memory.MemoryMB = number
		case "disk":
			n.NodeResources.Disk.DiskMB = number
		case "dynamic":
			fmt.Sscanf(value, "%d-%d", &n.NodeResources.MinDynamicPort, &n.NodeResources.MaxDynamicPort)
		case "reserved":
			n.ReservedResources.Networks.ReservedHostPorts = value
		case "driver":
			n.Drivers = map[string]cluster.DriverState{value: {Detected: true, Healthy: true}}
		case "sick":
			n.Drivers[value] = cluster.DriverState{Detected: true}
		default:
			if name, found := strings.CutPrefix(key, "meta."); found {
				n.Meta[name] = value
			} else {
				n.Attributes[key] = value
			}
		}
	}
	n.ComputedClass = n.ComputeClass()
	w.nodes = append(w.nodes, n)
}

// setJob registers a version of the job: "type key=value… / group key=value… / …".
func (w *world) setJob(text string) {
	parts := strings.Split(text, " / ")
	words := strings.Fields(parts[0])
	j := cluster.DefaultJob(words[0])
	j.ID, j.Name = "job", "job"
	w.index++
	j.CreateIndex = w.index
	if w.job != nil {
		j.CreateIndex, j.Version = w.job.CreateIndex, w.job.Version+1
	}
	j.ModifyIndex, j.JobModifyIndex = w.index, w.index
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "dc":
			j.Datacenters = strings.Split(value, ",")
		case "pool":
			j.NodePool = value
		case "constraint":
			j.Constraints = append(j.Constraints, parseConstraint(value))
		case "affinity":
			j.Affinities = append(j.Affinities, parseAffinity(value))
		case "spread":
			j.Spreads = append(j.Spreads, parseSpread(value))
		default:
			panic("unknown key of a job: " + word)
		}
	}
	for _, part := range parts[1:] {
		j.TaskGroups = append(j.TaskGroups, parseGroup(&j, strings.Fields(part)))
	}
	w.job = &j
}

func parseGroup(j *cluster.Job, words []string) cluster.TaskGroup {
	g := cluster.DefaultGroup(j)
	g.Name, g.EphemeralDisk.SizeMB = words[0], 10
	task := cluster.DefaultTask(&g)
	task.Name, task.Driver, task.Config = "main", "raw_exec", map[string]any{"command": "v0"}
	var network cluster.Network
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		number, _ := strconv.Atoi(value)
		span, _ := time.ParseDuration(value)
		switch key {
		case "count":
			g.Count = number
		case "cpu":
			task.Resources.CPU = number
		case "memory":
			task.Resources.MemoryMB = number
		case "disk":
			g.EphemeralDisk.SizeMB = number
		case "command":
			task.Config["command"] = value
		case "driver":
			task.Driver = value
		case "dynamic":
			network.DynamicPorts = append(network.DynamicPorts, cluster.Port{Label: value})
		case "static":
			label, port, _ := strings.Cut(value, ":")
			number, _ := strconv.Atoi(port)
			network.ReservedPorts = append(network.ReservedPorts, cluster.Port{Label: label, Value: number})
		case "constraint":
			g.Constraints = append(g.Constraints, parseConstraint(value))
		case "affinity":
			g.Affinities = append(g.Affinities, parseAffinity(value))
		case "spread":
			g.Spreads = append(g.Spreads, parseSpread(value))
		case "max_parallel":
			g.Update.MaxParallel = number
		case "lost_after":
			disconnect(&g).LostAfter = span
		case "stop_on_client_after":
			disconnect(&g).StopOnClientAfter = span
		case "replace":
			disconnect(&g).Replace = value == "true"
		case "reconcile":
			disconnect(&g).Reconcile = value
		case "migrate":
			g.Migrate.MaxParallel = number
		case "progress_deadline":
			g.Update.ProgressDeadline = span
		case "attempts":
			g.ReschedulePolicy.Attempts, g.ReschedulePolicy.Unlimited, g.ReschedulePolicy.Interval = number, false, time.Hour
		default:
			panic("unknown key of a group: " + word)
		}
	}
	if len(network.ReservedPorts)+len(network.DynamicPorts) > 0 {
		g.Networks = []cluster.Network{network}
	}
	g.Tasks = []cluster.Task{task}
	return g
}

// disconnect is the group's block, made if need be.
func disconnect(g *cluster.TaskGroup) *cluster.DisconnectStrategy {
	if g.Disconnect == nil {
		g.Disconnect = new(cluster.DefaultDisconnect())
	}
	return g.Disconnect
}

// parseConstraint reads "left|operator|right", with the left one an attribute of the node, or "distinct_hosts".
func parseConstraint(text string) cluster.Constraint {
	parts := append(strings.Split(text, "|"), "", "")
	if parts[0] == cluster.OperandDistinctHosts {
		return cluster.Constraint{Operand: parts[0], RTarget: "true"}
	}
	if parts[0] == cluster.OperandDistinctProperty {
		return cluster.Constraint{LTarget: "${" + parts[1] + "}", Operand: parts[0], RTarget: parts[2]}
	}
	return cluster.Constraint{LTarget: "${" + parts[0] + "}", Operand: parts[1], RTarget: parts[2]}
}

// parseAffinity reads "attribute|operator|value|weight".
func parseAffinity(text string) cluster.Affinity {
	parts := strings.Split(text, "|")
	weight, _ := strconv.Atoi(parts[3])
	return cluster.Affinity{LTarget: "${" + parts[0] + "}", Operand: parts[1], RTarget: parts[2], Weight: weight}
}

// parseSpread reads "attribute", or "attribute:value:percent:value:percent…".
func parseSpread(text string) cluster.Spread {
	parts := strings.Split(text, ":")
	s := cluster.Spread{Attribute: "${" + parts[0] + "}", Weight: 50}
	for i := 1; i+1 < len(parts); i += 2 {
		percent, _ := strconv.Atoi(parts[i+1])
		s.SpreadTarget = append(s.SpreadTarget, cluster.SpreadTarget{Value: parts[i], Percent: percent})
	}
	return s
}

func (w *world) deployment() *cluster.Deployment {
	if len(w.deployments) == 0 {
		return nil
	}
	return w.deployments[len(w.deployments)-1]
}

// input is what the scheduler sees of the world.
func (w *world) input(eval *cluster.Evaluation) Input {
	in := Input{Now: w.now, Seed: w.id('s'), Eval: eval, Job: w.job, Deployment: w.deployment(), SnapshotIndex: w.index}
	in.Allocs = slices.Clone(w.allocs)
	for _, e := range w.evals {
		if !e.Done() && (eval == nil || e.ID != eval.ID) {
			in.Evals = append(in.Evals, e)
		}
	}
	for _, n := range w.nodes {
		node, busy := Node{Node: n}, false
		for _, a := range w.allocs {
			if a.NodeID == n.ID {
				node = node.Plus(a)
				busy = busy || a.Occupies() && a.Job.Type != cluster.JobTypeSystem
			}
		}
		node.Emptied = n.DrainStrategy != nil && !busy
		if at, ok := w.heard[n.ID]; ok {
			node.Silent = w.now.Sub(at)
		}
		in.Nodes = append(in.Nodes, node)
	}
	return in
}

func (w *world) newEval() *cluster.Evaluation {
	return &cluster.Evaluation{ID: w.id('e'), Namespace: "default", JobID: "job", Priority: 50, Status: cluster.EvalPending,
		TriggeredBy: cluster.TriggerJobRegister}
}

// plan plans the evaluation and carries the plan out.
func (w *world) plan(eval *cluster.Evaluation) Plan {
	plan := Schedule(w.input(eval))
	w.apply(&plan)
	return plan
}

// settle carries out the plan of a fresh evaluation.
func (w *world) settle() Plan { return w.plan(w.newEval()) }

func (w *world) edit(id cluster.ID, change func(a *cluster.Allocation)) {
	i := slices.IndexFunc(w.allocs, func(a *cluster.Allocation) bool { return a.ID == id })
	next := w.allocs[i].WithDetails(func(*cluster.AllocationRare) {})
	change(next)
	next.ModifyIndex, next.ModifyTime = w.index, w.now.UnixNano()
	w.allocs[i] = next
}

func (w *world) apply(plan *Plan) {
	w.index++
	for _, s := range plan.Stops {
		w.edit(s.ID, func(a *cluster.Allocation) {
			a.DesiredStatus, a.Rare.DesiredDescription = cluster.DesiredStop, s.Description
			if s.Lost {
				a.ClientStatus = cluster.ClientLost
			}
		})
	}
	for _, place := range plan.Places {
		w.place(plan, place)
	}
	for _, u := range plan.Updates {
		w.edit(u.ID, func(a *cluster.Allocation) {
			a.Job = w.job
			if !u.DeploymentID.IsZero() {
				a.DeploymentID, a.Health, a.HealthTime = u.DeploymentID, cluster.HealthUnknown, 0
			}
		})
	}
	for _, id := range plan.Unknown {
		w.edit(id, func(a *cluster.Allocation) {
			if !a.ClientStatus.Terminal() {
				a.ClientStatus, a.Rare.FollowupEvalID = cluster.ClientUnknown, cluster.ID{}
			}
		})
	}
	for _, wait := range plan.Waits {
		w.edit(wait.ID, func(a *cluster.Allocation) { a.Rare.FollowupEvalID = wait.FollowupEvalID })
	}
	for _, d := range plan.Deployments {
		w.storeDeployment(&d)
	}
	for _, e := range append(plan.Evals, plan.Eval) {
		if i := slices.IndexFunc(w.evals, func(old *cluster.Evaluation) bool { return old.ID == e.ID }); i >= 0 {
			w.evals[i] = &e
		} else {
			w.evals = append(w.evals, &e)
		}
	}
}

func (w *world) place(plan *Plan, p Placement) {
	node := w.nodes[slices.IndexFunc(w.nodes, func(n *cluster.Node) bool { return n.ID == p.NodeID })]
	a := &cluster.Allocation{
		ID: w.id('a'), EvalID: plan.Eval.ID, NodeID: p.NodeID, NodeName: node.Name, Job: w.job, TaskGroup: p.TaskGroup,
		Index: p.Index, Ports: p.Ports, DeploymentID: p.DeploymentID, CreateIndex: w.index, ModifyIndex: w.index,
		CreateTime: w.now.UnixNano(), ModifyTime: w.now.UnixNano(),
		Rare: &cluster.AllocationRare{PreviousAllocation: p.Previous, Reschedules: p.Reschedules},
	}
	if !p.Previous.IsZero() {
		w.edit(p.Previous, func(old *cluster.Allocation) {
			old.Rare.NextAllocation = a.ID
			if p.KeepVersion {
				a.Job = old.Job
			}
		})
	}
	w.allocs = append(w.allocs, a)
}

func (w *world) storeDeployment(d *cluster.Deployment) {
	if i := slices.IndexFunc(w.deployments, func(old *cluster.Deployment) bool { return old.ID == d.ID }); i >= 0 {
		w.deployments[i] = d
		return
	}
	d.CreateTime = w.now.UnixNano()
	w.deployments = append(w.deployments, d)
}

// watch looks at the deployment, carries out what came of it and plans the evaluation that it asks for.
func (w *world) watch() (Progress, Plan) {
	progress := Watch(w.input(nil))
	w.index++
	if progress.Deployment != nil {
		w.storeDeployment(progress.Deployment)
	}
	if progress.Eval == nil {
		return progress, Plan{}
	}
	return progress, w.plan(progress.Eval)
}

// find is the newest allocation of that name, like "web[0]" or, for system jobs, "web@n1".
func (w *world) find(name string) *cluster.Allocation {
	for _, a := range slices.Backward(w.allocs) {
		if fmt.Sprintf("%s[%d]", a.TaskGroup, a.Index) == name || a.TaskGroup+"@"+a.NodeName == name {
			return a
		}
	}
	panic("no allocation " + name)
}

// report is what an agent says of an allocation.
func (w *world) report(a *cluster.Allocation, status cluster.ClientStatus, health cluster.HealthStatus) {
	w.index++
	w.edit(a.ID, func(a *cluster.Allocation) {
		if a.ClientStatus == cluster.ClientUnknown {
			a.Rare.FollowupEvalID = cluster.ID{}
		}
		if status == cluster.ClientRunning && len(a.TaskStates) == 0 {
			a.TaskStates = []cluster.TaskState{{Name: "main", State: cluster.TaskRunning, StartedAt: w.now.UnixNano()}}
		}
		a.ClientStatus = status
		if health != cluster.HealthUnknown && a.Health != health {
			a.Health, a.HealthTime = health, w.now.UnixNano()
		}
	})
}

// agents lets every node do what it should: what is to run runs and is healthy, what is to stop has stopped.
func (w *world) agents() {
	for _, a := range slices.Clone(w.allocs) {
		node := w.nodes[slices.IndexFunc(w.nodes, func(n *cluster.Node) bool { return n.ID == a.NodeID })]
		switch {
		case !a.Occupies() || !node.Alive():
		case a.ServerTerminal():
			w.report(a, cluster.ClientComplete, cluster.HealthUnknown)
		case a.ClientStatus != cluster.ClientRunning || a.Health != cluster.HealthHealthy:
			w.report(a, cluster.ClientRunning, cluster.HealthHealthy)
		}
	}
}

// changeNode replaces a node by a changed copy.
func (w *world) changeNode(name string, change func(*cluster.Node)) {
	i := slices.IndexFunc(w.nodes, func(n *cluster.Node) bool { return n.Name == name })
	next := *w.nodes[i]
	next.Meta, next.Attributes = maps.Clone(next.Meta), maps.Clone(next.Attributes)
	change(&next)
	next.ComputedClass = next.ComputeClass()
	if next.Alive() {
		delete(w.heard, next.ID)
	} else if w.nodes[i].Alive() {
		w.heard[next.ID] = w.now
	}
	w.nodes[i] = &next
}

// text of a plan, for people.
func (w *world) describe(plan *Plan) string {
	var b strings.Builder
	name := func(id cluster.ID) string {
		a := w.allocs[slices.IndexFunc(w.allocs, func(a *cluster.Allocation) bool { return a.ID == id })]
		return fmt.Sprintf("%s[%d] v%d on %s", a.TaskGroup, a.Index, a.Job.Version, a.NodeName)
	}
	for _, s := range plan.Stops {
		fmt.Fprintf(&b, "stop   %s: %s\n", name(s.ID), s.Description)
	}
	for _, a := range w.allocs {
		if a.CreateIndex == w.index {
			fmt.Fprintf(&b, "place  %s", name(a.ID))
			for _, port := range a.Ports {
				fmt.Fprintf(&b, " %s=%d", port.Label, port.Value)
			}
			b.WriteByte('\n')
		}
	}
	for _, id := range plan.Unknown {
		fmt.Fprintf(&b, "doubt  %s\n", name(id))
	}
	for _, u := range plan.Updates {
		fmt.Fprintf(&b, "update %s\n", name(u.ID))
	}
	for _, wait := range plan.Waits {
		fmt.Fprintf(&b, "wait   %s\n", name(wait.ID))
	}
	for _, d := range plan.Deployments {
		b.WriteString(describeDeployment(w, &d))
	}
	for _, e := range plan.Evals {
		fmt.Fprintf(&b, "eval   %s %s", e.TriggeredBy, e.Status)
		if e.WaitUntil > 0 {
			fmt.Fprintf(&b, " for %s", time.Unix(0, e.WaitUntil).Sub(w.now))
		}
		b.WriteByte('\n')
	}
	if plan.Empty() {
		b.WriteString("nothing\n")
	}
	for _, group := range slices.Sorted(maps.Keys(plan.Eval.FailedTGAllocs)) {
		fmt.Fprintf(&b, "failed %s: %s\n", group, describeMetric(plan.Eval.FailedTGAllocs[group], plan.Eval.QueuedAllocations[group]))
	}
	return b.String()
}

func describeDeployment(w *world, d *cluster.Deployment) string {
	var b strings.Builder
	fmt.Fprintf(&b, "deployment v%d %s: %s", d.JobVersion, d.Status, d.StatusDescription)
	for _, group := range slices.Sorted(maps.Keys(d.TaskGroups)) {
		part := d.TaskGroups[group]
		fmt.Fprintf(&b, "; %s wants %d", group, part.DesiredTotal)
		if !part.RequireProgressBy.IsZero() && d.Active() {
			fmt.Fprintf(&b, " within %s", part.RequireProgressBy.Sub(w.now))
		}
	}
	return b.String() + "\n"
}

func describeMetric(m cluster.AllocMetric, queued int) string {
	parts := []string{fmt.Sprintf("%d queued, %d alike, %d nodes", queued, m.CoalescedFailures, m.NodesEvaluated)}
	for _, dc := range slices.Sorted(maps.Keys(m.NodesAvailable)) {
		if m.NodesAvailable[dc] == 0 {
			parts = append(parts, fmt.Sprintf("none in %q", dc))
		}
	}
	for _, count := range []struct {
		name string
		n    int
		by   map[string]int
	}{
		{"filtered", m.NodesFiltered, m.ConstraintFiltered}, {"exhausted", m.NodesExhausted, m.DimensionExhausted},
		{"filtered by class", 0, m.ClassFiltered}, {"exhausted by class", 0, m.ClassExhausted},
	} {
		if len(count.by) == 0 {
			continue
		}
		var reasons []string
		for _, reason := range slices.Sorted(maps.Keys(count.by)) {
			reasons = append(reasons, fmt.Sprintf("%q=%d", reason, count.by[reason]))
		}
		text := fmt.Sprintf("%s (%s)", count.name, strings.Join(reasons, ", "))
		if count.n > 0 {
			text = fmt.Sprintf("%d %s", count.n, text)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// show lists what the allocations are.
func (w *world) show() string {
	var b strings.Builder
	shown := slices.Clone(w.allocs)
	slices.SortStableFunc(shown, func(a, b *cluster.Allocation) int {
		return cmp.Or(cmp.Compare(a.TaskGroup, b.TaskGroup), cmp.Compare(a.Index, b.Index))
	})
	for _, a := range shown {
		if a.Terminal() && a.ServerTerminal() {
			continue
		}
		fmt.Fprintf(&b, "%s[%d] v%d on %s %s %s\n", a.TaskGroup, a.Index, a.Job.Version, a.NodeName,
			[]string{"pending", "running", "complete", "failed", "lost", "unknown"}[a.ClientStatus], []string{"unknown", "healthy", "unhealthy"}[a.Health])
	}
	return b.String()
}
