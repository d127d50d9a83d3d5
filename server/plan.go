package server

import (
	"context"
	"reflect"
	"runtime/debug"
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

// planEvaluations plans pending evaluations, and blocked ones for which there may be room again, until ctx ends: one at
// a time per job, several jobs at once.
func (s *Server) planEvaluations(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(plansInFlight)
	busy := jobSet{done: make(chan struct{}, 1)}
	tries := tries{}
	group.Go(func() error {
		s.rouse(ctx, func() {
			tries.rouse()
			busy.wake()
		})
		return nil
	})
	for ctx.Err() == nil {
		snapshot := s.Snapshot()
		due, next := s.due(snapshot, &tries, time.Now())
		for _, eval := range due {
			key := cluster.JobKey{Namespace: eval.Namespace, ID: eval.JobID}
			if !busy.take(key) {
				continue
			}
			group.Go(func() error {
				defer busy.release(key)
				return s.planOne(ctx, eval.ID, &tries)
			})
		}
		s.await(ctx, snapshot.Index(), next, busy.done,
			state.TableKey(state.Evals), state.TableKey(state.Nodes), state.TableKey(state.Room))
	}
	return group.Wait()
}

// due are the evaluations to be planned now, pending ones first, and when there may be more without any change.
func (s *Server) due(snapshot *state.Snapshot, tries *tries, now time.Time) (due []*cluster.Evaluation, next time.Time) {
	for eval := range snapshot.PendingEvals() {
		if at := time.Unix(0, eval.WaitUntil); at.After(now) {
			next = earlier(next, at)
			continue
		}
		due = append(due, eval)
	}
	tries.forget(snapshot)
	nodes, all := s.overlay.room(snapshot)
	for eval := range snapshot.BlockedEvals() {
		room := nodes
		if scheduler.AwaitsRoom(eval) {
			room = all
		}
		at, wanted := tries.next(eval, room)
		switch {
		case !wanted:
		case at.After(now):
			next = earlier(next, at)
		default:
			due = append(due, eval)
		}
	}
	return due, next
}

// planOne plans one evaluation on the newest state and commits the plan. A plan that other plans made impossible
// is made again; one that the state dropped in part leaves its evaluation as it was.
func (s *Server) planOne(ctx context.Context, id cluster.ID, tries *tries) error {
	for ctx.Err() == nil {
		snapshot := s.Snapshot()
		eval := snapshot.Eval(id)
		if eval == nil || eval.Done() {
			return nil
		}
		plan := s.schedule(snapshot, eval)
		if futile(&plan, eval) {
			tries.failed(id, snapshot.Index(), time.Now())
			return nil
		}
		if !s.overlay.admit(s.Snapshot(), &plan) {
			continue
		}
		result, err := s.Apply(ctx, &state.CommitPlan{At: time.Now().UnixNano(), Seed: dice(), Plan: plan})
		s.overlay.settle(id, result.Index, err == nil && !result.Plan.Whole())
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

// schedule makes the plan. An evaluation that crashes the scheduler fails, and the others go on.
func (s *Server) schedule(snapshot *state.Snapshot, eval *cluster.Evaluation) (plan cluster.Plan) {
	in := s.input(snapshot, eval)
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		s.logger.Error("planning crashed: this is a bug", "eval", eval.ID, "job", eval.JobID, "err", fault, "stack", string(debug.Stack()))
		plan = cluster.Plan{Namespace: eval.Namespace, JobID: eval.JobID, SnapshotIndex: snapshot.Index(), Eval: *eval}
		if in.Job != nil {
			plan.CreateIndex, plan.Version = in.Job.CreateIndex, in.Job.Version
		}
		plan.Eval.Status = cluster.EvalFailed
		plan.Eval.StatusDescription = "planning crashed, which is a bug: the leader's log has the details"
	}()
	return s.planner(in)
}

// futile reports whether a blocked evaluation stays as it is but for the state that it was tried on. (One that a plan
// has made names no deployment, although the plan may have begun one.)
func futile(plan *cluster.Plan, eval *cluster.Evaluation) bool {
	if eval.Status != cluster.EvalBlocked || !plan.Empty() {
		return false
	}
	after := plan.Eval
	after.SnapshotIndex, after.DeploymentID = eval.SnapshotIndex, eval.DeploymentID
	return reflect.DeepEqual(&after, eval)
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
		Nodes:         s.silences(s.withoutSilent(s.overlay.nodes(snapshot)), time.Now()),
		SnapshotIndex: snapshot.Index(),
	}
	for other := range snapshot.EvalsByJob(eval.Namespace, eval.JobID) {
		if other.ID != eval.ID && !other.Done() {
			in.Evals = append(in.Evals, other)
		}
	}
	return in
}

// withoutSilent closes those of the nodes for new work that gossip says are dead: whether they are down is not decided.
func (s *Server) withoutSilent(nodes []scheduler.Node) []scheduler.Node {
	members := s.membersByID()
	for i := range nodes {
		if members[nodes[i].ID].State == cluster.MemberDead && nodes[i].Ready() {
			closed := *nodes[i].Node
			closed.SchedulingEligibility = cluster.NodeIneligible
			nodes[i].Node = &closed
		}
	}
	return nodes
}

const (
	// firstRest and longestRest are between two vain tries of one blocked evaluation; each is twice the one before.
	firstRest   = 50 * time.Millisecond
	longestRest = 5 * time.Second
)

// tries remembers which blocked evaluations were tried in vain since the state last heard of them. Losing it costs
// but one more try of each.
type tries struct {
	mu     sync.Mutex // guards inVain
	inVain map[cluster.ID]try
	roused uint64 // how often everything became worth another try, whatever the state says
}

type try struct {
	roused uint64 // tries.roused at that time
	index  uint64 // of the state that was too full
	rest   time.Duration
	until  time.Time // not again before
}

// next is when the evaluation may be tried again, if room that appeared at the given index makes it worth while.
func (t *tries) next(eval *cluster.Evaluation, room uint64) (at time.Time, wanted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.inVain[eval.ID]
	return last.until, room > max(eval.SnapshotIndex, last.index) || t.roused > last.roused
}

// failed notes a try in vain.
func (t *tries) failed(id cluster.ID, index uint64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inVain == nil {
		t.inVain = map[cluster.ID]try{}
	}
	rest := min(max(2*t.inVain[id].rest, firstRest), longestRest)
	t.inVain[id] = try{t.roused, index, rest, now.Add(rest)}
}

// rouse makes every blocked evaluation worth another try.
func (t *tries) rouse() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roused++
}

// forget drops what is blocked no more.
func (t *tries) forget(snapshot *state.Snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.inVain {
		if eval := snapshot.Eval(id); eval == nil || eval.Status != cluster.EvalBlocked {
			delete(t.inVain, id)
		}
	}
}

// jobSet is the jobs being planned now.
type jobSet struct {
	mu   sync.Mutex // guards jobs
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
	b.wake()
}

// wake makes the planner look again.
func (b *jobSet) wake() {
	select {
	case b.done <- struct{}{}:
	default:
	}
}

// rouse calls f whenever a node that gossip took for dead lives again, until ctx ends.
func (s *Server) rouse(ctx context.Context, f func()) {
	if s.config.Members == nil {
		return
	}
	var dead map[cluster.ID]bool
	for ctx.Err() == nil {
		changed := s.membersChanged()
		now, revived := map[cluster.ID]bool{}, false
		for id, m := range s.membersByID() {
			if m.State == cluster.MemberDead {
				now[id] = true
			} else {
				revived = revived || dead[id]
			}
		}
		dead = now
		if revived {
			f()
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
