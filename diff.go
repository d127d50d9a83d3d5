package cluster

import (
	"maps"
	"reflect"
)

// The types of differences.
const (
	DiffNone    = "None" // nothing changed
	DiffAdded   = "Added"
	DiffDeleted = "Deleted"
	DiffEdited  = "Edited" // something in it changed
)

// What differences lead to.
const (
	ForcesCreate            = "forces create"
	ForcesDestroy           = "forces destroy"
	ForcesInPlaceUpdate     = "forces in-place update"
	ForcesDestructiveUpdate = "forces create/destroy update"
)

// JobDiff is what differs between two versions of a job. Its fields and those of its groups and tasks are the ones that
// changed; groups and tasks are all there, those that did not change with DiffNone.
type JobDiff struct {
	Type       string
	ID         string
	Fields     []FieldDiff
	Objects    []ObjectDiff
	TaskGroups []TaskGroupDiff
}

// TaskGroupDiff is what differs in a task group.
type TaskGroupDiff struct {
	Type    string
	Name    string
	Fields  []FieldDiff
	Objects []ObjectDiff
	Tasks   []TaskDiff
	Updates map[string]uint64 // how many instances are to be treated how; nil before Annotate
}

// TaskDiff is what differs in a task.
type TaskDiff struct {
	Type        string
	Name        string
	Fields      []FieldDiff
	Objects     []ObjectDiff
	Annotations []string // nil before Annotate

	replaces bool // an instance cannot take the change where it is
}

// ObjectDiff is what differs in any other noun, such as a constraint or a service.
type ObjectDiff struct {
	Type    string
	Name    string // what it is, as the API calls it: Service
	Fields  []FieldDiff
	Objects []ObjectDiff
}

// FieldDiff is a value that differs, or one that does not and shows where the others are. Values within maps and lists have
// the way to them in their names: Env[KEY], Config[args][0].
type FieldDiff struct {
	Type        string
	Name        string
	Old, New    string   // as people write them; "" on the side where it is not there
	Annotations []string // nil before Annotate

	replaces bool
}

// Diff is what differs between two jobs of one ID, of which one may be nil, in the order of the new one. What the servers write
// into a job does not count. With contextual, nouns that changed and are no group or task show all their fields.
// Two jobs of which Diff finds nothing ask for the same: see Spec.
func Diff(old, new *Job, contextual bool) *JobDiff {
	d := differ{contextual}
	top := d.noun("", reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem(), false)
	diff := &JobDiff{Type: top.Type, Fields: top.Fields, Objects: top.Objects}
	for _, job := range []*Job{old, new} {
		if job != nil {
			diff.ID = job.ID
		}
	}
	for _, g := range top.parts {
		group := TaskGroupDiff{Type: g.Type, Name: g.Name, Fields: g.Fields, Objects: g.Objects}
		for _, t := range g.parts {
			task := TaskDiff{Type: t.Type, Name: t.Name, Fields: t.Fields, Objects: t.Objects, replaces: t.replaces}
			group.Tasks = append(group.Tasks, task)
		}
		diff.TaskGroups = append(diff.TaskGroups, group)
	}
	if old != nil && new != nil {
		diff.compareMeta(old, new)
	}
	return diff
}

// compareMeta notes the tasks that see other metadata than before, be it the job's, the group's or their own.
func (d *JobDiff) compareMeta(old, new *Job) {
	for i := range d.TaskGroups {
		was, is := old.Group(d.TaskGroups[i].Name), new.Group(d.TaskGroups[i].Name)
		if was == nil || is == nil {
			continue
		}
		tasks := d.TaskGroups[i].Tasks
		for t := range tasks {
			before, after := was.Task(tasks[t].Name), is.Task(tasks[t].Name)
			if before != nil && after != nil && !maps.Equal(old.TaskMeta(was, before), new.TaskMeta(is, after)) {
				tasks[t].replaces = true
			}
		}
	}
}

// TaskMeta is the metadata that a task of the job sees: its own over the group's over the job's. The result is the caller's.
func (j *Job) TaskMeta(g *TaskGroup, t *Task) map[string]string {
	merged := make(map[string]string, len(j.Meta)+len(g.Meta)+len(t.Meta))
	for _, meta := range []map[string]string{j.Meta, g.Meta, t.Meta} {
		maps.Copy(merged, meta)
	}
	return merged
}

// DesiredUpdates counts what a plan does with the instances of a group. What it does step by step is counted as a whole.
type DesiredUpdates struct {
	Ignore            uint64 // stay as they are
	Place             uint64 // begin, and replace none that runs
	Migrate           uint64 // move off their node
	Stop              uint64 // end, and are not replaced
	InPlaceUpdate     uint64 // take the change where they are
	DestructiveUpdate uint64 // are replaced by one that has the change
	Canary            uint64
	Preemptions       uint64
	Disconnect        uint64 // are waited for: their node is out of reach
	Reconnect         uint64
	RescheduleNow     uint64 // have failed and are replaced
	RescheduleLater   uint64 // have failed and will be replaced
}

// Disturbs reports whether the plan begins or ends any instance.
func (u DesiredUpdates) Disturbs() bool {
	return u.Stop+u.Place+u.Migrate+u.DestructiveUpdate+u.Canary > 0
}

// Annotate writes into the difference what it leads to. updates are those of the plan that carries it out, by group.
func (d *JobDiff) Annotate(updates map[string]DesiredUpdates) {
	for i := range d.TaskGroups {
		g := &d.TaskGroups[i]
		u := updates[g.Name]
		g.Updates = map[string]uint64{}
		for name, n := range map[string]uint64{"ignore": u.Ignore, "create": u.Place, "destroy": u.Stop, "migrate": u.Migrate,
			"canary": u.Canary, "in-place update": u.InPlaceUpdate, "create/destroy update": u.DestructiveUpdate} {
			if n > 0 {
				g.Updates[name] = n
			}
		}
		if g.Type == DiffEdited {
			annotateFields(g.Fields)
			annotateObjects(g.Objects)
		}
		for t := range g.Tasks {
			g.Tasks[t].annotate(g.Type)
		}
	}
}

func (t *TaskDiff) annotate(group string) {
	annotation := ForcesDestructiveUpdate
	switch {
	case group == DiffAdded:
		annotation = ForcesCreate
	case group == DiffDeleted:
		annotation = ForcesDestroy
	case t.Type == DiffAdded || t.Type == DiffDeleted:
	case t.Type == DiffEdited:
		annotateFields(t.Fields)
		annotateObjects(t.Objects)
		if !t.replaces {
			annotation = ForcesInPlaceUpdate
		}
	case !t.replaces:
		return
	}
	t.Annotations = []string{annotation}
}

func annotateFields(fields []FieldDiff) {
	for i := range fields {
		f := &fields[i]
		switch {
		case f.replaces:
			f.Annotations = []string{ForcesDestructiveUpdate}
		case f.Name == "Count" && len(f.Old) < len(f.New), f.Name == "Count" && len(f.Old) == len(f.New) && f.Old < f.New:
			f.Annotations = []string{ForcesCreate}
		case f.Name == "Count":
			f.Annotations = []string{ForcesDestroy}
		}
	}
}

func annotateObjects(objects []ObjectDiff) {
	for i := range objects {
		for f := range objects[i].Fields {
			if objects[i].Fields[f].replaces {
				objects[i].Fields[f].Annotations = []string{ForcesDestructiveUpdate}
			}
		}
		annotateObjects(objects[i].Objects)
	}
}

// Spec is the job without what the servers write into it. It shares the rest with the job: do not modify it.
func (j *Job) Spec() *Job {
	spec := *j
	value := reflect.ValueOf(&spec).Elem()
	for _, f := range Fields(value.Type()) {
		if f.State {
			value.Field(f.Index).SetZero()
		}
	}
	return &spec
}
