package cluster

import "fmt"

// DesiredStatus is what the servers want of an allocation.
type DesiredStatus uint8

// The wishes. They move forward alone.
const (
	DesiredRun   DesiredStatus = iota // it should run
	DesiredStop                       // it should stop; a replacement may exist
	DesiredEvict                      // it should stop, making room for more important work
)

// ClientStatus is what an allocation's node last said of it (or, for lost, what the leader decided).
type ClientStatus uint8

// The states. They move forward alone: pending, running, then one of the terminal ones. The only way back leads out of
// unknown, which the servers alone decide: what the node says when it is heard of again takes its place.
const (
	ClientPending ClientStatus = iota
	ClientRunning
	ClientComplete // terminal: every task ended as it should, or was stopped
	ClientFailed   // terminal: a task failed for good
	ClientLost     // terminal: the node was lost
	ClientUnknown  // the node cannot be reached and is waited for, see TaskGroup.Disconnect
)

// Terminal reports whether the allocation's tasks have ended for good.
func (s ClientStatus) Terminal() bool { return s >= ClientComplete && s != ClientUnknown }

// HealthStatus is what a deployment thinks of an allocation.
type HealthStatus uint8

// An allocation's health becomes known once and, within its deployment, may still turn unhealthy.
const (
	HealthUnknown HealthStatus = iota
	HealthHealthy
	HealthUnhealthy
)

// Allocation is one instance of a task group on one node. A stored allocation is never modified; what changes
// is replaced by a copy. Its size matters: a million of them must fit into half a gigabyte. What follows from
// the job (resources, name) is computed, not stored; what is rare stands behind one pointer.
//
// On the wire it has the shape of the reference (see allocationWire), with times in unix nanoseconds.
type Allocation struct {
	ID           ID
	EvalID       ID // the evaluation that placed it
	NodeID       ID
	DeploymentID ID     // zero outside deployments
	Job          *Job   // the version that it runs, shared by all its allocations
	NodeName     string // for people
	TaskGroup    string
	Ports        []AllocatedPort
	TaskStates   []TaskState // in the order of the group's tasks; empty until the node's first report
	Rare         *AllocationRare
	CreateIndex  uint64
	ModifyIndex  uint64 // last change of any kind
	// AllocModifyIndex is the index of the last change by the servers: a node's reports leave it alone.
	AllocModifyIndex uint64
	CreateTime       int64
	ModifyTime       int64
	HealthTime       int64  // when Health was decided; 0 while unknown
	Passing          uint64 // bit i: service i of TaskGroup.AllServices is registered, its checks passing
	Index            int32  // the instance of the group, 0..Count-1
	DesiredStatus    DesiredStatus
	ClientStatus     ClientStatus
	Health           HealthStatus
}

// AllocationRare holds what most allocations never have.
type AllocationRare struct {
	DesiredDescription string // why it should stop
	ClientDescription  string // why it is in its client status
	PreviousAllocation ID     // the one that it replaces
	NextAllocation     ID     // the one that replaces it
	FollowupEvalID     ID     // the evaluation that will replace it after a delay
	Reschedules        []RescheduleEvent
}

// RescheduleEvent is one replacement in the line of allocations that led to this one, oldest first.
type RescheduleEvent struct {
	RescheduleTime int64 // unix nanoseconds
	PrevAllocID    ID
	PrevNodeID     ID
	Delay          int64 // nanoseconds
}

// AllocatedPort is a port that an allocation holds on its node.
type AllocatedPort struct {
	Label  string
	HostIP string
	Value  int32 // on the host
	To     int32 // what the task listens on
}

// Name is "job.group[index]", the same for an instance and its replacements.
func (a *Allocation) Name() string { return AllocationName(a.JobID(), a.TaskGroup, int(a.Index)) }

// AllocationName is the name of an instance of a group.
func AllocationName(job, group string, index int) string {
	return fmt.Sprintf("%s.%s[%d]", job, group, index)
}

// JobID is the ID of the allocation's job.
func (a *Allocation) JobID() string { return a.Job.ID }

// Namespace is the namespace of the allocation's job.
func (a *Allocation) Namespace() string { return a.Job.Namespace }

// Group is the allocation's task group in the version of the job that it runs.
func (a *Allocation) Group() *TaskGroup { return a.Job.Group(a.TaskGroup) }

// Terminal reports whether the allocation needs nothing more: its tasks ended, or it should stop.
// (While it should stop its tasks may still be running: then ServerTerminal is true and ClientStatus is not terminal.)
func (a *Allocation) Terminal() bool { return a.ServerTerminal() || a.ClientStatus.Terminal() }

// ServerTerminal reports whether the servers want the allocation gone.
func (a *Allocation) ServerTerminal() bool { return a.DesiredStatus != DesiredRun }

// Occupies reports whether the allocation still takes its share of the node: its tasks may be running.
func (a *Allocation) Occupies() bool { return !a.ClientStatus.Terminal() }

// Details is Rare, or its zero value if there is none. It is a copy.
func (a *Allocation) Details() AllocationRare {
	if a.Rare == nil {
		return AllocationRare{}
	}
	return *a.Rare
}

// WithDetails is a copy of the allocation with its rare fields changed by edit.
func (a *Allocation) WithDetails(edit func(*AllocationRare)) *Allocation {
	next, rare := *a, a.Details()
	edit(&rare)
	next.Rare = &rare
	return &next
}

// Task is the state of the named task, nil if its node has not reported it. Do not modify it.
func (a *Allocation) Task(name string) *TaskState {
	for i := range a.TaskStates {
		if a.TaskStates[i].Name == name {
			return &a.TaskStates[i]
		}
	}
	return nil
}

// TaskPhase is where a task is in its life.
type TaskPhase uint8

// A task's phases. A task that is started again is running (or pending while it waits), not dead.
const (
	TaskPending TaskPhase = iota
	TaskRunning
	TaskDead
)

// TaskState is what a node knows of one task of an allocation.
type TaskState struct {
	Name        string
	Events      []TaskEvent // oldest first, the MaxTaskEvents newest
	StartedAt   int64       // unix nanoseconds of the first start; 0 before
	FinishedAt  int64       // unix nanoseconds of the final end; 0 before
	LastRestart int64
	Restarts    uint32
	State       TaskPhase
	Failed      bool
}

// MaxTaskEvents bounds TaskState.Events.
const MaxTaskEvents = 10

// AddEvent is the events with one more, the oldest dropped where there would be too many. The receiver's slice is not touched.
func (t TaskState) AddEvent(e TaskEvent) []TaskEvent {
	old := t.Events
	if len(old) >= MaxTaskEvents {
		old = old[len(old)-MaxTaskEvents+1:]
	}
	return append(append(make([]TaskEvent, 0, len(old)+1), old...), e)
}

// Resources is what all tasks of the group ask for together.
func (g *TaskGroup) Resources() Capacity {
	c := Capacity{DiskMB: g.EphemeralDisk.SizeMB}
	for i := range g.Tasks {
		c.CPU += g.Tasks[i].Resources.CPU
		c.MemoryMB += g.Tasks[i].Resources.MemoryMB
	}
	return c
}
