package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"strconv"

	"github.com/a43e60e4/cluster"
)

// check is one check of a record's services. What is interpolated is so only in checks that are to be run.
type check struct {
	id      string
	service int    // bit of Passing
	owner   string // task, or "" for a group's
	name    string // of the service
	label   string // of the port
	counts  bool   // for the health of the allocation
	cluster.Check
}

// checks are the checks of all services. Their IDs tell them apart as long as the allocation lives, and change with
// what they ask.
func (r record) checks() []check {
	var all []check
	bit := 0
	add := func(services []cluster.Service, owner string) {
		for i := range services {
			s := &services[i]
			for k := range s.Checks {
				c := check{service: bit, owner: owner, name: s.Name, label: s.Checks[k].PortLabel, Check: s.Checks[k],
					counts: s.Checks[k].OnUpdate != cluster.OnUpdateIgnore}
				if c.label == "" {
					c.label = s.PortLabel
				}
				if c.Name == "" {
					c.Name = fmt.Sprintf("service: %q check", s.Name)
				}
				sum := sha256.Sum256(fmt.Appendf(nil, "%s/%q/%d/%d/%s/%+v", r.Alloc.ID, owner, i, k, c.label, s.Checks[k]))
				c.id = hex.EncodeToString(sum[:16])
				all = append(all, c)
			}
			bit++
		}
	}
	group := r.group()
	add(group.Services, "")
	for i := range group.Tasks {
		add(group.Tasks[i].Services, group.Tasks[i].Name)
	}
	return all
}

// offered reports whether services of the owner are on offer: while the task runs or, for the group's, while all run.
func (r record) offered(owner string) bool {
	for _, t := range r.Tasks {
		if (owner == "" || owner == t.Name) && !t.offers() {
			return false
		}
	}
	return len(r.Tasks) > 0
}

// due are the checks that should be asked now.
func (r record) due() []check {
	var all []check
	for _, c := range r.checks() {
		if r.offered(c.owner) {
			all = append(all, c)
		}
	}
	return all
}

// settleChecks is the record without results of checks that are not asked.
func (r record) settleChecks() record {
	if len(r.Checks) == 0 {
		return r
	}
	kept := map[string]string{}
	for _, c := range r.due() {
		if result, ok := r.Checks[c.id]; ok {
			kept[c.id] = result
		}
	}
	r.Checks = kept
	return r
}

// checked is the record with the result of a check.
func (r record) checked(id, result string) record {
	r.Checks = maps.Clone(r.Checks)
	if r.Checks == nil {
		r.Checks = map[string]string{}
	}
	r.Checks[id] = result
	return r
}

// passing has a bit for each service on offer whose checks all pass.
func (r record) passing() uint64 {
	var bits uint64
	bit := 0
	group := r.group()
	add := func(n int, owner string) {
		for range n {
			if bit < 64 && r.offered(owner) {
				bits |= 1 << bit
			}
			bit++
		}
	}
	add(len(group.Services), "")
	for i := range group.Tasks {
		add(len(group.Tasks[i].Services), group.Tasks[i].Name)
	}
	for _, c := range r.checks() {
		if r.Checks[c.id] != cluster.CheckSuccess {
			bits &^= 1 << c.service
		}
	}
	return bits
}

// interpolated is the check as it is to be asked, with the address to ask at.
func (c check) interpolated(a *cluster.Allocation, n *cluster.Node, dirs cluster.TaskDirs) (check, string) {
	scope := a.GroupScope(n)
	if c.owner != "" {
		scope = a.TaskScope(n, c.owner, dirs)
	}
	for _, field := range []*string{&c.Name, &c.name, &c.label, &c.Path, &c.Method, &c.Protocol, &c.Body} {
		*field = scope.Interpolate(*field)
	}
	header := make(map[string][]string, len(c.Header))
	for key, values := range c.Header {
		header[key], _ = scope.InterpolateValue(values).([]string)
	}
	c.Header = header
	ip, port := a.PortAddress(c.label, n)
	return c, net.JoinHostPort(ip, strconv.Itoa(port))
}

// blank is the check's status before its first result.
func (c check) blank(group string) cluster.CheckStatus {
	s := cluster.CheckStatus{ID: c.id, Check: c.Name, Group: group, Mode: "healthiness", Service: c.name, Task: c.owner,
		Status: cluster.CheckPending}
	if !c.counts {
		s.Mode = "readiness"
	}
	return s
}
