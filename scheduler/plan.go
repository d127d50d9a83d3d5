// Package scheduler decides, for one job at a time, what the cluster should change: which allocations to stop,
// where to place new ones, how far a rollout may go, and what has to wait for room or time.
//
// Everything here takes values and returns values. Time and identity come in with the Input; equal inputs give
// equal plans, and a plan that has been carried out leaves nothing to plan.
package scheduler

import (
	"time"

	"github.com/a43e60e4/cluster"
)

// Input is what a decision about one job is made from: a snapshot. Nothing in it is modified.
type Input struct {
	Now  time.Time
	Seed [16]byte // random, drawn once for this input; new evaluations and deployments take their IDs from it

	Eval       *cluster.Evaluation   // what asks for the decision: pending, or blocked and tried again. Watch does without
	Job        *cluster.Job          // the newest version; nil when the job was purged
	Allocs     []*cluster.Allocation // all of the job, of any version and status, in a stable order
	Deployment *cluster.Deployment   // the job's newest, nil if it has none
	Evals      []*cluster.Evaluation // the job's other unfinished ones: blocked, pending, waiting for their time

	Nodes         []Node // all nodes of the cluster, ascending by ID; an allocation on any other node is lost
	SnapshotIndex uint64 // the index of the state that all this was read from
}

// The parts of a plan are nouns of the root package: the state stores them, the leader checks them.
type (
	Plan      = cluster.Plan
	Stop      = cluster.Stop
	Update    = cluster.Update
	Wait      = cluster.Wait
	Placement = cluster.Placement
)

// Node is a machine and what is taken of it. It is a value: With, Plus and Minus return another.
type Node struct {
	*cluster.Node
	Used  cluster.Capacity // by the allocations whose tasks may still run (Allocation.Occupies)
	Ports cluster.PortSet  // the host ports that these hold; the node's own reserved ports may be missing
	// Emptied says that the node is being drained and that all of Used is the work of system jobs.
	Emptied bool
	// Silent is how long the leader, by its own count, has known of no renewal of the node's lease; at most since it leads.
	Silent time.Duration
}

// Lacks names what the node has too little of for the placement: "cpu", "memory", "disk" or a port;
// "" if the placement fits. It asks nothing else, such as whether the node is ready.
func (n Node) Lacks(p *Placement) string {
	if dimension := n.Schedulable().Minus(n.Used).Lacking(p.Needs); dimension != "" {
		return dimension
	}
	for _, port := range p.Ports {
		if n.Ports.Has(int(port.Value)) {
			return collision(port.Label, int(port.Value))
		}
	}
	return ""
}

// With is the node with the placement on it.
func (n Node) With(p *Placement) Node {
	n.Used = n.Used.Plus(p.Needs)
	n.Ports = withPorts(n.Ports, p.Ports)
	return n
}

// Plus is the node with the allocation on it; one that occupies nothing changes nothing.
func (n Node) Plus(a *cluster.Allocation) Node {
	if a.Occupies() {
		n.Used = n.Used.Plus(a.Group().Resources())
		n.Ports = withPorts(n.Ports, a.Ports)
	}
	return n
}

// Minus is the node without the allocation, which is on it; one that occupies nothing changes nothing.
func (n Node) Minus(a *cluster.Allocation) Node {
	if a.Occupies() {
		n.Used = n.Used.Minus(a.Group().Resources())
		for _, port := range a.Ports {
			n.Ports = n.Ports.Without(int(port.Value))
		}
	}
	return n
}

func withPorts(set cluster.PortSet, ports []cluster.AllocatedPort) cluster.PortSet {
	for _, port := range ports {
		set = set.With(int(port.Value))
	}
	return set
}
