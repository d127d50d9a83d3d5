package scheduler

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
)

// What runs on a node that the leader does not believe in any more is lost at once, and lost for good: if the node comes
// back, it stops it. Where the group waits for its node (TaskGroup.Disconnect), the instance becomes unknown first:
//
//   - with lost_after it is replaced at once and lost after that time; if the node is back before, two may run, and
//     reconcile says which one stays;
//   - with stop_on_client_after it is neither lost nor replaced before its node has killed it for sure;
//   - with replace = false it keeps its place, also when it is lost.

// fenceMargin is how much longer than stop_on_client_after the leader counts: for the kill itself, and for clocks that
// do not run alike.
func fenceMargin(after time.Duration) time.Duration { return 2*time.Second + after/500 }

// absent decides about what is on nodes that are not alive or no longer exist.
func (p *planner) absent() {
	stopped := p.in.Job == nil || p.in.Job.Stop
	for _, a := range p.in.Allocs {
		if !a.Occupies() || p.reachable(a) {
			continue
		}
		i := p.node(a.NodeID)
		if stopped || i < 0 || a.ServerTerminal() || !a.Group().WaitsForNode() || !p.await(a, p.nodes[i].Silent) {
			p.lose(a, fmt.Sprintf("node %s was lost", a.NodeName))
		}
	}
}

// reachable reports whether the allocation's node is there.
func (p *planner) reachable(a *cluster.Allocation) bool {
	i := p.node(a.NodeID)
	return i >= 0 && p.nodes[i].Alive()
}

func (p *planner) lose(a *cluster.Allocation, why string) {
	p.plan.Stops = append(p.plan.Stops, Stop{ID: a.ID, Description: why, Lost: true})
	p.gone[a.ID] = true
}

// await keeps the allocation of a silent node unknown, if it is not time for it to be lost.
func (p *planner) await(a *cluster.Allocation, silent time.Duration) bool {
	d := a.Group().Disconnect
	first := a.ClientStatus != cluster.ClientUnknown
	followup := a.Details().FollowupEvalID
	waits := !first && p.awaits(followup)
	left := time.Duration(0) // until it is looked at again; 0: it waits for ever
	switch {
	case d.StopOnClientAfter > 0:
		// The leader's own count alone is trusted: neither clocks of others nor those of the past.
		if left = d.StopOnClientAfter + fenceMargin(d.StopOnClientAfter) - silent; left <= 0 {
			return false
		}
	case d.LostAfter > 0:
		if left = d.LostAfter; !first && !waits && !followup.IsZero() {
			return false
		}
	}
	if first {
		p.doubted[a.ID] = true
	}
	if left > 0 && !waits {
		p.overdue = append(p.overdue, delayed{a.ID, p.in.Now.Add(left)})
	}
	return true
}

// awaits reports whether that evaluation is still to come.
func (p *planner) awaits(id cluster.ID) bool {
	return id != p.in.Eval.ID && slices.ContainsFunc(p.in.Evals, func(e *cluster.Evaluation) bool { return e.ID == id && !e.Done() })
}

// unknown reports whether nobody can say what became of the live allocation, also after what the plan has decided so far.
func (p *planner) unknown(a *cluster.Allocation) bool {
	return p.live(a) && (a.ClientStatus == cluster.ClientUnknown || p.doubted[a.ID])
}

// yields reports whether an instance of the group that is unknown may have a second one beside it.
func yields(g *cluster.TaskGroup) bool {
	return g.Disconnect != nil && g.Disconnect.Replace && g.Disconnect.StopOnClientAfter == 0
}

// aside reports whether the allocation is unknown and leaves its place to another. One that stands alone does not, nor
// one that waits to be fenced; and one whose node is back will say in a moment what it does.
func (p *planner) aside(a *cluster.Allocation) bool {
	if !p.unknown(a) || !yields(a.Group()) {
		return false
	}
	return !p.reachable(a) || !a.Details().NextAllocation.IsZero()
}

// superseded reports whether the allocation failed while it was unknown and another ran in its place.
func (p *planner) superseded(a *cluster.Allocation) bool {
	return !p.live(a) && !p.done(a) && !a.Details().NextAllocation.IsZero()
}

// lostAlone reports whether the lost instance of the newest version keeps its place because there must not be another:
// as long as its node, which would stop it, is not back.
func (p *planner) lostAlone(a *cluster.Allocation) bool {
	return (p.gone[a.ID] || a.ClientStatus == cluster.ClientLost) && a.Group().Unique() && p.current(a) &&
		a.Details().NextAllocation.IsZero() && p.node(a.NodeID) >= 0 && !p.reachable(a)
}

// finishAbsent writes what is unknown from now on and when it is looked at again, and cancels what waited for nodes that are back.
func (p *planner) finishAbsent() {
	for _, a := range p.in.Allocs {
		if p.doubted[a.ID] && !p.gone[a.ID] {
			p.plan.Unknown = append(p.plan.Unknown, a.ID)
		}
	}
	p.overdue = slices.DeleteFunc(p.overdue, func(d delayed) bool { return p.gone[d.id] })
	p.followups(p.overdue, cluster.TriggerMaxDisconnect, "waits for nodes that cannot be reached")
	for _, e := range p.in.Evals {
		if e.TriggeredBy != cluster.TriggerMaxDisconnect || e.Status != cluster.EvalPending || e.ID == p.in.Eval.ID {
			continue
		}
		if !slices.ContainsFunc(p.in.Allocs, func(a *cluster.Allocation) bool { return p.unknown(a) && a.Details().FollowupEvalID == e.ID }) {
			idle := *e
			idle.Status, idle.StatusDescription = cluster.EvalCanceled, "nothing waits for a node any more"
			p.plan.Evals = append(p.plan.Evals, idle)
		}
	}
}

// preferred is the one that is to stay of two that run in one place because the node of the older one was waited for.
func (p *planner) preferred(d *cluster.DisconnectStrategy, original, replacement *cluster.Allocation) *cluster.Allocation {
	if original.CreateIndex > replacement.CreateIndex {
		original, replacement = replacement, original
	}
	takesOver := false
	running := func(a *cluster.Allocation) bool { return a.ClientStatus == cluster.ClientRunning }
	switch {
	case d.Reconcile == cluster.ReconcileKeepOriginal:
	case d.Reconcile == cluster.ReconcileKeepReplacement:
		takesOver = true
	case running(original) != running(replacement):
		takesOver = running(replacement)
	case d.Reconcile == cluster.ReconcileLongestRunning:
		takesOver = runningSince(replacement) < runningSince(original)
	default:
		x, y := p.scores(original, replacement)
		takesOver = y > x
	}
	if takesOver {
		return replacement
	}
	return original
}

// runningSince is when the newest start of any of its tasks was, by its node's clock; far in the future if it did not start.
func runningSince(a *cluster.Allocation) int64 {
	since := int64(0)
	for i := range a.TaskStates {
		since = max(since, a.TaskStates[i].StartedAt, a.TaskStates[i].LastRestart)
	}
	if since == 0 {
		return math.MaxInt64
	}
	return since
}

// scores rates the nodes of two instances as places for the group, as if neither ran.
func (p *planner) scores(a, b *cluster.Allocation) (x, y float64) {
	trial := *p
	trial.nodes = slices.Clone(p.nodes)
	trial.in.Allocs = slices.DeleteFunc(slices.Clone(p.in.Allocs), func(c *cluster.Allocation) bool { return c.ID == a.ID || c.ID == b.ID })
	trial.release(a)
	trial.release(b)
	r := newRanker(&trial, p.in.Job, p.in.Job.Group(a.TaskGroup), 1)
	score := func(c *cluster.Allocation) float64 {
		i := p.node(c.NodeID)
		if i < 0 || r.parts[i] == 0 {
			return math.Inf(-1)
		}
		return final(r.score[i], r.parts[i], r.boost(i))
	}
	return score(a), score(b)
}
