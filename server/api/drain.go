package api

import (
	"context"

	"github.com/a43e60e4/cluster"
)

// The routes that empty a node and forget it.
var (
	NodeDrain    = Route{Method: "PUT", Path: "/v1/node/{node}/drain", Needs: WriteNode, Kind: Write, Global: true}
	NodeEvaluate = Route{Method: "PUT", Path: "/v1/node/{node}/evaluate", Needs: WriteNode, Kind: Write, Global: true}
	NodePurge    = Route{Method: "PUT", Path: "/v1/node/{node}/purge", Needs: WriteNode, Kind: Write, Global: true}
)

// NodeDrainRequest says how a node is to be drained; without a DrainSpec, that it is not to be any more.
type NodeDrainRequest struct {
	NodeID       cluster.ID
	DrainSpec    *cluster.DrainSpec
	MarkEligible bool // without a DrainSpec: new work may be placed on the node
	Meta         map[string]string
}

// DrainNode begins or changes the drain of a node, or ends it.
func (c *Client) DrainNode(ctx context.Context, id cluster.ID, req NodeDrainRequest) (*NodeUpdateResponse, error) {
	req.NodeID = id
	var out NodeUpdateResponse
	_, err := c.Put(ctx, NodeDrain.URL(id.String()), Query{}, req, &out)
	return &out, err
}

// EvaluateNode has the jobs that a node concerns planned anew.
func (c *Client) EvaluateNode(ctx context.Context, id cluster.ID) (*NodeUpdateResponse, error) {
	var out NodeUpdateResponse
	_, err := c.Put(ctx, NodeEvaluate.URL(id.String()), Query{}, nil, &out)
	return &out, err
}

// PurgeNode forgets a node that is down.
func (c *Client) PurgeNode(ctx context.Context, id cluster.ID) (*NodeUpdateResponse, error) {
	var out NodeUpdateResponse
	_, err := c.Put(ctx, NodePurge.URL(id.String()), Query{}, nil, &out)
	return &out, err
}
