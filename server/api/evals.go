package api

import (
	"context"

	"github.com/a43e60e4/cluster"
)

// CountResponse is a number of things.
type CountResponse struct {
	Count int
	Meta
}

// DeploymentView is a deployment as the wire shows it: cluster.Deployment, and fields that existing clients expect.
type DeploymentView struct {
	*cluster.Deployment
	IsMultiregion bool
	EvalPriority  int
}

// Evaluations lists evaluations.
func (c *Client) Evaluations(ctx context.Context, q Query) ([]*cluster.Evaluation, Meta, error) {
	return read[[]*cluster.Evaluation](ctx, c, EvalsList.Path, q)
}

// Evaluation reads an evaluation.
func (c *Client) Evaluation(ctx context.Context, id cluster.ID, q Query) (*cluster.Evaluation, Meta, error) {
	return read[*cluster.Evaluation](ctx, c, EvalRead.URL(id.String()), q)
}

// EvaluationAllocations lists the allocations that an evaluation placed.
func (c *Client) EvaluationAllocations(ctx context.Context, id cluster.ID, q Query) ([]AllocListStub, Meta, error) {
	return read[[]AllocListStub](ctx, c, EvalAllocsList.URL(id.String()), q)
}

// Deployments lists deployments.
func (c *Client) Deployments(ctx context.Context, q Query) ([]*cluster.Deployment, Meta, error) {
	return read[[]*cluster.Deployment](ctx, c, DeploysList.Path, q)
}

// Deployment reads a deployment.
func (c *Client) Deployment(ctx context.Context, id cluster.ID, q Query) (*cluster.Deployment, Meta, error) {
	return read[*cluster.Deployment](ctx, c, DeployRead.URL(id.String()), q)
}

// DeploymentAllocations lists the allocations of a deployment.
func (c *Client) DeploymentAllocations(ctx context.Context, id cluster.ID, q Query) ([]AllocListStub, Meta, error) {
	return read[[]AllocListStub](ctx, c, DeployAllocsList.URL(id.String()), q)
}
