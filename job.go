package cluster

import "time"

// The kinds of jobs.
const (
	JobTypeService = "service" // long-running, replaced when it ends
	JobTypeBatch   = "batch"   // runs to completion
	JobTypeSystem  = "system"  // one instance on every fitting node
)

// The states of a job, derived from its allocations and evaluations.
const (
	JobStatusPending = "pending"
	JobStatusRunning = "running"
	JobStatusDead    = "dead"
)

// The names that stand for "what there is without asking".
const (
	DefaultNamespace  = "default"
	DefaultNodePool   = "default"
	AllNodePool       = "all"
	DefaultDatacenter = "dc1"
	GlobalRegion      = "global"
	AllNamespaces     = "*"
)

// Job is what a user wants to run. One type serves the job file, the wire, the log, the scheduler and the driver.
//
// The `hcl` tags are read by package jobspec: "name" is an attribute, "name,block" a block (repeated for a slice),
// "name,label" the block's label, "name,body" a free-form body, "-" cannot be written in a job file.
// A stored job is complete: every default has been filled in by DecodeJob. It is never modified after it was stored.
type Job struct {
	ID          string            `hcl:"id,label"`
	Name        string            `hcl:"name"`
	Namespace   string            `hcl:"namespace"`
	Region      string            `hcl:"region"`
	Type        string            `hcl:"type"`
	Priority    int               `hcl:"priority"` // 1..100
	Datacenters []string          `hcl:"datacenters"`
	NodePool    string            `hcl:"node_pool"`
	Meta        map[string]string `hcl:"meta"`
	Constraints []Constraint      `hcl:"constraint,block"`
	Spreads     []Spread          `hcl:"spread,block"`
	Update      UpdateStrategy    `hcl:"update,block"`
	TaskGroups  []TaskGroup       `hcl:"group,block"`

	// What follows is written by the servers alone.

	Stop              bool   `hcl:"-"` // the user asked for the job's end
	Status            string `hcl:"-"`
	StatusDescription string `hcl:"-"`
	Stable            bool   `hcl:"-"` // a deployment of this version succeeded
	Version           uint64 `hcl:"-"` // counts from 0, one more for each changed registration
	SubmitTime        int64  `hcl:"-"` // unix nanoseconds of the registration of this version
	CreateIndex       uint64 `hcl:"-"` // index of the first registration; differs after a purge
	ModifyIndex       uint64 `hcl:"-"` // index of the last change of any field
	JobModifyIndex    uint64 `hcl:"-"` // index of the last registration
}

// Group returns the task group of that name, nil if there is none. The result belongs to the job: do not modify it.
func (j *Job) Group(name string) *TaskGroup {
	for i := range j.TaskGroups {
		if j.TaskGroups[i].Name == name {
			return &j.TaskGroups[i]
		}
	}
	return nil
}

// Key is the job's place among all jobs.
func (j *Job) Key() JobKey { return JobKey{j.Namespace, j.ID} }

// JobKey names a job among all namespaces. The namespace comes first in every ordering.
type JobKey struct{ Namespace, ID string }

// TaskGroup is a set of tasks that always run together on one node; Count of such sets are wanted.
type TaskGroup struct {
	Name             string              `hcl:"name,label"`
	Count            int                 `hcl:"count"`
	Meta             map[string]string   `hcl:"meta"`
	Constraints      []Constraint        `hcl:"constraint,block"`
	Spreads          []Spread            `hcl:"spread,block"`
	Networks         []Network           `hcl:"network,block"` // at most one
	Services         []Service           `hcl:"service,block"`
	RestartPolicy    RestartPolicy       `hcl:"restart,block"`
	ReschedulePolicy *ReschedulePolicy   `hcl:"reschedule,block"` // nil for system jobs
	Update           *UpdateStrategy     `hcl:"update,block"`     // nil for batch jobs
	Migrate          *MigrateStrategy    `hcl:"migrate,block"`    // only service jobs have one
	Disconnect       *DisconnectStrategy `hcl:"disconnect,block"` // nil: what ran on a lost node is lost at once
	EphemeralDisk    EphemeralDisk       `hcl:"ephemeral_disk,block"`
	ShutdownDelay    time.Duration       `hcl:"shutdown_delay"` // between leaving the service list and the kill
	Tasks            []Task              `hcl:"task,block"`

	// The older spellings of Disconnect: a group that uses them and has no such block gets one when it is decoded.

	StopAfterClientDisconnect time.Duration `hcl:"stop_after_client_disconnect"`
	MaxClientDisconnect       time.Duration `hcl:"max_client_disconnect"`
	PreventRescheduleOnLost   bool          `hcl:"prevent_reschedule_on_lost"`
}

// Task returns the task of that name, nil if there is none. The result belongs to the group: do not modify it.
func (g *TaskGroup) Task(name string) *Task {
	for i := range g.Tasks {
		if g.Tasks[i].Name == name {
			return &g.Tasks[i]
		}
	}
	return nil
}

// EphemeralDisk is the disk space that an allocation's directory may take.
type EphemeralDisk struct {
	SizeMB int `hcl:"size"` // MB, at least 10
}

// Task is one process or container.
type Task struct {
	Name          string            `hcl:"name,label"`
	Driver        string            `hcl:"driver"`
	User          string            `hcl:"user"`
	Config        map[string]any    `hcl:"config,body"` // the driver's own, checked by it on the node
	Env           map[string]string `hcl:"env"`
	Meta          map[string]string `hcl:"meta"`
	Constraints   []Constraint      `hcl:"constraint,block"`
	Services      []Service         `hcl:"service,block"`
	RestartPolicy RestartPolicy     `hcl:"restart,block"` // complete: the group's under the task's own
	Resources     Resources         `hcl:"resources,block"`
	KillTimeout   time.Duration     `hcl:"kill_timeout"` // between the kill signal and the kill
	KillSignal    string            `hcl:"kill_signal"`  // "" is the driver's default
	ShutdownDelay time.Duration     `hcl:"shutdown_delay"`
	LogConfig     LogConfig         `hcl:"logs,block"`
}

// LogConfig bounds what a task's output may take on disk: each of stdout and stderr keeps MaxFiles files of MaxFileSizeMB.
type LogConfig struct {
	MaxFiles      int  `hcl:"max_files"`
	MaxFileSizeMB int  `hcl:"max_file_size"`
	Disabled      bool `hcl:"disabled"` // the output is thrown away
}

// Resources is what a task asks of its node.
type Resources struct {
	CPU      int `hcl:"cpu"`    // MHz
	MemoryMB int `hcl:"memory"` // MB
}

// Network is a group's view of the network. Only mode "host" (or "") exists so far.
// In a job file all ports are `port "label" {}` blocks; DecodeJob makes those with a static value ReservedPorts.
type Network struct {
	Mode          string `hcl:"mode"`
	ReservedPorts []Port `hcl:"port,block"`
	DynamicPorts  []Port `hcl:"port,block"`
}

// Port is a port that a group asks for.
type Port struct {
	Label string `hcl:"label,label"`
	Value int    `hcl:"static"` // the host port asked for; 0: any of the node's dynamic range
	To    int    `hcl:"to"`     // the port the task listens on; 0: the same as the host port
}

// Constraint is a condition that a node must meet.
type Constraint struct {
	LTarget string `hcl:"attribute"`
	RTarget string `hcl:"value"`
	Operand string `hcl:"operator"`
}

// String is the form that placement failures show: `${attr.kernel.name} = linux`.
func (c Constraint) String() string {
	text := c.LTarget
	for _, part := range []string{c.Operand, c.RTarget} {
		if part != "" {
			if text != "" {
				text += " "
			}
			text += part
		}
	}
	return text
}

// Spread asks for allocations to be spread over the values of a node attribute.
type Spread struct {
	Attribute    string         `hcl:"attribute"`
	Weight       int            `hcl:"weight"` // 1..100
	SpreadTarget []SpreadTarget `hcl:"target,block"`
}

// SpreadTarget is the share of allocations wanted on nodes with one value of the attribute.
type SpreadTarget struct {
	Value   string `hcl:"value,label"`
	Percent int    `hcl:"percent"`
}
