package scheduler

import (
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
)

// place finds nodes for the asks of a group. What replaces a running instance gets its room; where no place is
// found the old instance stays. Instances of one version are placed together.
func (p *planner) place(w *work, asks []ask) {
	slices.SortStableFunc(asks, func(a, b ask) int { return keepOrder(a) - keepOrder(b) })
	for rest := asks; len(rest) > 0; {
		same := slices.IndexFunc(rest, func(a ask) bool { return a.job != rest[0].job })
		if same < 0 {
			same = len(rest)
		}
		r := newRanker(p, rest[0].job, rest[0].job.Group(w.group.Name), same)
		for i := range rest[:same] {
			if p.placeOne(r, &rest[i]) {
				w.placed++
				continue
			}
			if len(w.unplaced) == 0 {
				w.tried = p.freed
			}
			w.unplaced = append(w.unplaced, rest[i])
		}
		rest = rest[same:]
	}
}

func keepOrder(a ask) int {
	if a.keep {
		return 1
	}
	return 0
}

func (p *planner) placeOne(r *ranker, a *ask) bool {
	old, home := a.previous, -1
	if a.reason != "" && p.live(old) {
		home = p.node(old.NodeID)
		p.nodes[home] = p.nodes[home].Minus(old)
		r.changed(home, -1)
	}
	node := a.node
	if node < 0 {
		node = r.best(p.avoided(a))
	} else if r.parts[node] == 0 {
		node = -1
	}
	if node < 0 {
		if home >= 0 {
			p.nodes[home] = p.nodes[home].Plus(old)
			r.changed(home, 1)
		}
		return false
	}
	n := &p.nodes[node]
	placement := Placement{
		NodeID:      n.ID,
		TaskGroup:   r.group.Name,
		Index:       a.index,
		KeepVersion: a.keep,
		Ports:       r.ports.assign(*n, p.in.Seed, int32(len(p.plan.Places))),
		Needs:       r.need,
		Reschedules: a.reschedules,
	}
	if old != nil {
		placement.Previous = old.ID
	}
	if !a.keep {
		placement.DeploymentID = p.rollout.id(r.group.Name)
	}
	if home >= 0 {
		p.freed++
	}
	if a.reason != "" {
		p.plan.Stops = append(p.plan.Stops, Stop{ID: old.ID, Description: a.reason})
		p.gone[old.ID] = true
	}
	if p.scored {
		p.ratings = append(p.ratings, final(r.score[node], r.parts[node], r.boost(node)))
	}
	*n = n.With(&placement)
	p.plan.Places = append(p.plan.Places, placement)
	r.changed(node, 1)
	return true
}

// avoided are the nodes on which the line of instances that led to this one failed.
func (p *planner) avoided(a *ask) []int {
	var nodes []int
	for _, event := range a.reschedules {
		if i := p.node(event.PrevNodeID); i >= 0 && !slices.Contains(nodes, i) {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

// explain writes for each group that found too few places what each node lacks when all that is planned is carried out.
// Of instances that fail alike the first is explained, the others are counted.
func (p *planner) explain(all []work) {
	for i := range all {
		unplaced := all[i].unplaced
		if len(unplaced) == 0 {
			continue
		}
		name, j := all[i].group.Name, unplaced[0].job
		r := newRanker(p, j, j.Group(name), 0)
		metric := cluster.AllocMetric{
			NodePool:           j.NodePool,
			NodesAvailable:     map[string]int{},
			ClassFiltered:      map[string]int{},
			ConstraintFiltered: map[string]int{},
			ClassExhausted:     map[string]int{},
			DimensionExhausted: map[string]int{},
			CoalescedFailures:  len(unplaced) - 1,
		}
		if unplaced[0].node < 0 {
			for _, dc := range j.Datacenters {
				if !strings.ContainsAny(dc, `*?[\`) { // of a pattern nobody can say what it lacks
					metric.NodesAvailable[dc] = 0
				}
			}
			for node := range p.nodes {
				r.explain(node, &metric)
			}
		} else {
			for _, a := range unplaced {
				r.explain(a.node, &metric)
			}
		}
		if p.plan.Eval.FailedTGAllocs == nil {
			p.plan.Eval.FailedTGAllocs = map[string]cluster.AllocMetric{}
		}
		p.plan.Eval.FailedTGAllocs[name] = metric
	}
}

// explain counts why the placement does not fit on the node. Nodes that are not ready or not where the job looks are not counted.
func (r *ranker) explain(node int, m *cluster.AllocMetric) {
	n := &r.p.nodes[node]
	if !n.Ready() || r.f.job.NodePool != cluster.AllNodePool && n.NodePool != r.f.job.NodePool {
		return
	}
	m.NodesInPool++
	if !r.f.wantsCenter(n.Datacenter) {
		return
	}
	m.NodesAvailable[n.Datacenter]++
	m.NodesEvaluated++
	reason := r.f.rejects(n.Node)
	if reason == "" {
		reason = r.taken(node)
	}
	if reason != "" {
		m.NodesFiltered++
		m.ConstraintFiltered[reason]++
		countClass(m.ClassFiltered, n)
		return
	}
	dimension := n.Schedulable().Minus(n.Used).Lacking(r.need)
	if dimension == "" {
		if lack := r.ports.lacks(n); !lack.none() {
			dimension = lack.String()
		}
	}
	if dimension != "" {
		m.NodesExhausted++
		m.DimensionExhausted[dimension]++
		countClass(m.ClassExhausted, n)
	}
}

func countClass(counts map[string]int, n *Node) {
	if n.NodeClass != "" {
		counts[n.NodeClass]++
	}
}
