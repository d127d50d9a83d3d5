package cluster

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tell is a difference as a person could write it down.
func tell(d *JobDiff) string {
	var b strings.Builder
	line := func(depth int, kind, what string, annotations []string) {
		fmt.Fprintf(&b, "%s%s%s", strings.Repeat("  ", depth), map[string]string{DiffNone: "  ", DiffAdded: "+ ", DiffDeleted: "- ", DiffEdited: "~ "}[kind], what)
		for _, a := range annotations {
			fmt.Fprintf(&b, " (%s)", a)
		}
		b.WriteString("\n")
	}
	var objects func(int, []ObjectDiff)
	fields := func(depth int, list []FieldDiff) {
		for _, f := range list {
			text := f.Name + ": " + f.New
			switch f.Type {
			case DiffEdited:
				text = f.Name + ": " + f.Old + " => " + f.New
			case DiffDeleted:
				text = f.Name + ": " + f.Old
			}
			line(depth, f.Type, text, f.Annotations)
		}
	}
	objects = func(depth int, list []ObjectDiff) {
		for _, o := range list {
			line(depth, o.Type, o.Name+" {", nil)
			fields(depth+1, o.Fields)
			objects(depth+1, o.Objects)
		}
	}
	line(0, d.Type, "job "+d.ID, nil)
	fields(1, d.Fields)
	objects(1, d.Objects)
	for _, g := range d.TaskGroups {
		var updates []string
		for what, n := range g.Updates {
			updates = append(updates, fmt.Sprintf("%d %s", n, what))
		}
		slices.Sort(updates)
		line(1, g.Type, "group "+g.Name, updates)
		fields(2, g.Fields)
		objects(2, g.Objects)
		for _, t := range g.Tasks {
			line(2, t.Type, "task "+t.Name, t.Annotations)
			fields(3, t.Fields)
			objects(3, t.Objects)
		}
	}
	return b.String()
}

// diffScenarios are pairs of jobs and what differs. A "plan" in the title asks for annotations.
var diffScenarios = []struct{ title, was, is, want string }{
	{"the same job", `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "main", "Driver": "docker"}]}]}`, `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "main", "Driver": "docker"}]}]}`, `
  job web
    group app
      task main
`},
	{"a value, in a plan", `{"ID": "web", "TaskGroups": [{"Name": "app", "Count": 9, "Tasks": [{"Name": "main", "Driver": "docker", "Config": {"image": "nginx:1", "args": ["a", "b"]}, "Env": {"A": "1", "B": "2"}}, {"Name": "side"}]}]}`, `{"ID": "web", "TaskGroups": [{"Name": "app", "Count": 10, "Tasks": [{"Name": "main", "Driver": "docker", "Config": {"image": "nginx:2", "args": ["-v", "a", "b"]}, "Env": {"B": "3", "C": ""}}, {"Name": "side", "KillTimeout": "1m"}]}]}`, `
~ job web
  ~ group app (1 create/destroy update) (2 create) (3 in-place update) (4 ignore) (5 destroy) (6 migrate) (7 canary)
    ~ Count: 9 => 10 (forces create)
    ~ task main (forces create/destroy update)
      + Config[args][0]: -v (forces create/destroy update)
      ~ Config[image]: nginx:1 => nginx:2 (forces create/destroy update)
      - Env[A]: 1 (forces create/destroy update)
      ~ Env[B]: 2 => 3 (forces create/destroy update)
      + Env[C]:  (forces create/destroy update)
    ~ task side (forces in-place update)
      ~ KillTimeout: 5s => 1m0s
`},
	{"metadata of the job, in a plan", `{"ID": "web", "Meta": {"a": "1"}, "TaskGroups": [{"Name": "app", "Count": 2, "Tasks": [{"Name": "main"}, {"Name": "own", "Meta": {"a": "2"}}]}]}`, `{"ID": "web", "Meta": {"a": "3"}, "TaskGroups": [{"Name": "app", "Count": 1, "Tasks": [{"Name": "main"}, {"Name": "own", "Meta": {"a": "2"}}]}]}`, `
~ job web
  ~ Meta[a]: 1 => 3
  ~ group app (1 create/destroy update) (2 create) (3 in-place update) (4 ignore) (5 destroy) (6 migrate) (7 canary)
    ~ Count: 2 => 1 (forces destroy)
      task main (forces create/destroy update)
      task own
`},
	{"lists of nouns, by name or by what is in them", `{"ID": "web", "Constraints": [{"LTarget": "${attr.kernel.name}", "RTarget": "linux"}, {"LTarget": "${meta.rack}", "RTarget": "1"}],
 "TaskGroups": [{"Name": "app", "Networks": [{"DynamicPorts": [{"Label": "http"}, {"Label": "ssh", "Value": 22}]}],
  "Services": [{"Name": "web", "PortLabel": "http", "Tags": ["a"]}, {"Name": "old"}], "Tasks": [{"Name": "main"}]}]}`, `{"ID": "web", "Constraints": [{"LTarget": "${attr.kernel.name}", "RTarget": "linux"}, {"LTarget": "${meta.rack}", "RTarget": "2"}],
 "TaskGroups": [{"Name": "app", "Networks": [{"DynamicPorts": [{"Label": "http", "To": 80}]}],
  "Services": [{"Name": "new"}, {"Name": "web", "PortLabel": "http", "Tags": ["b", "a"]}], "Tasks": [{"Name": "main"}]}]}`, `
~ job web
  ~ Constraint {
    ~ RTarget: 1 => 2
  ~ group app
    ~ Network {
      - ReservedPort {
        - Label: ssh
        - Value: 22
        - To: 0
        - IgnoreCollision: false
      ~ DynamicPort {
          Label: http
        ~ To: 0 => 80
    + Service {
      + Name: new
      + Provider: consul
      + AddressMode: auto
      + EnableTagOverride: false
      + OnUpdate: require_healthy
      + Cluster: default
    ~ Service {
        Name: web
      + Tags[0]: b
    - Service {
      - Name: old
      - Provider: consul
      - AddressMode: auto
      - EnableTagOverride: false
      - OnUpdate: require_healthy
      - Cluster: default
      task main
`},
	{"the same with all fields of what changed", `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "main", "Resources": {"MemoryMB": 100}}], "EphemeralDisk": {"SizeMB": 100}}]}`, `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "main", "Resources": {"MemoryMB": 200}}], "EphemeralDisk": {"SizeMB": 100}}]}`, `
~ job web
  ~ group app
    ~ task main
      ~ Resources {
          CPU: 100
          Cores: 0
        ~ MemoryMB: 100 => 200
          MemoryMaxMB: 0
          SecretsMB: 0
          DiskMB: 0
          IOPS: 0
`},
	{"what stands in another order, in a plan", `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "a"}, {"Name": "b"}], "Networks": [{"DynamicPorts": [{"Label": "x"}, {"Label": "y"}]}]}], "Constraints": [{"LTarget": "a", "RTarget": "1"}, {"LTarget": "b", "RTarget": "2"}]}`, `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "b"}, {"Name": "a"}], "Networks": [{"DynamicPorts": [{"Label": "y"}, {"Label": "x"}]}]}], "Constraints": [{"LTarget": "b", "RTarget": "2"}, {"LTarget": "a", "RTarget": "1"}]}`, `
~ job web
  ~ Constraints: 0, 1 => 1, 0
  ~ group app (1 create/destroy update) (2 create) (3 in-place update) (4 ignore) (5 destroy) (6 migrate) (7 canary)
    ~ Tasks: a, b => b, a
    ~ Network {
      ~ DynamicPorts: x, y => y, x (forces create/destroy update)
      task b
      task a
`},
	{"groups and tasks that come and go, in a plan, names alone", `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "main"}, {"Name": "gone"}]}, {"Name": "past", "Tasks": [{"Name": "main"}]}]}`, `{"ID": "web", "TaskGroups": [{"Name": "next", "Tasks": [{"Name": "main"}]}, {"Name": "app", "Tasks": [{"Name": "main"}, {"Name": "new"}]}]}`, `
~ job web
  + group next
    + task main (forces create)
  ~ group app (1 create/destroy update) (2 create) (3 in-place update) (4 ignore) (5 destroy) (6 migrate) (7 canary)
      task main
    + task new (forces create/destroy update)
    - task gone (forces create/destroy update)
  - group past
    - task main (forces destroy)
`},
	{"a number that becomes a text, and lists within lists", `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "main", "Config": {"a": 1, "b": [[1, 2], {"c": true}], "d": [], "e": {"f": 1}}}]}]}`, `{"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "main", "Config": {"a": "1", "b": [[1, 3], {"c": false}], "e": [1]}}]}]}`, `
~ job web
  ~ group app
    ~ task main
      ~ Config[a]: 1 => "1"
      ~ Config[b][0][1]: 2 => 3
      ~ Config[b][1][c]: true => false
      - Config[d]: []
      - Config[e][f]: 1
      + Config[e][0]: 1
`},
}

func TestDiffScenarios(t *testing.T) {
	for _, s := range diffScenarios {
		diff := Diff(decoded(t, s.was), decoded(t, s.is), strings.Contains(s.title, "all fields"))
		if strings.Contains(s.title, "plan") {
			diff.Annotate(map[string]DesiredUpdates{"app": {Place: 2, DestructiveUpdate: 1, InPlaceUpdate: 3, Ignore: 4, Stop: 5, Migrate: 6, Canary: 7}})
		}
		got := tell(diff)
		if strings.Contains(s.title, "names alone") {
			got = ""
			for line := range strings.Lines(tell(diff)) {
				if words := strings.Fields(strings.TrimLeft(line, " +-~")); words[0] == "group" || words[0] == "task" || words[0] == "job" {
					got += line
				}
			}
		}
		if got != strings.TrimPrefix(s.want, "\n") {
			t.Errorf("%s:\nwant%s\n got\n%s", s.title, s.want, got)
		}
	}
}

// fill makes a value in which every field says something.
func fill(v reflect.Value, depth int) {
	switch {
	case v.Type() == durationType:
		v.SetInt(int64(time.Minute))
		return
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth)
	case v.Kind() == reflect.Struct:
		for _, f := range Fields(v.Type()) {
			fill(v.Field(f.Index), depth+1)
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth)
	case v.Kind() == reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, depth)
		v.SetMapIndex(reflect.ValueOf("key"), value)
	case v.Kind() == reflect.Interface:
		v.Set(reflect.ValueOf("text"))
	case v.Kind() == reflect.String:
		v.SetString("text")
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(7)
	case v.CanUint():
		v.SetUint(7)
	default:
		panic("fill: " + v.Type().String())
	}
}

func filledJob() *Job {
	var j Job
	fill(reflect.ValueOf(&j).Elem(), 0)
	return &j
}

// leaves calls visit for every field of the noun and of those in it that is a value itself, or a list or map of such.
func leaves(v reflect.Value, at string, visit func(at string, noun reflect.Type, f Field, v reflect.Value)) {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	for _, f := range Fields(v.Type()) {
		field, path := v.Field(f.Index), at+"."+f.Name
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		switch {
		case inner.Kind() != reflect.Struct:
			visit(path, v.Type(), f, field)
		case f.State:
		case field.Kind() == reflect.Slice:
			leaves(field.Index(0), path, visit)
		case field.Kind() == reflect.Map:
			leaves(field.MapIndex(field.MapKeys()[0]), path, visit)
		default:
			leaves(field, path, visit)
		}
	}
}

// other gives a value another value of its type.
func other(v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer:
		next := reflect.New(v.Type().Elem())
		next.Elem().Set(v.Elem())
		other(next.Elem())
		v.Set(next)
	case v.Kind() == reflect.Slice:
		next := reflect.MakeSlice(v.Type(), 1, 1)
		next.Index(0).Set(v.Index(0))
		other(next.Index(0))
		v.Set(next)
	case v.Kind() == reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		value.Set(v.MapIndex(reflect.ValueOf("key")))
		other(value)
		v.SetMapIndex(reflect.ValueOf("key"), value)
	case v.Kind() == reflect.Interface:
		v.Set(reflect.ValueOf("another"))
	case v.Kind() == reflect.String:
		v.SetString("another")
	case v.Kind() == reflect.Bool:
		v.SetBool(false)
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	default:
		v.SetUint(v.Uint() + 1)
	}
}

// changes lists the fields that changed, and what is there on one side alone.
func changes(d *JobDiff) (fields []FieldDiff, sides []string) {
	var objects func([]ObjectDiff)
	add := func(list []FieldDiff) {
		for _, f := range list {
			if f.Type != DiffNone {
				fields = append(fields, f)
			}
		}
	}
	side := func(kind, name string) bool {
		if kind == DiffAdded || kind == DiffDeleted {
			sides = append(sides, kind+" "+name)
			return true
		}
		return false
	}
	objects = func(list []ObjectDiff) {
		for _, o := range list {
			if !side(o.Type, o.Name) {
				add(o.Fields)
				objects(o.Objects)
			}
		}
	}
	add(d.Fields)
	objects(d.Objects)
	for _, g := range d.TaskGroups {
		if side(g.Type, "group") {
			continue
		}
		add(g.Fields)
		objects(g.Objects)
		for _, t := range g.Tasks {
			if !side(t.Type, "task") {
				add(t.Fields)
				objects(t.Objects)
			}
		}
	}
	return fields, sides
}

// TestEveryFieldIsCompared changes each field of each noun of the language: it appears in the difference, once.
func TestEveryFieldIsCompared(t *testing.T) {
	was := filledJob()
	if d := Diff(was, filledJob(), true); d.Type != DiffNone {
		t.Fatalf("a job differs from itself:\n%s", tell(d))
	}
	count := 0
	leaves(reflect.ValueOf(filledJob()), "Job", func(path string, noun reflect.Type, f Field, _ reflect.Value) {
		count++
		is := filledJob()
		leaves(reflect.ValueOf(is), "Job", func(at string, _ reflect.Type, _ Field, v reflect.Value) {
			if at == path {
				other(v)
			}
		})
		fields, sides := changes(Diff(was, is, true))
		switch {
		case f.State || path == "Job.ID":
			if len(fields)+len(sides) > 0 {
				t.Errorf("%s: %v, %v", path, fields, sides)
			}
		case len(sides) > 0: // another noun, not another field of it
			if key := Label(noun); len(sides) != 2 || len(fields) > 0 || f.Name != "Name" && (key == nil || key.Name != f.Name) {
				t.Errorf("%s: %v, %v", path, fields, sides)
			}
		case len(fields) != 1 || !strings.HasPrefix(fields[0].Name, f.Name):
			t.Errorf("%s: %v", path, fields)
		}
	})
	if count < 400 {
		t.Errorf("the language has %d fields", count)
	}
}

// drawJob draws one of few jobs, so that two of them have much in common.
func drawJob(t *rapid.T) *Job {
	pick := func(name string, values ...string) string { return rapid.SampledFrom(values).Draw(t, name) }
	config := pick("config", `{}`, `{"a": 1}`, `{"a": "1"}`, `{"a": [1, 2]}`, `{"a": [1, 3, 2]}`, `{"a": [[], {}]}`, `{"a": [{}, []]}`, `{"a": {"b": [null]}}`, `{"a": {"b": []}}`, `{"a": [null, 1]}`)
	constraints := pick("constraints", `[]`, `[{"LTarget": "a", "RTarget": "b"}]`, `[{"LTarget": "c", "RTarget": "b"}, {"LTarget": "a", "RTarget": "b"}]`,
		`[{"LTarget": "a", "RTarget": "b"}, {"LTarget": "c", "RTarget": "b"}]`, `[{"LTarget": "a", "RTarget": "b"}, {"LTarget": "a", "RTarget": "b"}]`)
	tasks := pick("tasks", `[{"Name": "x", "Config": $}]`, `[{"Name": "x", "Config": $}, {"Name": "y", "Env": {"K": ""}}]`, `[{"Name": "y"}, {"Name": "x", "Config": $}]`)
	services := pick("services", `[]`, `[{"Name": "s", "Tags": ["a", "b"]}]`, `[{"Name": "s", "Tags": ["b"]}, {"Name": "s"}]`, `[{"Name": "s"}, {"Name": "s", "Tags": ["b"]}]`)
	text := fmt.Sprintf(`{"ID": "web", "Stop": %s, "Meta": %s, "Constraints": %s, "TaskGroups": [{"Name": "app", "Count": %s, "Services": %s, "Tasks": %s}]}`,
		pick("stop", "true", "false"), pick("meta", `{}`, `{"a": "b"}`, `{"a": ""}`), constraints, pick("count", "0", "1", "10"), services, strings.ReplaceAll(tasks, "$", config))
	job, err := DecodeJob([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// TestDiffMeansWhatSpecMeans: nothing differs exactly if the jobs ask for the same, whichever is the older one.
func TestDiffMeansWhatSpecMeans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawJob(t), drawJob(t)
		a.Version, a.Status, b.ModifyIndex = 3, JobStatusDead, 9
		left, lerr := json.Marshal(a.Spec())
		right, rerr := json.Marshal(b.Spec())
		if lerr != nil || rerr != nil {
			t.Fatal(lerr, rerr)
		}
		there, back := Diff(a, b, false), Diff(b, a, false)
		if same := string(left) == string(right); same != (there.Type == DiffNone) || same != (back.Type == DiffNone) {
			t.Fatalf("same: %v\n%s\n%s", same, tell(there), tell(back))
		}
		forth, sides := changes(there)
		again, others := changes(back)
		if len(forth) != len(again) || len(sides) != len(others) {
			t.Fatalf("there and back differ:\n%s\n%s", tell(there), tell(back))
		}
		if d := Diff(nil, b, false); d.Type != DiffAdded || d.TaskGroups[0].Tasks[0].Type != DiffAdded {
			t.Fatalf("a new job:\n%s", tell(d))
		}
	})
}

func TestAListOfManyThingsIsComparedQuickly(t *testing.T) {
	long := func(value string) *Job {
		j := DefaultJob(JobTypeService)
		for i := range 20000 {
			j.Constraints = append(j.Constraints, Constraint{LTarget: fmt.Sprint(i), RTarget: value})
			j.Datacenters = append(j.Datacenters, value+fmt.Sprint(i))
		}
		return &j
	}
	began := time.Now()
	d := Diff(long("a"), long("b"), true)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	if len(d.Objects) != 40000 {
		t.Errorf("%d objects differ", len(d.Objects))
	}
}

// FuzzDiff compares two jobs that came as JSON: any two, and each with what is like it but for its state.
func FuzzDiff(f *testing.F) {
	for _, s := range diffScenarios {
		f.Add([]byte(s.was), []byte(s.is))
	}
	f.Add([]byte(full), []byte(strings.ReplaceAll(full, "1", "2")))
	f.Fuzz(func(t *testing.T, was, is []byte) {
		a, err := DecodeJob(was)
		b, err2 := DecodeJob(is)
		if err != nil || err2 != nil {
			return
		}
		began := time.Now()
		there, back := Diff(a, b, true), Diff(b, a, false)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		if again := Diff(a, b, true); !reflect.DeepEqual(there, again) {
			t.Errorf("at first\n%s\nthen\n%s", tell(there), tell(again))
		}
		for _, job := range []*Job{a, b} {
			state := *job
			state.Version, state.Status, state.ModifyIndex = job.Version+1, JobStatusDead, job.ModifyIndex+1
			if d := Diff(job, &state, true); d.Type != DiffNone {
				t.Errorf("a job differs from itself:\n%s", tell(d))
			}
			if d := Diff(nil, job, true); d.Type != DiffAdded {
				t.Errorf("a new job is %s", d.Type)
			}
			if d := Diff(job, nil, true); d.Type != DiffDeleted {
				t.Errorf("a job that goes is %s", d.Type)
			}
		}
		left, right := toldSpec(t, a), toldSpec(t, b)
		if same := left == right; same && (there.Type != DiffNone || back.Type != DiffNone) || !same && (there.Type == DiffNone || back.Type == DiffNone) {
			t.Errorf("same: %t\n%s\n%s\n%s\n%s", same, left, right, tell(there), tell(back))
		}
		updates := map[string]DesiredUpdates{}
		for _, g := range b.TaskGroups {
			updates[g.Name] = DesiredUpdates{Place: 1, Stop: 2, DestructiveUpdate: 3}
		}
		there.Annotate(updates)
		if _, err := json.Marshal(there); err != nil {
			t.Errorf("the difference is no JSON: %v", err)
		}
	})
}

// toldSpec is what a job asks for, as JSON, but for its ID: Diff compares jobs of one ID.
func toldSpec(t *testing.T, job *Job) string {
	t.Helper()
	spec := job.Spec()
	spec.ID = ""
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
