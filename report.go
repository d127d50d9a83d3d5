package cluster

// AllocUpdate is what a node reports of one allocation: the whole of its current state, so that a report lost,
// repeated or merged with later ones does no harm.
type AllocUpdate struct {
	ID                ID
	ClientStatus      ClientStatus
	ClientDescription string
	TaskStates        []TaskState
	Health            HealthStatus
	HealthTime        int64
	Passing           uint64
}
