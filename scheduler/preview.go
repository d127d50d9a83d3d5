package scheduler

import "github.com/a43e60e4/cluster"

// Preview is a plan that nobody carries out, and what it means.
type Preview struct {
	Plan    Plan
	Desired map[string]cluster.DesiredUpdates // by group, removed ones too
	Scores  []float64                         // of Plan.Places: how well the node suits, 1 at best
}

// Look is Schedule for somebody who asks what would be done.
func Look(in Input) Preview {
	p := newPlanner(in)
	p.scored = true
	p.run()
	return Preview{Plan: p.plan, Desired: p.desired(), Scores: p.ratings}
}

// fate is what becomes of an instance that runs.
type fate uint8

const (
	stays fate = iota
	ends
	updates
	moves
	isReplaced
	isAwaited
)

// desired counts what the plan does, and what it leaves to later steps of a rollout or a drain.
func (p *planner) desired() map[string]cluster.DesiredUpdates {
	counts := map[string]cluster.DesiredUpdates{}
	count := func(group string, add func(*cluster.DesiredUpdates)) {
		u := counts[group]
		add(&u)
		counts[group] = u
	}
	fates := p.fates()
	known := make(map[cluster.ID]*cluster.Allocation, len(p.in.Allocs))
	for _, a := range p.in.Allocs {
		known[a.ID] = a
		if a.Terminal() && !(p.in.Job != nil && p.done(a)) {
			continue
		}
		count(a.TaskGroup, func(u *cluster.DesiredUpdates) {
			*map[fate]*uint64{stays: &u.Ignore, ends: &u.Stop, updates: &u.InPlaceUpdate, moves: &u.Migrate,
				isReplaced: &u.DestructiveUpdate, isAwaited: &u.Disconnect}[fates[a.ID]]++
		})
	}
	begins := func(group string, previous cluster.ID) {
		if f := fates[previous]; f == isReplaced || f == moves {
			return // counted with the one that goes
		}
		count(group, func(u *cluster.DesiredUpdates) {
			u.Place++
			if a := known[previous]; a != nil && a.ClientStatus == cluster.ClientFailed {
				u.RescheduleNow++
			}
		})
	}
	for i := range p.plan.Places {
		begins(p.plan.Places[i].TaskGroup, p.plan.Places[i].Previous)
	}
	for i := range p.groups {
		for _, a := range p.groups[i].unplaced {
			previous := cluster.ID{}
			if a.previous != nil {
				previous = a.previous.ID
			}
			begins(p.groups[i].group.Name, previous)
		}
	}
	for _, wait := range p.plan.Waits {
		if a := known[wait.ID]; a != nil && a.ClientStatus == cluster.ClientFailed {
			count(a.TaskGroup, func(u *cluster.DesiredUpdates) { u.RescheduleLater++ })
		}
	}
	return counts
}

// fates are those of the instances that do not just stay.
func (p *planner) fates() map[cluster.ID]fate {
	fates := map[cluster.ID]fate{}
	for _, stop := range p.plan.Stops {
		fates[stop.ID] = ends
	}
	for _, update := range p.plan.Updates {
		fates[update.ID] = updates
	}
	for _, id := range p.plan.Unknown {
		fates[id] = isAwaited
	}
	for i := range p.groups {
		for _, a := range p.groups[i].leaving {
			fates[a.previous.ID] = moves
		}
		for _, a := range p.groups[i].steps {
			if a.reason != "" {
				fates[a.previous.ID] = isReplaced
			}
		}
	}
	return fates
}
