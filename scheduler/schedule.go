package scheduler

import (
	"reflect"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
)

// Schedule decides what to do for one evaluation. Equal inputs give equal plans, and once a plan is carried out
// the same evaluation asks for nothing more. It does not look at who else plans at the same time: whoever commits
// the plan checks each placement against the newest usage of its node (Node.Lacks).
func Schedule(in Input) Plan {
	p := newPlanner(in)
	p.run()
	return p.plan
}

func (p *planner) run() {
	p.absent()
	p.cancelOutdated()
	if p.in.Job == nil || p.in.Job.Stop {
		p.stopAll()
	} else {
		p.stopRemovedGroups()
		p.reconcile()
		p.followups(p.delayed, cluster.TriggerAllocFailure, "waits to replace failed allocations")
	}
	p.finishAbsent()
	p.finish()
}

// planner is the work on one Input. It lives for one call.
type planner struct {
	in      Input
	plan    Plan
	nodes   []Node // in.Nodes with what the plan changes
	ids     uint32 // how many IDs were taken from the seed
	gone    map[cluster.ID]bool
	freed   int // how many running instances gave their room to their successors
	queued  map[string]int
	delayed []delayed           // failed allocations that are replaced later
	doubted map[cluster.ID]bool // made unknown by this plan
	overdue []delayed           // unknown allocations that are lost later
	rollout rollout
	filters map[filterKey]*filter
	change  map[filterKey]bool // Destructive, remembered
	groups  []work             // what the groups of the job needed
	scored  bool               // scores are wanted
	ratings []float64          // of plan.Places, if scored
}

type filterKey struct {
	job   *cluster.Job
	group string
}

func newPlanner(in Input) *planner {
	p := &planner{
		in:      in,
		nodes:   slices.Clone(in.Nodes),
		gone:    map[cluster.ID]bool{},
		doubted: map[cluster.ID]bool{},
		queued:  map[string]int{},
		filters: map[filterKey]*filter{},
		change:  map[filterKey]bool{},
	}
	p.plan = Plan{Namespace: in.Eval.Namespace, JobID: in.Eval.JobID, SnapshotIndex: in.SnapshotIndex, Eval: *in.Eval}
	p.plan.Eval.FailedTGAllocs = nil
	if in.Job != nil {
		p.plan.CreateIndex, p.plan.Version = in.Job.CreateIndex, in.Job.Version
	}
	if d := in.Deployment; d != nil && ofVersion(d, in.Job) {
		p.rollout.deployment = cloneDeployment(d)
	}
	return p
}

// newID takes the next ID from the seed.
func (p *planner) newID() cluster.ID {
	p.ids++
	return cluster.IDFrom(p.in.Seed, p.ids)
}

// newEval is a new evaluation that continues this one.
func (p *planner) newEval(trigger, status string) cluster.Evaluation {
	eval := cluster.Evaluation{
		ID:           p.newID(),
		Namespace:    p.plan.Namespace,
		Priority:     p.in.Eval.Priority,
		Type:         p.in.Eval.Type,
		TriggeredBy:  trigger,
		JobID:        p.plan.JobID,
		Status:       status,
		PreviousEval: p.in.Eval.ID,
	}
	if p.in.Job != nil {
		eval.JobModifyIndex = p.in.Job.JobModifyIndex
	}
	return eval
}

// node is the position of the node of that ID, -1 if there is none.
func (p *planner) node(id cluster.ID) int {
	i, found := slices.BinarySearchFunc(p.nodes, id, func(n Node, id cluster.ID) int { return n.ID.Compare(id) })
	if !found {
		return -1
	}
	return i
}

func (p *planner) filter(j *cluster.Job, g *cluster.TaskGroup) *filter {
	key := filterKey{j, g.Name}
	f := p.filters[key]
	if f == nil {
		f = newFilter(j, g)
		p.filters[key] = f
	}
	return f
}

// destructive is Destructive from the allocation's version to the newest.
func (p *planner) destructive(a *cluster.Allocation) bool {
	if a.Job == p.in.Job {
		return false
	}
	key := filterKey{a.Job, a.TaskGroup}
	result, known := p.change[key]
	if !known {
		result = destructive(a.Job, p.in.Job, a.TaskGroup)
		p.change[key] = result
	}
	return result
}

// stop ends an allocation and gives its room to what is placed after.
func (p *planner) stop(a *cluster.Allocation, description string) {
	if !p.reachable(a) {
		p.lose(a, description) // nobody will say that it has stopped
		return
	}
	p.plan.Stops = append(p.plan.Stops, Stop{ID: a.ID, Description: description})
	p.gone[a.ID] = true
	p.release(a)
}

func (p *planner) release(a *cluster.Allocation) {
	if i := p.node(a.NodeID); i >= 0 {
		p.nodes[i] = p.nodes[i].Minus(a)
	}
}

// live reports whether the allocation is wanted and has not ended, also after what the plan has decided so far.
func (p *planner) live(a *cluster.Allocation) bool { return !a.Terminal() && !p.gone[a.ID] }

func (p *planner) stopAll() {
	description := "the job was stopped"
	if p.in.Job == nil {
		description = "the job was purged"
	}
	for _, a := range p.in.Allocs {
		if p.live(a) {
			p.stop(a, description)
		}
	}
}

func (p *planner) stopRemovedGroups() {
	for _, a := range p.in.Allocs {
		if p.in.Job.Group(a.TaskGroup) == nil && p.live(a) {
			p.stop(a, "the group is no longer part of the job")
		}
	}
}

// finish writes what came of the evaluation and keeps one blocked evaluation if something waits for room.
func (p *planner) finish() {
	p.finishRollout()
	eval := &p.plan.Eval
	eval.SnapshotIndex = p.in.SnapshotIndex
	eval.QueuedAllocations = p.queued
	failed := len(eval.FailedTGAllocs) > 0
	// One that waited before, and may have been made pending to be tried again, goes on waiting itself.
	waiting := failed && (p.in.Eval.Status == cluster.EvalBlocked || p.in.Eval.TriggeredBy == cluster.TriggerQueuedAllocs)
	eval.Status, eval.StatusDescription = cluster.EvalComplete, ""
	if waiting {
		eval.Status, eval.StatusDescription = cluster.EvalBlocked, blockedDescription
	}
	for _, other := range p.in.Evals {
		if other.Status != cluster.EvalBlocked || other.ID == eval.ID {
			continue
		}
		if !failed || waiting {
			cancelled := *other
			cancelled.Status, cancelled.StatusDescription = cluster.EvalCanceled, "a newer evaluation took over"
			p.plan.Evals = append(p.plan.Evals, cancelled)
			continue
		}
		waiting = true
		eval.BlockedEval = other.ID
		if next := p.blocked(*other); !reflect.DeepEqual(next, *other) {
			next.SnapshotIndex = p.in.SnapshotIndex
			p.plan.Evals = append(p.plan.Evals, next)
		}
	}
	if failed && !waiting {
		blocked := p.blocked(p.newEval(cluster.TriggerQueuedAllocs, cluster.EvalBlocked))
		eval.BlockedEval = blocked.ID
		p.plan.Evals = append(p.plan.Evals, blocked)
	}
}

const blockedDescription = "waits for room to place the remaining allocations"

// blocked is the evaluation as the one that waits for what could not be placed.
func (p *planner) blocked(eval cluster.Evaluation) cluster.Evaluation {
	eval.StatusDescription = blockedDescription
	eval.FailedTGAllocs = p.plan.Eval.FailedTGAllocs
	eval.QueuedAllocations = p.plan.Eval.QueuedAllocations
	if eval.SnapshotIndex == 0 {
		eval.SnapshotIndex = p.in.SnapshotIndex
	}
	return eval
}

// AwaitsRoom reports whether the blocked evaluation may be helped by an allocation that ends: some node was refused
// for what runs there, or on nodes like it. Otherwise it waits for a node to join or to change.
func AwaitsRoom(blocked *cluster.Evaluation) bool {
	for _, metric := range blocked.FailedTGAllocs {
		if metric.NodesExhausted > 0 {
			return true
		}
		for reason := range metric.ConstraintFiltered {
			if reason == cluster.OperandDistinctHosts || strings.Contains(reason, cluster.OperandDistinctProperty) {
				return true
			}
		}
	}
	return false
}
