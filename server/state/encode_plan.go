package state

import "github.com/a43e60e4/cluster"

func (c *CommitPlan) encode(e *encoder) {
	p := &c.Plan
	e.rawID(c.Seed)
	e.string(p.Namespace)
	e.string(p.JobID)
	e.uint(p.CreateIndex)
	e.uint(p.Version)
	e.uint(p.SnapshotIndex)
	encodeEval(e, &p.Eval)
	encodeStops(e, p.Stops)
	encodeSlice(e, p.Places, func(v *cluster.Placement) { encodePlacement(e, v) })
	encodeSlice(e, p.Updates, func(u *cluster.Update) {
		e.rawID(u.ID)
		e.id(u.DeploymentID)
	})
	encodeSlice(e, p.Waits, func(w *cluster.Wait) {
		e.rawID(w.ID)
		e.id(w.FollowupEvalID)
	})
	encodeSlice(e, p.Deployments, func(v *cluster.Deployment) { encodeDeployment(e, v) })
	encodeEvals(e, p.Evals)
	if c.version() >= 2 {
		encodeIDs(e, p.Unknown)
	}
}

// version is 2 for a plan that makes allocations unknown, which the first release did not know.
func (c *CommitPlan) version() byte {
	if len(c.Plan.Unknown) > 0 {
		return 2
	}
	return 1
}

func (c *CommitPlan) decode(d *decoder) {
	p := &c.Plan
	c.At = d.base
	c.Seed = d.rawID()
	p.Namespace = d.string()
	p.JobID = d.string()
	p.CreateIndex = d.uint()
	p.Version = d.uint()
	p.SnapshotIndex = d.uint()
	decodeEval(d, &p.Eval)
	p.Stops = decodeStops(d)
	p.Places = decodeSlice(d, func(v *cluster.Placement) { decodePlacement(d, v) })
	p.Updates = decodeSlice(d, func(u *cluster.Update) { u.ID, u.DeploymentID = d.rawID(), d.id() })
	p.Waits = decodeSlice(d, func(w *cluster.Wait) { w.ID, w.FollowupEvalID = d.rawID(), d.id() })
	p.Deployments = decodeSlice(d, func(v *cluster.Deployment) { decodeDeployment(d, v) })
	p.Evals = decodeEvals(d)
	if d.version >= 2 {
		p.Unknown = decodeIDs(d)
	}
}

// A placement's flags: what of its rare parts follows.
const (
	placeKeepVersion = 1 << iota
	placePrevious
	placeReschedules
)

// encodePlacement leaves out Needs, which follows from the group.
func encodePlacement(e *encoder, p *cluster.Placement) {
	flags := byte(0)
	if p.KeepVersion {
		flags |= placeKeepVersion
	}
	if !p.Previous.IsZero() {
		flags |= placePrevious
	}
	if len(p.Reschedules) > 0 {
		flags |= placeReschedules
	}
	e.byte(flags)
	e.id(p.NodeID)
	e.string(p.TaskGroup)
	e.int(int64(p.Index))
	encodePorts(e, p.Ports)
	e.id(p.DeploymentID)
	if flags&placePrevious != 0 {
		e.rawID(p.Previous)
	}
	if flags&placeReschedules != 0 {
		encodeReschedules(e, p.Reschedules)
	}
}

func decodePlacement(d *decoder, p *cluster.Placement) {
	flags := d.byte()
	p.KeepVersion = flags&placeKeepVersion != 0
	p.NodeID = d.id()
	p.TaskGroup = d.string()
	p.Index = d.small()
	p.Ports = decodePorts(d)
	p.DeploymentID = d.id()
	if flags&placePrevious != 0 {
		p.Previous = d.rawID()
	}
	if flags&placeReschedules != 0 {
		p.Reschedules = decodeReschedules(d)
	}
}
