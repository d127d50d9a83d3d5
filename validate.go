package cluster

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
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
	maxLaunchName = 200  // bytes that the ID of a launch, and that of a launch of it, has more than that of its parent
)

// Validate reports everything that is wrong with a decoded job, in the order of the job; nil if it may be run.
// It looks at the job alone: whether its namespace, node pool and drivers exist is for others to say.
func (j *Job) Validate() Problems { return j.review().problems }

// Warnings lists, for the one who submits a valid job, what is allowed and probably not meant, and what the job asks for and
// does not get. What it must not run without is not among it: see Missing.
func (j *Job) Warnings() Problems {
	_, missing := j.Missing()
	return append(j.review().warnings, missing...)
}

// Review is what there is to say about a job.
type Review struct {
	Problems Problems // see Validate
	Refused  Problems // see Missing
	Warnings Problems // see Warnings
}

// Review is Validate, Missing and Warnings in one.
func (j *Job) Review() Review {
	v := j.review()
	refused, missing := j.Missing()
	return Review{v.problems, refused, append(v.warnings, missing...)}
}

// validator looks at a job and collects what there is to say about it.
type validator struct {
	job                *Job
	problems, warnings Problems
}

// check adds a problem unless ok.
func (v *validator) check(ok bool, at Path, format string, args ...any) {
	if !ok {
		v.problems.add(at, format, args...)
	}
}

// warn adds a warning if something is odd.
func (v *validator) warn(odd bool, at Path, format string, args ...any) {
	if odd {
		v.warnings.add(at, format, args...)
	}
}

func (j *Job) review() *validator {
	v := &validator{job: j}
	v.jobName("job ID", j.ID)
	v.check(!strings.ContainsAny(j.ID, " \x00"), "id", "Job ID contains a space or a NUL: %s; write dashes instead", quote(j.ID))
	v.jobName("job name", j.Name)
	v.check(!strings.Contains(j.Name, "\x00"), "name", "Job name contains a NUL")
	v.words()
	v.check(j.Priority >= 1 && j.Priority <= 100, "priority", "Job priority must be between [1, 100], have %d", j.Priority)
	for _, dc := range j.Datacenters {
		v.check(dc != "", "datacenters", `Datacenter must be non-empty string; write ["*"] for all`)
		v.warn(strings.Contains(dc, "${"), "datacenters", "references are not replaced here: no data center is called %s", quote(dc))
	}
	v.short("namespace", "namespace", j.Namespace)
	v.short("node_pool", "node pool", j.NodePool)
	v.constraints("", j.Constraints, true)
	v.affinities("", j.Affinities)
	v.spreads("", j.Spreads)
	v.groups()
	v.periodic()
	v.parameterized()
	v.ui()
	return v
}

// only refuses a block that jobs of some types alone may have.
func (v *validator) only(ok bool, at Path, block string) bool {
	v.check(ok, at, "Job type %q does not allow %s block; remove it", v.job.Type, block)
	return ok
}

// jobName checks the job's ID or name. That of a launch, which the servers have made, may be longer.
func (v *validator) jobName(what, name string) {
	if v.job.ParentID != "" && len(name) > MaxNameLength && len(name) <= MaxNameLength+maxLaunchName {
		return
	}
	v.name("", what, name)
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
func quote(text string) quoted { return quoted(text) }

// quoted is a text that is quoted when a message is made of it: most checks make none.
type quoted string

// String implements fmt.Stringer.
func (q quoted) String() string { return fmt.Sprintf("%.*q", maxQuoted, string(q)) }

// words checks every field that is one of a list of words, and warns of those that are not written any more. What is inherited
// is said where it was written.
func (v *validator) words() {
	type wrong struct {
		at    Path
		noun  reflect.Type
		value string
	}
	var said []wrong
	walk(reflect.ValueOf(v.job).Elem(), "", func(at Path, noun reflect.Type, f Field, field reflect.Value) {
		if f.Deprecated != "" && !field.IsZero() {
			v.warn(true, firstPath(at, f, field), "%q is deprecated: %s", f.Word(), f.Deprecated)
		}
		if len(f.Enum) == 0 || field.String() == "" || slices.Contains(f.Enum, field.String()) || f.Refers && strings.Contains(field.String(), "${") {
			return
		}
		value := f.Word() + " = " + field.String()
		for _, w := range said[max(0, len(said)-100):] {
			if w.value == value && (at.Within(w.at) || w.noun == noun && at.Within(w.at.Parent())) {
				return
			}
		}
		said = append(said, wrong{at, noun, value})
		v.check(false, at.Field(f.Word()), "%s must be %s, have %s%s", f.Word(), oneOf(f.Enum), quote(field.String()), didYouMean(field.String(), f.Enum))
	})
}

func names[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

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

func (v *validator) groups() {
	j := v.job
	v.check(len(j.TaskGroups) > 0, "", `Missing job task groups; write at least one "group" block`)
	v.check(len(j.TaskGroups) <= maxGroups, "", "The job has %d task groups, the limit is %d", len(j.TaskGroups), maxGroups)
	total := 0
	seen := map[string]bool{}
	for i := range j.TaskGroups {
		g := &j.TaskGroups[i]
		at := Path("").Label("group", g.Name)
		v.check(!seen[g.Name] || g.Name == "", at, "Job task group %s redefined; give each group a name of its own", quote(g.Name))
		seen[g.Name] = true
		v.group(at, g)
		if g.Count > 0 {
			total += min(g.Count, MaxJobCount+1)
		}
	}
	v.check(total <= MaxJobCount, "", "The counts of the job's groups add up to more than %d, the limit for a job", MaxJobCount)
	v.updates()
}

func (v *validator) group(at Path, g *TaskGroup) {
	j := v.job
	v.name(at, "task group name", g.Name)
	v.check(!strings.Contains(g.Name, "\x00"), at, "Task group name contains a NUL")
	v.check(g.Count >= 0, at.Field("count"), "Task group count can't be negative, have %d", g.Count)
	v.check(j.Type != JobTypeSystem || g.Count <= 1, at.Field("count"), "Count cannot exceed 1 with system scheduler, have %d; it runs once on every node", g.Count)
	v.warn(j.Type == JobTypeSysBatch && g.Count > 1, at.Field("count"), "a sysbatch job runs once on every node: a count of %d says nothing", g.Count)
	v.constraints(at, g.Constraints, true)
	v.affinities(at, g.Affinities)
	v.spreads(at, g.Spreads)
	v.ephemeralDisk(at, g)
	v.delay(at, g.ShutdownDelay)
	v.maxRunDuration(at, g)
	v.restart(at.Field("restart"), &g.RestartPolicy, true)
	v.reschedule(at.Field("reschedule"), g.ReschedulePolicy)
	v.migrate(at.Field("migrate"), g.Migrate)
	v.disconnect(at.Field("disconnect"), g)
	v.scaling(at.Field("scaling"), g)
	ports := v.networks(at, g)
	v.volumes(at, g)
	v.tasks(at, g)
	v.services(at, g, ports)
}

// tasks checks a group's tasks. A group whose service is a gateway needs none: the proxy is its task.
func (v *validator) tasks(at Path, g *TaskGroup) {
	gateway := slices.ContainsFunc(g.Services, func(s Service) bool { return s.Connect != nil && s.Connect.Gateway != nil })
	v.check(len(g.Tasks) > 0 || gateway, at, `Missing tasks for task group %s; write at least one "task" block in it`, quote(g.Name))
	v.check(len(g.Tasks) <= maxTasks, at, "The group has %d tasks, the limit is %d", len(g.Tasks), maxTasks)
	hasMain := slices.ContainsFunc(g.Tasks, func(t Task) bool { return t.Lifecycle == nil })
	v.check(hasMain || gateway || len(g.Tasks) == 0, at, "Task group %s must have at least one main task: one without a lifecycle block", quote(g.Name))
	seen, leader := map[string]bool{}, ""
	for i := range g.Tasks {
		t := &g.Tasks[i]
		path := at.Label("task", t.Name)
		v.check(!seen[t.Name] || t.Name == "", path, "Task %s redefined in the group; give each task a name of its own", quote(t.Name))
		seen[t.Name] = true
		if t.Leader {
			v.check(leader == "", path.Field("leader"), "Only one task may be marked as leader, and %s is already", quote(leader))
			leader = t.Name
		}
		v.task(path, g, t)
	}
}

func (v *validator) ephemeralDisk(at Path, g *TaskGroup) {
	at = at.Field("ephemeral_disk").Field("size")
	size := g.EphemeralDisk.SizeMB
	v.check(size >= 10, at, "Minimum DiskMB value is 10; got %d", size)
	v.check(size <= math.MaxInt32, at, "The disk size of %d MB is not of this world; the unit is MB", size)
}

const maxDescription = 1000 // characters

func (v *validator) ui() {
	ui := v.job.UI
	if ui == nil {
		return
	}
	length := utf8.RuneCountInString(ui.Description)
	v.check(length <= maxDescription, Path("ui").Field("description"), "UI description must be under %d characters, currently %d", maxDescription, length)
	for i, link := range ui.Links {
		v.warn(link.URL == "" || link.Label == "", Path("ui").Index("link", i), "a link needs a label and a url")
	}
}
