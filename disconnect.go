package cluster

import (
	"iter"
	"time"
)

// The ways to choose between an instance that is back and the one that replaced it meanwhile.
const (
	ReconcileBestScore       = "best_score"       // the one on the better node
	ReconcileKeepOriginal    = "keep_original"    // the one that is back
	ReconcileKeepReplacement = "keep_replacement" // the other
	ReconcileLongestRunning  = "longest_running"  // the one whose tasks have run longer without a restart
)

// DisconnectStrategy says what becomes of instances whose node the servers do not reach.
type DisconnectStrategy struct {
	// LostAfter is how long such an instance is unknown, and may come back, before it is lost. 0: it is lost at once.
	LostAfter time.Duration `hcl:"lost_after"`
	// StopOnClientAfter is how long after its last contact with the servers the node itself kills the instance, whatever
	// becomes of its agent. It is replaced only when that has happened for sure. 0: never.
	StopOnClientAfter time.Duration `hcl:"stop_on_client_after"`
	// Replace is false if there must never be a second instance: an unknown or lost one keeps its place.
	Replace bool `hcl:"replace" default:"true"`
	// Reconcile is which of two instances stays when the first one is back.
	Reconcile string `hcl:"reconcile" enum:"best_score keep_original keep_replacement longest_running" default:"best_score"`
}

// DefaultDisconnect is the strategy that a description is decoded over.
func DefaultDisconnect() DisconnectStrategy { return defaults[DisconnectStrategy]() }

// olderDisconnect is what the older spellings of the disconnect block ask for, nil if that is nothing. They may be what the
// block may not: what is negative says nothing, and of both times the one counts that lets no second instance begin.
func (g *TaskGroup) olderDisconnect(everyNode bool) *DisconnectStrategy {
	d := DefaultDisconnect()
	d.LostAfter, d.Replace = max(g.MaxClientDisconnect, 0), !g.PreventRescheduleOnLost
	if g.StopAfterClientDisconnect > 0 && !everyNode {
		d.StopOnClientAfter, d.LostAfter = g.StopAfterClientDisconnect, 0
	}
	if d == DefaultDisconnect() {
		return nil
	}
	return &d
}

// WaitsForNode reports whether an instance of the group is unknown, and not yet lost, while its node cannot be reached.
func (g *TaskGroup) WaitsForNode() bool {
	d := g.Disconnect
	return d != nil && (d.LostAfter > 0 || d.StopOnClientAfter > 0 || !d.Replace)
}

// Unique reports whether there must never be a second instance in place of one that is unknown or lost.
func (g *TaskGroup) Unique() bool { return g.Disconnect != nil && !g.Disconnect.Replace }

// Alive reports whether the leader believes that the node is there: it is neither down nor disconnected.
func (n *Node) Alive() bool {
	return n.Status != NodeStatusDown && n.Status != NodeStatusDisconnected
}

// AbsentStatus is the status of a node that is not alive and has these allocations: disconnected while one of them is
// waited for, else down.
func AbsentStatus(allocs iter.Seq[*Allocation]) string {
	for a := range allocs {
		if group := a.Group(); a.Occupies() && !a.ServerTerminal() && group != nil && group.WaitsForNode() {
			return NodeStatusDisconnected
		}
	}
	return NodeStatusDown
}
