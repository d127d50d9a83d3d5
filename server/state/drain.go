package state

import (
	"maps"
	"time"

	"github.com/a43e60e4/cluster"
)

// DrainNode begins the drain of a node or changes how it is done, and without a Spec ends it. A node that is being
// drained takes no new work; one whose drain is ended takes some again only if it is marked so. Where that changes
// nothing, nothing is stored.
type DrainNode struct {
	At           int64
	RequestID    string
	ID           cluster.ID
	Spec         *cluster.DrainSpec // nil: no drain
	MarkEligible bool               // counts only without a Spec
	Meta         map[string]string  // added to what the drain's user noted before
	Event        *cluster.NodeEvent
	Evals        []cluster.Evaluation
}

// EndDrain says that a node's drain is complete. It changes nothing unless the node is as it was at ModifyIndex.
type EndDrain struct {
	At          int64
	ID          cluster.ID
	ModifyIndex uint64
	Event       *cluster.NodeEvent
}

func (c *DrainNode) kind() Kind      { return KindDrainNode }
func (c *EndDrain) kind() Kind       { return KindEndDrain }
func (c *DrainNode) at() int64       { return c.At }
func (c *EndDrain) at() int64        { return c.At }
func (c *DrainNode) request() string { return c.RequestID }
func (c *EndDrain) request() string  { return "" }

func (c *DrainNode) apply(w *writer) (Result, error) {
	old := w.node(c.ID)
	if old == nil {
		return Result{}, errNoNode("drain", c.ID)
	}
	next := *old
	changed := c.begin(&next, w.moment())
	if c.Spec == nil {
		changed = c.end(&next, w.moment())
	}
	if changed {
		w.putNode(&next, c.Event)
	}
	w.putEvals(c.Evals)
	return Result{}, nil
}

// begin drains the node by the new strategy. One that is being drained already goes on, counting its deadline anew.
func (c *DrainNode) begin(n *cluster.Node, now time.Time) bool {
	if c.Spec == nil {
		return false
	}
	strategy := &cluster.DrainStrategy{DrainSpec: *c.Spec, StartedAt: now}
	switch {
	case c.Spec.Deadline > 0:
		strategy.ForceDeadline = now.Add(c.Spec.Deadline)
	case c.Spec.Deadline < 0:
		strategy.ForceDeadline = now
	}
	last := cluster.LastDrain{StartedAt: now, UpdatedAt: now, Status: cluster.DrainStatusDraining, Meta: maps.Clone(c.Meta)}
	if n.DrainStrategy != nil {
		strategy.StartedAt, last.StartedAt = n.DrainStrategy.StartedAt, n.DrainStrategy.StartedAt
		last.Meta = mergedMeta(n.LastDrain.Meta, c.Meta)
	}
	n.DrainStrategy, n.LastDrain, n.SchedulingEligibility = strategy, &last, cluster.NodeIneligible
	return true
}

// end stops the node's drain, if there is one.
func (c *DrainNode) end(n *cluster.Node, now time.Time) (changed bool) {
	if n.DrainStrategy != nil {
		n.DrainStrategy, changed = nil, true
		n.LastDrain = lastDrain(n.LastDrain, cluster.DrainStatusCanceled, now)
		n.LastDrain.Meta = mergedMeta(n.LastDrain.Meta, c.Meta)
	}
	if c.MarkEligible && n.SchedulingEligibility != cluster.NodeEligible {
		n.SchedulingEligibility, changed = cluster.NodeEligible, true
	}
	return changed
}

func (c *EndDrain) apply(w *writer) (Result, error) {
	old := w.node(c.ID)
	if old == nil || old.DrainStrategy == nil || old.ModifyIndex != c.ModifyIndex {
		return Result{}, nil
	}
	next := *old
	next.DrainStrategy = nil
	next.LastDrain = lastDrain(old.LastDrain, cluster.DrainStatusComplete, w.moment())
	w.putNode(&next, c.Event)
	return Result{}, nil
}

// lastDrain is the record of a drain that has come to an end.
func lastDrain(of *cluster.LastDrain, status string, now time.Time) *cluster.LastDrain {
	next := *of
	next.Status, next.UpdatedAt = status, now
	return &next
}

func mergedMeta(old, more map[string]string) map[string]string {
	if len(more) == 0 {
		return old
	}
	merged := make(map[string]string, len(old)+len(more))
	maps.Copy(merged, old)
	maps.Copy(merged, more)
	return merged
}

// moment is the time of the command that is applied.
func (w *writer) moment() time.Time { return time.Unix(0, w.at).UTC() }

func (c *DrainNode) encode(e *encoder) {
	e.bytes(c.RequestID)
	e.rawID(c.ID)
	encodeOptional(e, c.Spec, func(e *encoder, s *cluster.DrainSpec) {
		e.int(int64(s.Deadline))
		e.bool(s.IgnoreSystemJobs)
	})
	e.bool(c.MarkEligible)
	encodeMap(e, c.Meta, e.bytes)
	encodeOptional(e, c.Event, encodeNodeEvent)
	encodeEvals(e, c.Evals)
}

func (c *DrainNode) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.ID = d.rawID()
	c.Spec = decodeOptional(d, func(d *decoder, s *cluster.DrainSpec) {
		*s = cluster.DrainSpec{Deadline: time.Duration(d.int()), IgnoreSystemJobs: d.bool()}
	})
	c.MarkEligible = d.bool()
	c.Meta = decodeMap(d, func() string { return string(d.bytes()) })
	c.Event = decodeOptional(d, decodeNodeEvent)
	c.Evals = decodeEvals(d)
}

func (c *EndDrain) encode(e *encoder) {
	e.rawID(c.ID)
	e.uint(c.ModifyIndex)
	encodeOptional(e, c.Event, encodeNodeEvent)
}

func (c *EndDrain) decode(d *decoder) {
	c.At = d.base
	c.ID = d.rawID()
	c.ModifyIndex = d.uint()
	c.Event = decodeOptional(d, decodeNodeEvent)
}
