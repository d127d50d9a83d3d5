package api

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/a43e60e4/cluster"
)

// CountResponse is a number of things.
type CountResponse struct {
	Count int
	Meta
}

// EvaluationView is an evaluation with those that led to it or came of it, for ?related=true.
type EvaluationView struct {
	*cluster.Evaluation
	RelatedEvals []*cluster.Evaluation
}

// MarshalJSON writes the evaluation as it writes itself, with one field more.
func (v EvaluationView) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(v.Evaluation)
	if err != nil || len(v.RelatedEvals) == 0 {
		return text, err
	}
	related, err := json.Marshal(v.RelatedEvals)
	if err != nil {
		return nil, err
	}
	return slices.Concat(text[:len(text)-1], []byte(`,"RelatedEvals":`), related, []byte("}")), nil
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
