package state

import "github.com/a43e60e4/cluster"

func encodeNodeEvent(e *encoder, v *cluster.NodeEvent) { e.json(v) }
func decodeNodeEvent(d *decoder, v *cluster.NodeEvent) { d.json(v) }

func (c *RegisterNode) encode(e *encoder) {
	encodeNode(e, c.Node)
	encodeOptional(e, c.Event, encodeNodeEvent)
	encodeEvals(e, c.Evals)
}

func (c *RegisterNode) decode(d *decoder) {
	c.At = d.base
	c.Node = decodeNode(d)
	c.Event = decodeOptional(d, decodeNodeEvent)
	c.Evals = decodeEvals(d)
}

func (c *NodeStatus) encode(e *encoder) {
	e.rawID(c.ID)
	e.string(c.Status)
	e.string(c.Description)
	encodeOptional(e, c.Event, encodeNodeEvent)
	encodeEvals(e, c.Evals)
	if c.version() >= 2 {
		e.uint(c.ModifyIndex)
	}
}

// version is 2 for a decision about a node as it was seen.
func (c *NodeStatus) version() byte {
	if c.ModifyIndex != 0 {
		return 2
	}
	return 1
}

func (c *NodeStatus) decode(d *decoder) {
	c.At = d.base
	c.ID = d.rawID()
	c.Status = d.string()
	c.Description = d.string()
	c.Event = decodeOptional(d, decodeNodeEvent)
	c.Evals = decodeEvals(d)
	if d.version >= 2 {
		c.ModifyIndex = d.uint()
	}
}

func (c *NodeEligibility) encode(e *encoder) {
	e.bytes(c.RequestID)
	e.rawID(c.ID)
	e.string(c.Eligibility)
	encodeOptional(e, c.Event, encodeNodeEvent)
	encodeEvals(e, c.Evals)
}

func (c *NodeEligibility) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.ID = d.rawID()
	c.Eligibility = d.string()
	c.Event = decodeOptional(d, decodeNodeEvent)
	c.Evals = decodeEvals(d)
}

func (c *DeleteNode) encode(e *encoder) {
	e.bytes(c.RequestID)
	e.rawID(c.ID)
	encodeEvals(e, c.Evals)
}

func (c *DeleteNode) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.ID = d.rawID()
	c.Evals = decodeEvals(d)
}

func (c *UpsertDeployments) encode(e *encoder) {
	e.bytes(c.RequestID)
	encodeSlice(e, c.Deployments, func(v *cluster.Deployment) { encodeDeployment(e, v) })
	encodeEvals(e, c.Evals)
	encodeOptional(e, c.StableJob, encodeJobVersion)
}

func encodeJobVersion(e *encoder, v *JobVersion) {
	e.string(v.Namespace)
	e.string(v.ID)
	e.uint(v.CreateIndex)
	e.uint(v.Version)
}

func decodeJobVersion(d *decoder, v *JobVersion) {
	*v = JobVersion{Namespace: d.string(), ID: d.string(), CreateIndex: d.uint(), Version: d.uint()}
}

func (c *UpsertDeployments) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Deployments = decodeSlice(d, func(v *cluster.Deployment) { decodeDeployment(d, v) })
	c.Evals = decodeEvals(d)
	c.StableJob = decodeOptional(d, decodeJobVersion)
}

func (c *UpsertNamespace) encode(e *encoder) {
	e.bytes(c.RequestID)
	encodeNamespace(e, c.Namespace)
}

func (c *UpsertNamespace) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Namespace = decodeNamespace(d)
}

func (c *DeleteNamespace) encode(e *encoder) {
	e.bytes(c.RequestID)
	e.string(c.Name)
}

func (c *DeleteNamespace) decode(d *decoder) {
	c.At = d.base
	c.RequestID = string(d.bytes())
	c.Name = d.string()
}

func (c *SetMeta) encode(e *encoder) {
	e.string(c.Key)
	encodeValue(e, c.Value)
	e.bool(c.Create)
}

func (c *SetMeta) decode(d *decoder) {
	c.At = d.base
	c.Key = d.string()
	c.Value = decodeValue(d)
	c.Create = d.bool()
}
