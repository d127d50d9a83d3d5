package api

import (
	"context"
	"io"
	"strconv"

	"github.com/a43e60e4/cluster"
)

// AllocListStub is an allocation in a list: what cluster.Allocation.Stub says, but with every field printed.
type AllocListStub struct {
	AllocFields
	DesiredTransition     DesiredTransition
	PreemptedAllocations  []cluster.ID
	PreemptedByAllocation cluster.ID
}

// AllocFields is cluster.AllocationStub without its rule to leave out empty fields; the compiler keeps the two alike.
type AllocFields struct {
	ID                 cluster.ID
	EvalID             cluster.ID
	Name               string
	Namespace          string
	NodeID             cluster.ID
	NodeName           string
	JobID              string
	JobType            string
	JobVersion         uint64
	TaskGroup          string
	AllocatedResources *cluster.AllocatedResources
	DesiredStatus      cluster.DesiredStatus
	DesiredDescription string
	ClientStatus       cluster.ClientStatus
	ClientDescription  string
	TaskStates         map[string]cluster.TaskStateView
	DeploymentID       cluster.ID
	DeploymentStatus   *cluster.AllocationHealth
	FollowupEvalID     cluster.ID
	PreviousAllocation cluster.ID
	NextAllocation     cluster.ID
	RescheduleTracker  *cluster.RescheduleTracker
	CreateIndex        uint64
	ModifyIndex        uint64
	CreateTime         int64
	ModifyTime         int64
}

// DesiredTransition are wishes that no allocation carries yet; existing clients expect the object.
type DesiredTransition struct {
	Migrate         *bool
	Reschedule      *bool
	ForceReschedule *bool
	NoShutdownDelay *bool
}

// StubOf is the allocation as lists show it.
func StubOf(a *cluster.Allocation) AllocListStub {
	return AllocListStub{AllocFields: AllocFields(a.Stub())}
}

// AllocStopResponse tells the evaluation that replaces a stopped allocation.
type AllocStopResponse struct {
	EvalID cluster.ID
	Meta
}

// Allocations lists allocations.
func (c *Client) Allocations(ctx context.Context, q Query) ([]AllocListStub, Meta, error) {
	return read[[]AllocListStub](ctx, c, AllocsList.Path, q)
}

// Allocation reads an allocation, with the version of the job that it runs.
func (c *Client) Allocation(ctx context.Context, id cluster.ID, q Query) (*cluster.Allocation, Meta, error) {
	return read[*cluster.Allocation](ctx, c, AllocRead.URL(id.String()), q)
}

// StopAllocation ends an allocation; its job's plan replaces it.
func (c *Client) StopAllocation(ctx context.Context, id cluster.ID, q Query) (*AllocStopResponse, error) {
	var out AllocStopResponse
	_, err := c.Put(ctx, AllocStop.URL(id.String()), q, nil, &out)
	return &out, err
}

// RestartAllocation starts an allocation's tasks anew where they are.
func (c *Client) RestartAllocation(ctx context.Context, id cluster.ID, req cluster.AllocRestartRequest, q Query) error {
	_, err := c.Put(ctx, AllocRestart.URL(id.String()), q, req, nil)
	return err
}

// SignalAllocation sends a signal to an allocation's tasks.
func (c *Client) SignalAllocation(ctx context.Context, id cluster.ID, req cluster.AllocSignalRequest, q Query) error {
	_, err := c.Put(ctx, AllocSignal.URL(id.String()), q, req, nil)
	return err
}

// AllocationServices lists the endpoints that an allocation offers.
func (c *Client) AllocationServices(ctx context.Context, id cluster.ID, q Query) ([]cluster.ServiceRegistration, Meta, error) {
	return read[[]cluster.ServiceRegistration](ctx, c, AllocServicesList.URL(id.String()), q)
}

// AllocationChecks are the last results of an allocation's checks, by check ID.
func (c *Client) AllocationChecks(ctx context.Context, id cluster.ID, q Query) (map[string]cluster.CheckStatus, error) {
	out, _, err := read[map[string]cluster.CheckStatus](ctx, c, AllocNodeChecks.URL(id.String()), q)
	return out, err
}

// AllocationStats is what an allocation uses now.
func (c *Client) AllocationStats(ctx context.Context, id cluster.ID, q Query) (*cluster.AllocResourceUsage, error) {
	out, _, err := read[*cluster.AllocResourceUsage](ctx, c, AllocStats.URL(id.String()), q)
	return out, err
}

// LogOptions say what of a task's output to read.
type LogOptions struct {
	Task   string
	Type   string // stdout (also "") or stderr
	Origin string // "start" (also "") or "end": what Offset counts from
	Offset int64  // bytes
	Follow bool   // wait for more
}

// Logs reads a task's output. The caller closes the Frames; cancelling ctx ends them too.
func (c *Client) Logs(ctx context.Context, id cluster.ID, o LogOptions, q Query) (*Frames, error) {
	if o.Type == "" {
		o.Type = "stdout"
	}
	if o.Origin == "" {
		o.Origin = "start"
	}
	q = q.with("task", o.Task).with("type", o.Type).with("origin", o.Origin).
		with("offset", strconv.FormatInt(o.Offset, 10)).with("follow", strconv.FormatBool(o.Follow))
	body, err := c.Stream(ctx, FSLogs.URL(id.String()), q)
	if err != nil {
		return nil, err
	}
	return NewFrames(body), nil
}

// ListFiles lists a directory of an allocation; "/" is its root.
func (c *Client) ListFiles(ctx context.Context, id cluster.ID, path string, q Query) ([]cluster.FileEntry, error) {
	out, _, err := read[[]cluster.FileEntry](ctx, c, FSList.URL(id.String()), q.with("path", path))
	return out, err
}

// StatFile describes one file of an allocation.
func (c *Client) StatFile(ctx context.Context, id cluster.ID, path string, q Query) (*cluster.FileEntry, error) {
	out, _, err := read[*cluster.FileEntry](ctx, c, FSStat.URL(id.String()), q.with("path", path))
	return out, err
}

// ReadFile is the content of a file of an allocation. The caller closes the body.
func (c *Client) ReadFile(ctx context.Context, id cluster.ID, path string, q Query) (io.ReadCloser, error) {
	return c.Stream(ctx, FSCat.URL(id.String()), q.with("path", path))
}
