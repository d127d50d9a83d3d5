package server

import (
	"slices"
	"sync"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/state"
)

// overlay is what plans on their way into the state will take of the nodes: it keeps plans made at the same time
// from giving the same room away twice. Losing it does no harm but more plans to make again.
type overlay struct {
	mu    sync.Mutex                   // guards what follows
	plans map[cluster.ID]*cluster.Plan // by evaluation, admitted and not yet settled
	freed uint64                       // the last index at which it showed that a plan does not take all it was to take
}

func (o *overlay) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.plans, o.freed = map[cluster.ID]*cluster.Plan{}, 0
}

// room is the index after which the snapshot may have more room than before: for everything (nodes) and for what some
// node was too full for (all).
func (o *overlay) room(snapshot *state.Snapshot) (nodes, all uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	nodes = snapshot.TableIndex(state.Nodes)
	return nodes, max(nodes, snapshot.TableIndex(state.Room), o.freed)
}

// nodes are all nodes, ascending by ID, with what is taken of them in the snapshot and by plans under way.
// A plan that the snapshot already has is not counted twice.
func (o *overlay) nodes(snapshot *state.Snapshot) []scheduler.Node {
	var nodes []scheduler.Node
	for node, used := range snapshot.Usages() {
		nodes = append(nodes, scheduler.Node{Node: node, Used: used.Capacity, Ports: used.Ports, Emptied: emptied(snapshot, node)})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, plan := range o.plans {
		if !underWay(snapshot, plan) {
			continue
		}
		for i := range plan.Places {
			place := &plan.Places[i]
			at, found := slices.BinarySearchFunc(nodes, place.NodeID, func(n scheduler.Node, id cluster.ID) int { return n.ID.Compare(id) })
			if found {
				nodes[at] = nodes[at].With(place)
			}
		}
	}
	return nodes
}

// admit checks that the plan's placements fit on top of the snapshot and the plans under way, and if so counts
// them in until settle. What the plan stops on a node makes room there: the node starts the new one after the old.
func (o *overlay) admit(snapshot *state.Snapshot, plan *cluster.Plan) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	touched := map[cluster.ID]scheduler.Node{}
	for i := range plan.Places {
		if node := snapshot.Node(plan.Places[i].NodeID); node != nil {
			touched[node.ID] = usage(snapshot, node)
		}
	}
	for _, other := range o.plans {
		if !underWay(snapshot, other) {
			continue
		}
		for i := range other.Places {
			if node, ok := touched[other.Places[i].NodeID]; ok {
				touched[node.ID] = node.With(&other.Places[i])
			}
		}
	}
	for _, stop := range plan.Stops {
		if alloc := snapshot.Alloc(stop.ID); alloc != nil {
			if node, ok := touched[alloc.NodeID]; ok {
				touched[node.ID] = node.Minus(alloc)
			}
		}
	}
	for i := range plan.Places {
		node, ok := touched[plan.Places[i].NodeID]
		if !ok || node.Lacks(&plan.Places[i]) != "" {
			return false
		}
		touched[node.ID] = node.With(&plan.Places[i])
	}
	o.plans[plan.Eval.ID] = plan
	return true
}

// underWay reports whether the snapshot does not have the plan yet: its evaluation is there as it was planned.
func underWay(snapshot *state.Snapshot, plan *cluster.Plan) bool {
	eval := snapshot.Eval(plan.Eval.ID)
	return eval != nil && eval.ModifyIndex == plan.Eval.ModifyIndex
}

// usage is a node as the scheduler sees it.
func usage(snapshot *state.Snapshot, node *cluster.Node) scheduler.Node {
	used := snapshot.Usage(node.ID)
	return scheduler.Node{Node: node, Used: used.Capacity, Ports: used.Ports}
}

// settle forgets a plan that is in the state or, at that index, turned out to be void in whole or in part.
func (o *overlay) settle(eval cluster.ID, index uint64, void bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.plans, eval)
	if void {
		o.freed = max(o.freed, index)
	}
}
