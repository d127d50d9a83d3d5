package state

import (
	"iter"
	"strings"

	"github.com/a43e60e4/cluster"
)

// Alloc is an allocation, nil if there is none.
func (sn *Snapshot) Alloc(id cluster.ID) *cluster.Allocation {
	if a := sn.allocs.at(id.Slot()); a != nil && a.ID == id {
		return a
	}
	return nil
}

// AllocCount is the number of allocations.
func (sn *Snapshot) AllocCount() int { return sn.allocCount }

// Allocs goes through all allocations.
func (sn *Snapshot) Allocs() iter.Seq[*cluster.Allocation] { return sn.allocs.all() }

func (sn *Snapshot) inSlots(slots []uint32) iter.Seq[*cluster.Allocation] {
	return func(yield func(*cluster.Allocation) bool) {
		for _, slot := range slots {
			if !yield(sn.allocs.at(slot)) {
				return
			}
		}
	}
}

// AllocsByJob goes through a job's allocations of all versions, also of a purged job.
func (sn *Snapshot) AllocsByJob(namespace, id string) iter.Seq[*cluster.Allocation] {
	entry := sn.job(namespace, id)
	if entry == nil {
		return func(func(*cluster.Allocation) bool) {}
	}
	return sn.inSlots(entry.slots)
}

// AllocsByNode goes through a node's allocations, also of a node that was deleted.
func (sn *Snapshot) AllocsByNode(id cluster.ID) iter.Seq[*cluster.Allocation] {
	entry := sn.node(id)
	if entry == nil {
		return func(func(*cluster.Allocation) bool) {}
	}
	return sn.inSlots(entry.slots)
}

// AllocsByEval goes through the allocations that an evaluation placed.
func (sn *Snapshot) AllocsByEval(id cluster.ID) iter.Seq[*cluster.Allocation] {
	return func(yield func(*cluster.Allocation) bool) {
		eval := sn.Eval(id)
		if eval == nil {
			return
		}
		for a := range sn.AllocsByJob(eval.Namespace, eval.JobID) {
			if a.EvalID == id && !yield(a) {
				return
			}
		}
	}
}

// AllocsByDeployment goes through the allocations that a deployment placed or took over.
func (sn *Snapshot) AllocsByDeployment(id cluster.ID) iter.Seq[*cluster.Allocation] {
	return func(yield func(*cluster.Allocation) bool) {
		d := sn.Deployment(id)
		if d == nil {
			return
		}
		for a := range sn.AllocsByJob(d.Namespace, d.JobID) {
			if a.DeploymentID == id && !yield(a) {
				return
			}
		}
	}
}

// Node is a node, nil if there is none.
func (sn *Snapshot) Node(id cluster.ID) *cluster.Node {
	if entry := sn.node(id); entry != nil {
		return entry.node
	}
	return nil
}

// Nodes goes through the nodes by ID.
func (sn *Snapshot) Nodes() iter.Seq[*cluster.Node] {
	return func(yield func(*cluster.Node) bool) {
		for node := range sn.Usages() {
			if !yield(node) {
				return
			}
		}
	}
}

// Usage is what a node's allocations take of it, those whose tasks may still run (Allocation.Occupies).
type Usage struct {
	Capacity cluster.Capacity
	Ports    cluster.PortSet
}

// Usages goes through the nodes by ID, each with what is taken of it.
func (sn *Snapshot) Usages() iter.Seq2[*cluster.Node, Usage] {
	return func(yield func(*cluster.Node, Usage) bool) {
		for _, number := range sn.nodeNumbers.all() {
			entry := sn.nodes.at(number)
			if entry.node != nil && !yield(entry.node, Usage{entry.used, entry.ports}) {
				return
			}
		}
	}
}

// Usage is what is taken of one node, zero for one that is not there.
func (sn *Snapshot) Usage(id cluster.ID) Usage {
	if entry := sn.node(id); entry != nil {
		return Usage{entry.used, entry.ports}
	}
	return Usage{}
}

// Service is a name with what stands behind it.
type Service struct {
	Namespace string
	Name      string
	Index     uint64 // of the last change of its endpoints
	endpoints []endpoint
	allocs    vector[cluster.Allocation]
}

// Endpoints goes through the endpoints of the service: running allocations whose checks pass, and the place of the
// service in the group's AllServices.
func (s *Service) Endpoints() iter.Seq2[*cluster.Allocation, int] {
	return func(yield func(*cluster.Allocation, int) bool) {
		for _, e := range s.endpoints {
			if !yield(s.allocs.at(e.slot), int(e.service)) {
				return
			}
		}
	}
}

// Services goes through the services of a namespace (or cluster.AllNamespaces) that have an endpoint, by namespace
// and name.
func (sn *Snapshot) Services(namespace string) iter.Seq[*Service] {
	start := serviceKey{namespace: namespace}
	if namespace == cluster.AllNamespaces {
		start = serviceKey{}
	}
	return func(yield func(*Service) bool) {
		for key, entry := range sn.services.from(start) {
			if namespace != cluster.AllNamespaces && key.namespace != namespace {
				return
			}
			if !yield(sn.service(key, entry)) {
				return
			}
		}
	}
}

// Service is one service; one that has no endpoint is empty.
func (sn *Snapshot) Service(namespace, name string) *Service {
	key := serviceKey{namespace, name}
	entry, ok := sn.services.get(key)
	if !ok {
		return &Service{Namespace: namespace, Name: name, Index: sn.tables[Services].removed}
	}
	return sn.service(key, entry)
}

func (sn *Snapshot) service(key serviceKey, entry *serviceEntry) *Service {
	return &Service{key.namespace, key.name, entry.changed, entry.endpoints, sn.allocs}
}

// prefix is the beginning of an ID's text.
type prefix string

// low is the lowest ID that may have the prefix; ok is false when none can.
func (p prefix) low() (id cluster.ID, ok bool) {
	const pattern = "00000000-0000-0000-0000-000000000000"
	if len(p) > len(pattern) {
		return id, false
	}
	id, err := cluster.ParseID(string(p) + pattern[len(p):])
	return id, err == nil
}

func (p prefix) of(id cluster.ID) bool { return strings.HasPrefix(id.String(), string(p)) }

// byPrefix collects the values of a table whose ID begins with the text.
func byPrefix[V any](t *table[cluster.ID, V], text string, keep func(V) bool) []V {
	p := prefix(strings.ToLower(text))
	low, ok := p.low()
	if !ok {
		return nil
	}
	var found []V
	for id, value := range t.from(low) {
		if !p.of(id) {
			break
		}
		if keep(value) {
			found = append(found, value)
		}
	}
	return found
}

// AllocsByPrefix lists the allocations whose ID begins with the text, in upper or lower case. Eight characters
// or more find theirs at once, fewer look at all.
func (sn *Snapshot) AllocsByPrefix(text string) []*cluster.Allocation {
	p := prefix(strings.ToLower(text))
	low, ok := p.low()
	if !ok {
		return nil
	}
	if len(p) >= 8 {
		if a := sn.allocs.at(low.Slot()); a != nil && p.of(a.ID) {
			return []*cluster.Allocation{a}
		}
		return nil
	}
	var found []*cluster.Allocation
	for a := range sn.Allocs() {
		if hasNibbles(a.ID, low, len(p)) {
			found = append(found, a)
		}
	}
	return found
}

// hasNibbles reports whether the first n < 8 hexadecimal digits of the two are the same.
func hasNibbles(a, b cluster.ID, n int) bool {
	for i := range n / 2 {
		if a[i] != b[i] {
			return false
		}
	}
	return n%2 == 0 || a[n/2]>>4 == b[n/2]>>4
}

// NodesByPrefix lists the nodes whose ID begins with the text.
func (sn *Snapshot) NodesByPrefix(text string) []*cluster.Node {
	numbers := byPrefix(sn.nodeNumbers, text, func(number uint32) bool { return sn.nodes.at(number).node != nil })
	var nodes []*cluster.Node
	for _, number := range numbers {
		nodes = append(nodes, sn.nodes.at(number).node)
	}
	return nodes
}

// EvalsByPrefix lists the evaluations whose ID begins with the text.
func (sn *Snapshot) EvalsByPrefix(text string) []*cluster.Evaluation {
	return byPrefix(sn.evals, text, func(*cluster.Evaluation) bool { return true })
}

// DeploymentsByPrefix lists the deployments whose ID begins with the text.
func (sn *Snapshot) DeploymentsByPrefix(text string) []*cluster.Deployment {
	return byPrefix(sn.deployments, text, func(*cluster.Deployment) bool { return true })
}
