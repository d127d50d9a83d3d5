package main

import (
	"context"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent"
	"github.com/a43e60e4/cluster/server/api"
)

// control is the servers as the agent sees them: the same routes for a server in this process and for one elsewhere.
type control struct{ client *api.Client }

var _ agent.Control = control{}

// Register says what the node is.
func (c control) Register(ctx context.Context, node *cluster.Node) error {
	_, err := c.client.RegisterSelf(ctx, node)
	return err
}

// Heartbeat renews the node's lease.
func (c control) Heartbeat(ctx context.Context, node cluster.ID) (string, error) {
	answer, err := c.client.Heartbeat(ctx, node)
	if err != nil {
		return "", err
	}
	return answer.Status, nil
}

// Allocations waits for what the servers want of the node.
func (c control) Allocations(ctx context.Context, node cluster.ID, index uint64) (agent.Assignments, error) {
	answer, err := c.client.OwnAllocations(ctx, node, api.Query{Index: index})
	if err != nil {
		return agent.Assignments{}, err
	}
	return agent.Assignments{Index: answer.Index, IDs: answer.IDs, Changed: answer.Changed}, nil
}

// Report says what became of allocations.
func (c control) Report(ctx context.Context, node cluster.ID, updates []cluster.AllocUpdate) error {
	return c.client.Report(ctx, node, updates)
}
