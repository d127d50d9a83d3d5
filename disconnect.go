package cluster

import (
	"fmt"
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

// olderDisconnect is what the older spellings of the disconnect block ask for, nil if there are none.
func (g *TaskGroup) olderDisconnect() *DisconnectStrategy {
	if g.StopAfterClientDisconnect == 0 && g.MaxClientDisconnect == 0 && !g.PreventRescheduleOnLost {
		return nil
	}
	d := DefaultDisconnect()
	d.StopOnClientAfter, d.LostAfter, d.Replace = g.StopAfterClientDisconnect, g.MaxClientDisconnect, !g.PreventRescheduleOnLost
	return &d
}

// disconnectWarning says that older spellings are used, and what counts; "" if none are.
func (g *TaskGroup) disconnectWarning() string {
	older := g.olderDisconnect()
	if older == nil || g.Disconnect == nil {
		return ""
	}
	what := "stands for them"
	if older.Reconcile = g.Disconnect.Reconcile; *older != *g.Disconnect {
		what = "counts instead of them"
	}
	return fmt.Sprintf("stop_after_client_disconnect, max_client_disconnect and prevent_reschedule_on_lost are deprecated: the disconnect block %s", what)
}

func (v *validator) disconnect(at Path, j *Job, d *DisconnectStrategy) {
	if d == nil {
		return
	}
	v.check(d.LostAfter >= 0, at.Field("lost_after"), "lost_after cannot be a negative duration, have %s", d.LostAfter)
	v.check(d.StopOnClientAfter >= 0, at.Field("stop_on_client_after"), "stop_on_client_after cannot be a negative duration, have %s", d.StopOnClientAfter)
	v.check(d.LostAfter == 0 || d.StopOnClientAfter == 0, at, "Disconnect cannot be configured with both lost_after and stop_on_client_after; remove one")
	v.check(d.StopOnClientAfter == 0 || j.Type == JobTypeService || j.Type == JobTypeBatch, at.Field("stop_on_client_after"),
		"stop_on_client_after can only be used with service and batch jobs; remove it")
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
