package cluster

import (
	"slices"
	"time"
)

// The states of a node; the leader decides them.
const (
	NodeStatusInitializing = "initializing"
	NodeStatusReady        = "ready"
	NodeStatusDown         = "down"
	NodeStatusDisconnected = "disconnected" // as down, but some of its allocations are waited for
)

// Whether new work may be placed on a node.
const (
	NodeEligible   = "eligible"
	NodeIneligible = "ineligible"
)

// Node is a machine that runs allocations. A stored node is never modified.
type Node struct {
	ID                    ID
	Name                  string
	Datacenter            string
	NodePool              string
	NodeClass             string
	HTTPAddr              string // host:port of the API, for people's tools
	TLSEnabled            bool
	Attributes            map[string]string
	Meta                  map[string]string
	NodeResources         NodeResources
	ReservedResources     NodeReserved
	Drivers               map[string]DriverState
	Impediment            string // why the node itself takes no new work, whatever its eligibility; "" if it does
	ComputedClass         string // nodes of one class answer every constraint without `unique.` alike
	SchedulingEligibility string
	Status                string
	StatusDescription     string
	StatusUpdatedAt       int64 // unix seconds
	Events                []NodeEvent
	DrainStrategy         *DrainStrategy // nil unless the node is being drained; then it is not eligible
	LastDrain             *LastDrain     // nil if it never was
	CreateIndex           uint64
	ModifyIndex           uint64
}

// Ready reports whether new work may be placed on the node.
func (n *Node) Ready() bool {
	return n.Status == NodeStatusReady && n.SchedulingEligibility == NodeEligible
}

// DrainSpec is what a user asks of a drain.
type DrainSpec struct {
	Deadline         time.Duration // what is left after it is moved at once; 0: there is no deadline, below 0: at once
	IgnoreSystemJobs bool          // the work of system jobs stays
}

// DrainStrategy is how a node is being emptied.
type DrainStrategy struct {
	DrainSpec
	ForceDeadline time.Time // when what is left is moved at once; zero if there is no such moment
	StartedAt     time.Time
}

// Forced reports whether all that is left has to go at once.
func (d *DrainStrategy) Forced(now time.Time) bool {
	return d.Deadline < 0 || d.Deadline > 0 && !now.Before(d.ForceDeadline)
}

// The states of LastDrain.
const (
	DrainStatusDraining = "draining"
	DrainStatusComplete = "complete"
	DrainStatusCanceled = "canceled"
)

// LastDrain is what came of a node's newest drain.
type LastDrain struct {
	StartedAt  time.Time
	UpdatedAt  time.Time
	Status     string
	AccessorID string            // of the token that asked, "" while there are none
	Meta       map[string]string // what the user noted
}

// NodeEvent is a line of a node's diary; the ten newest are kept.
type NodeEvent struct {
	Message     string
	Subsystem   string
	Details     map[string]string
	Timestamp   string // RFC 3339
	CreateIndex uint64
}

// DriverState is what a node says of one of its drivers.
type DriverState struct {
	Attributes        map[string]string
	Detected          bool
	Healthy           bool
	HealthDescription string
	UpdateTime        string // RFC 3339
}

// NodeResources is what a node has. NodeReserved is what of it is kept from the scheduler.
type NodeResources struct {
	Cpu            NodeCPU
	Memory         NodeMemory
	Disk           NodeDisk
	NodeNetworks   []NodeNetwork
	MinDynamicPort int
	MaxDynamicPort int
}

// NodeReserved is what of a node's resources is kept from the scheduler.
type NodeReserved struct {
	Cpu      NodeCPU
	Memory   NodeMemory
	Disk     NodeDisk
	Networks NodeReservedPorts
}

// NodeCPU is computing power: CpuShares in MHz over all cores.
type NodeCPU struct {
	CpuShares          int
	TotalCpuCores      int `json:",omitempty"`
	ReservableCpuCores []int
}

// NodeMemory is memory in MB.
type NodeMemory struct{ MemoryMB int }

// NodeDisk is disk space in MB.
type NodeDisk struct{ DiskMB int }

// NodeReservedPorts is a list like "22,80-90".
type NodeReservedPorts struct{ ReservedHostPorts string }

// NodeNetwork is an interface of a node and its addresses.
type NodeNetwork struct {
	Mode      string
	Device    string
	Addresses []NodeAddress
}

// NodeAddress is an address of a node.
type NodeAddress struct {
	Family  string // ipv4 or ipv6
	Alias   string // "default" for the address that ports are published on
	Address string
}

// Address is the address that ports of host-mode groups are reached at, "" if the node named none.
func (n *Node) Address() string {
	for _, network := range n.NodeResources.NodeNetworks {
		for _, a := range network.Addresses {
			if a.Alias == "default" {
				return a.Address
			}
		}
	}
	return ""
}

// hasAddress reports whether an address is one of the node's.
func (n *Node) hasAddress(address string) bool {
	for _, network := range n.NodeResources.NodeNetworks {
		if slices.ContainsFunc(network.Addresses, func(a NodeAddress) bool { return a.Address == address }) {
			return true
		}
	}
	return false
}
