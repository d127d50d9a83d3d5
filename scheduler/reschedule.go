package scheduler

import (
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
)

// keptReschedules is how many events a line of allocations remembers beyond those that its policy counts.
const keptReschedules = 5

// verdict says what becomes of an allocation that failed.
type verdict uint8

const (
	never verdict = iota // it stays as it is and keeps its place
	later                // it is replaced when its time comes
	now                  // it is replaced at once
)

// policyOf is the group's reschedule policy. System jobs cannot have one: their failed instances come back
// as those of services do by default, so that a broken one is tried again, but not in a tight loop. Those of sysbatch jobs have failed for good.
func policyOf(j *cluster.Job, g *cluster.TaskGroup) *cluster.ReschedulePolicy {
	if g.ReschedulePolicy != nil {
		return g.ReschedulePolicy
	}
	switch j.Type {
	case cluster.JobTypeSystem:
		return cluster.DefaultGroup(&cluster.Job{Type: cluster.JobTypeService}).ReschedulePolicy
	case cluster.JobTypeSysBatch:
		return &cluster.ReschedulePolicy{}
	}
	return cluster.DefaultGroup(j).ReschedulePolicy
}

// nextDelay is how long after its failure the allocation is replaced; false: it is not.
func nextDelay(policy *cluster.ReschedulePolicy, failed time.Time, events []cluster.RescheduleEvent) (time.Duration, bool) {
	if !policy.Unlimited {
		recent := 0
		for _, e := range events {
			if failed.Sub(time.Unix(0, e.RescheduleTime)) < policy.Interval {
				recent++
			}
		}
		if recent >= policy.Attempts {
			return 0, false
		}
	}
	n := len(events)
	if n == 0 || policy.DelayFunction == "constant" {
		return policy.Delay, true
	}
	last := time.Duration(events[n-1].Delay)
	delay := 2 * last
	if policy.DelayFunction == "fibonacci" {
		delay = last
		// A delay that fell began the series anew: what came before does not count.
		if n > 1 && events[n-2].Delay <= events[n-1].Delay {
			delay += time.Duration(events[n-2].Delay)
		}
	}
	if policy.MaxDelay > 0 && delay >= policy.MaxDelay {
		if failed.Sub(time.Unix(0, events[n-1].RescheduleTime)) > policy.MaxDelay {
			return policy.Delay, true
		}
		return policy.MaxDelay, true
	}
	return delay, true
}

// reschedule says when the failed allocation is replaced (the time matters for later alone) and after which delay.
// The servers' own clock alone decides: a node whose clock is years off is replaced like any other.
func (p *planner) reschedule(a *cluster.Allocation, policy *cluster.ReschedulePolicy) (v verdict, at time.Time, delay time.Duration) {
	failed := time.Unix(0, a.ModifyTime)
	details := a.Details()
	delay, again := nextDelay(policy, failed, details.Reschedules)
	if !again {
		return never, time.Time{}, 0
	}
	if id := details.FollowupEvalID; !id.IsZero() {
		if p.awaits(id) {
			return later, time.Time{}, delay
		}
		return now, time.Time{}, delay
	}
	at = failed.Add(delay)
	if at.After(p.in.Now) {
		return later, at, delay
	}
	return now, at, delay
}

// rescheduled is the history that the replacement of the failed allocation carries.
func (p *planner) rescheduled(a *cluster.Allocation, policy *cluster.ReschedulePolicy, delay time.Duration) []cluster.RescheduleEvent {
	events := a.Details().Reschedules
	if over := len(events) + 1 - max(keptReschedules, policy.Attempts); over > 0 {
		events = events[over:]
	}
	return append(slices.Clone(events), cluster.RescheduleEvent{
		RescheduleTime: p.in.Now.UnixNano(), PrevAllocID: a.ID, PrevNodeID: a.NodeID, Delay: int64(delay),
	})
}

// followups makes the evaluations that will look at the allocations again. Those that are due within a second of one
// another share one, due with the last of them.
func (p *planner) followups(all []delayed, trigger, description string) {
	slices.SortStableFunc(all, func(a, b delayed) int { return a.at.Compare(b.at) })
	for i := 0; i < len(all); {
		eval := p.newEval(trigger, cluster.EvalPending)
		eval.StatusDescription = description
		first := all[i].at
		for ; i < len(all) && all[i].at.Sub(first) <= time.Second; i++ {
			eval.WaitUntil = all[i].at.UnixNano()
			p.plan.Waits = append(p.plan.Waits, Wait{ID: all[i].id, FollowupEvalID: eval.ID})
		}
		p.plan.Evals = append(p.plan.Evals, eval)
	}
}

// delayed is an allocation and when it is to be looked at again.
type delayed struct {
	id cluster.ID
	at time.Time
}
