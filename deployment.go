package cluster

import "time"

// The states of a deployment. Those after DeploymentRunning are final.
const (
	DeploymentRunning    = "running"
	DeploymentSuccessful = "successful"
	DeploymentFailed     = "failed"
	DeploymentCancelled  = "cancelled"
)

// Deployment is the rollout of one version of a job: what changed is replaced step by step, each step waiting
// for the health of the one before. All its progress is in the state; any leader can go on with it.
type Deployment struct {
	ID                 ID
	Namespace          string
	JobID              string
	JobVersion         uint64
	JobModifyIndex     uint64
	JobSpecModifyIndex uint64
	JobCreateIndex     uint64
	TaskGroups         map[string]DeploymentGroup
	Status             string
	StatusDescription  string
	CreateIndex        uint64
	ModifyIndex        uint64
	CreateTime         int64
	ModifyTime         int64
}

// Active reports whether the deployment goes on.
func (d *Deployment) Active() bool { return d.Status == DeploymentRunning }

// DeploymentGroup is the progress of one group. The counts are kept by the state from its allocations.
type DeploymentGroup struct {
	ProgressDeadline  time.Duration
	RequireProgressBy time.Time // zero: no deadline
	DesiredTotal      int
	PlacedAllocs      int
	HealthyAllocs     int
	UnhealthyAllocs   int
	AutoRevert        bool
	AutoPromote       bool
	Promoted          bool
	PlacedCanaries    []ID
	DesiredCanaries   int
}
