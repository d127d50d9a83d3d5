package api

import (
	"context"

	"github.com/a43e60e4/cluster"
)

// JobDispatchRequest launches a parameterized job.
type JobDispatchRequest struct {
	JobID            string            `json:",omitempty"` // the path's, if it is said
	Payload          []byte            `json:",omitempty"` // base64, at most cluster.MaxPayload bytes
	Meta             map[string]string `json:",omitempty"`
	IdPrefixTemplate string            `json:",omitempty"` // comes before the time in the launch's ID
	Priority         int               `json:",omitempty"` // 1..100; 0 is the job's
}

// JobDispatchResponse names the launch. Where an earlier dispatch had the same token it is that one's, and EvalID is zero.
type JobDispatchResponse struct {
	DispatchedJobID string
	EvalID          cluster.ID
	EvalCreateIndex uint64
	JobCreateIndex  uint64
	Meta
}

// PeriodicForceResponse tells the evaluation that plans the launch.
type PeriodicForceResponse struct {
	EvalID          cluster.ID
	EvalCreateIndex uint64
	LaunchedJobID   string
	Meta
}

// DispatchJob launches a parameterized job. Dispatches with the same token, unless it is empty, are one launch.
func (c *Client) DispatchJob(ctx context.Context, id string, req JobDispatchRequest, token string, q Query) (*JobDispatchResponse, error) {
	if token != "" {
		q = q.with("idempotency_token", token)
	}
	var out JobDispatchResponse
	_, err := c.Put(ctx, JobDispatch.URL(id), q, req, &out)
	return &out, err
}

// ForceJob launches a periodic job now.
func (c *Client) ForceJob(ctx context.Context, id string, q Query) (*PeriodicForceResponse, error) {
	var out PeriodicForceResponse
	_, err := c.Put(ctx, JobPeriodicForce.URL(id), q, nil, &out)
	return &out, err
}
