package cluster

// Plan is what the scheduler decided for one evaluation: a value that the leader checks against what other plans
// have placed meanwhile, and that the state then stores or, where a node or the job has changed, drops in part.
type Plan struct {
	Eval           Evaluation // the evaluation as it stands after this plan
	Namespace      string
	JobID          string
	JobCreateIndex uint64 // with JobVersion: the job that was planned; a plan for another is dropped
	JobVersion     uint64
	SnapshotIndex  uint64 // the state that was planned on: a node changed since takes none of its placements
	Stops          []Stop
	Places         []Placement
	Updates        []InPlaceUpdate
	Deployments    []Deployment // created or changed, complete values; counts are the state's
	Evals          []Evaluation // blocked and follow-up evaluations to be created or changed
}

// Empty reports whether the plan changes nothing but its own evaluation.
func (p *Plan) Empty() bool {
	return len(p.Stops)+len(p.Places)+len(p.Updates)+len(p.Deployments)+len(p.Evals) == 0
}

// Stop ends an allocation.
type Stop struct {
	ID             ID
	Description    string       // why, for people
	ClientStatus   ClientStatus // ClientLost when its node was lost, else ClientPending (0): leave it to the node
	FollowupEvalID ID           // set instead of a stop: a failed allocation whose replacement waits for this evaluation
}

// Placement is a new allocation. Its ID is derived by the state from the command's random bytes and its position.
type Placement struct {
	NodeID       ID
	NodeName     string
	TaskGroup    string
	Index        int
	Ports        []AllocatedPort
	DeploymentID ID
	Previous     ID // the allocation that it replaces, zero if none
	Reschedules  []RescheduleEvent
}

// InPlaceUpdate lets an allocation go on under the planned version of its job.
type InPlaceUpdate struct {
	ID           ID
	DeploymentID ID
}
