package cluster

import "time"

// Service makes instances of a group (or task) findable by name.
type Service struct {
	Name        string   `hcl:"name"`
	Provider    string   `hcl:"provider"` // "nomad" and "consul" are both served by the cluster itself
	PortLabel   string   `hcl:"port"`
	Tags        []string `hcl:"tags"`
	Address     string   `hcl:"address"`      // "" is the address of the port
	AddressMode string   `hcl:"address_mode"` // auto or host
	TaskName    string   `hcl:"task"`
	OnUpdate    string   `hcl:"on_update"` // require_healthy or ignore
	Cluster     string   `hcl:"cluster"`   // only "default" exists
	Checks      []Check  `hcl:"check,block"`
}

// The providers of services.
const (
	ProviderNomad  = "nomad"
	ProviderConsul = "consul"
)

// What an unhealthy check means for the update of its job.
const (
	OnUpdateRequireHealthy = "require_healthy" // the allocation is not healthy before the check passes
	OnUpdateIgnore         = "ignore"          // the check does not count
)

// The types of checks.
const (
	CheckHTTP = "http" // a status below 400 passes
	CheckTCP  = "tcp"  // a connection that opens passes
)

// Check is a question put to an instance of a service again and again.
type Check struct {
	Name          string              `hcl:"name"`
	Type          string              `hcl:"type"`
	Interval      time.Duration       `hcl:"interval"`
	Timeout       time.Duration       `hcl:"timeout"`
	Path          string              `hcl:"path"`
	Method        string              `hcl:"method"`
	Protocol      string              `hcl:"protocol"` // http or https
	Header        map[string][]string `hcl:"header"`
	Body          string              `hcl:"body"`
	PortLabel     string              `hcl:"port"` // "" is the service's
	OnUpdate      string              `hcl:"on_update"`
	TLSSkipVerify bool                `hcl:"tls_skip_verify"`
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
