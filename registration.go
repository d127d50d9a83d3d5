package cluster

import (
	"fmt"
	"slices"
)

// Registrations are the endpoints that the allocation offers now: its services that pass, as long as it is wanted.
// Names, tags and addresses are interpolated. A nil node is one that is not known (any more): an endpoint whose address
// only the node knows is left out.
func Registrations(a *Allocation, n *Node) []ServiceRegistration {
	group := a.Group()
	if a.Passing == 0 || a.Terminal() || group == nil {
		return nil
	}
	var all []ServiceRegistration
	bit := 0
	add := func(services []Service, owner string, scope func() Scope) {
		var known *Scope
		for i := range services {
			passes := bit < 64 && a.Passing&(1<<bit) != 0
			bit++
			if !passes {
				continue
			}
			if known == nil {
				known = new(scope())
			}
			if r := a.registration(&services[i], owner, *known, n); r.Address != "" {
				all = append(all, r)
			}
		}
	}
	add(group.Services, "group-"+group.Name, func() Scope { return a.GroupScope(n) })
	for i := range group.Tasks {
		task := &group.Tasks[i]
		add(task.Services, task.Name, func() Scope { return a.TaskScope(n, task.Name, TaskDirs{}) })
	}
	return all
}

func (a *Allocation) registration(s *Service, owner string, scope Scope, n *Node) ServiceRegistration {
	r := ServiceRegistration{
		ServiceName: scope.Interpolate(s.Name),
		Namespace:   a.Namespace(),
		NodeID:      a.NodeID,
		JobID:       a.JobID(),
		AllocID:     a.ID,
		Tags:        make([]string, len(s.Tags)),
		CreateIndex: a.CreateIndex,
		ModifyIndex: a.ModifyIndex,
	}
	for i, tag := range s.Tags {
		r.Tags[i] = scope.Interpolate(tag)
	}
	if n != nil {
		r.Datacenter = n.Datacenter
	}
	label := scope.Interpolate(s.PortLabel)
	r.Address, r.Port = a.PortAddress(label, n)
	if address := scope.Interpolate(s.Address); address != "" {
		r.Address = address
	}
	r.ID = fmt.Sprintf("_nomad-task-%s-%s-%s-%s", a.ID, owner, r.ServiceName, label)
	return r
}

// PortAddress is where the port of that label is reached, seen from other machines. Without such a port it is the
// node's address and port 0; "" if the node is not known either.
func (a *Allocation) PortAddress(label string, n *Node) (string, int) {
	at := slices.IndexFunc(a.Ports, func(p AllocatedPort) bool { return p.Label == label })
	if at >= 0 {
		return a.Ports[at].address(n), int(a.Ports[at].Value)
	}
	if n == nil {
		return "", 0
	}
	return n.Address(), 0
}
