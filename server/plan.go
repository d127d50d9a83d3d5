package server

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/state"
)

// plansInFlight bounds how many jobs are planned at once. Most of a plan's time is the wait for its commit.
const plansInFlight = 16

// planEvaluations plans pending evaluations until ctx ends: one at a time per job, several jobs at once.
func (s *Server) planEvaluations(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(plansInFlight)
	busy := jobSet{done: make(chan struct{}, 1)}
	for ctx.Err() == nil {
		snapshot := s.Snapshot()
		now := time.Now()
		next := time.Time{}
		for eval := range snapshot.PendingEvals() {
			if due := time.Unix(0, eval.WaitUntil); due.After(now) {
				next = earlier(next, due)
				continue
			}
			key := cluster.JobKey{Namespace: eval.Namespace, ID: eval.JobID}
			if !busy.take(key) {
				continue
			}
			group.Go(func() error {
				defer busy.release(key)
				return s.planOne(ctx, eval.ID)
			})
		}
		s.await(ctx, snapshot.Index(), next, busy.done, state.TableKey(state.Evals))
	}
	return group.Wait()
}

// planOne plans one evaluation on the newest state and commits the plan. A plan that other plans made impossible
// is made again; one that the state dropped in part leaves its evaluation pending.
func (s *Server) planOne(ctx context.Context, id cluster.ID) error {
	for ctx.Err() == nil {
		snapshot := s.Snapshot()
		eval := snapshot.Eval(id)
		if eval == nil || eval.Status != cluster.EvalPending {
			return nil
		}
		plan := scheduler.Schedule(s.input(snapshot, eval))
		if !s.overlay.admit(s.Snapshot(), &plan) {
			continue
		}
		result, err := s.Apply(ctx, &state.CommitPlan{At: time.Now().UnixNano(), Seed: dice(), Plan: plan})
		s.overlay.settle(plan.Eval.ID)
		if err != nil {
			return err
		}
		if result.Plan.Whole() {
			return nil
		}
		s.logger.Debug("plan carried out in part, planning again", "eval", id, "job", eval.JobID,
			"stale", result.Plan.Stale, "dropped", len(result.Plan.Dropped))
	}
	return nil
}

// input is what the scheduler decides from.
func (s *Server) input(snapshot *state.Snapshot, eval *cluster.Evaluation) scheduler.Input {
	in := scheduler.Input{
		Now:           time.Now(),
		Seed:          dice(),
		Eval:          eval,
		Job:           snapshot.Job(eval.Namespace, eval.JobID),
		Allocs:        slices.Collect(snapshot.AllocsByJob(eval.Namespace, eval.JobID)),
		Deployment:    snapshot.LatestDeployment(eval.Namespace, eval.JobID),
		Nodes:         s.overlay.nodes(snapshot),
		SnapshotIndex: snapshot.Index(),
	}
	for other := range snapshot.EvalsByJob(eval.Namespace, eval.JobID) {
		if other.ID != eval.ID && !other.Done() {
			in.Evals = append(in.Evals, other)
		}
	}
	return in
}

// jobSet is the jobs being planned now.
type jobSet struct {
	mu   sync.Mutex
	jobs map[cluster.JobKey]bool
	done chan struct{} // has room for one: a job was released
}

func (b *jobSet) take(key cluster.JobKey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.jobs[key] {
		return false
	}
	if b.jobs == nil {
		b.jobs = map[cluster.JobKey]bool{}
	}
	b.jobs[key] = true
	return true
}

func (b *jobSet) release(key cluster.JobKey) {
	b.mu.Lock()
	delete(b.jobs, key)
	b.mu.Unlock()
	select {
	case b.done <- struct{}{}:
	default:
	}
}

// overlay is what plans on their way into the state will take of the nodes: it keeps plans made at the same time
// from giving the same room away twice. Losing it does no harm but more plans to make again.
type overlay struct {
	mu    sync.Mutex
	plans map[cluster.ID]*cluster.Plan // by evaluation, admitted and not yet settled
}

func (o *overlay) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.plans = map[cluster.ID]*cluster.Plan{}
}

// nodes are all nodes, ascending by ID, with what is taken of them in the snapshot and by plans under way.
// A plan that the snapshot already has is not counted twice.
func (o *overlay) nodes(snapshot *state.Snapshot) []scheduler.Node {
	var nodes []scheduler.Node
	for node, used := range snapshot.Usages() {
		nodes = append(nodes, scheduler.Node{Node: node, Used: used.Capacity, Ports: used.Ports})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, plan := range o.plans {
		if !underWay(snapshot, plan) {
			continue
		}
		for i := range plan.Places {
			place := &plan.Places[i]
			at, found := slices.BinarySearchFunc(nodes, place.NodeID, func(n scheduler.Node, id cluster.ID) int { return n.ID.Compare(id) })
			if found {
				nodes[at] = nodes[at].With(place)
			}
		}
	}
	return nodes
}

// admit checks that the plan's placements fit on top of the snapshot and the plans under way, and if so counts
// them in until settle. What the plan stops on a node makes room there: the node starts the new one after the old.
func (o *overlay) admit(snapshot *state.Snapshot, plan *cluster.Plan) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	touched := map[cluster.ID]scheduler.Node{}
	for i := range plan.Places {
		if node := snapshot.Node(plan.Places[i].NodeID); node != nil {
			touched[node.ID] = usage(snapshot, node)
		}
	}
	for _, other := range o.plans {
		if !underWay(snapshot, other) {
			continue
		}
		for i := range other.Places {
			if node, ok := touched[other.Places[i].NodeID]; ok {
				touched[node.ID] = node.With(&other.Places[i])
			}
		}
	}
	for _, stop := range plan.Stops {
		if alloc := snapshot.Alloc(stop.ID); alloc != nil {
			if node, ok := touched[alloc.NodeID]; ok {
				touched[node.ID] = node.Minus(alloc)
			}
		}
	}
	for i := range plan.Places {
		node, ok := touched[plan.Places[i].NodeID]
		if !ok || node.Lacks(&plan.Places[i]) != "" {
			return false
		}
		touched[node.ID] = node.With(&plan.Places[i])
	}
	o.plans[plan.Eval.ID] = plan
	return true
}

// underWay reports whether the snapshot does not have the plan yet: its evaluation is still to be planned there.
func underWay(snapshot *state.Snapshot, plan *cluster.Plan) bool {
	eval := snapshot.Eval(plan.Eval.ID)
	return eval != nil && eval.Status == cluster.EvalPending
}

// usage is a node as the scheduler sees it.
func usage(snapshot *state.Snapshot, node *cluster.Node) scheduler.Node {
	used := snapshot.Usage(node.ID)
	return scheduler.Node{Node: node, Used: used.Capacity, Ports: used.Ports}
}

// settle forgets a plan that is in the state or will never be.
func (o *overlay) settle(eval cluster.ID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.plans, eval)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
