package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/a43e60e4/cluster"
)

// JobPlanRequest asks what a registration of the job would lead to. Nothing is stored.
type JobPlanRequest struct {
	Job            json.RawMessage
	Diff           bool   // also what differs from the job that is there
	PolicyOverride bool   `json:",omitempty"` // nothing to override: there are no such policies
	Namespace      string `json:",omitempty"`
	Region         string `json:",omitempty"`
}

// JobPlanResponse is what a registration of the job would lead to, now.
type JobPlanResponse struct {
	Annotations        PlanAnnotations
	FailedTGAllocs     map[string]cluster.AllocMetric // why something of a group would have no place
	JobModifyIndex     uint64                         // of the job that is there, 0 if there is none: see JobRegisterRequest.EnforceIndex
	CreatedEvals       []cluster.Evaluation           // that would wait for room or for their time; their IDs mean nothing
	Diff               *cluster.JobDiff               // nil if it was not asked for
	NextPeriodicLaunch time.Time                      // zero if the job is not periodic
	Warnings           string                         // "" for none, else one per line; what a registration refuses is among them
	Placements         []PlanPlacement                // where instances would begin, at most MaxPlacements of them
	Ports              []PlanPort                     // of machines that the job's groups take
	Meta
}

// MaxPlacements is how many placements a JobPlanResponse lists.
const MaxPlacements = 1000

// PlanAnnotations count what would be done with the instances of each group.
type PlanAnnotations struct {
	DesiredTGUpdates map[string]cluster.DesiredUpdates
	PreemptedAllocs  []AllocListStub // none: nothing is preempted
}

// PlanPlacement is an instance that would begin. With step-by-step updates these are the first ones.
type PlanPlacement struct {
	Name       string // web.app[0]
	TaskGroup  string
	NodeID     cluster.ID
	NodeName   string
	Previous   cluster.ID // the instance that it replaces, zero if none
	JobVersion uint64
	Score      float64 // how well the node suits, 1 at best
}

// PlanPort is a port of the machines that a group's instances run on: whoever reaches the machine reaches it.
type PlanPort struct {
	Type        string // what becomes of it: a DiffAdded one opens, a DiffDeleted one closes
	TaskGroup   string
	Label       string
	Value       int // of the machine; 0 is any of its range for dynamic ports
	To          int // that the task listens on; 0 is the same
	HostNetwork string
	Services    []string // that tell of it
	Addresses   []string // at which it would be, as far as instances have a place
}

// PlanJob asks what a registration of the job would lead to.
func (c *Client) PlanJob(ctx context.Context, job *cluster.Job, diff bool) (*JobPlanResponse, error) {
	text, err := json.Marshal(job)
	if err != nil {
		return nil, err
	}
	var out JobPlanResponse
	_, err = c.Put(ctx, JobPlan.URL(job.ID), Query{Namespace: job.Namespace}, JobPlanRequest{Job: text, Diff: diff}, &out)
	return &out, err
}
