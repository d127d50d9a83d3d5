package state

import (
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
)

// alloc is an allocation as the writer sees it, nil if there is none.
func (w *writer) alloc(id cluster.ID) *cluster.Allocation {
	if a := w.allocs.at(id.Slot()); a != nil && a.ID == id {
		return a
	}
	return nil
}

// insert stores a new allocation with all that is derived from it. Its slot is free.
func (w *writer) insert(a *cluster.Allocation) {
	w.link(a)
	w.change(Allocs)
	w.touched.allocs = append(w.touched.allocs, a.ID)
	w.touchNodeAllocs(w.nodeForWrite(a.NodeID))
	w.touchJob(w.jobOfAlloc(a), jobAllocs)
	if !a.DeploymentID.IsZero() {
		w.countDeployment(a.DeploymentID, a.TaskGroup, cluster.DeploymentGroup{PlacedAllocs: 1})
	}
}

// link stores an allocation and what is derived from it, but for what a snapshot holds by itself.
func (w *writer) link(a *cluster.Allocation) {
	slot := a.ID.Slot()
	w.used.take(slot)
	w.allocs.set(slot, a)
	node := w.nodeForWrite(a.NodeID)
	w.addSlot(&node.slots, slot)
	w.occupy(node, a)
	job := w.jobOfAlloc(a)
	w.addSlot(&job.slots, slot)
	job.version(a.Job.CreateIndex, a.Job.Version).allocs++
	w.tally(job, a, 1)
	w.announce(a)
}

// replace stores an allocation in place of an older state of it.
func (w *writer) replace(old, next *cluster.Allocation) {
	w.allocs.set(next.ID.Slot(), next)
	w.change(Allocs)
	w.touched.allocs = append(w.touched.allocs, next.ID)
	if old.Occupies() != next.Occupies() || old.Job != next.Job {
		node := w.nodeForWrite(next.NodeID)
		w.vacate(node, old)
		w.occupy(node, next)
		if old.Occupies() && !next.Occupies() {
			w.change(Room)
		}
	}
	if next.AllocModifyIndex == w.index {
		w.touchNodeAllocs(w.nodeForWrite(next.NodeID))
	}
	job := w.jobOfAlloc(next)
	w.touchJob(job, jobAllocs)
	if old.ClientStatus != next.ClientStatus || old.DesiredStatus != next.DesiredStatus {
		w.tally(job, old, -1)
		w.tally(job, next, 1)
	}
	if old.Job != next.Job {
		job.version(old.Job.CreateIndex, old.Job.Version).allocs--
		job.version(next.Job.CreateIndex, next.Job.Version).allocs++
	}
	if before, after := visible(old), visible(next); before != after || old.Job != next.Job && after != 0 {
		w.withdraw(old)
		w.announce(next)
	}
	if old.DeploymentID != next.DeploymentID || old.Health != next.Health {
		w.countHealth(old, next)
	}
}

// countHealth keeps the counts of the deployments that the change concerns.
func (w *writer) countHealth(old, next *cluster.Allocation) {
	if next.DeploymentID.IsZero() {
		return
	}
	add, was := cluster.DeploymentGroup{}, old.Health
	if old.DeploymentID != next.DeploymentID {
		add.PlacedAllocs, was = 1, cluster.HealthUnknown
	}
	add = addHealth(addHealth(add, was, -1), next.Health, 1)
	w.countDeployment(next.DeploymentID, next.TaskGroup, add)
}

func addHealth(g cluster.DeploymentGroup, health cluster.HealthStatus, by int) cluster.DeploymentGroup {
	switch health {
	case cluster.HealthHealthy:
		g.HealthyAllocs += by
	case cluster.HealthUnhealthy:
		g.UnhealthyAllocs += by
	}
	return g
}

// jobOfAlloc is the entry of an allocation's job, for writing.
func (w *writer) jobOfAlloc(a *cluster.Allocation) *jobEntry { return w.jobByNumber(w.specOf[a.Job]) }

// tally adds an allocation to its job's counts, or takes it away.
func (w *writer) tally(job *jobEntry, a *cluster.Allocation, by int) {
	job.count(a.TaskGroup, a.ClientStatus, int32(by))
	if !a.Terminal() {
		job.living += by
	}
}

// occupy adds to a node's usage what an allocation takes of it, vacate takes it back.
func (w *writer) occupy(node *nodeEntry, a *cluster.Allocation) {
	if !a.Occupies() {
		return
	}
	node.used = node.used.Plus(a.Group().Resources())
	for _, port := range a.Ports {
		if node.ports.Has(int(port.Value)) {
			node.twice = append(slices.Clone(node.twice), port.Value)
			continue
		}
		node.ports = node.ports.With(int(port.Value))
	}
}

func (w *writer) vacate(node *nodeEntry, a *cluster.Allocation) {
	if !a.Occupies() {
		return
	}
	node.used = node.used.Minus(a.Group().Resources())
	for _, port := range a.Ports {
		if i := slices.Index(node.twice, port.Value); i >= 0 {
			node.twice = slices.Delete(slices.Clone(node.twice), i, i+1)
			continue
		}
		node.ports = node.ports.Without(int(port.Value))
	}
}

type serviceKey struct{ namespace, name string }

func (a serviceKey) compare(b serviceKey) int {
	if c := strings.Compare(a.namespace, b.namespace); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

// serviceEntry is never changed once it is published; its endpoints may share memory with a later one's.
type serviceEntry struct {
	endpoints []endpoint // ascending
	changed   uint64
}

// endpoint is a service of an allocation: its place in the group's AllServices.
type endpoint struct {
	slot    uint32
	service uint8
}

func (a endpoint) compare(b endpoint) int {
	if a.slot != b.slot {
		return int(int64(a.slot) - int64(b.slot))
	}
	return int(a.service) - int(b.service)
}

// visible is which of an allocation's services are to be found: those that pass while it runs and should.
func visible(a *cluster.Allocation) uint64 {
	if a.ClientStatus != cluster.ClientRunning || a.ServerTerminal() {
		return 0
	}
	return a.Passing
}

// announce makes an allocation's visible services findable, withdraw the opposite.
func (w *writer) announce(a *cluster.Allocation) { w.eachService(a, inserted) }
func (w *writer) withdraw(a *cluster.Allocation) { w.eachService(a, removed) }

func (w *writer) eachService(a *cluster.Allocation, edit func([]endpoint, endpoint, func(a, b endpoint) int) []endpoint) {
	bits := visible(a)
	if bits == 0 {
		return
	}
	for i, service := range a.Group().AllServices() {
		if i > 63 || bits>>i&1 == 0 {
			continue
		}
		key := serviceKey{a.Namespace(), service.Name}
		entry, ok := w.services.get(key)
		if !ok {
			entry = new(serviceEntry)
		}
		if next := edit(entry.endpoints, endpoint{a.ID.Slot(), uint8(i)}, endpoint.compare); len(next) > 0 {
			w.services.set(key, &serviceEntry{endpoints: next, changed: w.index})
			w.change(Services)
		} else {
			w.services.remove(key)
			w.remove(Services)
		}
		w.touched.add(ServiceKey(key.namespace, key.name))
	}
}

func (c *ReportAllocs) apply(w *writer) (Result, error) {
	var result Result
	for i := range c.Updates {
		u := &c.Updates[i]
		old := w.alloc(u.ID)
		if old == nil {
			result.Unknown = append(result.Unknown, u.ID)
			continue
		}
		if next := w.reported(old, u); next != nil {
			next.ModifyIndex, next.ModifyTime = w.index, w.at
			w.replace(old, next)
		}
	}
	w.putEvals(c.Evals)
	return result, nil
}

// reported is the allocation after its node's report, nil if nothing changes. Statuses move forward alone, but for an
// unknown one, which becomes what the report says once the leader believes that the node is there again. One that has
// ended learns only how its tasks ended.
func (w *writer) reported(old *cluster.Allocation, u *cluster.AllocUpdate) *cluster.Allocation {
	next := *old
	if old.ClientStatus.Terminal() {
		if !u.ClientStatus.Terminal() || sameTasks(old.TaskStates, u.TaskStates) || len(u.TaskStates) == 0 {
			return nil
		}
		next.TaskStates = u.TaskStates
		return &next
	}
	unknown := old.ClientStatus == cluster.ClientUnknown
	switch {
	case !unknown:
		next.ClientStatus = max(old.ClientStatus, u.ClientStatus)
	case u.ClientStatus.Terminal() || w.alive(old.NodeID):
		next.ClientStatus, unknown = u.ClientStatus, false
		next.Rare = old.WithDetails(func(r *cluster.AllocationRare) { r.FollowupEvalID = cluster.ID{} }).Rare
	}
	if len(u.TaskStates) > 0 {
		next.TaskStates = u.TaskStates
	}
	next.Passing = u.Passing
	if next.ClientStatus.Terminal() || unknown {
		next.Passing = 0
	}
	if u.Health > old.Health {
		next.Health, next.HealthTime = u.Health, u.HealthTime
	}
	described := u.ClientDescription != old.Details().ClientDescription && !unknown
	if described {
		rare := next.Details()
		rare.ClientDescription = u.ClientDescription
		next.Rare = &rare
	}
	if !described && next.ClientStatus == old.ClientStatus && next.Passing == old.Passing && next.Health == old.Health &&
		sameTasks(old.TaskStates, next.TaskStates) {
		return nil
	}
	return &next
}

func sameTasks(a, b []cluster.TaskState) bool {
	return slices.EqualFunc(a, b, func(x, y cluster.TaskState) bool {
		return x.Name == y.Name && x.StartedAt == y.StartedAt && x.FinishedAt == y.FinishedAt && x.LastRestart == y.LastRestart &&
			x.Restarts == y.Restarts && x.State == y.State && x.Failed == y.Failed && slices.EqualFunc(x.Events, y.Events, sameEvent)
	})
}

func sameEvent(a, b cluster.TaskEvent) bool {
	if a.Time != b.Time || a.Type != b.Type || (a.Details == nil) != (b.Details == nil) {
		return false
	}
	return a.Details == nil || *a.Details == *b.Details
}

func (c *StopAllocs) apply(w *writer) (Result, error) {
	var result Result
	for i := range c.Stops {
		if !w.stop(&c.Stops[i]) {
			result.Unknown = append(result.Unknown, c.Stops[i].ID)
		}
	}
	w.putEvals(c.Evals)
	if len(c.Evals) > 0 {
		result.EvalID = c.Evals[0].ID
	}
	return result, nil
}

// stop ends an allocation; it reports whether there is such a one.
func (w *writer) stop(s *cluster.Stop) bool {
	old := w.alloc(s.ID)
	if old == nil {
		return false
	}
	lose := s.Lost && !old.ClientStatus.Terminal()
	if old.DesiredStatus != cluster.DesiredRun && !lose {
		return true
	}
	next := old.WithDetails(func(r *cluster.AllocationRare) {
		if old.DesiredStatus == cluster.DesiredRun {
			r.DesiredDescription = s.Description
		}
		if lose {
			r.ClientDescription = s.Description
		}
	})
	if old.DesiredStatus == cluster.DesiredRun {
		next.DesiredStatus = cluster.DesiredStop
	}
	if lose {
		next.ClientStatus, next.Passing = cluster.ClientLost, 0
	}
	w.replaceByServers(old, next)
	return true
}

// unreachable is why an allocation is unknown.
const unreachable = "its node cannot be reached"

// doubt makes an allocation unknown. One that has ended stays as it is.
func (w *writer) doubt(id cluster.ID) {
	old := w.alloc(id)
	if old == nil || old.ClientStatus.Terminal() || old.ClientStatus == cluster.ClientUnknown {
		return
	}
	next := old.WithDetails(func(r *cluster.AllocationRare) { r.ClientDescription, r.FollowupEvalID = unreachable, cluster.ID{} })
	next.ClientStatus, next.Passing = cluster.ClientUnknown, 0
	w.replaceByServers(old, next)
}

// alive reports whether the leader believes that the node is there.
func (w *writer) alive(id cluster.ID) bool {
	node := w.node(id)
	return node != nil && node.Alive()
}

// askAgain has a node that is back say once more what became of its unknown allocations: reports that came while it was
// not believed to be there left them as they were.
func (w *writer) askAgain(node cluster.ID) {
	for _, slot := range slices.Clone(w.nodeForWrite(node).slots) {
		if a := w.allocs.at(slot); a != nil && a.ClientStatus == cluster.ClientUnknown {
			next := *a
			w.replaceByServers(a, &next)
		}
	}
}

// replaceByServers is replace for a change that the allocation's node has to learn of.
func (w *writer) replaceByServers(old, next *cluster.Allocation) {
	next.ModifyIndex, next.AllocModifyIndex, next.ModifyTime = w.index, w.index, w.at
	w.replace(old, next)
}
