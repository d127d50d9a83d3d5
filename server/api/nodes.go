package api

import (
	"context"

	"github.com/a43e60e4/cluster"
)

// NodeListStub is a node in a list.
type NodeListStub struct {
	Address               string
	ID                    cluster.ID
	Attributes            map[string]string `json:",omitempty"` // with ?os=true
	Datacenter            string
	Name                  string
	NodePool              string
	NodeClass             string
	Version               string
	Drain                 bool
	SchedulingEligibility string
	Status                string
	StatusDescription     string
	Impediment            string
	Drivers               map[string]cluster.DriverState
	HostVolumes           map[string]struct{}
	NodeResources         *cluster.NodeResources `json:",omitempty"` // with ?resources=true
	ReservedResources     *cluster.NodeReserved  `json:",omitempty"` // with ?resources=true
	LastDrain             *cluster.LastDrain
	CreateIndex           uint64
	ModifyIndex           uint64
}

// NodeView is a node as the wire shows it: cluster.Node, and fields that existing clients expect.
type NodeView struct {
	*cluster.Node
	SecretID                                                        string
	CgroupParent                                                    string
	Links                                                           map[string]string
	Drain                                                           bool
	CSIControllerPlugins, CSINodePlugins, HostVolumes, HostNetworks *struct{}
	NodeMaxAllocs                                                   int
	LastMissedHeartbeatIndex                                        uint64
	LastAllocUpdateIndex                                            uint64
}

// NodeEligibilityRequest says whether new work may be placed on a node.
type NodeEligibilityRequest struct {
	NodeID      cluster.ID
	Eligibility string // cluster.NodeEligible or cluster.NodeIneligible
}

// NodeUpdateResponse is the answer of writes to a node.
type NodeUpdateResponse struct {
	NodeModifyIndex uint64
	EvalIDs         []cluster.ID
	EvalCreateIndex uint64
	Meta
}

// Nodes lists nodes.
func (c *Client) Nodes(ctx context.Context, q Query) ([]NodeListStub, Meta, error) {
	return read[[]NodeListStub](ctx, c, NodesList.Path, q)
}

// ViewOf is the node as the wire shows it.
func ViewOf(n *cluster.Node) NodeView { return NodeView{Node: n, Drain: n.DrainStrategy != nil} }

// Node reads a node.
func (c *Client) Node(ctx context.Context, id cluster.ID, q Query) (*cluster.Node, Meta, error) {
	return read[*cluster.Node](ctx, c, NodeRead.URL(id.String()), q)
}

// NodeAllocations lists the allocations of a node, whole.
func (c *Client) NodeAllocations(ctx context.Context, id cluster.ID, q Query) ([]*cluster.Allocation, Meta, error) {
	return read[[]*cluster.Allocation](ctx, c, NodeAllocsList.URL(id.String()), q)
}

// SetNodeEligibility says whether new work may be placed on a node.
func (c *Client) SetNodeEligibility(ctx context.Context, id cluster.ID, eligible bool) (*NodeUpdateResponse, error) {
	req := NodeEligibilityRequest{NodeID: id, Eligibility: cluster.NodeIneligible}
	if eligible {
		req.Eligibility = cluster.NodeEligible
	}
	var out NodeUpdateResponse
	_, err := c.Put(ctx, NodeEligibility.URL(id.String()), Query{}, req, &out)
	return &out, err
}

// NodeStats is what a node's machine has and uses.
func (c *Client) NodeStats(ctx context.Context, id cluster.ID) (*cluster.HostStats, error) {
	out, _, err := read[*cluster.HostStats](ctx, c, NodeStats.Path, Query{}.with("node_id", id.String()))
	return out, err
}

// SelfRegisterRequest is what a node says of itself when it starts and when that changes.
type SelfRegisterRequest struct{ Node *cluster.Node }

// SelfRegisterResponse tells a node what the servers think of it.
type SelfRegisterResponse struct{ Status string }

// SelfAllocsResponse is what a node should run: every allocation of the node that is not forgotten, of which
// those that the servers changed after the index of the request are there whole.
type SelfAllocsResponse struct {
	Index   uint64
	IDs     []cluster.ID
	Changed []*cluster.Allocation
}

// SelfReportRequest is what a node found its allocations to be.
type SelfReportRequest struct{ Allocs []cluster.AllocUpdate }

// RegisterSelf says what the calling node is.
func (c *Client) RegisterSelf(ctx context.Context, node *cluster.Node) (*SelfRegisterResponse, error) {
	var out SelfRegisterResponse
	_, err := c.Put(ctx, SelfRegister.URL(node.ID.String()), Query{}, SelfRegisterRequest{Node: node}, &out)
	return &out, err
}

// OwnAllocations is what the calling node should run. It blocks until the servers change something for this node
// after q.Index, which is also the index that the node knows everything up to; 0 asks for everything at once.
// The node's own reports do not wake it.
func (c *Client) OwnAllocations(ctx context.Context, node cluster.ID, q Query) (*SelfAllocsResponse, error) {
	out, _, err := read[*SelfAllocsResponse](ctx, c, SelfAllocs.URL(node.String()), q)
	return out, err
}

// Report says what the calling node found its allocations to be. It returns when that is in the state.
func (c *Client) Report(ctx context.Context, node cluster.ID, updates []cluster.AllocUpdate) error {
	_, err := c.Put(ctx, SelfReport.URL(node.String()), Query{}, SelfReportRequest{Allocs: updates}, nil)
	return err
}
