package scheduler

import (
	"fmt"
	"slices"

	"github.com/a43e60e4/cluster"
)

// slot is the place of one instance of a group: an index, or for jobs on every node a node.
type slot struct {
	index  int32
	node   int                 // position of the only node for it, -1 for any
	open   bool                // something may be placed here
	alloc  *cluster.Allocation // what takes the place: live, done, or failed and not yet replaced; nil if nothing does
	before *cluster.Allocation // the newest that was here, is gone and was not replaced
}

// ask is one instance to be placed.
type ask struct {
	index       int32
	node        int          // as in slot
	job         *cluster.Job // the version it will run
	keep        bool         // which is that of previous
	previous    *cluster.Allocation
	reason      string // why previous is to be stopped once this is placed; "" if it is gone already
	reschedules []cluster.RescheduleEvent
}

// work is what a group needs.
type work struct {
	group    *cluster.TaskGroup
	strategy *cluster.UpdateStrategy // nil: everything at once
	phase    phase
	slots    []slot
	prior    *cluster.Job // the newest older version that an allocation of the group runs or ran
	begun    bool         // the newest version has been placed before

	asks    []ask // to be placed at once
	steps   []ask // to be placed as the rollout allows, best first
	leaving []ask // to be placed as the drain of their nodes allows

	placed   int
	unplaced []ask
	tried    int // planner.freed when the first of unplaced was tried last
}

// reconcile decides what becomes of the groups of a job that is to run. All that is stopped for good is stopped
// first and leaves its room to any group.
func (p *planner) reconcile() {
	all := make([]work, len(p.in.Job.TaskGroups))
	p.groups = all
	for i := range all {
		g := &p.in.Job.TaskGroups[i]
		all[i] = work{group: g, strategy: strategy(p.in.Job, g)}
		p.survey(&all[i])
	}
	for i := range all {
		p.advance(&all[i])
	}
	p.tryAgain(all)
	for i := range all {
		w := &all[i]
		p.stay(w)
		p.queued[w.group.Name] = len(w.unplaced)
		p.progress(w.group.Name, p.wanted(w), w.placed > 0)
	}
	p.explain(all)
}

// tryAgain places what found no room before some other instance gave up its own.
func (p *planner) tryAgain(all []work) {
	for placed := -1; placed != len(p.plan.Places); {
		placed = len(p.plan.Places)
		for i := range all {
			if asks := all[i].unplaced; len(asks) > 0 && p.freed > all[i].tried {
				all[i].unplaced = nil
				p.place(&all[i], asks)
			}
		}
	}
}

// advance decides what becomes of one group after its survey.
func (p *planner) advance(w *work) {
	g := w.group
	if w.strategy != nil && p.rollout.mayBegin() && p.needsRollout(w) {
		p.join(g, w.strategy)
	}
	w.phase = p.rollout.phase(g.Name)
	for i := range w.slots {
		p.decide(w, &w.slots[i])
	}
	before := len(p.plan.Places)
	p.place(w, w.asks)
	p.place(w, p.nextSteps(w, p.plan.Places[before:]))
	p.place(w, p.moves(w))
}

// wanted is how many healthy instances of the newest version end the group's rollout: for a system job one on each
// node that has one or gets one, but for old ones that must stay for now.
func (p *planner) wanted(w *work) int {
	if !p.in.Job.OnEveryNode() {
		return w.group.Count
	}
	total := w.placed
	for i := range w.slots {
		if a := w.slots[i].alloc; a != nil && !p.gone[a.ID] && (w.slots[i].open || p.current(a) || p.live(a) && p.updatable(a)) {
			total++
		}
	}
	return total
}

// current reports whether the allocation runs the newest version of the job.
func (p *planner) current(a *cluster.Allocation) bool {
	return a.Job.Version == p.in.Job.Version && a.Job.CreateIndex == p.in.Job.CreateIndex
}

// survey sorts the group's allocations into slots and stops those that have none.
func (p *planner) survey(w *work) {
	var place func(*cluster.Allocation) *slot
	if p.in.Job.OnEveryNode() {
		place = p.nodeSlots(w)
	} else {
		place = p.indexSlots(w)
	}
	for _, a := range p.in.Allocs {
		if a.TaskGroup != w.group.Name {
			continue
		}
		if p.current(a) {
			w.begun = true
		} else if a.Job.CreateIndex == p.in.Job.CreateIndex && (w.prior == nil || a.Job.Version > w.prior.Version) {
			w.prior = a.Job
		}
		if p.in.Job.OnEveryNode() && p.unknown(a) && !p.reachable(a) {
			continue // its place is its node
		}
		s := place(a)
		if s == nil {
			continue
		}
		switch {
		case p.gone[a.ID] || a.ServerTerminal() || a.ClientStatus == cluster.ClientLost || p.aside(a):
			s.open = s.open && !p.lostAlone(a)
			if a.Details().NextAllocation.IsZero() && (s.before == nil || a.CreateIndex >= s.before.CreateIndex) {
				s.before = a
			}
		case p.superseded(a):
		case s.alloc == nil:
			s.alloc = a
		case p.better(a, s.alloc):
			p.dismiss(s.alloc)
			s.alloc = a
		default:
			p.dismiss(a)
		}
	}
}

// dismiss stops an allocation whose place another has.
func (p *planner) dismiss(a *cluster.Allocation) {
	if p.live(a) {
		p.stop(a, "another instance has its place")
	}
}

// indexSlots makes a slot for each index and returns what finds an allocation's. One without a slot is stopped.
func (p *planner) indexSlots(w *work) func(*cluster.Allocation) *slot {
	w.slots = make([]slot, w.group.Count)
	for i := range w.slots {
		w.slots[i] = slot{index: int32(i), node: -1, open: true}
	}
	return func(a *cluster.Allocation) *slot {
		if p.rerun(a) {
			return nil
		}
		if int(a.Index) < len(w.slots) {
			return &w.slots[a.Index]
		}
		if p.live(a) {
			p.stop(a, fmt.Sprintf("count is now %d", w.group.Count))
		}
		return nil
	}
}

// rerun reports whether the allocation ended well under an older version of a batch job: the new version runs anew.
func (p *planner) rerun(a *cluster.Allocation) bool {
	return p.in.Job.RunsToEnd() && a.ClientStatus == cluster.ClientComplete && !p.current(a)
}

// nodeSlots makes a slot for each node that may run the group, and returns what finds an allocation's.
func (p *planner) nodeSlots(w *work) func(*cluster.Allocation) *slot {
	f := p.filter(p.in.Job, w.group)
	at := make([]int32, len(p.nodes)) // position of the node's slot, -1: it has none
	for i := range p.nodes {
		n := p.nodes[i].Node
		at[i] = -1
		if w.group.Count > 0 && n.Alive() && f.covers(n) && f.lacks(n) == "" {
			at[i] = int32(len(w.slots))
			w.slots = append(w.slots, slot{node: i, open: n.Ready() && f.rejects(n) == ""})
		}
	}
	return func(a *cluster.Allocation) *slot {
		i := p.node(a.NodeID)
		if i >= 0 && at[i] >= 0 {
			return &w.slots[at[i]]
		}
		if p.live(a) {
			p.stop(a, "the node no longer fits the job")
		}
		return nil
	}
}

// better reports whether a deserves the slot rather than b: what runs or is done before what failed, the newest
// version, what is done or known to run, the one that the group's disconnect block chooses, the one that runs already,
// and then the older one.
func (p *planner) better(a, b *cluster.Allocation) bool {
	d := p.in.Job.Group(a.TaskGroup).Disconnect
	for _, fact := range []func(*cluster.Allocation) bool{
		func(a *cluster.Allocation) bool { return p.live(a) || p.done(a) },
		p.current,
		p.done,
		func(a *cluster.Allocation) bool { return !p.unknown(a) },
		func(c *cluster.Allocation) bool {
			return d != nil && p.live(a) && p.live(b) && c == p.preferred(d, a, b)
		},
		func(a *cluster.Allocation) bool { return a.ClientStatus == cluster.ClientRunning },
		func(a *cluster.Allocation) bool { return a.Health == cluster.HealthHealthy },
	} {
		if fact(a) != fact(b) {
			return fact(a)
		}
	}
	if !p.live(a) {
		return a.CreateIndex > b.CreateIndex // of two that failed the newer one counts
	}
	return a.CreateIndex < b.CreateIndex
}

// done reports whether the instance has run to completion and needs nothing more.
func (p *planner) done(a *cluster.Allocation) bool {
	return p.in.Job.RunsToEnd() && a.ClientStatus == cluster.ClientComplete && p.current(a)
}

// needsRollout reports whether the newest version brings something that is to happen step by step:
// its first placement, the replacement of what runs, or the rest of a rollout that it overtakes.
func (p *planner) needsRollout(w *work) bool {
	if p.rollout.overtakes(w.group.Name) && len(w.slots) > 0 {
		return true
	}
	for i := range w.slots {
		s := &w.slots[i]
		if missing := s.alloc == nil || !p.live(s.alloc) && !p.done(s.alloc); missing {
			if s.open && !w.begun {
				return true
			}
		} else if s.open && !p.current(s.alloc) && !p.updatable(s.alloc) {
			return true
		}
	}
	return false
}

// updatable reports whether the live allocation can take the newest version where it is.
func (p *planner) updatable(a *cluster.Allocation) bool {
	if p.destructive(a) {
		return false
	}
	f := p.filter(p.in.Job, p.in.Job.Group(a.TaskGroup))
	n := p.nodes[p.node(a.NodeID)].Node
	return f.covers(n) && f.lacks(n) == ""
}

// decide says what a slot needs.
func (p *planner) decide(w *work, s *slot) {
	a := s.alloc
	switch {
	case a == nil:
		p.fill(w, s)
	case p.unknown(a): // it keeps its place as it is
	case p.live(a) && p.leave(w, s):
	case p.done(a) || p.live(a) && p.current(a):
	case p.live(a) && p.updatable(a):
		p.plan.Updates = append(p.plan.Updates, Update{ID: a.ID, DeploymentID: p.rollout.id(w.group.Name)})
	case p.live(a):
		if w.phase != frozen && s.open {
			w.steps = append(w.steps, ask{index: s.index, node: s.node, job: p.in.Job, previous: a, reason: p.replacedBy()})
		}
	case !s.open:
	case p.current(a):
		if w.phase != frozen || a.Health == cluster.HealthHealthy {
			p.retry(w, s, false)
		}
	case w.phase == frozen:
		p.retry(w, s, a.Job.CreateIndex == p.in.Job.CreateIndex)
	default:
		w.asks = append(w.asks, ask{index: s.index, node: s.node, job: p.in.Job, previous: a, reason: p.replacedBy()})
	}
}

func (p *planner) replacedBy() string {
	return fmt.Sprintf("replaced by version %d of the job", p.in.Job.Version)
}

// fill decides what comes into an empty slot. While a rollout is not over, an instance of the version before that
// was lost or stopped is replaced: by the newest version if it is its turn, else by its own.
func (p *planner) fill(w *work, s *slot) {
	if !s.open {
		return
	}
	next := ask{index: s.index, node: s.node, job: p.in.Job, previous: s.before}
	if s.before != nil && p.current(s.before) {
		next.reschedules = s.before.Details().Reschedules
	}
	old := s.before != nil && p.interrupted(w, s.before)
	switch {
	case w.phase == free:
		w.asks = append(w.asks, next)
	case w.phase == rolling && old:
		w.steps = append(w.steps, next)
	case w.phase == rolling:
		w.asks = append(w.asks, next)
	case old:
		w.asks = append(w.asks, next.kept())
	case s.before != nil && p.current(s.before) && s.before.Health == cluster.HealthHealthy:
		w.asks = append(w.asks, next)
	}
}

// interrupted reports whether an instance of an older version, which cannot be updated in place, is gone before its turn
// came. One that was stopped longer ago, by a version that wanted fewer, is not.
func (p *planner) interrupted(w *work, a *cluster.Allocation) bool {
	if p.current(a) || a.Job.CreateIndex != p.in.Job.CreateIndex || !p.destructive(a) {
		return false
	}
	return p.gone[a.ID] || a.ClientStatus == cluster.ClientLost || p.unknown(a) || w.prior != nil && a.Job.Version == w.prior.Version
}

// kept is the ask for an instance of the version of the previous one.
func (a ask) kept() ask {
	a.job, a.keep, a.reschedules = a.previous.Job, true, a.previous.Details().Reschedules
	return a
}

// retry replaces a failed allocation as its policy says, by the version that it ran itself if keep is set.
func (p *planner) retry(w *work, s *slot, keep bool) {
	a := s.alloc
	j, g := p.in.Job, w.group
	if keep {
		j, g = a.Job, a.Group()
	} else if !p.current(a) {
		return
	}
	policy := policyOf(j, g)
	switch v, at, delay := p.reschedule(a, policy); v {
	case later:
		if a.Details().FollowupEvalID.IsZero() {
			p.delayed = append(p.delayed, delayed{a.ID, at})
		}
	case now:
		reason := "replaced after it failed"
		if a.ClientStatus == cluster.ClientComplete {
			reason = "replaced after it ended"
		}
		w.asks = append(w.asks, ask{index: s.index, node: s.node, job: j, keep: keep, previous: a, reason: reason,
			reschedules: p.rescheduled(a, policy, delay)})
	}
}

// nextSteps are the steps that the rollout allows now, after the given placements. What is down already comes first, since
// it costs nobody an instance; what of it has to wait comes back as it was. Then come instances that do not run.
func (p *planner) nextSteps(w *work, placed []Placement) []ask {
	rank := func(a ask) int {
		switch {
		case a.reason == "":
			return 0
		case a.previous.ClientStatus != cluster.ClientRunning:
			return 1
		case p.drains(a.previous) != nil:
			return 2 // it has to go anyway
		}
		return 3
	}
	slices.SortStableFunc(w.steps, func(a, b ask) int { return rank(a) - rank(b) })
	allowed := len(w.steps)
	if w.phase == rolling {
		allowed = min(allowed, p.room(w, placed))
	}
	steps := w.steps[:allowed:allowed]
	for _, step := range w.steps[allowed:] {
		if step.reason == "" {
			steps = append(steps, step.kept())
		} else if n := p.drains(step.previous); n != nil {
			kept := step.kept()
			kept.reason = departure(n)
			w.leaving = append(w.leaving, kept)
		}
	}
	return steps
}

// room is how many more instances of the newest version may be begun while the group rolls, after the given placements.
func (p *planner) room(w *work, placed []Placement) int {
	room := w.strategy.MaxParallel
	for i := range w.slots {
		a := w.slots[i].alloc
		switch {
		case a == nil || p.gone[a.ID]:
		case !p.current(a):
			if p.live(a) && !p.unknown(a) && p.updatable(a) {
				room-- // it has just joined the rollout, and is asked for its health anew
			}
		case a.Health == cluster.HealthHealthy:
		case a.DeploymentID != p.rollout.deployment.ID:
		case a.Health == cluster.HealthUnhealthy:
			return 0
		default:
			room--
		}
	}
	for i := range placed {
		if !placed[i].KeepVersion {
			room--
		}
	}
	return max(0, room)
}
