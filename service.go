package cluster

import "time"

// Service makes instances of a group (or task) findable by name.
type Service struct {
	// Name is the service's, <job>-<group>[-<task>] if it is not written.
	Name string `hcl:"name"`
	// Provider is "nomad" or "consul": both are served by the cluster itself.
	Provider string `hcl:"provider" enum:"nomad consul" default:"consul"`
	// PortLabel is the label of one of the group's ports, or a number.
	PortLabel string `hcl:"port"`
	// Tags are words that tell instances apart; <tag>.<name> is a name too.
	Tags []string `hcl:"tags"`
	// CanaryTags are the tags while the instance is a canary.
	CanaryTags []string `hcl:"canary_tags"`
	// Meta are notes on the service.
	Meta map[string]string `hcl:"meta"`
	// CanaryMeta are the notes while the instance is a canary.
	CanaryMeta map[string]string `hcl:"canary_meta"`
	// Address is told instead of the port's address.
	Address string `hcl:"address"`
	// AddressMode is which address is told: the node's (auto, host) or the task's own (driver, alloc, alloc_ipv6).
	AddressMode string `hcl:"address_mode" enum:"auto host driver alloc alloc_ipv6" default:"auto"`
	// TaggedAddresses are kept for what they say.
	TaggedAddresses map[string]string `hcl:"tagged_addresses"`
	// EnableTagOverride is kept for what it says.
	EnableTagOverride bool `hcl:"enable_tag_override"`
	// TaskName is the task that a group's service belongs to.
	TaskName string `hcl:"task"`
	// OnUpdate is what failing checks mean for an update.
	OnUpdate string `hcl:"on_update" enum:"require_healthy ignore_warnings ignore" default:"require_healthy"`
	// Cluster is always "default": the cluster finds services itself.
	Cluster string `hcl:"cluster" default:"default"`
	// Kind is what the service is for the service mesh.
	Kind string `hcl:"kind"`
	// Weights are kept for what they say.
	Weights *ServiceWeights `hcl:"weights,block"`
	// Identity is kept for what it says.
	Identity *WorkloadIdentity `hcl:"identity,block"`
	// CheckRestart restarts a task whose checks fail; checks inherit it.
	CheckRestart *CheckRestart `hcl:"check_restart,block"`
	// Connect makes the service a part of a service mesh.
	Connect *Connect `hcl:"connect,block,replace"`
	// Checks are questions put to each instance; only instances that pass are found.
	Checks []Check `hcl:"check,block"`
}

// ServiceWeights are how often DNS tells of an instance, by the state of its checks.
type ServiceWeights struct {
	// Passing is the weight of one whose checks pass.
	Passing int `hcl:"passing" default:"1"`
	// Warning is the weight of one whose checks warn.
	Warning int `hcl:"warning" default:"1"`
}

// CheckRestart restarts a task whose checks fail.
type CheckRestart struct {
	// Limit is how many failures in a row restart it; 0 is never.
	Limit int `hcl:"limit"`
	// Grace is how long after its start failures do not count.
	Grace time.Duration `hcl:"grace" default:"1s"`
	// IgnoreWarnings counts warnings as passing.
	IgnoreWarnings bool `hcl:"ignore_warnings"`
}

// The providers of services.
const (
	ProviderNomad  = "nomad"
	ProviderConsul = "consul"
)

// What an unhealthy check means for the update of its job.
const (
	OnUpdateRequireHealthy = "require_healthy" // the allocation is not healthy before the check passes
	OnUpdateIgnoreWarnings = "ignore_warnings" // the same, but a warning will do
	OnUpdateIgnore         = "ignore"          // the check does not count
)

// The types of checks.
const (
	CheckHTTP = "http" // a status below 400 passes
	CheckTCP  = "tcp"  // a connection that opens passes
	CheckGRPC = "grpc" // an answer of the standard health service passes
	// CheckScript is a command in the task whose exit code 0 passes.
	CheckScript = "script"
)

// Check is a question put to an instance of a service again and again.
type Check struct {
	// Name is for people, "service: \"<service>\" check" if it is not written.
	Name string `hcl:"name"`
	// Type is how the question is put.
	Type string `hcl:"type,refers" enum:"http tcp grpc script"`
	// Interval is the time between two questions, at least 1s.
	Interval time.Duration `hcl:"interval"`
	// Timeout is how long the answer may take, at least 1s.
	Timeout time.Duration `hcl:"timeout"`
	// Path is what an http check asks for, such as /health.
	Path string `hcl:"path"`
	// Method is the method of an http check, GET if it is not written.
	Method string `hcl:"method"`
	// Protocol is http or https.
	Protocol string `hcl:"protocol,refers" enum:"http https"`
	// Header are the headers of an http check.
	Header map[string][]string `hcl:"header"`
	// Body is the body of an http check.
	Body string `hcl:"body"`
	// PortLabel is the port that is asked, the service's if it is not written.
	PortLabel string `hcl:"port"`
	// AddressMode is which address is asked.
	AddressMode string `hcl:"address_mode" enum:"host driver alloc alloc_ipv6"`
	// Advertise is the address of the instance that is told instead of its own.
	Advertise string `hcl:"advertise"`
	// Expose lets the check pass the service mesh.
	Expose bool `hcl:"expose"`
	// TaskName is the task that a script runs in.
	TaskName string `hcl:"task"`
	// Command is the program of a script check.
	Command string `hcl:"command"`
	// Args are its arguments.
	Args []string `hcl:"args"`
	// InitialStatus is the state before the first answer.
	InitialStatus string `hcl:"initial_status,refers" enum:"passing warning critical"`
	// OnUpdate is what a failure means for an update; the service's if it is not written.
	OnUpdate string `hcl:"on_update" enum:"require_healthy ignore_warnings ignore"`
	// SuccessBeforePassing is how many answers in a row must pass.
	SuccessBeforePassing int `hcl:"success_before_passing"`
	// FailuresBeforeCritical is how many answers in a row must fail.
	FailuresBeforeCritical int `hcl:"failures_before_critical"`
	// FailuresBeforeWarning is how many answers in a row must fail for a warning.
	FailuresBeforeWarning int `hcl:"failures_before_warning"`
	// Notes are for people.
	Notes string `hcl:"notes"`
	// TLSServerName is the name that a certificate must have.
	TLSServerName string `hcl:"tls_server_name"`
	// TLSSkipVerify accepts any certificate.
	TLSSkipVerify bool `hcl:"tls_skip_verify"`
	// GRPCService is the service that a grpc check asks about.
	GRPCService string `hcl:"grpc_service"`
	// GRPCUseTLS encrypts a grpc check.
	GRPCUseTLS bool `hcl:"grpc_use_tls"`
	// CheckRestart restarts the task when the check fails; the service's if it is not written.
	CheckRestart *CheckRestart `hcl:"check_restart,block"`
}

// Services lists the group's services and then those of its tasks in order. An allocation's Passing bits follow it.
func (g *TaskGroup) AllServices() []*Service {
	var all []*Service
	for i := range g.Services {
		all = append(all, &g.Services[i])
	}
	for t := range g.Tasks {
		for i := range g.Tasks[t].Services {
			all = append(all, &g.Tasks[t].Services[i])
		}
	}
	return all
}

// ServiceRegistration is one endpoint of a service: an instance that runs and whose checks pass.
// It is derived from an allocation and its node, never stored.
type ServiceRegistration struct {
	ID          string
	ServiceName string
	Namespace   string
	NodeID      ID
	Datacenter  string
	JobID       string
	AllocID     ID
	Tags        []string
	Address     string
	Port        int
	CreateIndex uint64
	ModifyIndex uint64
}

// The results of a check.
const (
	CheckPending = "pending"
	CheckSuccess = "success"
	CheckFailure = "failure"
)

// CheckStatus is the last result of one check of an allocation, as its node knows it.
type CheckStatus struct {
	ID         string
	Check      string
	Group      string
	Mode       string // healthiness or readiness
	Output     string
	Service    string
	Task       string
	Status     string
	StatusCode int
	Timestamp  int64 // unix seconds
}
