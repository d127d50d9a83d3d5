package cluster

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// full is a job that says something in every block.
const full = `{
  "ID": "web", "Type": "service", "Priority": 60, "Datacenters": ["dc1", "dc2"], "NodePool": "edge", "Meta": {"a": "1"},
  "Constraints": [{"LTarget": "${attr.kernel.name}", "RTarget": "linux", "Operand": "="}],
  "Spreads": [{"Attribute": "${node.datacenter}", "SpreadTarget": [{"Value": "dc1", "Percent": 70}]}],
  "Update": {"MaxParallel": 2, "MinHealthyTime": 1000000000},
  "TaskGroups": [{
    "Name": "app", "Count": 3, "Meta": {"b": "2"},
    "Networks": [{"DynamicPorts": [{"Label": "http", "To": 80}, {"Label": "ssh", "Value": 22}]}],
    "Services": [{"PortLabel": "http", "Tags": ["x"], "Checks": [{"Type": "http", "Path": "/", "Interval": 5000000000, "Timeout": 1000000000, "Header": {"A": ["b", "c"]}}]}],
    "RestartPolicy": {"Attempts": 5},
    "Update": {"HealthyDeadline": 60000000000},
    "EphemeralDisk": {"SizeMB": 500},
    "ShutdownDelay": 2000000000,
    "Tasks": [{
      "Name": "main", "Driver": "docker", "User": "root", "Config": {"image": "nginx", "ports": ["http", null], "mount": [{"size": 5}], "nothing": null},
      "Env": {"K": "v"}, "Meta": {"c": "3"}, "Resources": {"CPU": 200}, "KillTimeout": 1000000000, "KillSignal": "SIGINT",
      "RestartPolicy": {"Delay": 1000000000}, "LogConfig": {"MaxFiles": 3},
      "Services": [{"Name": "${BASE}-admin"}]
    }]
  }]
}`

func decoded(t *testing.T, raw string) *Job {
	t.Helper()
	job, err := DecodeJob([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func TestDecodeJobInherits(t *testing.T) {
	j := decoded(t, full)
	g := j.TaskGroups[0]
	task := g.Tasks[0]
	for _, c := range []struct {
		what       string
		have, want any
	}{
		{"name from ID", j.Name, "web"},
		{"namespace", j.Namespace, "default"},
		{"region", j.Region, "global"},
		{"weight of a spread", j.Spreads[0].Weight, 50},
		{"job update, written", j.Update.MaxParallel, 2},
		{"job update, default", j.Update.HealthyDeadline, 5 * time.Minute},
		{"group update from job", g.Update.MaxParallel, 2},
		{"group update, written", g.Update.HealthyDeadline, time.Minute},
		{"group restart, written", g.RestartPolicy.Attempts, 5},
		{"group restart, default", g.RestartPolicy.Interval, 30 * time.Minute},
		{"task restart from group", task.RestartPolicy.Attempts, 5},
		{"task restart, written", task.RestartPolicy.Delay, time.Second},
		{"static port", g.Networks[0].ReservedPorts, []Port{{Label: "ssh", Value: 22}}},
		{"dynamic port", g.Networks[0].DynamicPorts, []Port{{Label: "http", To: 80}}},
		{"group service's name", g.Services[0].Name, "web-app"},
		{"service provider", g.Services[0].Provider, "consul"},
		{"check's on_update", g.Services[0].Checks[0].OnUpdate, "require_healthy"},
		{"task service's name", task.Services[0].Name, "web-app-main-admin"},
		{"memory", task.Resources, Resources{CPU: 200, MemoryMB: 300}},
		{"log files", task.LogConfig, LogConfig{MaxFiles: 3, MaxFileSizeMB: 10}},
		{"reschedule", g.ReschedulePolicy.Unlimited, true},
		{"config", task.Config, map[string]any{"image": "nginx", "ports": []any{"http", nil}, "mount": []any{map[string]any{"size": 5.0}}}},
	} {
		if !reflect.DeepEqual(c.have, c.want) {
			t.Errorf("%s: have %v, want %v", c.what, c.have, c.want)
		}
	}
	if problems := j.Validate(); problems != nil {
		t.Error(problems)
	}
}

func TestDecodeJobByType(t *testing.T) {
	const body = `, "ID": "x", "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Driver": "raw_exec"}]}]}`
	batch := decoded(t, `{"type": "batch"`+body).TaskGroups[0]
	if batch.Update != nil || batch.RestartPolicy.Attempts != 3 || batch.ReschedulePolicy.Attempts != 1 || batch.Migrate != nil {
		t.Errorf("batch: %+v", batch)
	}
	system := decoded(t, `{"Type": "system", "type": "batch"`+body).TaskGroups[0]
	if system.Update == nil || system.ReschedulePolicy != nil {
		t.Errorf("system: %+v", system)
	}
	if quiet := decoded(t, `{"Type": "system", "ID": "x", "TaskGroups": [{"Name": "g", "ReschedulePolicy": {"Attempts": 0, "Unlimited": false}}]}`).TaskGroups[0]; quiet.ReschedulePolicy != nil {
		t.Errorf("an empty reschedule policy became %+v", quiet.ReschedulePolicy)
	}
}

// TestDecodeJobSpelledTwice: of several spellings of a key one counts, everywhere and always the same.
func TestDecodeJobSpelledTwice(t *testing.T) {
	for range 50 { // maps have no order
		for _, kind := range []string{`"TYPE": "batch", "type": "system"`, `"Type": null, "type": "batch"`, `"TYPE": null, "type": "batch", "Type": ""`} {
			job := decoded(t, `{`+kind+`, "ID": "x", "TaskGroups": [{"Name": "g"}]}`)
			if (job.Type == JobTypeBatch) != (job.Update == UpdateStrategy{}) {
				t.Fatalf("%s: a job of type %s with the defaults of another: %+v", kind, job.Type, job.Update)
			}
		}
	}
}

// TestDecodeJobKeepsWholeNumbers: what a driver is told has the digits that were written.
func TestDecodeJobKeepsWholeNumbers(t *testing.T) {
	job := decoded(t, `{"ID": "x", "TaskGroups": [{"Name": "g", "Tasks": [{"Name": "t", "Config": {
		"small": 4096, "exact": 9007199254740992, "account": 123456789012345678, "list": [-123456789012345679], "longer": 12345678901234567890123,
		"round": 1e22, "fraction": 0.1, "beyond": 1e400}}]}]}`)
	want := map[string]any{"small": 4096.0, "exact": float64(1 << 53), "account": "123456789012345678", "list": []any{"-123456789012345679"},
		"longer": "12345678901234567890123", "round": 1e22, "fraction": 0.1, "beyond": "1e400"}
	if have := job.TaskGroups[0].Tasks[0].Config; !reflect.DeepEqual(have, want) {
		t.Errorf("have %v\nwant %v", have, want)
	}
	if again := redecode(t, job); !reflect.DeepEqual(job, again) {
		t.Errorf("once  %+v\ntwice %+v", job, again)
	}
}

// TestDecodeJobNamesVolumesByTheirKeys: mounts name the key, so that a name beside it would be told apart from nothing.
func TestDecodeJobNamesVolumesByTheirKeys(t *testing.T) {
	volumes := func(key string) *Job {
		return decoded(t, `{"ID": "x", "TaskGroups": [{"Name": "g", "Volumes": {"`+key+`": {"Name": "other", "Type": "host", "Source": "s"}}}]}`)
	}
	a, b := volumes("a"), volumes("b")
	if name := a.TaskGroups[0].Volumes["a"].Name; name != "a" {
		t.Errorf("the volume a is called %s", name)
	}
	if diff := Diff(a, b, false); diff.Type == DiffNone {
		t.Error("another key is no difference")
	}
}

// TestChecksInheritCheckRestart: a check says only what it wants otherwise than its service.
func TestChecksInheritCheckRestart(t *testing.T) {
	job := decoded(t, `{"ID": "x", "TaskGroups": [{"Name": "g", "Services": [{"CheckRestart": {"Limit": 3, "Grace": "30s"},
		"Checks": [{"Name": "as it is"}, {"Name": "own", "CheckRestart": {"Grace": "5s"}}]}, {"Name": "without", "Checks": [{"CheckRestart": {"Limit": 1}}]}]}]}`)
	services := job.TaskGroups[0].Services
	for i, want := range []CheckRestart{{Limit: 3, Grace: 30 * time.Second}, {Limit: 3, Grace: 5 * time.Second}} {
		if have := *services[0].Checks[i].CheckRestart; have != want {
			t.Errorf("check %d: have %+v, want %+v", i, have, want)
		}
	}
	if have := *services[1].Checks[0].CheckRestart; have != (CheckRestart{Limit: 1, Grace: time.Second}) {
		t.Errorf("a check of a service without has %+v", have)
	}
	if services[0].Checks[0].CheckRestart == services[0].CheckRestart {
		t.Error("a check shares its service's")
	}
	if again := redecode(t, job); !reflect.DeepEqual(job, again) {
		t.Errorf("once  %+v\ntwice %+v", job, again)
	}
}

// redecode stores a job and reads it back.
func redecode(t *testing.T, j *Job) *Job {
	t.Helper()
	stored, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return decoded(t, string(stored))
}

func TestDecodeJobTwiceIsDecodeJobOnce(t *testing.T) {
	for _, kind := range []string{"service", "batch", "system", "sysbatch"} {
		once := decoded(t, strings.Replace(full, `"Type": "service"`, `"Type": "`+kind+`"`, 1))
		if twice := redecode(t, once); !reflect.DeepEqual(once, twice) {
			t.Errorf("%s:\nonce  %+v\ntwice %+v", kind, once, twice)
		}
	}
}

// drawNoun makes the JSON of a noun, each field absent, null, or something.
func drawNoun(t *rapid.T, noun reflect.Type) map[string]any {
	tree := map[string]any{}
	for _, f := range Fields(noun) {
		switch rapid.IntRange(0, 3).Draw(t, f.Name) {
		case 0:
		case 1:
			tree[f.Name] = nil
		default:
			tree[f.Name] = drawValue(t, f.Type)
		}
	}
	return tree
}

func drawValue(t *rapid.T, kind reflect.Type) any {
	switch kind.Kind() {
	case reflect.Pointer:
		return drawValue(t, kind.Elem())
	case reflect.Struct:
		return drawNoun(t, kind)
	case reflect.Slice:
		if kind == reflect.TypeFor[[]byte]() {
			return rapid.SampledFrom([]string{"", "aGVsbG8="}).Draw(t, "bytes")
		}
		list := []any{}
		for range rapid.IntRange(0, 2).Draw(t, "length") {
			list = append(list, drawValue(t, kind.Elem()))
		}
		return list
	case reflect.Map:
		return rapid.MapOfN(rapid.StringN(0, 3, -1), rapid.Custom(func(t *rapid.T) any { return drawValue(t, kind.Elem()) }), 0, 2).Draw(t, "map")
	case reflect.String:
		return rapid.SampledFrom([]string{"", "a", "batch", "system", "${BASE}", "${TASK}"}).Draw(t, "text")
	case reflect.Bool:
		return rapid.Bool().Draw(t, "truth")
	case reflect.Interface:
		return rapid.SampledFrom([]any{nil, 1.5, "x", true, []any{nil, 3.0}, map[string]any{"k": nil}}).Draw(t, "free")
	case reflect.Uint64:
		return rapid.Uint64().Draw(t, "index")
	}
	return rapid.Int64().Draw(t, "number")
}

// dropNulls removes keys whose value is null.
func dropNulls(tree any) any {
	switch v := tree.(type) {
	case map[string]any:
		for key, value := range v {
			if value == nil {
				delete(v, key)
			} else {
				dropNulls(value)
			}
		}
	case []any:
		for _, item := range v {
			dropNulls(item)
		}
	}
	return tree
}

// asJSON is a job with all that it points to, a field a line.
func asJSON(job *Job) []byte {
	text, err := json.MarshalIndent(job, "", " ")
	if err != nil {
		panic(err)
	}
	return text
}

func TestDecodeJobProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawNoun(t, reflect.TypeFor[Job]())
		decode := func(value any) *Job {
			raw, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			job, err := DecodeJob(raw)
			if err != nil {
				t.Fatal(err)
			}
			return job
		}
		once := decode(tree)
		if absent := decode(dropNulls(tree)); !reflect.DeepEqual(once, absent) {
			t.Fatalf("null is not absent:\n%+v\n%+v", once, absent)
		}
		if twice := decode(once); !reflect.DeepEqual(once, twice) {
			t.Fatalf("not idempotent:\n%s\n%s", asJSON(once), asJSON(twice))
		}
		raw, err := json.Marshal(once)
		if err != nil {
			t.Fatal(err)
		}
		var stored Job
		if err := json.Unmarshal(raw, &stored); err != nil || !reflect.DeepEqual(*once, stored) {
			t.Fatalf("stored otherwise (%v):\n%+v\n%+v", err, *once, stored)
		}
	})
}

// TestNullMeansAbsent replaces every value of a complete job by null, one at a time, and wants the job without it.
func TestNullMeansAbsent(t *testing.T) {
	stored, err := json.Marshal(decoded(t, full))
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(stored, &tree); err != nil {
		t.Fatal(err)
	}
	fields := 0
	var walk func(object map[string]any, noun reflect.Type, at Path)
	walk = func(object map[string]any, noun reflect.Type, at Path) {
		for _, f := range Fields(noun) {
			fields++
			value := object[f.Name]
			delete(object, f.Name)
			without, errWithout := DecodeJob(mustJSON(t, tree))
			object[f.Name] = nil
			null, errNull := DecodeJob(mustJSON(t, tree))
			if errNull != nil || errWithout != nil || !reflect.DeepEqual(null, without) {
				t.Errorf("%s: null is %+v (%v), absent is %+v (%v)", at.Field(f.Name), null, errNull, without, errWithout)
			}
			object[f.Name] = value
			inner := f.Type
			for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if list, ok := value.([]any); ok && inner.Kind() == reflect.Struct {
				value = list[0]
			}
			if nested, ok := value.(map[string]any); ok && inner.Kind() == reflect.Struct {
				walk(nested, inner, at.Field(f.Name))
			}
		}
	}
	walk(tree, reflect.TypeFor[Job](), "")
	if fields < 100 {
		t.Errorf("walked over %d fields only", fields)
	}
}

func mustJSON(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestDecodeJobRefuses(t *testing.T) {
	for _, c := range []struct {
		name, raw string
		code      Code
		text      string
	}{
		{"nothing", ``, CodeInvalid, `parse job as JSON: it is empty; send one object`},
		{"garbage", "{\n\"ID\": }", CodeInvalid, `parse job as JSON: line 2: invalid character '}' looking for beginning of value`},
		{"a list", `[]`, CodeInvalid, `parse job as JSON: want an object, have a list`},
		{"two jobs", `{} {}`, CodeInvalid, `parse job as JSON: something follows the job; send one object`},
		{"long", `{"ID": "` + strings.Repeat("x", MaxJobSize) + `"}`, CodeTooLarge,
			`read job: 1.0 MB is over the limit of 1 MB; fetch large files from the task instead of writing them into the job`},
		{"deep", `{"TaskGroups":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`, CodeTooLarge, `parse job: nested more than 64 levels deep; flatten it`},
		{"wrong kinds", `{"ID": 5, "Priority": "high", "Datacenters": "dc1", "TaskGroups": {}, "Meta": {"a": true}, "Update": [], "Stop": 1}`, CodeInvalid,
			"invalid job: 7 problems:\n" +
				" * id: want a text, have the number 5\n" +
				" * priority: want a whole number, have the text \"high\"\n" +
				" * datacenters: want a list, have the text \"dc1\"\n" +
				" * meta > a: want a text, have true\n" +
				" * update: want an object, have a list\n" +
				" * Stop: want true or false, have the number 1\n" +
				" * group: want a list, have an object"},
		{"fraction", `{"Priority": 1.5}`, CodeInvalid, "invalid job: 1 problem:\n * priority: want a whole number, have the number 1.5"},
		{"bad duration", `{"TaskGroups": [{"Name": "g", "ShutdownDelay": "1d"}]}`, CodeInvalid,
			"invalid job: 1 problem:\n * group \"g\" > shutdown_delay: want a duration such as \"30s\" or nanoseconds, have \"1d\""},
		{"no base64", `{"Payload": "?"}`, CodeInvalid, "invalid job: 1 problem:\n * Payload: want bytes as base64, have the text \"?\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			job, err := DecodeJob([]byte(c.raw))
			if err == nil {
				t.Fatalf("accepted: %+v", job)
			}
			if err.Error() != c.text || CodeOf(err) != c.code {
				t.Errorf("have %q %s\nwant %q %s", CodeOf(err), err, c.code, c.text)
			}
		})
	}
}

// TestDecodeJobOfClients reads what the common Go client sends: every field of its structs, most of them empty.
func TestDecodeJobOfClients(t *testing.T) {
	const raw = `{"Region": "global", "Namespace": "default", "ID": "a", "Name": "a", "Type": "service", "Priority": 50, "AllAtOnce": false,
		"Datacenters": ["*"], "NodePool": "", "Constraints": null, "Affinities": null, "Update": {"Stagger": 5, "MaxParallel": 1, "HealthCheck": "checks",
		"MinHealthyTime": 10000000000, "HealthyDeadline": 300000000000, "ProgressDeadline": 600000000000, "Canary": 0, "AutoRevert": false, "AutoPromote": false},
		"Multiregion": null, "Spreads": null, "Periodic": null, "ParameterizedJob": null, "Reschedule": null, "Migrate": null, "Meta": null, "UI": null,
		"Stop": false, "ParentID": "", "Dispatched": false, "DispatchIdempotencyToken": "", "Payload": null, "ConsulNamespace": "", "VaultNamespace": "",
		"NomadTokenID": "d7b6", "Status": "", "StatusDescription": "", "Stable": false, "Version": 0, "SubmitTime": null, "CreateIndex": 0, "VersionTag": null,
		"TaskGroups": [{"Name": "g", "Count": 1, "EphemeralDisk": {"Sticky": false, "Migrate": false, "SizeMB": 300}, "Migrate": {"MaxParallel": 1},
		"Disconnect": null, "Volumes": {}, "Scaling": {"ID": "", "Namespace": "default", "Target": {"Group": "g"}, "Type": "horizontal", "Min": 1, "Max": 3, "Policy": {}, "Enabled": true, "CreateIndex": 5, "ModifyIndex": 6}, "Networks": [], "Consul": {"Namespace": ""},
		"Tasks": [{"Name": "t", "Driver": "docker", "User": "", "Lifecycle": null, "Config": null, "Artifacts": null, "Leader": false, "Kind": "",
		"Resources": {"CPU": 100, "Cores": 0, "MemoryMB": 300, "DiskMB": 0, "Networks": null, "NUMA": {"Affinity": "none", "Devices": null}, "IOPS": null},
		"LogConfig": {"MaxFiles": 10, "MaxFileSizeMB": 10, "Enabled": null, "Disabled": false}, "Templates": [], "Vault": null}]}]}`
	if problems := decoded(t, raw).Validate(); problems != nil {
		t.Error(problems)
	}
	if unread := Unread([]byte(raw)); unread != nil {
		t.Error(unread)
	}
}

func TestPathParent(t *testing.T) {
	path := Path("").Label("group", `a > "b`).Label("task", "t").Field("driver")
	for _, want := range []Path{`group "a > \"b" > task "t"`, `group "a > \"b"`, "", ""} {
		if path = path.Parent(); path != want {
			t.Errorf("have %s, want %s", path, want)
		}
	}
}

func FuzzDecodeJob(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`{"Type": "batch", "TaskGroups": [{"Services": [{"Name": "${TASK}"}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		job, err := DecodeJob(raw)
		if err != nil {
			if CodeOf(err) == CodeInternal {
				t.Errorf("no code: %v", err)
			}
			return
		}
		if job.Validate() != nil {
			return
		}
		if again := redecode(t, job); !reflect.DeepEqual(job, again) {
			t.Errorf("once  %+v\ntwice %+v", job, again)
		}
	})
}
