package api

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/a43e60e4/cluster"
)

// JobListStub is a job in a list.
type JobListStub struct {
	ID                string
	ParentID          string
	Name              string
	Namespace         string
	Datacenters       []string
	NodePool          string
	Multiregion       *struct{} // no job has one
	Type              string
	Priority          int
	Periodic          bool
	ParameterizedJob  bool
	Stop              bool
	Status            string
	StatusDescription string
	JobSummary        *cluster.JobSummary
	CreateIndex       uint64
	ModifyIndex       uint64
	JobModifyIndex    uint64
	SubmitTime        int64
	Meta              map[string]string `json:",omitempty"` // with ?meta=true
}

// JobRegisterRequest submits a job. A job that changes nothing is planned all the same.
type JobRegisterRequest struct {
	Job               json.RawMessage // a cluster.Job, or as little of one as the user cares to say
	Submission        *JobSubmission  `json:",omitempty"`
	EnforceIndex      bool            `json:",omitempty"` // refuse unless the job's JobModifyIndex is the one given (0: no such job)
	JobModifyIndex    uint64          `json:",omitempty"`
	PreserveCounts    bool            `json:",omitempty"` // groups that exist keep their counts
	PreserveResources bool            `json:",omitempty"` // tasks that exist keep their resources
	EvalPriority      int             `json:",omitempty"` // 1..100; 0 is the job's
	Namespace         string          `json:",omitempty"`
	Region            string          `json:",omitempty"`
}

// JobSubmission is the text that a job was made from.
type JobSubmission struct {
	Source         string
	Format         string // hcl2 or json
	VariableFlags  map[string]string
	Variables      string // of variable files
	Namespace      string
	JobID          string
	Version        uint64
	JobModifyIndex uint64
}

// JobRegisterResponse tells the evaluation that plans the job.
type JobRegisterResponse struct {
	EvalID          cluster.ID
	EvalCreateIndex uint64
	JobModifyIndex  uint64
	Warnings        string // "" for none, else one per line
	Meta
}

// JobDeregisterResponse tells the evaluation that ends the job; EvalID is zero if there was no such job.
type JobDeregisterResponse struct {
	EvalID          cluster.ID
	EvalCreateIndex uint64
	JobModifyIndex  uint64
	VolumeEvalID    cluster.ID
	VolumeEvalIndex uint64
	Meta
}

// JobValidateRequest asks whether a job would be accepted.
type JobValidateRequest struct{ Job json.RawMessage }

// JobValidateResponse lists what is wrong with a job, ValidationErrors being nil when nothing is.
type JobValidateResponse struct {
	DriverConfigValidated bool
	ValidationErrors      []string
	Error                 string
	Warnings              string
}

// JobParseRequest asks for the job that a text describes.
type JobParseRequest struct {
	JobHCL       string
	Variables    string // of a variable file
	Canonicalize bool
}

// JobVersions are the versions of a job that are still known, newest first.
type JobVersions struct {
	Versions []*cluster.Job
	// Diffs are what differs between each version and the one before it, so one less than there are versions; with another to compare
	// with, between that and each version. nil if it was not asked for.
	Diffs []*cluster.JobDiff
	Meta
}

// RegisterOptions are the rare wishes of a registration.
type RegisterOptions struct {
	Submission        *JobSubmission
	CheckIndex        *uint64 // refuse unless the job's JobModifyIndex is this; 0: there must be no such job
	PreserveCounts    bool
	PreserveResources bool
	EvalPriority      int
}

// Jobs lists jobs.
func (c *Client) Jobs(ctx context.Context, q Query) ([]JobListStub, Meta, error) {
	return read[[]JobListStub](ctx, c, JobsList.Path, q)
}

// Job reads a job.
func (c *Client) Job(ctx context.Context, id string, q Query) (*cluster.Job, Meta, error) {
	return read[*cluster.Job](ctx, c, JobRead.URL(id), q)
}

// RegisterJob submits a job in its own namespace.
func (c *Client) RegisterJob(ctx context.Context, job *cluster.Job, o RegisterOptions) (*JobRegisterResponse, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	req := JobRegisterRequest{Job: text, Submission: o.Submission, PreserveCounts: o.PreserveCounts, PreserveResources: o.PreserveResources, EvalPriority: o.EvalPriority}
	if o.CheckIndex != nil {
		req.EnforceIndex, req.JobModifyIndex = true, *o.CheckIndex
	}
	var out JobRegisterResponse
	_, err = c.Put(ctx, JobsRegister.Path, Query{Namespace: job.Namespace}, req, &out)
	return &out, err
}

// DeregisterJob stops a job; with purge it is forgotten as soon as it has ended.
func (c *Client) DeregisterJob(ctx context.Context, id string, purge bool, q Query) (*JobDeregisterResponse, error) {
	var out JobDeregisterResponse
	_, err := c.Delete(ctx, JobDeregister.URL(id), q.with("purge", strconv.FormatBool(purge)), &out)
	return &out, err
}

// ValidateJob asks whether a job would be accepted; an answer that lists errors is not an error here.
func (c *Client) ValidateJob(ctx context.Context, job *cluster.Job) (*JobValidateResponse, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	var out JobValidateResponse
	_, err = c.Put(ctx, JobValidate.Path, Query{Namespace: job.Namespace}, JobValidateRequest{Job: text}, &out)
	return &out, err
}

// ParseJob lets the server read a job file. Functions that read files are not available there.
func (c *Client) ParseJob(ctx context.Context, req JobParseRequest) (*cluster.Job, error) {
	var out cluster.Job
	_, err := c.Put(ctx, JobsParse.Path, Query{}, req, &out)
	return &out, err
}

// JobDiffs are the known versions of a job, newest first, with what differs between each and the one before it, or, where against
// is a version, between that one and each.
func (c *Client) JobDiffs(ctx context.Context, id string, against *cluster.Job, q Query) (JobVersions, error) {
	q = q.with("diffs", "true")
	if against != nil {
		q = q.with("diff_version", strconv.FormatUint(against.Version, 10))
	}
	out, _, err := read[JobVersions](ctx, c, JobVersionsList.URL(id), q)
	return out, err
}

// JobVersions lists the known versions of a job, newest first.
func (c *Client) JobVersions(ctx context.Context, id string, q Query) ([]*cluster.Job, Meta, error) {
	out, meta, err := read[JobVersions](ctx, c, JobVersionsList.URL(id), q)
	return out.Versions, meta, err
}

// JobAllocations lists the allocations of a job; with all also those of an earlier job of the same ID.
func (c *Client) JobAllocations(ctx context.Context, id string, all bool, q Query) ([]AllocListStub, Meta, error) {
	return read[[]AllocListStub](ctx, c, JobAllocsList.URL(id), q.with("all", strconv.FormatBool(all)))
}

// JobEvaluations lists the evaluations of a job, newest first.
func (c *Client) JobEvaluations(ctx context.Context, id string, q Query) ([]*cluster.Evaluation, Meta, error) {
	return read[[]*cluster.Evaluation](ctx, c, JobEvalsList.URL(id), q)
}

// JobDeployments lists the deployments of a job, newest first.
func (c *Client) JobDeployments(ctx context.Context, id string, q Query) ([]*cluster.Deployment, Meta, error) {
	return read[[]*cluster.Deployment](ctx, c, JobDeploysList.URL(id), q)
}

// JobDeployment is the newest deployment of a job, nil if it has none.
func (c *Client) JobDeployment(ctx context.Context, id string, q Query) (*cluster.Deployment, Meta, error) {
	return read[*cluster.Deployment](ctx, c, JobLatestDeploy.URL(id), q)
}

// JobSummary counts the instances of a job.
func (c *Client) JobSummary(ctx context.Context, id string, q Query) (*cluster.JobSummary, Meta, error) {
	return read[*cluster.JobSummary](ctx, c, JobSummaryRead.URL(id), q)
}

// JobServices lists the endpoints that a job's instances offer.
func (c *Client) JobServices(ctx context.Context, id string, q Query) ([]cluster.ServiceRegistration, Meta, error) {
	return read[[]cluster.ServiceRegistration](ctx, c, JobServicesList.URL(id), q)
}

// JobSubmission is the text that a version of a job was made from.
func (c *Client) JobSubmission(ctx context.Context, id string, version uint64, q Query) (*JobSubmission, Meta, error) {
	return read[*JobSubmission](ctx, c, JobSubmissionGet.URL(id), q.with("version", strconv.FormatUint(version, 10)))
}
