package cluster

import (
	"encoding/json"
	"fmt"
	"time"
)

var (
	desiredNames = []string{"run", "stop", "evict"}
	clientNames  = []string{"pending", "running", "complete", "failed", "lost", "unknown"}
	phaseNames   = []string{"pending", "running", "dead"}
)

// String is the status as the API spells it.
func (s DesiredStatus) String() string { return nameOf(desiredNames, uint8(s)) }

// String is the status as the API spells it.
func (s ClientStatus) String() string { return nameOf(clientNames, uint8(s)) }

// String is the phase as the API spells it.
func (p TaskPhase) String() string { return nameOf(phaseNames, uint8(p)) }

// MarshalText writes String.
func (s DesiredStatus) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalText writes String.
func (s ClientStatus) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalText writes String.
func (p TaskPhase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *DesiredStatus) UnmarshalText(text []byte) error {
	return valueOf((*uint8)(s), "desired status", desiredNames, text)
}

// UnmarshalText reads what MarshalText writes.
func (s *ClientStatus) UnmarshalText(text []byte) error {
	return valueOf((*uint8)(s), "client status", clientNames, text)
}

// UnmarshalText reads what MarshalText writes.
func (p *TaskPhase) UnmarshalText(text []byte) error {
	return valueOf((*uint8)(p), "task state", phaseNames, text)
}

func nameOf(names []string, value uint8) string {
	if int(value) < len(names) {
		return names[value]
	}
	return fmt.Sprintf("unknown(%d)", value)
}

func valueOf(into *uint8, what string, names []string, text []byte) error {
	for i, name := range names {
		if name == string(text) {
			*into = uint8(i)
			return nil
		}
	}
	return Errorf(CodeInvalid, "read %s %.40q: want one of %v", what, text, names)
}

// AllocationStub is the view of an allocation that lists and the wire share: the reference's AllocListStub.
type AllocationStub struct {
	ID                 ID
	EvalID             ID                       `json:",omitzero"`
	Name               string                   `json:",omitzero"`
	Namespace          string                   `json:",omitzero"`
	NodeID             ID                       `json:",omitzero"`
	NodeName           string                   `json:",omitzero"`
	JobID              string                   `json:",omitzero"`
	JobType            string                   `json:",omitzero"`
	JobVersion         uint64                   // printed also when 0: a version, not an absence
	TaskGroup          string                   `json:",omitzero"`
	AllocatedResources *AllocatedResources      `json:",omitempty"`
	DesiredStatus      DesiredStatus            // always printed
	DesiredDescription string                   `json:",omitzero"`
	ClientStatus       ClientStatus             // always printed
	ClientDescription  string                   `json:",omitzero"`
	TaskStates         map[string]TaskStateView `json:",omitempty"`
	DeploymentID       ID                       `json:",omitzero"`
	DeploymentStatus   *AllocationHealth        `json:",omitempty"`
	FollowupEvalID     ID                       `json:",omitzero"`
	PreviousAllocation ID                       `json:",omitzero"`
	NextAllocation     ID                       `json:",omitzero"`
	RescheduleTracker  *RescheduleTracker       `json:",omitempty"`
	CreateIndex        uint64                   `json:",omitzero"`
	ModifyIndex        uint64                   `json:",omitzero"`
	CreateTime         int64                    `json:",omitzero"`
	ModifyTime         int64                    `json:",omitzero"`
}

// allocationWire is the reference's Allocation object: the stub and what only the whole has.
type allocationWire struct {
	AllocationStub
	Job              *Job   `json:",omitempty"`
	AllocModifyIndex uint64 `json:",omitzero"`
	Passing          uint64 `json:",omitzero"`
	Index            int32  `json:",omitzero"`
}

// AllocRestartRequest names what to restart: one task, or the tasks that run, or (AllTasks) those that ended well, too.
type AllocRestartRequest struct {
	TaskName string
	AllTasks bool
}

// AllocSignalRequest sends a signal to a task, or to all of an allocation where Task is empty.
type AllocSignalRequest struct {
	Task   string
	Signal string // such as SIGHUP
}

// IndexResponse is the answer of writes that have nothing else to say.
type IndexResponse struct{ Index uint64 }

// AllocationHealth is the view of an allocation's part in its deployment.
type AllocationHealth struct {
	Healthy   *bool     `json:",omitempty"` // nil while not known
	Timestamp time.Time `json:",omitzero"`
}

// RescheduleTracker is the view of an allocation's line of replacements.
type RescheduleTracker struct{ Events []RescheduleEvent }

// TaskStateView is the view of a task's state.
type TaskStateView struct {
	State       TaskPhase
	Failed      bool
	Restarts    uint32
	LastRestart time.Time
	StartedAt   time.Time
	FinishedAt  time.Time
	Events      []TaskEventView
}

// TaskEventView is the view of a task event; Type and DisplayMessage are for people, Details for tools.
type TaskEventView struct {
	Type           string
	Time           int64
	Message        string            `json:",omitzero"`
	DisplayMessage string            `json:",omitzero"`
	Details        map[string]string `json:",omitempty"`
	Facts          *EventDetails     `json:",omitempty"`
}

// AllocatedResources is the view of what an allocation holds on its node.
type AllocatedResources struct {
	Tasks  map[string]AllocatedTask
	Shared AllocatedShared
}

// AllocatedTask is one task's part of AllocatedResources.
type AllocatedTask struct {
	Cpu    struct{ CpuShares int }
	Memory struct{ MemoryMB int }
}

// AllocatedShared is the part of AllocatedResources that the tasks share.
type AllocatedShared struct {
	DiskMB int
	Ports  []AllocatedPort
}

// Stub is the allocation as lists show it. Shares nothing that a caller may modify with the allocation but Ports.
func (a *Allocation) Stub() AllocationStub {
	rare := a.Details()
	s := AllocationStub{
		ID: a.ID, EvalID: a.EvalID, Name: a.Name(), Namespace: a.Namespace(), NodeID: a.NodeID, NodeName: a.NodeName,
		JobID: a.JobID(), JobType: a.Job.Type, JobVersion: a.Job.Version, TaskGroup: a.TaskGroup,
		AllocatedResources: a.resources(),
		DesiredStatus:      a.DesiredStatus, DesiredDescription: rare.DesiredDescription,
		ClientStatus: a.ClientStatus, ClientDescription: rare.ClientDescription,
		DeploymentID: a.DeploymentID, FollowupEvalID: rare.FollowupEvalID,
		PreviousAllocation: rare.PreviousAllocation, NextAllocation: rare.NextAllocation,
		CreateIndex: a.CreateIndex, ModifyIndex: a.ModifyIndex, CreateTime: a.CreateTime, ModifyTime: a.ModifyTime,
	}
	if len(a.TaskStates) > 0 {
		s.TaskStates = make(map[string]TaskStateView, len(a.TaskStates))
		for _, t := range a.TaskStates {
			s.TaskStates[t.Name] = t.View()
		}
	}
	if a.Health != HealthUnknown {
		healthy := a.Health == HealthHealthy
		s.DeploymentStatus = &AllocationHealth{Healthy: &healthy, Timestamp: instant(a.HealthTime)}
	}
	if len(rare.Reschedules) > 0 {
		s.RescheduleTracker = &RescheduleTracker{Events: rare.Reschedules}
	}
	return s
}

func (a *Allocation) resources() *AllocatedResources {
	group := a.Group()
	if group == nil {
		return nil
	}
	r := &AllocatedResources{Tasks: make(map[string]AllocatedTask, len(group.Tasks))}
	for i := range group.Tasks {
		var t AllocatedTask
		t.Cpu.CpuShares, t.Memory.MemoryMB = group.Tasks[i].Resources.CPU, group.Tasks[i].Resources.MemoryMB
		r.Tasks[group.Tasks[i].Name] = t
	}
	r.Shared = AllocatedShared{DiskMB: group.EphemeralDisk.SizeMB, Ports: a.Ports}
	return r
}

// View is the state as the API shows it.
func (t TaskState) View() TaskStateView {
	v := TaskStateView{State: t.State, Failed: t.Failed, Restarts: t.Restarts,
		LastRestart: instant(t.LastRestart), StartedAt: instant(t.StartedAt), FinishedAt: instant(t.FinishedAt),
		Events: make([]TaskEventView, len(t.Events))}
	for i, e := range t.Events {
		v.Events[i] = TaskEventView{Type: e.Type.String(), Time: e.Time, DisplayMessage: e.DisplayMessage(),
			Details: e.Details.texts(e.Type), Facts: e.Details}
	}
	return v
}

// texts is the reference's Details map, in which everything is a string.
func (d *EventDetails) texts(t EventType) map[string]string {
	if d == nil {
		return nil
	}
	m := map[string]string{}
	if t == EventTerminated {
		m["exit_code"], m["signal"] = fmt.Sprint(d.ExitCode), fmt.Sprint(d.Signal)
		m["oom_killed"] = fmt.Sprint(d.OOMKilled)
	}
	if d.Message != "" {
		m["message"] = d.Message
	}
	if d.StartDelay != 0 {
		m["start_delay"] = fmt.Sprint(d.StartDelay.Nanoseconds())
	}
	if d.Timeout != 0 {
		m["kill_timeout"] = d.Timeout.String()
	}
	if d.FailsTask {
		m["fails_task"] = "true"
	}
	return m
}

func (v TaskStateView) state(name string) TaskState {
	t := TaskState{Name: name, State: v.State, Failed: v.Failed, Restarts: v.Restarts,
		LastRestart: nanos(v.LastRestart), StartedAt: nanos(v.StartedAt), FinishedAt: nanos(v.FinishedAt)}
	for _, e := range v.Events {
		t.Events = append(t.Events, TaskEvent{Type: ParseEventType(e.Type), Time: e.Time, Details: e.Facts})
	}
	return t
}

// MarshalJSON writes the reference's Allocation object.
func (a *Allocation) MarshalJSON() ([]byte, error) {
	return json.Marshal(allocationWire{AllocationStub: a.Stub(), Job: a.Job, AllocModifyIndex: a.AllocModifyIndex,
		Passing: a.Passing, Index: a.Index})
}

// UnmarshalJSON reads what MarshalJSON writes. The job must be there: an allocation is nothing without it.
func (a *Allocation) UnmarshalJSON(text []byte) error {
	var w allocationWire
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	if w.Job == nil {
		return Errorf(CodeInvalid, "read allocation %s: it has no job", w.ID)
	}
	*a = Allocation{ID: w.ID, EvalID: w.EvalID, NodeID: w.NodeID, DeploymentID: w.DeploymentID, Job: w.Job,
		NodeName: w.NodeName, TaskGroup: w.TaskGroup, CreateIndex: w.CreateIndex, ModifyIndex: w.ModifyIndex,
		AllocModifyIndex: w.AllocModifyIndex, CreateTime: w.CreateTime, ModifyTime: w.ModifyTime,
		Passing: w.Passing, Index: w.Index, DesiredStatus: w.DesiredStatus, ClientStatus: w.ClientStatus}
	if w.AllocatedResources != nil {
		a.Ports = w.AllocatedResources.Shared.Ports
	}
	if group := a.Group(); group != nil {
		for i := range group.Tasks {
			if v, ok := w.TaskStates[group.Tasks[i].Name]; ok {
				a.TaskStates = append(a.TaskStates, v.state(group.Tasks[i].Name))
			}
		}
	}
	if s := w.DeploymentStatus; s != nil && s.Healthy != nil {
		a.Health, a.HealthTime = HealthUnhealthy, nanos(s.Timestamp)
		if *s.Healthy {
			a.Health = HealthHealthy
		}
	}
	a.Rare = w.rare()
	return nil
}

func (w *allocationWire) rare() *AllocationRare {
	r := AllocationRare{DesiredDescription: w.DesiredDescription, ClientDescription: w.ClientDescription,
		PreviousAllocation: w.PreviousAllocation, NextAllocation: w.NextAllocation,
		FollowupEvalID: w.FollowupEvalID}
	if w.RescheduleTracker != nil {
		r.Reschedules = w.RescheduleTracker.Events
	}
	if r.DesiredDescription+r.ClientDescription == "" && r.PreviousAllocation.IsZero() && r.NextAllocation.IsZero() &&
		r.FollowupEvalID.IsZero() && len(r.Reschedules) == 0 {
		return nil
	}
	return &r
}

// instant is the wire form of unix nanoseconds; 0 is the zero time. nanos is its inverse.
func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// evaluationWire is Evaluation with its time as the wire has it.
type evaluationWire struct {
	evaluationFields
	WaitUntil time.Time `json:",omitzero"`
}

type evaluationFields Evaluation

// MarshalJSON writes the reference's Evaluation object.
func (e Evaluation) MarshalJSON() ([]byte, error) {
	return json.Marshal(evaluationWire{evaluationFields(e), instant(e.WaitUntil)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (e *Evaluation) UnmarshalJSON(text []byte) error {
	var w evaluationWire
	if err := json.Unmarshal(text, &w); err != nil {
		return err
	}
	*e = Evaluation(w.evaluationFields)
	e.WaitUntil = nanos(w.WaitUntil)
	return nil
}
