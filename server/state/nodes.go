package state

import (
	"bytes"
	"encoding/json"

	"github.com/a43e60e4/cluster"
)

const maxNodeEvents = 10

func (c *RegisterNode) apply(w *writer) (Result, error) {
	next := *c.Node
	old := w.node(next.ID)
	if old != nil {
		inheritNode(&next, old)
		if sameNode(&next, old) {
			return Result{}, nil
		}
	} else {
		next.CreateIndex = w.index
		next.StatusUpdatedAt = w.at / 1e9
		if next.Status == "" {
			next.Status = cluster.NodeStatusInitializing
		}
		if next.SchedulingEligibility == "" {
			next.SchedulingEligibility = cluster.NodeEligible
		}
	}
	w.putNode(&next, c.Event)
	w.putEvals(c.Evals)
	return Result{}, nil
}

// inheritNode keeps the servers' part of a node that registers again.
func inheritNode(next, old *cluster.Node) {
	next.Status, next.StatusDescription, next.StatusUpdatedAt = old.Status, old.StatusDescription, old.StatusUpdatedAt
	next.SchedulingEligibility = old.SchedulingEligibility
	next.DrainStrategy, next.LastDrain = old.DrainStrategy, old.LastDrain
	next.Events = old.Events
	next.CreateIndex, next.ModifyIndex = old.CreateIndex, old.ModifyIndex
}

func sameNode(a, b *cluster.Node) bool {
	textA, errA := json.Marshal((*plainNode)(a))
	textB, errB := json.Marshal((*plainNode)(b))
	return errA == nil && errB == nil && bytes.Equal(textA, textB)
}

// node is a registered node, nil if there is none.
func (w *writer) node(id cluster.ID) *cluster.Node {
	number, ok := w.nodeOf[id]
	if !ok {
		return nil
	}
	return w.nodes.at(number).node
}

// putNode stores a node that has changed, with a line in its diary.
func (w *writer) putNode(next *cluster.Node, event *cluster.NodeEvent) {
	next.ModifyIndex = w.index
	if event != nil {
		line := *event
		line.CreateIndex = w.index
		kept := next.Events[max(0, len(next.Events)+1-maxNodeEvents):]
		next.Events = append(append(make([]cluster.NodeEvent, 0, len(kept)+1), kept...), line)
	}
	entry := w.nodeForWrite(next.ID)
	entry.node = next
	w.touchNode(entry)
}

func errNoNode(verb string, id cluster.ID) error {
	return cluster.Errorf(cluster.CodeNotFound, "%s node %s: node not found", verb, id)
}

func (c *NodeStatus) apply(w *writer) (Result, error) {
	old := w.node(c.ID)
	if old == nil {
		return Result{}, errNoNode("update status of", c.ID)
	}
	if c.ModifyIndex != 0 && old.ModifyIndex != c.ModifyIndex {
		return Result{}, cluster.Errorf(cluster.CodeConflict, "update status of node %s: it has changed since the decision", c.ID)
	}
	if old.Status != c.Status || old.StatusDescription != c.Description {
		next := *old
		next.Status, next.StatusDescription, next.StatusUpdatedAt = c.Status, c.Description, w.at/1e9
		w.putNode(&next, c.Event)
		if next.Alive() && !old.Alive() {
			w.askAgain(c.ID)
		}
	}
	w.putEvals(c.Evals)
	return Result{}, nil
}

func (c *NodeEligibility) apply(w *writer) (Result, error) {
	old := w.node(c.ID)
	if old == nil {
		return Result{}, errNoNode("update eligibility of", c.ID)
	}
	if old.DrainStrategy != nil && c.Eligibility == cluster.NodeEligible {
		return Result{}, cluster.Errorf(cluster.CodeRejected,
			"make node %s eligible: it is being drained: end that first (`cluster node drain -disable %s`)", c.ID, c.ID.Short())
	}
	if old.SchedulingEligibility != c.Eligibility {
		next := *old
		next.SchedulingEligibility = c.Eligibility
		w.putNode(&next, c.Event)
	}
	w.putEvals(c.Evals)
	return Result{}, nil
}

func (c *DeleteNode) apply(w *writer) (Result, error) {
	if w.node(c.ID) == nil {
		return Result{}, errNoNode("delete", c.ID)
	}
	w.deleteNode(c.ID)
	w.putEvals(c.Evals)
	return Result{}, nil
}

func (w *writer) deleteNode(id cluster.ID) {
	entry := w.nodeForWrite(id)
	entry.node = nil
	w.touchNode(entry)
	w.remove(Nodes)
	w.dropNode(id)
}
