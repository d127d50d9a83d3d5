package cluster

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	version "github.com/hashicorp/go-version"
)

// Limits of a job's parts. Longer names are refused before anything else is made of them.
const (
	MaxNameLength = 128   // bytes of a job's ID, and of the names of jobs, groups, tasks, ports and checks
	MaxJobCount   = 50000 // allocations of a job, over all its groups
	maxGroups     = 1000  // task groups of a job
	maxTasks      = 100   // tasks of a group
	maxServices   = 64    // services of a group, with those of its tasks
	maxChecks     = 64    // checks of a service
	maxPort       = 65535
	maxPattern    = 1000 // bytes of the value of a constraint
)

// Validate reports everything that is wrong with a decoded job, in the order of the job; nil if it may be run.
// It looks at the job alone: whether its namespace, node pool and drivers exist is for others to say.
func (j *Job) Validate() Problems {
	var v validator
	v.name("", "job ID", j.ID)
	v.check(!strings.ContainsAny(j.ID, " \x00"), Path("").Field("id"), "Job ID contains a space or a NUL: %s; write dashes instead", quote(j.ID))
	v.name("", "job name", j.Name)
	v.check(!strings.Contains(j.Name, "\x00"), Path("").Field("name"), "Job name contains a NUL")
	v.words(j)
	v.check(j.Priority >= 1 && j.Priority <= 100, Path("").Field("priority"), "Job priority must be between [1, 100], have %d", j.Priority)
	for _, dc := range j.Datacenters {
		v.check(dc != "", Path("").Field("datacenters"), `Datacenter must be non-empty string; write ["*"] for all`)
	}
	v.short(Path("").Field("namespace"), "namespace", j.Namespace)
	v.short(Path("").Field("node_pool"), "node pool", j.NodePool)
	v.constraints("", j.Constraints, true)
	v.spreads("", j, j.Spreads)
	if !j.RunsToEnd() {
		v.update(Path("").Field("update"), &j.Update)
	}
	v.groups(j)
	return v.problems
}

// Warnings lists, for the one who submits a valid job, what is allowed and probably not meant, and what the job asks for and
// does not get. What it must not run without is not among it: see Missing.
func (j *Job) Warnings() Problems {
	var all Problems
	for i := range j.TaskGroups {
		g := &j.TaskGroups[i]
		at := Path("").Label("group", g.Name)
		if j.Type == JobTypeService && g.Update != nil && g.Update.MaxParallel > g.Count && g.Count > 0 {
			all.add(at.Field("update").Field("max_parallel"), "max_parallel (%d) is greater than count (%d): a change that replaces allocations replaces all at once",
				g.Update.MaxParallel, g.Count)
		}
		if warning := g.disconnectWarning(); warning != "" {
			all.add(at, "%s", warning)
		}
	}
	_, warned := j.Missing()
	return append(all, warned...)
}

// validator collects problems.
type validator struct{ problems Problems }

// check adds a problem unless ok.
func (v *validator) check(ok bool, at Path, format string, args ...any) {
	if !ok {
		v.problems.add(at, format, args...)
	}
}

// name checks a name that must be there.
func (v *validator) name(at Path, what, name string) {
	v.check(name != "", at, "Missing %s; give it one", what)
	v.check(!strings.Contains(name, "${"), at, "The %s %s refers to something; write its final text", what, quote(name))
	v.short(at, what, name)
}

func (v *validator) short(at Path, what, text string) {
	v.check(len(text) <= MaxNameLength, at, "The %s %s… is %d bytes long, the limit is %d", what, quote(text), len(text), MaxNameLength)
}

// quote repeats a user's text in a message, cut if it is long.
func quote(text string) string { return fmt.Sprintf("%.*q", maxQuoted, text) }

// words checks every field that is one of a list of words. What is inherited is said where it was written.
func (v *validator) words(j *Job) {
	type wrong struct {
		at    Path
		noun  reflect.Type
		value string
	}
	var said []wrong
	walk(reflect.ValueOf(j).Elem(), "", func(at Path, noun reflect.Type, f Field, field reflect.Value) {
		if len(f.Enum) == 0 || field.String() == "" || slices.Contains(f.Enum, field.String()) || strings.Contains(field.String(), "${") {
			return
		}
		value := f.Word() + " = " + field.String()
		for _, w := range said {
			if w.value == value && (at.Within(w.at) || w.noun == noun && at.Within(w.at.Parent())) {
				return
			}
		}
		said = append(said, wrong{at, noun, value})
		v.check(false, at.Field(f.Word()), "%s must be %s, have %s%s", f.Word(), oneOf(f.Enum), quote(field.String()), didYouMean(field.String(), f.Enum))
	})
}

// oneOf lists words: "a", "b" or "c".
func oneOf(words []string) string {
	var b strings.Builder
	for i, word := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(strconv.Quote(word))
	}
	return b.String()
}

// didYouMean names the known word that a misspelt one was meant to be, if one is near.
func didYouMean(word string, known []string) string {
	if near := Nearest(word, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

func (v *validator) groups(j *Job) {
	v.check(len(j.TaskGroups) > 0, "", `Missing job task groups; write at least one "group" block`)
	v.check(len(j.TaskGroups) <= maxGroups, "", "The job has %d task groups, the limit is %d", len(j.TaskGroups), maxGroups)
	total := 0
	seen := map[string]bool{}
	for i := range j.TaskGroups {
		g := &j.TaskGroups[i]
		at := Path("").Label("group", g.Name)
		v.check(!seen[g.Name] || g.Name == "", at, "Job task group %s redefined; give each group a name of its own", quote(g.Name))
		seen[g.Name] = true
		v.group(at, j, g)
		if g.Count > 0 {
			total += min(g.Count, MaxJobCount+1)
		}
	}
	v.check(total <= MaxJobCount, "", "The counts of the job's groups add up to more than %d, the limit for a job", MaxJobCount)
}

func (v *validator) group(at Path, j *Job, g *TaskGroup) {
	v.name(at, "task group name", g.Name)
	v.check(!strings.Contains(g.Name, "\x00"), at, "Task group name contains a NUL")
	v.check(g.Count >= 0, at.Field("count"), "Task group count can't be negative, have %d", g.Count)
	v.check(!j.OnEveryNode() || g.Count <= 1, at.Field("count"), "Count cannot exceed 1 with system scheduler, have %d; it runs once on every node", g.Count)
	v.constraints(at, g.Constraints, true)
	v.spreads(at, j, g.Spreads)
	v.ephemeralDisk(at, g)
	v.check(g.ShutdownDelay >= 0, at.Field("shutdown_delay"), "ShutdownDelay must be a positive value, have %s", g.ShutdownDelay)
	v.restart(at.Field("restart"), &g.RestartPolicy, true)
	v.reschedule(at.Field("reschedule"), j, g.ReschedulePolicy)
	v.groupUpdate(at.Field("update"), j, g)
	v.migrate(at.Field("migrate"), j, g.Migrate)
	v.disconnect(at.Field("disconnect"), j, g.Disconnect)
	ports := v.networks(at, g)
	v.check(len(g.Tasks) > 0, at, `Missing tasks for task group %s; write at least one "task" block in it`, quote(g.Name))
	v.check(len(g.Tasks) <= maxTasks, at, "The group has %d tasks, the limit is %d", len(g.Tasks), maxTasks)
	seen := map[string]bool{}
	for i := range g.Tasks {
		t := &g.Tasks[i]
		path := at.Label("task", t.Name)
		v.check(!seen[t.Name] || t.Name == "", path, "Task %s redefined in the group; give each task a name of its own", quote(t.Name))
		seen[t.Name] = true
		v.task(path, j, g, t)
	}
	v.services(at, g, ports)
}

func (v *validator) ephemeralDisk(at Path, g *TaskGroup) {
	at = at.Field("ephemeral_disk").Field("size")
	size := g.EphemeralDisk.SizeMB
	v.check(size >= 10, at, "Minimum DiskMB value is 10; got %d", size)
	v.check(size <= math.MaxInt32, at, "The disk size of %d MB is not of this world; the unit is MB", size)
}

// MinRestartInterval and its like are the shortest times that make sense.
const (
	minRestartInterval  = 5 * time.Second
	minRescheduleDelay  = 5 * time.Second
	minRescheduleWindow = 15 * time.Second
)

func (v *validator) restart(at Path, r *RestartPolicy, whole bool) {
	v.check(r.Attempts != 0 || r.Mode == RestartModeFail, at.Field("attempts"), `Restart policy %q with 0 attempts is ambiguous; write mode = "fail" or attempts above 0`, r.Mode)
	v.check(r.Interval >= minRestartInterval, at.Field("interval"), "Interval can not be less than %s (got %s)", minRestartInterval, r.Interval)
	v.check(r.Delay >= 0, at.Field("delay"), "Delay can not be negative (got %s)", r.Delay)
	if whole && r.Attempts > 0 && r.Delay > 0 && r.Interval > 0 {
		fits := int64(r.Attempts) <= int64(r.Interval/r.Delay)
		v.check(fits, at, "Tasks can't restart %d times in an interval of %s with a delay of %s; make the interval longer or the delay shorter", r.Attempts, r.Interval, r.Delay)
	}
}

func (v *validator) groupUpdate(at Path, j *Job, g *TaskGroup) {
	if g.Update == nil || *g.Update == j.Update && !j.RunsToEnd() { // the job's is said there
		return
	}
	if j.RunsToEnd() {
		v.check(false, at, "Job type %q does not allow update block; remove it", j.Type)
		return
	}
	v.update(at, g.Update)
}

func (v *validator) update(at Path, u *UpdateStrategy) {
	v.check(u.MaxParallel >= 0, at.Field("max_parallel"), "Max parallel can not be less than zero: %d < 0", u.MaxParallel)
	v.check(u.MinHealthyTime >= 0, at.Field("min_healthy_time"), "Minimum healthy time may not be less than zero: %s", u.MinHealthyTime)
	v.check(u.HealthyDeadline > 0, at.Field("healthy_deadline"), "Healthy deadline must be greater than zero: %s", u.HealthyDeadline)
	v.check(u.ProgressDeadline >= 0, at.Field("progress_deadline"), "Progress deadline must be zero or greater: %s", u.ProgressDeadline)
	v.check(u.MinHealthyTime < u.HealthyDeadline, at.Field("min_healthy_time"), "Minimum healthy time must be less than healthy deadline: %s > %s", u.MinHealthyTime, u.HealthyDeadline)
	v.check(u.ProgressDeadline == 0 || u.HealthyDeadline < u.ProgressDeadline, at.Field("healthy_deadline"), "Healthy deadline must be less than progress deadline: %s > %s", u.HealthyDeadline, u.ProgressDeadline)
	v.check(u.Stagger > 0, at.Field("stagger"), "Stagger must be greater than zero: %s", u.Stagger)
}

func (v *validator) migrate(at Path, j *Job, m *MigrateStrategy) {
	if m == nil {
		return
	}
	if j.RunsToEnd() || j.OnEveryNode() {
		v.check(false, at, "Job type %q does not allow migrate block; remove it", j.Type)
		return
	}
	v.check(m.MaxParallel >= 0, at.Field("max_parallel"), "MaxParallel must be >= 0 but found %d", m.MaxParallel)
	v.check(m.MinHealthyTime >= 0 && m.MinHealthyTime <= m.HealthyDeadline, at.Field("min_healthy_time"),
		"MinHealthyTime must be between 0 and HealthyDeadline (%s), have %s", m.HealthyDeadline, m.MinHealthyTime)
}

func (v *validator) reschedule(at Path, j *Job, r *ReschedulePolicy) {
	if r == nil || (r.Attempts <= 0 && !r.Unlimited) {
		return
	}
	if j.OnEveryNode() {
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

// fits reports whether the attempts can be made within the interval.
func (r *ReschedulePolicy) fits() bool {
	delay, before, left := r.Delay, time.Duration(0), r.Interval
	for range r.Attempts {
		if left -= delay; left < 0 {
			return false
		}
		switch r.DelayFunction {
		case "exponential":
			delay *= 2
		case "fibonacci":
			delay, before = delay+max(before, 0), delay
		}
		if r.DelayFunction != "constant" && r.MaxDelay > 0 {
			delay = min(delay, r.MaxDelay)
		}
	}
	return true
}

func (v *validator) spreads(at Path, j *Job, spreads []Spread) {
	if len(spreads) > 0 && j.OnEveryNode() {
		v.check(false, at.Index("spread", 0), "System jobs may not have a spread block; remove it")
		return
	}
	for i, s := range spreads {
		path := at.Index("spread", i)
		v.check(s.Attribute != "", path, `Missing spread attribute; write one such as "${node.datacenter}"`)
		v.check(s.Weight > 0 && s.Weight <= 100, path.Field("weight"), "Spread block must have a positive weight from 0 to 100, have %d", s.Weight)
		seen, sum := map[string]bool{}, 0
		for _, target := range s.SpreadTarget {
			where := path.Label("target", target.Value)
			v.check(!seen[target.Value], where, "Spread target value %s already defined; write it once", quote(target.Value))
			seen[target.Value] = true
			ok := target.Percent >= 0 && target.Percent <= 100
			v.check(ok, where.Field("percent"), "Spread target percentage for value %s must be between 0 and 100, have %d", quote(target.Value), target.Percent)
			if ok {
				sum += target.Percent
			}
		}
		v.check(sum <= 100, path, "Sum of spread target percentages must not be greater than 100%%; got %d%%", sum)
	}
}

// constraints checks the constraints of a job or group (distinct is true) or of a task.
func (v *validator) constraints(at Path, constraints []Constraint, distinct bool) {
	for i, c := range constraints {
		path := at.Index("constraint", i)
		switch c.Operand {
		case "distinct_hosts":
			v.check(distinct, path, "distinct_hosts constraints must be placed on the job or the group, not on a task")
			v.check(c.RTarget == "" || c.RTarget == "true" || c.RTarget == "false", path, "distinct_hosts must be true or false, have %s", quote(c.RTarget))
			continue
		case "is_set", "is_not_set":
			v.check(c.RTarget == "", path.Field("value"), "Operator %q does not support an RTarget; remove the value", c.Operand)
		case "=", "==", "is", "!=", "not", "<", "<=", ">", ">=", "set_contains", "set_contains_all", "set_contains_any":
			v.check(c.RTarget != "", path, "Operator %q requires an RTarget; write a value", c.Operand)
		case "regexp", "version", "semver":
			v.check(c.RTarget != "", path, "Operator %q requires an RTarget; write a value", c.Operand)
			v.pattern(path.Field("value"), c)
		case "distinct_property":
			v.distinctProperty(path, c, distinct)
		default:
			v.check(false, path.Field("operator"), "Unknown constraint type %s; write one of = != < <= > >= regexp version semver set_contains is_set is_not_set distinct_hosts", quote(c.Operand))
		}
		v.check(c.LTarget != "", path, "No LTarget provided but is required by constraint; write an attribute")
		v.check(knownTarget(c.LTarget), path.Field("attribute"), "unsupported attribute %s; write ${node.unique.id}, ${node.datacenter}, ${node.unique.name}, ${node.class}, ${node.pool}, ${attr.…} or ${meta.…}", quote(c.LTarget))
	}
}

// distinctProperty checks how many instances may share a value: 1 if it is not written.
func (v *validator) distinctProperty(at Path, c Constraint, allowed bool) {
	v.check(allowed, at, "distinct_property constraints must be placed on the job or the group, not on a task")
	if c.RTarget != "" {
		count, err := strconv.ParseUint(c.RTarget, 10, 31)
		v.check(err == nil && count > 0, at.Field("value"), "Failed to convert RTarget %s to a count; write a number above 0", quote(c.RTarget))
	}
}

// pattern compiles the value of a constraint the way the scheduler will.
func (v *validator) pattern(at Path, c Constraint) {
	if len(c.RTarget) > maxPattern {
		v.check(false, at, "The value %s… is %d bytes long, the limit is %d", quote(c.RTarget), len(c.RTarget), maxPattern)
		return
	}
	var err error
	switch c.Operand {
	case "regexp":
		_, err = regexp.Compile(c.RTarget)
		v.check(err == nil, at, "Regular expression failed to compile: %v", err)
	case "version":
		_, err = version.NewConstraint(c.RTarget)
		v.check(err == nil, at, "Version constraint is invalid: %v", err)
	case "semver":
		_, err = version.NewConstraint(c.RTarget)
		v.check(err == nil && !strings.Contains(c.RTarget, "~>"), at, `Semver constraint is invalid: %s; write one such as ">= 1.2.0"`, quote(c.RTarget))
	}
}

func knownTarget(target string) bool {
	if !strings.HasPrefix(target, "$") {
		return true
	}
	switch target {
	case "${node.unique.id}", "${node.datacenter}", "${node.unique.name}", "${node.class}", "${node.pool}":
		return true
	}
	return strings.HasSuffix(target, "}") && (strings.HasPrefix(target, "${attr.") || strings.HasPrefix(target, "${meta."))
}
