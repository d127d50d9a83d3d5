package cluster

import (
	"slices"
	"time"
)

// The shortest times that make sense.
const (
	minRestartInterval  = 5 * time.Second
	minRescheduleDelay  = 5 * time.Second
	minRescheduleWindow = 15 * time.Second
)

// delay checks the time between leaving the service list and the kill.
func (v *validator) delay(at Path, d time.Duration) {
	v.check(d >= 0, at.Field("shutdown_delay"), "ShutdownDelay must be a positive value, have %s", d)
}

func (v *validator) maxRunDuration(at Path, g *TaskGroup) {
	at = at.Field("max_run_duration")
	v.check(g.MaxRunDuration >= 0, at, "max_run_duration must be greater than zero, have %s", g.MaxRunDuration)
	v.check(g.MaxRunDuration == 0 || v.job.RunsToEnd(), at, `max_run_duration is for jobs of type "batch" and "sysbatch"; remove it`)
}

func (v *validator) restart(at Path, r *RestartPolicy, whole bool) {
	v.check(r.Attempts != 0 || r.Mode == RestartModeFail, at.Field("attempts"), `Restart policy %q with 0 attempts is ambiguous; write mode = "fail" or attempts above 0`, r.Mode)
	v.warn(r.Attempts < 0, at.Field("attempts"), "%d attempts count as 0: nothing is started again", r.Attempts)
	v.check(r.Interval >= minRestartInterval, at.Field("interval"), "Interval can not be less than %s (got %s)", minRestartInterval, r.Interval)
	v.check(r.Delay >= 0, at.Field("delay"), "Delay can not be negative (got %s)", r.Delay)
	if whole && r.Attempts > 0 && r.Delay > 0 && r.Interval > 0 {
		fits := int64(r.Attempts) <= int64(r.Interval/r.Delay)
		v.check(fits, at, "Tasks can't restart %d times in an interval of %s with a delay of %s; make the interval longer or the delay shorter", r.Attempts, r.Interval, r.Delay)
	}
}

// updates checks the groups' update strategies. What a group has from the job is said there, once.
func (v *validator) updates() {
	j := v.job
	if j.Update != (UpdateStrategy{}) {
		v.only(!j.RunsToEnd(), "update", "update")
	}
	said, promoting, manual := false, 0, Path("")
	for i := range j.TaskGroups {
		g := &j.TaskGroups[i]
		if g.Update == nil {
			continue
		}
		at := Path("").Label("group", g.Name).Field("update")
		if !v.only(!j.RunsToEnd(), at, "update") {
			continue
		}
		if *g.Update == j.Update {
			if at = "update"; !said {
				v.update(at, g.Update)
			}
			said = true
		} else {
			v.update(at, g.Update)
		}
		if g.Update.AutoPromote {
			promoting++
		} else if g.Update.Canary > 0 {
			manual = at
		}
		v.warn(j.Type == JobTypeService && g.Update.MaxParallel > g.Count && g.Count > 0, at.Field("max_parallel"),
			"max_parallel (%d) is greater than the count of group %s (%d): a change that replaces allocations replaces all at once", g.Update.MaxParallel, quote(g.Name), g.Count)
		if j.Type == JobTypeService && g.Update.ProgressDeadline > 0 {
			v.killTimeouts(g)
		}
	}
	if len(j.TaskGroups) == 0 && !j.RunsToEnd() {
		v.update("update", &j.Update)
	}
	v.warn(promoting > 0 && manual != "", manual, "auto_promote must be true for all groups with canaries to have an effect")
}

// killTimeouts holds the time that the tasks of a group may take to end against that of an update.
func (v *validator) killTimeouts(g *TaskGroup) {
	for i := range g.Tasks {
		t := &g.Tasks[i]
		v.check(t.KillTimeout <= g.Update.ProgressDeadline, Path("").Label("group", g.Name).Label("task", t.Name).Field("kill_timeout"),
			"KillTimeout (%s) is longer than the group's ProgressDeadline (%s)", t.KillTimeout, g.Update.ProgressDeadline)
	}
}

func (v *validator) update(at Path, u *UpdateStrategy) {
	v.check(u.MaxParallel >= 0, at.Field("max_parallel"), "Max parallel can not be less than zero: %d < 0", u.MaxParallel)
	v.check(u.Canary >= 0, at.Field("canary"), "Canary count can not be less than zero: %d < 0", u.Canary)
	v.check(!u.AutoPromote || u.Canary != 0, at.Field("auto_promote"), "Auto Promote requires a Canary count greater than zero; write canary = 1")
	v.warn(v.job.Type == JobTypeSystem && u.Canary > 100, at.Field("canary"), "the canary of a system job is a percentage of its nodes: %d is more than all", u.Canary)
	v.check(u.MinHealthyTime >= 0, at.Field("min_healthy_time"), "Minimum healthy time may not be less than zero: %s", u.MinHealthyTime)
	v.check(u.HealthyDeadline > 0, at.Field("healthy_deadline"), "Healthy deadline must be greater than zero: %s", u.HealthyDeadline)
	v.check(u.ProgressDeadline >= 0, at.Field("progress_deadline"), "Progress deadline must be zero or greater: %s", u.ProgressDeadline)
	v.check(u.MinHealthyTime < u.HealthyDeadline, at.Field("min_healthy_time"), "Minimum healthy time must be less than healthy deadline: %s > %s", u.MinHealthyTime, u.HealthyDeadline)
	v.check(u.ProgressDeadline == 0 || u.HealthyDeadline < u.ProgressDeadline, at.Field("healthy_deadline"), "Healthy deadline must be less than progress deadline: %s > %s", u.HealthyDeadline, u.ProgressDeadline)
	v.check(u.Stagger > 0, at.Field("stagger"), "Stagger must be greater than zero: %s", u.Stagger)
}

func (v *validator) migrate(at Path, m *MigrateStrategy) {
	if m == nil || !v.only(!v.job.RunsToEnd() && !v.job.OnEveryNode(), at, "migrate") {
		return
	}
	v.check(m.MaxParallel >= 0, at.Field("max_parallel"), "MaxParallel must be >= 0 but found %d", m.MaxParallel)
	v.check(m.MinHealthyTime >= 0 && m.MinHealthyTime <= m.HealthyDeadline, at.Field("min_healthy_time"),
		"MinHealthyTime must be between 0 and HealthyDeadline (%s), have %s", m.HealthyDeadline, m.MinHealthyTime)
}

func (v *validator) reschedule(at Path, r *ReschedulePolicy) {
	if r == nil || (r.Attempts <= 0 && !r.Unlimited) {
		return
	}
	if v.job.OnEveryNode() {
		v.check(false, at, "System jobs should not have a reschedule policy; remove it")
		return
	}
	v.check(r.Delay >= minRescheduleDelay, at.Field("delay"), "Delay cannot be less than %s (got %s)", minRescheduleDelay, r.Delay)
	if r.DelayFunction != "constant" {
		v.check(r.MaxDelay >= minRescheduleDelay, at.Field("max_delay"), "Max Delay cannot be less than %s (got %s)", minRescheduleDelay, r.MaxDelay)
		v.check(r.MaxDelay >= r.Delay, at.Field("max_delay"), "Max Delay cannot be less than Delay %s (got %s)", r.Delay, r.MaxDelay)
	}
	if r.Unlimited {
		v.check(r.Attempts <= 0, at, "Reschedule Policy with Attempts = %d, Interval = %s, and Unlimited = true is ambiguous; write unlimited = false or remove attempts", r.Attempts, r.Interval)
		return
	}
	v.check(r.Interval >= minRescheduleWindow, at.Field("interval"), "Interval cannot be less than %s (got %s)", minRescheduleWindow, r.Interval)
	if r.Interval >= minRescheduleWindow && r.Delay >= minRescheduleDelay {
		v.check(r.fits(), at, "%d attempts with a delay of %s do not fit into an interval of %s; make the interval longer", r.Attempts, r.Delay, r.Interval)
	}
}

// fits reports whether the attempts can be made within the interval. The delay is above zero.
func (r *ReschedulePolicy) fits() bool {
	grows := r.DelayFunction == "exponential" || r.DelayFunction == "fibonacci"
	delay, before, left := r.Delay, time.Duration(0), r.Interval
	for attempts := r.Attempts; attempts > 0; attempts-- {
		if !grows || r.MaxDelay > 0 && delay >= r.MaxDelay { // all that follow take as long
			return int64(attempts) <= int64(left/delay)
		}
		if left -= delay; left < delay { // no delay is shorter than the one before
			return left >= 0 && attempts == 1
		}
		if r.DelayFunction == "exponential" {
			before = delay
		}
		delay, before = delay+before, delay
		if r.MaxDelay > 0 {
			delay = min(delay, r.MaxDelay)
		}
	}
	return true
}

func (v *validator) disconnect(at Path, g *TaskGroup) {
	d, older := g.Disconnect, g.olderDisconnect(v.job.OnEveryNode())
	v.warn(d != nil && older != nil && *d != *older, at, "this block counts, and not stop_after_client_disconnect, max_client_disconnect and prevent_reschedule_on_lost beside it")
	if d == nil {
		return
	}
	v.check(d.LostAfter >= 0, at.Field("lost_after"), "lost_after cannot be a negative duration, have %s", d.LostAfter)
	v.check(d.StopOnClientAfter >= 0, at.Field("stop_on_client_after"), "stop_on_client_after cannot be a negative duration, have %s", d.StopOnClientAfter)
	v.check(d.LostAfter == 0 || d.StopOnClientAfter == 0, at, "Disconnect cannot be configured with both lost_after and stop_on_client_after; remove one")
	v.check(d.StopOnClientAfter == 0 || !v.job.OnEveryNode(), at.Field("stop_on_client_after"),
		"stop_on_client_after can only be used with service and batch jobs; remove it")
}

func (v *validator) scaling(at Path, g *TaskGroup) {
	s := g.Scaling
	if s == nil || !v.only(v.job.Type != JobTypeSystem, at, "scaling") {
		return
	}
	v.check(s.Type == "horizontal", at.Field("type"), `Scaling policy invalid: the type of a group's is "horizontal", have %s`, quote(s.Type))
	limit := s.Max
	if limit == nil || *limit < 0 {
		v.check(false, at, "Scaling policy invalid: maximum count must be specified and non-negative; write max")
		limit = nil
	}
	if s.Min != nil {
		v.check(*s.Min >= 0, at.Field("min"), "Scaling policy invalid: minimum count must be specified and non-negative, have %d", *s.Min)
		v.check(limit == nil || *s.Min <= *limit, at.Field("max"), "Scaling policy invalid: maximum count must not be less than minimum count (%d)", *s.Min)
		v.check(int64(g.Count) >= *s.Min, at.Field("min"), "Scaling policy invalid: task group count (%d) must not be less than minimum count in scaling policy (%d)", g.Count, *s.Min)
	}
	v.check(limit == nil || int64(g.Count) <= *limit, at.Field("max"), "Scaling policy invalid: task group count (%d) must not be greater than maximum count in scaling policy (%d)", g.Count, deref(limit))
}

func deref(number *int64) int64 {
	if number == nil {
		return 0
	}
	return *number
}

// taskScaling checks the scaling blocks of a task.
func (v *validator) taskScaling(at Path, t *Task) {
	var seen []string
	for i, s := range t.ScalingPolicies {
		path := at.Index("scaling", i)
		v.check(s.Type != "", path, `Scaling policy invalid: a task's is labelled "cpu" or "mem"`)
		v.check(!slices.Contains(seen, s.Type), path, "Scaling policy invalid: %s has two; write one", quote(s.Type))
		seen = append(seen, s.Type)
		v.check(s.Min == nil || s.Max == nil || *s.Min <= *s.Max, path.Field("max"), "Scaling policy invalid: maximum (%d) must not be less than minimum (%d)", deref(s.Max), deref(s.Min))
	}
}
