package api

import "github.com/a43e60e4/cluster"

// The routes that autoscalers ask what they may do. They are made from the scaling blocks of jobs.
var (
	ScalingPoliciesList = Route{Method: "GET", Path: "/v1/scaling/policies", Needs: ReadJobScaling}
	ScalingPolicyRead   = Route{Method: "GET", Path: "/v1/scaling/policy/{policy}", Needs: ReadJobScaling}
)

// ScalingPolicyStub is a scaling policy in a list.
type ScalingPolicyStub struct {
	ID          cluster.ID // the same for all versions of the job
	Enabled     bool
	Type        string            // horizontal, vertical_cpu or vertical_mem
	Target      map[string]string // Namespace, Job, Group, and Task if it is a task's
	CreateIndex uint64            // of the job
	ModifyIndex uint64            // of the job's newest version
}

// ScalingPolicy is what an autoscaler may do to a group or task.
type ScalingPolicy struct {
	ScalingPolicyStub
	Namespace string
	Policy    map[string]any // the autoscaler's own
	Min, Max  *int64         // nil: there is no bound
}
