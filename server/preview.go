package server

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// Preview plans the evaluation of a job that is not registered, as the leader would now. Nothing comes of it.
func (s *Server) Preview(snapshot *state.Snapshot, job *cluster.Job, eval *cluster.Evaluation) scheduler.Preview {
	in := s.input(snapshot, eval)
	in.Job = job
	return scheduler.Look(in)
}

// planJob tells what a registration of the job would lead to; of a job that is but launched, what a launch would. What is wrong with the job is an error as it is there; what
// the job asks for and must not run without is a warning: the rest of the answer is worth knowing.
func (h *apiHandler) planJob(r *request) (written, error) {
	var req api.JobPlanRequest
	if err := r.decodeUpTo(maxRegistration, "job", &req); err != nil {
		return written{}, err
	}
	job, err := admissible(req.Job)
	if err != nil {
		return written{}, err
	}
	if err := r.place(job, req.Namespace, req.Region); err != nil {
		return written{}, err
	}
	if err := h.Core.Barrier(r.Context()); err != nil {
		return written{}, err
	}
	snapshot := h.Core.Snapshot()
	job.KeepLaunch(snapshot.Job(job.Namespace, job.ID))
	if err := validJob(job); err != nil {
		return written{}, err
	}
	if r.arg != job.ID {
		return written{}, misnamed(r.arg, job)
	}
	if err := snapshot.Admits(job); err != nil {
		return written{}, err
	}
	p := newProposal(snapshot, job)
	now := time.Now()
	eval := newEval(cluster.IDFrom(dice(), 0), p.job, cluster.TriggerJobRegister, now)
	p.look = h.Keeper.Preview(snapshot, p.job, &eval)
	response := p.response(now)
	if req.Diff {
		response.Diff = p.diff
	}
	refused, _ := job.Missing()
	response.Warnings = slices.Concat(refused, job.Warnings(), cluster.Unread(req.Job)).Lines()
	return written{response, snapshot.Index()}, nil
}

// proposal is a job that is not registered, beside the state.
type proposal struct {
	snapshot *state.Snapshot
	old      *cluster.Job // nil: it would be new
	job      *cluster.Job // the version that it would be
	diff     *cluster.JobDiff
	look     scheduler.Preview
}

func newProposal(snapshot *state.Snapshot, job *cluster.Job) proposal {
	p := proposal{snapshot: snapshot, old: snapshot.Job(job.Namespace, job.ID)}
	p.diff = cluster.Diff(p.old, job, true)
	if p.diff.Type == cluster.DiffNone {
		p.job = p.old
		return p
	}
	p.job = job.Spec()
	p.job.CreateIndex = snapshot.Index() + 1
	if p.old != nil {
		p.job.Version, p.job.CreateIndex = p.old.Version+1, p.old.CreateIndex
	}
	p.job.ModifyIndex, p.job.JobModifyIndex = snapshot.Index()+1, snapshot.Index()+1
	return p
}

func (p *proposal) response(now time.Time) api.JobPlanResponse {
	p.diff.Annotate(p.look.Desired)
	response := api.JobPlanResponse{
		Annotations:    api.PlanAnnotations{DesiredTGUpdates: p.look.Desired, PreemptedAllocs: []api.AllocListStub{}},
		FailedTGAllocs: p.look.Plan.Eval.FailedTGAllocs,
		CreatedEvals:   []cluster.Evaluation{},
		Placements:     p.placements(),
		Ports:          p.ports(),
		Meta:           api.Meta{Index: p.snapshot.Index(), KnownLeader: true},
	}
	response.JobModifyIndex = modified(p.old)
	if p.job.ByClock() {
		if schedule, err := p.job.Periodic.Schedule(); err == nil { // validJob has refused others
			response.NextPeriodicLaunch = schedule.Next(now)
		}
	}
	for _, eval := range p.look.Plan.Evals {
		if p.snapshot.Eval(eval.ID) == nil {
			response.CreatedEvals = append(response.CreatedEvals, eval)
		}
	}
	return response
}

func (p *proposal) placements() []api.PlanPlacement {
	all := []api.PlanPlacement{}
	for i, place := range p.look.Plan.Places[:min(len(p.look.Plan.Places), api.MaxPlacements)] {
		one := api.PlanPlacement{
			Name: p.job.ID + "." + place.TaskGroup + "[" + strconv.Itoa(int(place.Index)) + "]", TaskGroup: place.TaskGroup,
			NodeID: place.NodeID, Previous: place.Previous, JobVersion: p.job.Version, Score: p.look.Scores[i],
		}
		if node := p.snapshot.Node(place.NodeID); node != nil {
			one.NodeName = node.Name
		}
		if previous := p.snapshot.Alloc(place.Previous); place.KeepVersion && previous != nil {
			one.JobVersion = previous.Job.Version
		}
		all = append(all, one)
	}
	return all
}

// ports are those of the job as it would be, and then those that would close.
func (p *proposal) ports() []api.PlanPort {
	before, after := portsOf(p.old), portsOf(p.job)
	was, is := p.addresses()
	all := []api.PlanPort{}
	for _, port := range after {
		port.Type, port.Addresses = cluster.DiffAdded, is[port.TaskGroup]
		if old := portLike(before, port); old != nil {
			port.Type = cluster.DiffNone
			if old.Value != port.Value || old.To != port.To || old.HostNetwork != port.HostNetwork {
				port.Type = cluster.DiffEdited
			}
		}
		all = append(all, port)
	}
	for _, port := range before {
		if portLike(after, port) == nil {
			port.Type, port.Addresses = cluster.DiffDeleted, was[port.TaskGroup]
			all = append(all, port)
		}
	}
	return all
}

// portLike is the port of the same group and label, nil if there is none.
func portLike(ports []api.PlanPort, like api.PlanPort) *api.PlanPort {
	i := slices.IndexFunc(ports, func(p api.PlanPort) bool { return p.TaskGroup == like.TaskGroup && p.Label == like.Label })
	if i < 0 {
		return nil
	}
	return &ports[i]
}

// portsOf are the ports that instances of the job take; none if there is no such job, or it is stopped.
func portsOf(job *cluster.Job) []api.PlanPort {
	if job == nil || job.Stop {
		return nil
	}
	var all []api.PlanPort
	for i := range job.TaskGroups {
		g := &job.TaskGroups[i]
		for _, network := range g.Networks {
			for _, port := range slices.Concat(network.ReservedPorts, network.DynamicPorts) {
				one := api.PlanPort{TaskGroup: g.Name, Label: port.Label, Value: port.Value, To: max(port.To, 0),
					HostNetwork: cmp.Or(port.HostNetwork, "default")}
				for _, service := range g.AllServices() {
					if service.PortLabel == port.Label && !slices.Contains(one.Services, service.Name) {
						one.Services = append(one.Services, service.Name)
					}
				}
				all = append(all, one)
			}
		}
	}
	return all
}

// addresses are those of the nodes that run each group now, and of those that would after the plan.
func (p *proposal) addresses() (was, is map[string][]string) {
	before, after := map[string]map[string]bool{}, map[string]map[string]bool{}
	add := func(to map[string]map[string]bool, group string, id cluster.ID) {
		node := p.snapshot.Node(id)
		if node == nil || node.Address() == "" {
			return
		}
		if to[group] == nil {
			to[group] = map[string]bool{}
		}
		to[group][node.Address()] = true
	}
	stopped := map[cluster.ID]bool{}
	for _, stop := range p.look.Plan.Stops {
		stopped[stop.ID] = true
	}
	for a := range p.snapshot.AllocsByJob(p.job.Namespace, p.job.ID) {
		if a.Terminal() {
			continue
		}
		add(before, a.TaskGroup, a.NodeID)
		if !stopped[a.ID] {
			add(after, a.TaskGroup, a.NodeID)
		}
	}
	for _, place := range p.look.Plan.Places {
		add(after, place.TaskGroup, place.NodeID)
	}
	lists := func(sets map[string]map[string]bool) map[string][]string {
		all := map[string][]string{}
		for group, set := range sets {
			all[group] = slices.Sorted(maps.Keys(set))
		}
		return all
	}
	return lists(before), lists(after)
}
