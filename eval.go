package cluster

// The states of an evaluation.
const (
	EvalPending  = "pending"  // to be planned, not before WaitUntil
	EvalBlocked  = "blocked"  // planned, but something could not be placed; waits for room
	EvalComplete = "complete" // done
	EvalFailed   = "failed"   // could not be planned
	EvalCanceled = "canceled" // made pointless by a newer one
)

// What made an evaluation.
const (
	TriggerJobRegister       = "job-register"
	TriggerJobDeregister     = "job-deregister"
	TriggerNodeUpdate        = "node-update"
	TriggerNodeDrain         = "node-drain"
	TriggerAllocStop         = "alloc-stop"
	TriggerDeploymentWatcher = "deployment-watcher"
	TriggerAllocFailure      = "alloc-failure"
	TriggerQueuedAllocs      = "queued-allocs"
	TriggerMaxDisconnect     = "max-disconnect-timeout" // a node that was waited for is not back
	TriggerReconnect         = "reconnect"              // it is
	TriggerPeriodicJob       = "periodic-job"           // a launch by the clock
	TriggerJobScaling        = "job-scaling"
)

// Evaluation is a piece of planning to be done for one job, and afterwards the record of what came of it.
type Evaluation struct {
	ID                ID
	Namespace         string                 `json:",omitzero"`
	Priority          int                    `json:",omitzero"`
	Type              string                 `json:",omitzero"` // the job's
	TriggeredBy       string                 `json:",omitzero"`
	JobID             string                 `json:",omitzero"`
	JobModifyIndex    uint64                 `json:",omitzero"`
	NodeID            ID                     `json:",omitzero"`
	NodeModifyIndex   uint64                 `json:",omitzero"`
	DeploymentID      ID                     `json:",omitzero"`
	Status            string                 `json:",omitzero"`
	StatusDescription string                 `json:",omitzero"`
	WaitUntil         int64                  `json:"-"` // unix nanoseconds; 0: at once. On the wire a time, see MarshalJSON
	NextEval          ID                     `json:",omitzero"`
	PreviousEval      ID                     `json:",omitzero"`
	BlockedEval       ID                     `json:",omitzero"` // the blocked evaluation that waits to place what this one could not
	FailedTGAllocs    map[string]AllocMetric `json:",omitempty"`
	QueuedAllocations map[string]int         `json:",omitempty"`
	SnapshotIndex     uint64                 `json:",omitzero"` // the state that it was planned on
	CreateIndex       uint64                 `json:",omitzero"`
	ModifyIndex       uint64                 `json:",omitzero"`
	CreateTime        int64                  `json:",omitzero"`
	ModifyTime        int64                  `json:",omitzero"`
}

// Done reports whether nothing more will come of the evaluation.
func (e *Evaluation) Done() bool { return e.Status != EvalPending && e.Status != EvalBlocked }

// AllocMetric says why instances of a group could not be placed: how many nodes were looked at and what each lacked.
type AllocMetric struct {
	NodesEvaluated     int
	NodesFiltered      int
	NodesInPool        int
	NodePool           string
	NodesAvailable     map[string]int // by datacenter
	ClassFiltered      map[string]int // by node class
	ConstraintFiltered map[string]int // by constraint or other reason
	NodesExhausted     int
	ClassExhausted     map[string]int
	DimensionExhausted map[string]int // "cpu", "memory", "disk", `network: reserved port collision http=8080`
	AllocationTime     int64          // nanoseconds
	CoalescedFailures  int            // further instances that failed alike
}
