package scheduler

import (
	"fmt"
	"slices"

	"github.com/a43e60e4/cluster"
)

// What runs on a node that is being drained leaves it group by group: an instance of a service is replaced elsewhere
// first, and while as many instances of its group as migrate.max_parallel are without health, no other one is. What
// finds no place stays. Batch jobs may end where they are, and those of system jobs go when nothing else is left. When
// the deadline has come, all of it is stopped and then replaced where there is room.

// Drain is an evaluation of the input's job if, for the nodes that are being drained, that would stop something there
// now or say for the first time why it cannot; nil if not, or if one is pending anyway. The input is that of Watch, but its
// deployment is the job's newest, if any.
func Drain(in Input) *cluster.Evaluation {
	if in.Job == nil || in.Job.Stop || pending(in) || !mayMove(in) {
		return nil
	}
	eval := &cluster.Evaluation{
		ID:             cluster.IDFrom(in.Seed, 0),
		Namespace:      in.Job.Namespace,
		Priority:       in.Job.Priority,
		Type:           in.Job.Type,
		TriggeredBy:    cluster.TriggerNodeDrain,
		JobID:          in.Job.ID,
		JobModifyIndex: in.Job.JobModifyIndex,
		Status:         cluster.EvalPending,
	}
	in.Eval = eval
	plan := Schedule(in)
	for _, a := range in.Allocs {
		if n := in.node(a.NodeID); n == nil || n.DrainStrategy == nil {
			continue
		}
		if slices.ContainsFunc(plan.Stops, func(s Stop) bool { return s.ID == a.ID }) {
			eval.NodeID = a.NodeID
			return eval
		}
	}
	if newlyBlocked(in, &plan) {
		return eval
	}
	return nil
}

// mayMove is a quick look whether anything may have to leave its node now: only then a whole plan is tried.
func mayMove(in Input) bool {
	leaving, present := map[string]bool{}, map[string]int{} // present: instances that are healthy, or on their way
	for _, a := range in.Allocs {
		if a.Terminal() {
			continue
		}
		n := in.node(a.NodeID)
		switch {
		case n == nil || n.DrainStrategy == nil:
			if healthy(a) {
				present[a.TaskGroup]++
			}
			continue
		case in.Job.Type == cluster.JobTypeSystem && n.DrainStrategy.IgnoreSystemJobs:
			continue
		case n.DrainStrategy.Forced(in.Now), in.Job.Type == cluster.JobTypeSystem && n.Emptied:
			return true
		case in.Job.Type == cluster.JobTypeService:
			leaving[a.TaskGroup] = true
			present[a.TaskGroup]++
		}
	}
	for name := range leaving {
		if g := in.Job.Group(name); g != nil && migration(g).MaxParallel > max(0, g.Count-present[name]) {
			return true
		}
	}
	return false
}

// migration is how instances of the group are moved.
func migration(g *cluster.TaskGroup) *cluster.MigrateStrategy {
	if g.Migrate != nil {
		return g.Migrate
	}
	return cluster.DefaultGroup(&cluster.Job{Type: cluster.JobTypeService}).Migrate
}

// healthy reports whether the instance runs and has been found healthy.
func healthy(a *cluster.Allocation) bool {
	return a.ClientStatus == cluster.ClientRunning && a.Health == cluster.HealthHealthy
}

// node is the node of that ID, nil if there is none.
func (in *Input) node(id cluster.ID) *Node {
	i, found := slices.BinarySearchFunc(in.Nodes, id, func(n Node, id cluster.ID) int { return n.ID.Compare(id) })
	if !found {
		return nil
	}
	return &in.Nodes[i]
}

// drains is the allocation's node if that is being drained, else nil.
func (p *planner) drains(a *cluster.Allocation) *Node {
	if i := p.node(a.NodeID); i >= 0 && p.nodes[i].DrainStrategy != nil {
		return &p.nodes[i]
	}
	return nil
}

// departure is why an allocation on a node that is being drained is stopped.
func departure(n *Node) string { return fmt.Sprintf("node %s is being drained", n.Name) }

// leave decides about a live allocation on a node that is being drained; it reports whether nothing more is to be decided about its slot.
// One that a rollout is to replace anyway is left to that.
func (p *planner) leave(w *work, s *slot) bool {
	a := s.alloc
	n := p.drains(a)
	if n == nil {
		return false
	}
	forced := n.DrainStrategy.Forced(p.in.Now)
	switch p.in.Job.Type {
	case cluster.JobTypeSystem:
		if n.DrainStrategy.IgnoreSystemJobs || !forced && !n.Emptied {
			return false
		}
	case cluster.JobTypeBatch, cluster.JobTypeSysBatch:
		if !forced {
			return false
		}
	}
	if forced || p.in.Job.Type == cluster.JobTypeSystem {
		p.stop(a, departure(n))
		s.alloc, s.before = nil, a
		p.fill(w, s)
		return true
	}
	next := ask{index: s.index, node: s.node, job: p.in.Job, previous: a, reason: departure(n)}
	switch {
	case p.current(a):
		next.reschedules = a.Details().Reschedules
		if w.phase == frozen && a.Health != cluster.HealthHealthy {
			return true // the version has failed: it is not placed once more
		}
	case p.updatable(a):
	case w.phase == frozen && a.Job.CreateIndex == p.in.Job.CreateIndex:
		next = next.kept()
	default:
		return false
	}
	w.leaving = append(w.leaving, next)
	return true
}

// moves are the instances that may leave their draining nodes now. Those that are not healthy come first: they serve nobody.
func (p *planner) moves(w *work) []ask {
	slices.SortStableFunc(w.leaving, func(a, b ask) int {
		switch first, second := healthy(a.previous), healthy(b.previous); {
		case first == second:
			return 0
		case second:
			return -1
		}
		return 1
	})
	if len(w.leaving) == 0 {
		return nil
	}
	return slices.Clone(w.leaving[:min(len(w.leaving), p.moveRoom(w))])
}

// moveRoom is how many more instances of the group may be without health for a drain.
func (p *planner) moveRoom(w *work) int {
	room := migration(w.group).MaxParallel
	for i := range w.slots {
		a := w.slots[i].alloc
		if a == nil || !p.live(a) || p.unknown(a) || !healthy(a) && p.drains(a) == nil {
			room--
		}
	}
	return max(0, room)
}

// stay gives the newest version to what is not moved yet.
func (p *planner) stay(w *work) {
	for i := range w.leaving {
		if a := w.leaving[i].previous; p.live(a) && !p.current(a) && p.updatable(a) {
			p.plan.Updates = append(p.plan.Updates, Update{ID: a.ID, DeploymentID: p.rollout.id(w.group.Name)})
		}
	}
}
