package agent

import (
	"github.com/a43e60e4/cluster"
)

// vitals says by what the allocation is found healthy: in a deployment by the group's update strategy, outside of
// one, for a drain may wait for it, by how the group migrates. Nil: nobody asks.
func (r record) vitals() *cluster.MigrateStrategy {
	group := r.group()
	switch u := group.Update; {
	case r.Alloc.DeploymentID.IsZero():
		return group.Migrate
	case u != nil:
		return &cluster.MigrateStrategy{HealthCheck: u.HealthCheck, MinHealthyTime: u.MinHealthyTime, HealthyDeadline: u.HealthyDeadline}
	}
	return nil
}

// good reports whether all holds now that the allocation's health asks for: every task runs and, unless only the
// tasks count, every check that counts passes.
func (r record) good() bool {
	for _, t := range r.Tasks {
		if !t.offers() {
			return false
		}
	}
	if v := r.vitals(); v == nil || v.HealthCheck == cluster.HealthCheckTaskStates {
		return true
	}
	for _, c := range r.checks() {
		if c.counts && r.Checks[c.id] != cluster.CheckSuccess {
			return false
		}
	}
	return true
}

// decideHealth is the record with its health decided, if that is possible now, and when to ask again (0: when
// something changes). Health is decided once, and anew in another deployment: healthy after all was good for min_healthy_time without
// a break, unhealthy when a task ended for good or healthy_deadline passed. The deadline counts from the moment at
// which every task had been started once: what an image takes to arrive is not the job's failure.
// confirmed says that what the record holds to be good was seen by this process too.
func (r record) decideHealth(confirmed bool, now int64) (record, int64) {
	rules := r.vitals()
	if r.Health != cluster.HealthUnknown || rules == nil || r.Alloc.ServerTerminal() {
		return r, 0
	}
	begun := r.Watched
	for _, t := range r.Tasks {
		if t.State == cluster.TaskDead {
			return r.healthy(cluster.HealthUnhealthy, now), 0
		}
		if t.Tried == 0 {
			return r, 0
		}
		begun = max(begun, t.Tried)
	}
	goodAt, deadline := r.GoodSince+int64(rules.MinHealthyTime), begun+int64(rules.HealthyDeadline)
	switch {
	case r.GoodSince != 0 && goodAt <= now && confirmed:
		return r.healthy(cluster.HealthHealthy, now), 0
	case deadline <= now && rules.HealthyDeadline > 0 && confirmed:
		return r.healthy(cluster.HealthUnhealthy, now), 0
	case !confirmed: // asked again when that changes
		return r, 0
	case r.GoodSince == 0:
		goodAt = 0
	}
	if rules.HealthyDeadline <= 0 {
		deadline = 0
	}
	return r, earlier(goodAt, deadline)
}

func (r record) healthy(h cluster.HealthStatus, now int64) record {
	r.Health, r.HealthTime = h, now
	return r
}
