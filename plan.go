package cluster

// Plan is what should change for one job: the scheduler makes it, the leader checks it against what other plans
// have placed meanwhile, and the state stores it or, where a node or the job has changed, drops it in part.
// It holds no references that its owner may not keep.
type Plan struct {
	Namespace     string
	JobID         string
	CreateIndex   uint64 // of the job, 0 when it was purged
	Version       uint64 // of the job; a plan for another version is dropped
	SnapshotIndex uint64 // the state that was planned on: a node changed since takes none of its placements

	Eval        Evaluation   // the evaluation as it stands after the plan: complete, or still blocked
	Stops       []Stop       // at most one for an allocation
	Places      []Placement  // in the order in which they were chosen
	Updates     []Update     // allocations that take the plan's job version where they are
	Unknown     []ID         // allocations whose node cannot be reached and is waited for
	Waits       []Wait       // failed allocations that will be replaced later, unknown ones that will be looked at again
	Deployments []Deployment // created or changed: an old one cancelled, a new one begun. Whole values; counts are the state's
	Evals       []Evaluation // created or changed: blocked, follow-up, cancelled. Whole values
}

// Empty reports whether the plan changes nothing but its evaluation.
func (p *Plan) Empty() bool {
	return len(p.Stops) == 0 && len(p.Places) == 0 && len(p.Updates) == 0 && len(p.Waits) == 0 && len(p.Unknown) == 0 &&
		len(p.Deployments) == 0 && len(p.Evals) == 0
}

// Stop ends an allocation: its desired status becomes stop (also when it has ended by itself).
type Stop struct {
	ID          ID
	Description string // why, in words
	Lost        bool   // its node is gone: the client status becomes lost as well
}

// Update gives an allocation the plan's version of the job, in place: it keeps its ID, node and ports.
type Update struct {
	ID ID
	// DeploymentID is the deployment that the allocation joins; its health is then unknown again.
	// Zero leaves deployment and health as they are.
	DeploymentID ID
}

// Wait notes on an allocation which evaluation will replace it if it failed, or decide of it if it is unknown.
type Wait struct {
	ID             ID
	FollowupEvalID ID // one of Plan.Evals
}

// Placement is a new allocation. Its ID is derived by the state from the command's random bytes and its position.
type Placement struct {
	NodeID       ID
	TaskGroup    string
	Index        int32
	KeepVersion  bool            // it runs the job version of Previous, not the plan's
	Ports        []AllocatedPort // in the order of the group's reserved and then dynamic ports
	Needs        Capacity        // what it takes of the node; follows from the group
	Previous     ID              // the allocation that it replaces, zero if none; the two are to be linked
	Reschedules  []RescheduleEvent
	DeploymentID ID // zero outside deployments
}
