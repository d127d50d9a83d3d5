package cluster

import "time"

// The kinds of jobs.
const (
	JobTypeService  = "service"  // long-running, replaced when it ends
	JobTypeBatch    = "batch"    // runs to completion
	JobTypeSystem   = "system"   // one instance on every fitting node
	JobTypeSysBatch = "sysbatch" // runs to completion once on every fitting node
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
// The tags of a noun's fields are all that its decoder, its differences and its page in the documentation need; the comment
// of a field is its meaning there. `hcl` is read by package jobspec: "name" is an attribute, "name,block" a block (repeated for
// a slice, labelled for a map), "name,label" the block's label, "name,body" a free-form body, "-" cannot be written in a job
// file; ",as=port" is what messages call a field that is usually written as another; ",key" tells blocks without labels apart; ",required" must be written, ",inherit" may
// also be written in the blocks around it, and a change of what is marked ",replace" takes new instances, while all else is
// changed in place; ",state" is written by the servers and no part of what the job asks for. `default` is what a field has if it is not written (other defaults depend on the kind of job: see DefaultJob and its like), `enum` lists what it may be.
// A stored job is complete: every default has been filled in by DecodeJob. It is never modified after it was stored.
type Job struct {
	// ID names the job in its namespace. It may contain slashes, and no spaces.
	ID string `hcl:"id,label"`
	// Name is for people, the ID if it is not written.
	Name string `hcl:"name"`
	// Namespace is where the job's name belongs; it must exist.
	Namespace string `hcl:"namespace"`
	// Region is always "global": there is one.
	Region string `hcl:"region"`
	// Type is the kind of the job: service runs until it is stopped, batch until it is done; system and sysbatch do so on every node that fits.
	Type string `hcl:"type" enum:"service batch system sysbatch"`
	// Priority is between 1 and 100; what has more is placed first.
	Priority int `hcl:"priority"`
	// AllAtOnce asks that all of a plan is placed or nothing.
	AllAtOnce bool `hcl:"all_at_once"`
	// Datacenters are patterns such as "dc*" of the data centers whose nodes may run the job.
	Datacenters []string `hcl:"datacenters"`
	// NodePool is the pool of nodes that may run the job; "all" is every one.
	NodePool string `hcl:"node_pool"`
	// Meta are notes of the user's that tasks see as NOMAD_META_<KEY>.
	Meta map[string]string `hcl:"meta"`
	// Constraints are conditions that nodes must meet.
	Constraints []Constraint `hcl:"constraint,block"`
	// Affinities are conditions that make nodes better or worse.
	Affinities []Affinity `hcl:"affinity,block"`
	// Spreads ask for instances to be spread over the values of node attributes.
	Spreads []Spread `hcl:"spread,block"`
	// Update is how a change replaces what runs; groups inherit it.
	Update UpdateStrategy `hcl:"update,block"`
	// Reschedule is inherited by groups: how failed instances are replaced.
	Reschedule *ReschedulePolicy `hcl:"reschedule,block"`
	// Migrate is inherited by groups: how instances leave a drained node.
	Migrate *MigrateStrategy `hcl:"migrate,block"`
	// TaskGroups are the job's groups.
	TaskGroups []TaskGroup `hcl:"group,block"`
	// Periodic makes the job a template that is launched by the clock.
	Periodic *PeriodicConfig `hcl:"periodic,block"`
	// ParameterizedJob makes the job a template that is launched by "job dispatch".
	ParameterizedJob *ParameterizedJobConfig `hcl:"parameterized,block"`
	// Multiregion is kept for what it says; there is one region.
	Multiregion *Multiregion `hcl:"multiregion,block"`
	// UI is for people who look at the job.
	UI *JobUI `hcl:"ui,block"`
	// ConsulNamespace and VaultNamespace are kept for tools that send them.
	ConsulNamespace string `hcl:"-"`
	VaultNamespace  string `hcl:"-"`

	// What follows is written by the servers alone.

	// ParentID is the periodic or parameterized job that the job is a launch of.
	ParentID string `hcl:"-"`
	// Dispatched says that the job is a launch of a parameterized one.
	Dispatched bool `hcl:"-"`
	// DispatchIdempotencyToken is the token that the launch was asked for with.
	DispatchIdempotencyToken string `hcl:"-"`
	// Payload is what the launch was given, at most 16 KB.
	Payload []byte `hcl:"-"`
	// VersionTag is the name that a user gave this version; tagged versions are kept.
	VersionTag *JobVersionTag `hcl:"-,state"`

	Stop              bool   `hcl:"-"` // the user asked for the job's end
	Status            string `hcl:"-,state"`
	StatusDescription string `hcl:"-,state"`
	Stable            bool   `hcl:"-,state"` // a deployment of this version succeeded
	Version           uint64 `hcl:"-,state"` // counts from 0, one more for each changed registration
	SubmitTime        int64  `hcl:"-,state"` // unix nanoseconds of the registration of this version
	CreateIndex       uint64 `hcl:"-,state"` // index of the first registration; differs after a purge
	ModifyIndex       uint64 `hcl:"-,state"` // index of the last change of any field
	JobModifyIndex    uint64 `hcl:"-,state"` // index of the last registration
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
	// Name is the group's in its job.
	Name string `hcl:"name,label"`
	// Count is how many instances are wanted; 1, or the scaling's min, if it is not written.
	Count int `hcl:"count"`
	// Meta are notes that tasks see as NOMAD_META_<KEY>, over those of the job.
	Meta map[string]string `hcl:"meta"`
	// Constraints are conditions that nodes must meet.
	Constraints []Constraint `hcl:"constraint,block"`
	// Affinities are conditions that make nodes better or worse.
	Affinities []Affinity `hcl:"affinity,block"`
	// Spreads ask for instances to be spread over the values of node attributes.
	Spreads []Spread `hcl:"spread,block"`
	// Networks is the group's network; there is at most one.
	Networks []Network `hcl:"network,block,replace"`
	// Services make the group's instances findable by name.
	Services []Service `hcl:"service,block"`
	// Volumes are what tasks may mount.
	Volumes map[string]*VolumeRequest `hcl:"volume,block,replace"`
	// RestartPolicy is inherited by tasks: how often one that ended is started again on its node.
	RestartPolicy RestartPolicy `hcl:"restart,block"`
	// ReschedulePolicy is how a failed instance is replaced; service and batch jobs have one.
	ReschedulePolicy *ReschedulePolicy `hcl:"reschedule,block"`
	// Update is how a change replaces what runs; service and system jobs have one.
	Update *UpdateStrategy `hcl:"update,block"`
	// Migrate is how instances leave a drained node; service jobs have one.
	Migrate *MigrateStrategy `hcl:"migrate,block"`
	// Disconnect is what becomes of instances whose node is out of reach; without it they are lost at once.
	Disconnect *DisconnectStrategy `hcl:"disconnect,block"`
	// EphemeralDisk is the disk space of an instance's directory.
	EphemeralDisk EphemeralDisk `hcl:"ephemeral_disk,block,replace"`
	// Scaling is within what bounds the count may be changed by "job scale" and by autoscalers.
	Scaling *ScalingPolicy `hcl:"scaling,block"`
	// ShutdownDelay is the time between leaving the service list and the kill.
	ShutdownDelay time.Duration `hcl:"shutdown_delay"`
	// MaxRunDuration is after how long an instance of a batch or sysbatch job is stopped; 0 is never.
	MaxRunDuration time.Duration `hcl:"max_run_duration"`
	// Consul is kept for what it says; the cluster finds services itself.
	Consul *Consul `hcl:"consul,block,replace"`
	// Tasks are the group's tasks.
	Tasks []Task `hcl:"task,block"`

	// The older spellings of Disconnect: a group that uses them and has no such block gets one when it is decoded.

	// StopAfterClientDisconnect is the older spelling of disconnect's stop_on_client_after.
	StopAfterClientDisconnect time.Duration `hcl:"stop_after_client_disconnect" deprecated:"write a disconnect block with stop_on_client_after"`
	// MaxClientDisconnect is the older spelling of disconnect's lost_after.
	MaxClientDisconnect time.Duration `hcl:"max_client_disconnect" deprecated:"write a disconnect block with lost_after"`
	// PreventRescheduleOnLost is the older spelling of disconnect's replace, turned around.
	PreventRescheduleOnLost bool `hcl:"prevent_reschedule_on_lost" deprecated:"write a disconnect block with replace = false"`
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
	// SizeMB is the size in MB, at least 10.
	SizeMB int `hcl:"size" default:"300"`
	// Sticky asks for the replacement to be placed on the node that has the data.
	Sticky bool `hcl:"sticky"`
	// Migrate asks for the data to be copied to the replacement's node.
	Migrate bool `hcl:"migrate"`
}

// Task is one process or container.
type Task struct {
	// Name is the task's in its group, and that of its folder.
	Name string `hcl:"name,label"`
	// Driver runs the task: docker, exec, raw_exec, …
	Driver string `hcl:"driver,replace"`
	// User is whom the task runs as; the driver says what it is without one.
	User string `hcl:"user,replace"`
	// Config is the driver's own; the driver checks it on the node.
	Config map[string]any `hcl:"config,body,replace"`
	// Env are variables of the task's environment.
	Env map[string]string `hcl:"env,replace"`
	// Meta are notes that the task sees as NOMAD_META_<KEY>, over those of group and job.
	Meta map[string]string `hcl:"meta"`
	// Constraints are conditions that nodes must meet.
	Constraints []Constraint `hcl:"constraint,block"`
	// Affinities are conditions that make nodes better or worse.
	Affinities []Affinity `hcl:"affinity,block"`
	// Services make the task's instances findable by name.
	Services []Service `hcl:"service,block"`
	// RestartPolicy is complete: the group's under the task's own.
	RestartPolicy RestartPolicy `hcl:"restart,block"`
	// Resources are what the task asks of its node.
	Resources Resources `hcl:"resources,block"`
	// Artifacts are files to fetch before the task starts.
	Artifacts []Artifact `hcl:"artifact,block,replace"`
	// Templates are files to make out of what the cluster knows.
	Templates []Template `hcl:"template,block,replace"`
	// VolumeMounts are the group's volumes that the task sees.
	VolumeMounts []VolumeMount `hcl:"volume_mount,block,replace"`
	// Identity is the identity that every task has; it is the identity block without name.
	Identity *WorkloadIdentity `hcl:"-,as=identity,replace"`
	// Identities are further identities; the one without a name is the task's own.
	Identities []WorkloadIdentity `hcl:"identity,block,replace"`
	// Secrets are values that the task sees as ${secret.<name>.<key>}.
	Secrets []Secret `hcl:"secret,block,inherit,replace"`
	// Actions are commands that "action" runs in the task.
	Actions []Action `hcl:"action,block"`
	// KillTimeout is the time between the kill signal and the kill.
	KillTimeout time.Duration `hcl:"kill_timeout" default:"5s"`
	// KillSignal asks the task to end; the driver says what it is without one.
	KillSignal string `hcl:"kill_signal"`
	// Leader says that the group's other tasks end when this one does.
	Leader bool `hcl:"leader"`
	// ShutdownDelay is the time between leaving the service list and the kill.
	ShutdownDelay time.Duration `hcl:"shutdown_delay"`
	// LogConfig is what is kept of the task's output.
	LogConfig LogConfig `hcl:"logs,block"`
	// Lifecycle is when the task runs, if it is not one of the main ones.
	Lifecycle *Lifecycle `hcl:"lifecycle,block"`
	// DispatchPayload is where the payload of a dispatched job is written to.
	DispatchPayload *DispatchPayload `hcl:"dispatch_payload,block"`
	// Vault asks for a token of HashiCorp Vault.
	Vault *Vault `hcl:"vault,block,inherit,replace"`
	// Consul is kept for what it says; the cluster finds services itself.
	Consul *Consul `hcl:"consul,block,replace"`
	// CSIPluginConfig makes the task a plugin for volumes.
	CSIPluginConfig *CSIPluginConfig `hcl:"csi_plugin,block,replace"`
	// Schedule says at what times the task runs.
	Schedule *TaskSchedule `hcl:"schedule,block"`
	// ScalingPolicies are for autoscalers that size tasks.
	ScalingPolicies []TaskScalingPolicy `hcl:"scaling,block"`
	// Kind is what the task is for the service mesh.
	Kind string `hcl:"kind"`
}

// LogConfig bounds what a task's output may take on disk: each of stdout and stderr keeps MaxFiles files of MaxFileSizeMB.
type LogConfig struct {
	// MaxFiles is how many files each of stdout and stderr has.
	MaxFiles int `hcl:"max_files" default:"10"`
	// MaxFileSizeMB is how large each of them becomes, in MB.
	MaxFileSizeMB int `hcl:"max_file_size" default:"10"`
	// Disabled says that the output is thrown away.
	Disabled bool `hcl:"disabled,replace"`
	// Enabled is the older spelling of disabled, turned around.
	Enabled *bool `hcl:"enabled" json:",omitempty"`
}

// Resources is what a task asks of its node.
type Resources struct {
	// CPU is in MHz; 0 if cores are reserved.
	CPU int `hcl:"cpu,replace"`
	// Cores is how many whole cores are the task's alone.
	Cores int `hcl:"cores,replace"`
	// MemoryMB is in MB.
	MemoryMB int `hcl:"memory,replace" default:"300"`
	// MemoryMaxMB is how far the task may go above its memory while there is some left, in MB; -1 is without limit.
	MemoryMaxMB int `hcl:"memory_max,replace"`
	// SecretsMB is the size of the folder for secrets, which is in memory, in MB.
	SecretsMB int `hcl:"secrets,replace"`
	// DiskMB is a group's matter: see ephemeral_disk.
	DiskMB int `hcl:"disk"`
	// IOPS has no effect; old job files have it.
	IOPS int `hcl:"iops" deprecated:"it has no effect"`
	// Devices are GPUs and the like.
	Devices []RequestedDevice `hcl:"device,block,replace"`
	// NUMA is where on the machine's board the cores are.
	NUMA *NUMA `hcl:"numa,block,replace"`
	// Networks is the older place of a group's network.
	Networks []Network `hcl:"network,block,replace" deprecated:"write the network block into the group"`
}

// RequestedDevice is a device that a task asks for.
type RequestedDevice struct {
	// Name is a type such as "gpu", or "vendor/type", or "vendor/type/model".
	Name string `hcl:"name,label"`
	// Count is how many are asked for.
	Count int `hcl:"count" default:"1"`
	// Constraints are conditions that the devices must meet.
	Constraints []Constraint `hcl:"constraint,block"`
	// Affinities are conditions that make devices better or worse.
	Affinities []Affinity `hcl:"affinity,block"`
}

// NUMA is where on the machine's board a task's cores should be.
type NUMA struct {
	// Affinity is how much it matters that the cores are close to each other.
	Affinity string `hcl:"affinity" enum:"none prefer require" default:"none"`
	// Devices are names of the task's devices that should be close to the cores.
	Devices []string `hcl:"devices"`
}

// Network is a group's view of the network.
// In a job file all ports are `port "label" {}` blocks; DecodeJob makes those with a static value ReservedPorts.
type Network struct {
	// Mode is host (as the machine), bridge (an address of its own), none, or cni/<name>.
	Mode string `hcl:"mode"`
	// Hostname is the name of the machine that tasks see.
	Hostname string `hcl:"hostname"`
	// DNS is whom tasks ask for names.
	DNS *DNSConfig `hcl:"dns,block"`
	// CNI is told to the plugins of a cni/ network.
	CNI *CNIConfig `hcl:"cni,block"`
	// ReservedPorts are the ports whose host port is written.
	ReservedPorts []Port `hcl:"reserved_ports,block,as=port"`
	// DynamicPorts are the ports whose host port is chosen.
	DynamicPorts []Port `hcl:"port,block"`
	// Device, CIDR, IP and MBits have no effect; old job files have them.
	Device string `hcl:"device" deprecated:"it has no effect"`
	// CIDR has no effect.
	CIDR string `hcl:"cidr" deprecated:"it has no effect"`
	// IP has no effect.
	IP string `hcl:"ip" deprecated:"it has no effect"`
	// MBits has no effect.
	MBits int `hcl:"mbits" deprecated:"it has no effect"`
}

// DNSConfig is what stands in a task's resolv.conf.
type DNSConfig struct {
	// Servers are addresses.
	Servers []string `hcl:"servers"`
	// Searches are domains that short names are tried in.
	Searches []string `hcl:"searches"`
	// Options are options such as "ndots:2".
	Options []string `hcl:"options"`
}

// CNIConfig is what the plugins of a cni/ network are told.
type CNIConfig struct {
	// Args are the arguments.
	Args map[string]string `hcl:"args"`
}

// Port is a port that a group asks for.
type Port struct {
	// Label is the port's name, and a part of the names of variables.
	Label string `hcl:"label,label"`
	// Value is the host port; 0 is any of the node's range.
	Value int `hcl:"static"`
	// To is the port that the task listens on; 0 is the same as the host port.
	To int `hcl:"to"`
	// HostNetwork is the one of the node's networks that the port is on.
	HostNetwork string `hcl:"host_network"`
	// IgnoreCollision allows several instances on a node to have the same host port.
	IgnoreCollision bool `hcl:"ignore_collision"`
}

// Constraint is a condition that a node must meet.
type Constraint struct {
	// LTarget is what of the node is looked at, such as ${attr.kernel.name}.
	LTarget string `hcl:"attribute"`
	// RTarget is what it is compared with.
	RTarget string `hcl:"value"`
	// Operand is how it is compared.
	Operand string `hcl:"operator" default:"="`
}

// Affinity is a condition that makes nodes better, or worse with a negative weight.
type Affinity struct {
	// LTarget is what of the node is looked at, such as ${node.class}.
	LTarget string `hcl:"attribute"`
	// RTarget is what it is compared with.
	RTarget string `hcl:"value"`
	// Operand is how it is compared.
	Operand string `hcl:"operator" default:"="`
	// Weight is between -100 and 100, and not 0.
	Weight int `hcl:"weight" default:"50"`
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
	// Attribute is the node's attribute, such as ${node.datacenter}.
	Attribute string `hcl:"attribute"`
	// Weight is how much it matters against other spreads, between 1 and 100.
	Weight int `hcl:"weight" default:"50"`
	// SpreadTarget are shares of single values; without any the values are filled evenly.
	SpreadTarget []SpreadTarget `hcl:"target,block"`
}

// SpreadTarget is the share of allocations wanted on nodes with one value of the attribute.
type SpreadTarget struct {
	// Value is the attribute's value.
	Value string `hcl:"value,label"`
	// Percent is the share. Values without a target have together what all targets leave of 100.
	Percent int `hcl:"percent"`
}
