package api

import (
	"context"

	"github.com/a43e60e4/cluster"
)

// The routes that change a job otherwise than by registering it.
var (
	JobRevert     = Route{Method: "PUT", Path: "/v1/job/{job}/revert", Needs: SubmitJob, Kind: Write}
	JobStable     = Route{Method: "PUT", Path: "/v1/job/{job}/stable", Needs: SubmitJob, Kind: Write}
	JobTag        = Route{Method: "PUT", Path: "/v1/job/{job}/versions/{tag}/tag", Needs: SubmitJob, Kind: Write}
	JobUntag      = Route{Method: "DELETE", Path: "/v1/job/{job}/versions/{tag}/tag", Needs: SubmitJob, Kind: Write}
	JobScale      = Route{Method: "PUT", Path: "/v1/job/{job}/scale", Needs: ScaleJob, Kind: Write}
	JobScaleState = Route{Method: "GET", Path: "/v1/job/{job}/scale", Needs: ReadJobScaling}
)

func jobChangeRoutes() []Route {
	return []Route{JobRevert, JobStable, JobTag, JobUntag, JobScale, JobScaleState}
}

// JobRevertRequest asks for an older version of a job as its newest one.
type JobRevertRequest struct {
	JobID               string
	JobVersion          uint64
	EnforcePriorVersion *uint64 `json:",omitempty"` // refuse unless the job's newest version is this one
}

// JobStableRequest says whether a version of a job proved good.
type JobStableRequest struct {
	JobID      string
	JobVersion uint64
	Stable     bool
}

// IndexResponse is the answer of a write that has nothing else to say.
type IndexResponse struct{ Meta }

// JobTagRequest gives a version of a job a name; the name is in the path.
type JobTagRequest struct {
	Version     uint64
	Latest      bool   `json:",omitempty"` // the newest version, whatever Version says
	Description string `json:",omitempty"`
}

// JobTagResponse is the name that a version has.
type JobTagResponse struct {
	cluster.JobVersionTag
	Meta
}

// JobScaleRequest asks for a number of instances of a group, or only notes something about that.
type JobScaleRequest struct {
	Count          *int64            // nil: only the event
	Target         map[string]string // "Group", and, where tools say more, "Job" and "Namespace"
	Message        string
	Error          bool           // the event tells of a failure; there is no Count
	Meta           map[string]any `json:",omitempty"`
	PolicyOverride bool           `json:",omitempty"` // accepted: there are no such policies
	JobModifyIndex uint64         `json:",omitempty"` // refuse unless the job's is this one; 0: any
}

// JobScaling tells how many instances of a job's groups are wanted and there.
type JobScaling struct {
	JobID          string
	Namespace      string
	JobCreateIndex uint64
	JobModifyIndex uint64
	JobStopped     bool
	TaskGroups     map[string]GroupScaling
}

// GroupScaling tells how many instances of a group are wanted and there, and what happened to that number.
type GroupScaling struct {
	Desired   int
	Placed    int
	Running   int
	Healthy   int
	Unhealthy int
	Events    []cluster.ScalingEvent // the newest first
}

// JobEvaluateRequest asks for a job to be planned anew.
type JobEvaluateRequest struct {
	JobID       string
	EvalOptions struct{ ForceReschedule bool }
}

// RevertJob makes an older version of a job its newest one.
func (c *Client) RevertJob(ctx context.Context, req JobRevertRequest, q Query) (*JobRegisterResponse, error) {
	var out JobRegisterResponse
	_, err := c.Put(ctx, JobRevert.URL(req.JobID), q, req, &out)
	return &out, err
}

// MarkStable says whether a version of a job proved good.
func (c *Client) MarkStable(ctx context.Context, req JobStableRequest, q Query) error {
	_, err := c.Put(ctx, JobStable.URL(req.JobID), q, req, nil)
	return err
}

// TagJob gives a version of a job a name, under which it is kept for good.
func (c *Client) TagJob(ctx context.Context, id, name string, req JobTagRequest, q Query) (*JobTagResponse, error) {
	var out JobTagResponse
	_, err := c.Put(ctx, JobTag.URL(id, name), q, req, &out)
	return &out, err
}

// UntagJob takes the name from the version of a job that has it.
func (c *Client) UntagJob(ctx context.Context, id, name string, q Query) error {
	_, err := c.Delete(ctx, JobUntag.URL(id, name), q, nil)
	return err
}

// ScaleJob changes how many instances of a group are wanted.
func (c *Client) ScaleJob(ctx context.Context, id string, req JobScaleRequest, q Query) (*JobRegisterResponse, error) {
	var out JobRegisterResponse
	_, err := c.Put(ctx, JobScale.URL(id), q, req, &out)
	return &out, err
}

// JobScaling tells how many instances of a job's groups are wanted and there.
func (c *Client) JobScaling(ctx context.Context, id string, q Query) (*JobScaling, Meta, error) {
	return read[*JobScaling](ctx, c, JobScaleState.URL(id), q)
}

// EvaluateJob plans a job again, as it is; with force its failed instances are replaced whatever their policy says.
func (c *Client) EvaluateJob(ctx context.Context, id string, force bool, q Query) (*JobRegisterResponse, error) {
	req := JobEvaluateRequest{JobID: id}
	req.EvalOptions.ForceReschedule = force
	var out JobRegisterResponse
	_, err := c.Put(ctx, JobEvaluate.URL(id), q, req, &out)
	return &out, err
}
