package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// Registrations are the endpoints that the allocation offers now: its services that pass, as long as it is wanted.
// Names, tags and addresses are interpolated. A nil node is one that is not known (any more): an endpoint whose address
// only the node knows is left out.
func Registrations(a *Allocation, n *Node) []ServiceRegistration {
	if a.Passing == 0 || a.Terminal() {
		return nil
	}
	var all []ServiceRegistration
	a.eachService(n, func(i int, s *Service, owner string, scope func() Scope) {
		if !passes(a.Passing, i) {
			return
		}
		if r := a.registration(s, owner, scope(), n); r.Address != "" {
			all = append(all, r)
		}
	})
	return all
}

// Endpoints are all endpoints of the allocation on its node, those too whose checks do not pass; passing has a bit for each
// service in the order of TaskGroup.AllServices. One whose address is no IP address is left out. None of an allocation that
// is not wanted any more.
func Endpoints(a *Allocation, n *Node, passing uint64) []Endpoint {
	if a.Terminal() {
		return nil
	}
	var all []Endpoint
	a.eachService(n, func(i int, s *Service, owner string, scope func() Scope) {
		r := a.registration(s, owner, scope(), n)
		address, err := netip.ParseAddr(r.Address)
		if err != nil {
			return
		}
		all = append(all, Endpoint{Alloc: a.ID, Namespace: r.Namespace, Service: r.ServiceName, Tags: r.Tags,
			Address: address.Unmap(), Port: uint16(r.Port), Passing: passes(passing, i)})
	})
	return all
}

// passes reports whether the service of that number passes. Those beyond the bits never do.
func passes(passing uint64, i int) bool { return i < 64 && passing&(1<<i) != 0 }

// eachService calls f for the services of the allocation's group and then of its tasks, with their numbers. The scope in which
// names are interpolated is made when it is first asked for.
func (a *Allocation) eachService(n *Node, f func(i int, s *Service, owner string, scope func() Scope)) {
	group := a.Group()
	if group == nil {
		return
	}
	number := 0
	each := func(services []Service, owner string, scope func() Scope) {
		scope = sync.OnceValue(scope)
		for i := range services {
			f(number, &services[i], owner, scope)
			number++
		}
	}
	each(group.Services, "group-"+group.Name, func() Scope { return a.GroupScope(n) })
	for i := range group.Tasks {
		task := &group.Tasks[i]
		each(task.Services, task.Name, func() Scope { return a.TaskScope(n, task.Name, TaskDirs{}) })
	}
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

// PortAddress is where the port of that label is reached, seen from other machines. A label that is no port's may be the
// number of a port of the node; for others the port is 0. The address is "" if the node is not known.
func (a *Allocation) PortAddress(label string, n *Node) (string, int) {
	at := slices.IndexFunc(a.Ports, func(p AllocatedPort) bool { return p.Label == label })
	if at >= 0 {
		return a.Ports[at].address(n), int(a.Ports[at].Value)
	}
	number, _ := parsePort(label) // 0 for what is none
	if n == nil {
		return "", int(number)
	}
	return n.Address(), int(number)
}
