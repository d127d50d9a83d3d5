package state

import (
	"github.com/a43e60e4/cluster"
)

// Kind tells commands apart in the log. A number, once released, keeps its meaning.
type Kind byte

// The kinds of commands.
const (
	KindRegisterJob Kind = iota + 1
	KindDeregisterJob
	KindUpsertEvals
	KindCommitPlan
	KindReportAllocs
	KindStopAllocs
	KindRegisterNode
	KindNodeStatus
	KindNodeEligibility
	KindDeleteNode
	KindUpsertDeployments
	KindUpsertNamespace
	KindDeleteNamespace
	KindSetMeta
	KindReap
	KindDrainNode
	KindEndDrain
	KindSwapMeta
	KindLaunchJob
	KindScaleJob
	KindMarkVersion
	kindEnd // not a kind: new ones stand above
)

// NewestKind is the newest kind of command that this program understands.
const NewestKind = int(kindEnd) - 1

// Command is one change of the state as it stands in the log. At is always the proposer's time in unix
// nanoseconds: the state has no clock. Where a command has a RequestID that is not empty, the same ID within
// RequestWindow yields the first result again and changes nothing; refused commands are not remembered.
//
// Indexes and times inside the values given (CreateIndex, ModifyIndex, CreateTime, ModifyTime and their like) are
// the state's to write. What is given belongs to the state afterwards and must not be modified.
type Command interface {
	kind() Kind
	at() int64
	request() string // "" when retries are harmless anyway
	encode(*encoder)
	decode(*decoder)
	apply(*writer) (Result, error)
}

// RegisterJob stores a job, complete and valid. Where it says the same as the stored one (but for what the servers
// write), nothing but the evaluation is stored; else it becomes the next version.
type RegisterJob struct {
	At             int64
	RequestID      string
	Job            *cluster.Job
	Eval           *cluster.Evaluation // pending; nil for none. The state fills in JobModifyIndex
	EnforceIndex   bool                // refuse unless the stored job's JobModifyIndex is this one, 0: unless there is none
	JobModifyIndex uint64
	Source         *Submission // nil when the job did not come as text
}

// Submission is the text that a version of a job was submitted as.
type Submission struct {
	Source        string
	Format        string // hcl2 or json
	VariableFlags map[string]string
	Variables     string
}

// DeregisterJob stops a job, and with Purge forgets it; its allocations stay until they are reaped. A job that is
// not there is no error, and then there is no evaluation either.
type DeregisterJob struct {
	At        int64
	RequestID string
	Namespace string
	ID        string
	Purge     bool
	Eval      *cluster.Evaluation
}

// UpsertEvals creates or changes evaluations. One that is done stays as it is.
type UpsertEvals struct {
	At    int64
	Evals []cluster.Evaluation
}

// CommitPlan carries out a plan. Nothing of it happens when its job or evaluation is no longer what was planned;
// a placement is dropped when its node is not ready or has changed since, together with the stop of the allocation
// that it would have replaced (unless that was lost). While placements were dropped the plan's evaluation stays as it was and
// its blocked ones are not stored, so that the leader plans again: see PlanResult.
type CommitPlan struct {
	At   int64
	Seed [16]byte     // random, drawn for this command: allocation IDs derive from it and the place in Places
	Plan cluster.Plan // one without Eval.ID belongs to no evaluation
}

// ReportAllocs is news from nodes. It also stores the evaluations that the leader made of it.
type ReportAllocs struct {
	At      int64
	Updates []cluster.AllocUpdate
	Evals   []cluster.Evaluation
}

// StopAllocs is a user's wish to stop allocations.
type StopAllocs struct {
	At        int64
	RequestID string
	Stops     []cluster.Stop
	Evals     []cluster.Evaluation
}

// RegisterNode stores what a node says of itself. Of a known node the servers' part stays: status, eligibility,
// events, CreateIndex. The same again changes nothing and needs no evaluations.
type RegisterNode struct {
	At    int64
	Node  *cluster.Node
	Event *cluster.NodeEvent // a line for the node's diary if something changed; may be nil
	Evals []cluster.Evaluation
}

// NodeStatus is the leader's decision about a node.
type NodeStatus struct {
	At          int64
	ID          cluster.ID
	ModifyIndex uint64 // of the node that the decision was made about: nothing is done if it changed since; 0: whatever it is
	Status      string
	Description string
	Event       *cluster.NodeEvent
	Evals       []cluster.Evaluation
}

// NodeEligibility opens or closes a node for new work.
type NodeEligibility struct {
	At          int64
	RequestID   string
	ID          cluster.ID
	Eligibility string
	Event       *cluster.NodeEvent
	Evals       []cluster.Evaluation
}

// DeleteNode forgets a node. Its allocations stay; the evaluations are to replace them.
type DeleteNode struct {
	At        int64
	RequestID string
	ID        cluster.ID
	Evals     []cluster.Evaluation
}

// UpsertDeployments creates or changes deployments, given whole but for their counts. One that is final stays as it is.
type UpsertDeployments struct {
	At          int64
	RequestID   string
	Deployments []cluster.Deployment
	Evals       []cluster.Evaluation
	StableJob   *JobVersion // becomes stable; nil for none
}

// JobVersion names one version of a job.
type JobVersion struct {
	Namespace   string
	ID          string
	CreateIndex uint64
	Version     uint64
}

// UpsertNamespace creates or changes a namespace.
type UpsertNamespace struct {
	At        int64
	RequestID string
	Namespace *cluster.Namespace
}

// DeleteNamespace removes a namespace with its dead jobs; it is refused while one is not dead.
type DeleteNamespace struct {
	At        int64
	RequestID string
	Name      string
}

// SetMeta stores a small fact about the cluster itself.
type SetMeta struct {
	At     int64
	Key    string
	Value  []byte // nil removes the key
	Create bool   // refuse (CodeConflict) if the key is there
}

// Reap deletes what is over: terminal allocations, evaluations that are done, final deployments, dead jobs and
// nodes that are down. What is not over, or is still referred to, stays; Result.Reaped counts what went. Allocations go first,
// then what referred to nothing else.
type Reap struct {
	At          int64
	Allocs      []cluster.ID
	Evals       []cluster.ID
	Deployments []cluster.ID
	Jobs        []cluster.JobKey
	Nodes       []cluster.ID
}

// Result is what became of one command. Fields that do not belong to its kind are zero.
type Result struct {
	Err            error // why it was refused, an *cluster.Error; then nothing was changed
	Index          uint64
	LaunchID       string       // LaunchJob: the job that is the launch, "" if the slot was skipped
	JobModifyIndex uint64       // RegisterJob, DeregisterJob, ScaleJob: the job's afterwards; LaunchJob: the launch's
	EvalID         cluster.ID   // RegisterJob, DeregisterJob, ScaleJob, LaunchJob, StopAllocs: the (first) evaluation that was stored
	NewVersion     bool         // RegisterJob, ScaleJob, LaunchJob: the job was new or changed
	Unknown        []cluster.ID // ReportAllocs, StopAllocs: allocations that are not there
	Plan           PlanResult   // CommitPlan
	Reaped         int          // Reap
	Repeated       bool         // the answer to an earlier request of the same ID
}

// PlanResult is what became of a plan.
type PlanResult struct {
	Stale   string // why nothing of it was carried out; "" if something was
	Placed  int
	Dropped []int // the positions in Places that were not carried out, ascending: plan the evaluation again
}

// Whole reports whether all of the plan was carried out.
func (r PlanResult) Whole() bool { return r.Stale == "" && len(r.Dropped) == 0 }

func (c *RegisterJob) kind() Kind       { return KindRegisterJob }
func (c *DeregisterJob) kind() Kind     { return KindDeregisterJob }
func (c *UpsertEvals) kind() Kind       { return KindUpsertEvals }
func (c *CommitPlan) kind() Kind        { return KindCommitPlan }
func (c *ReportAllocs) kind() Kind      { return KindReportAllocs }
func (c *StopAllocs) kind() Kind        { return KindStopAllocs }
func (c *RegisterNode) kind() Kind      { return KindRegisterNode }
func (c *NodeStatus) kind() Kind        { return KindNodeStatus }
func (c *NodeEligibility) kind() Kind   { return KindNodeEligibility }
func (c *DeleteNode) kind() Kind        { return KindDeleteNode }
func (c *UpsertDeployments) kind() Kind { return KindUpsertDeployments }
func (c *UpsertNamespace) kind() Kind   { return KindUpsertNamespace }
func (c *DeleteNamespace) kind() Kind   { return KindDeleteNamespace }
func (c *SetMeta) kind() Kind           { return KindSetMeta }
func (c *Reap) kind() Kind              { return KindReap }

func (c *RegisterJob) at() int64       { return c.At }
func (c *DeregisterJob) at() int64     { return c.At }
func (c *UpsertEvals) at() int64       { return c.At }
func (c *CommitPlan) at() int64        { return c.At }
func (c *ReportAllocs) at() int64      { return c.At }
func (c *StopAllocs) at() int64        { return c.At }
func (c *RegisterNode) at() int64      { return c.At }
func (c *NodeStatus) at() int64        { return c.At }
func (c *NodeEligibility) at() int64   { return c.At }
func (c *DeleteNode) at() int64        { return c.At }
func (c *UpsertDeployments) at() int64 { return c.At }
func (c *UpsertNamespace) at() int64   { return c.At }
func (c *DeleteNamespace) at() int64   { return c.At }
func (c *SetMeta) at() int64           { return c.At }
func (c *Reap) at() int64              { return c.At }

func (c *RegisterJob) request() string       { return c.RequestID }
func (c *DeregisterJob) request() string     { return c.RequestID }
func (c *UpsertEvals) request() string       { return "" }
func (c *CommitPlan) request() string        { return "" }
func (c *ReportAllocs) request() string      { return "" }
func (c *StopAllocs) request() string        { return c.RequestID }
func (c *RegisterNode) request() string      { return "" }
func (c *NodeStatus) request() string        { return "" }
func (c *NodeEligibility) request() string   { return c.RequestID }
func (c *DeleteNode) request() string        { return c.RequestID }
func (c *UpsertDeployments) request() string { return c.RequestID }
func (c *UpsertNamespace) request() string   { return c.RequestID }
func (c *DeleteNamespace) request() string   { return c.RequestID }
func (c *SetMeta) request() string           { return "" }
func (c *Reap) request() string              { return "" }
