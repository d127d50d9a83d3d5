package state

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

// samples has one command of each kind with every field filled.
func samples(t testing.TB) []Command {
	job := testJob("web")
	eval := testEval(1, job)
	fill(t, reflect.ValueOf(eval).Elem())
	eval.Status = cluster.EvalPending
	fill(t, reflect.ValueOf(job).Elem())
	var node cluster.Node
	var event cluster.NodeEvent
	var deployment cluster.Deployment
	var plan cluster.Plan
	var update cluster.AllocUpdate
	var launches cluster.Launches
	var scaled cluster.ScalingEvent
	for _, v := range []any{&node, &event, &deployment, &plan, &update, &launches, &scaled} {
		fill(t, reflect.ValueOf(v).Elem())
	}
	update.ClientStatus, update.Health = cluster.ClientFailed, cluster.HealthUnhealthy
	for i := range update.TaskStates {
		update.TaskStates[i].State = cluster.TaskDead
	}
	for i := range plan.Places {
		plan.Places[i].Needs = cluster.Capacity{} // follows from the group
	}
	evals := []cluster.Evaluation{*eval, *eval}
	return []Command{
		&RegisterJob{At: 5e18, RequestID: "r", Job: job, Eval: eval, EnforceIndex: true, JobModifyIndex: 9, Source: &Submission{
			Source: "job {}", Format: "hcl2", VariableFlags: map[string]string{"a": "b"}, Variables: "c = 1"}},
		&RegisterJob{Job: job},
		&DeregisterJob{At: 2, RequestID: "r", Namespace: "default", ID: "web", Purge: true, Eval: eval},
		&UpsertEvals{At: 3, Evals: evals},
		&CommitPlan{At: 4, Seed: [16]byte{1, 2}, Plan: plan},
		&ReportAllocs{At: 5, Updates: []cluster.AllocUpdate{update, update, {ID: id(9)}}, Evals: evals},
		&StopAllocs{At: 6, RequestID: "r", Stops: plan.Stops, Evals: evals},
		&RegisterNode{At: 7, Node: &node, Event: &event, Evals: evals},
		&NodeStatus{At: 8, ID: id(1), Status: "down", Description: "why", Event: &event, Evals: evals},
		&NodeStatus{At: 8, ID: id(1), ModifyIndex: 7, Status: "down"},
		&NodeEligibility{At: 9, RequestID: "r", ID: id(1), Eligibility: "eligible", Event: &event, Evals: evals},
		&DeleteNode{At: 10, RequestID: "r", ID: id(1), Evals: evals},
		&UpsertDeployments{At: 11, RequestID: "r", Deployments: []cluster.Deployment{deployment}, Evals: evals, StableJob: &JobVersion{"default", "web", 3, 4}},
		&UpsertNamespace{At: 12, RequestID: "r", Namespace: &cluster.Namespace{Name: "prod", Description: "d", Meta: map[string]string{"a": "b"}}},
		&DeleteNamespace{At: 13, RequestID: "r", Name: "prod"},
		&SetMeta{At: 14, Key: "k", Value: []byte{1, 2}, Create: true},
		&SetMeta{At: 14, Key: "k", Value: []byte{}},
		&SetMeta{At: 14, Key: "k"},
		&Reap{At: 15, Allocs: []cluster.ID{id(1)}, Evals: []cluster.ID{id(2)}, Deployments: []cluster.ID{id(3)},
			Jobs: []cluster.JobKey{{Namespace: "default", ID: "web"}}, Nodes: []cluster.ID{id(4)}},
		&DrainNode{At: 16, RequestID: "r", ID: id(1), Spec: &cluster.DrainSpec{Deadline: -7, IgnoreSystemJobs: true}, MarkEligible: true,
			Meta: map[string]string{"a": "b"}, Event: &event, Evals: evals},
		&DrainNode{At: 17, ID: id(1), Spec: &cluster.DrainSpec{}},
		&DrainNode{At: 18, ID: id(1)},
		&EndDrain{At: 19, ID: id(1), ModifyIndex: 7, Event: &event},
		&SwapMeta{At: 20, RequestID: "r", Swaps: []MetaSwap{{Key: "k", Old: []byte{1}, New: []byte{2, 3}}, {Key: "new", New: []byte{}}, {Key: "gone", Old: []byte{4}}}},
		&LaunchJob{At: 21, RequestID: "r", Namespace: "default", ParentID: "nightly", CreateIndex: 7, Job: job, Eval: eval, Launches: &launches},
		&LaunchJob{At: 22, Namespace: "default", ParentID: "nightly", CreateIndex: 7},
		&ScaleJob{At: 21, RequestID: "r", Namespace: "default", ID: "web", Group: "g", JobModifyIndex: 7, Event: scaled, Eval: eval},
		&ScaleJob{At: 22, Namespace: "default", ID: "web", Group: "g"},
		&MarkVersion{At: 23, RequestID: "r", Version: JobVersion{"default", "web", 3, 4}, Stable: new(false),
			Tag: &cluster.JobVersionTag{Name: "good", Description: "as it was"}, Untag: true},
		&MarkVersion{At: 24},
	}
}

// fill gives every field of a value something other than zero, so that a field that the encoding forgets is noticed.
func fill(t testing.TB, v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(7)
	case reflect.String:
		v.SetString("text")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key)
		fill(t, value)
		v.SetMapIndex(key, value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Interface:
		v.Set(reflect.ValueOf("text"))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(7, 8).UTC()))
			return
		}
		for i := range v.NumField() {
			if tag := v.Type().Field(i).Tag; tag.Get("hcl") == "" || tag.Get("json") != "-" { // else it is only for who reads a job file
				fill(t, v.Field(i))
			}
		}
	default:
		t.Fatalf("cannot fill a %s", v.Type())
	}
}

func TestCommandsComeBackAsTheyWere(t *testing.T) {
	commands := samples(t)
	var joined []byte
	for _, c := range commands {
		entry, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		joined = append(joined, entry...)
	}
	together, err := Encode(commands...)
	if err != nil || !bytes.Equal(joined, together) {
		t.Fatalf("entries joined differ from an entry of all: %v", err)
	}
	decoded, err := decodeEntry(joined, nil)
	if err != nil || len(decoded) != len(commands) {
		t.Fatal(len(decoded), err)
	}
	missing := map[Kind]bool{}
	for k := KindRegisterJob; int(k) < len(kinds); k++ {
		missing[k] = true
	}
	for i, c := range commands {
		if !reflect.DeepEqual(decoded[i], c) {
			t.Errorf("%s:\n%+v\nbecame\n%+v", c.kind(), c, decoded[i])
		}
		delete(missing, c.kind())
	}
	if len(missing) > 0 {
		t.Errorf("kinds without a sample: %v", missing)
	}
}

func TestEntriesThatCannotBeRead(t *testing.T) {
	good, _ := Encode(&DeleteNamespace{Name: "prod"})
	newer := bytes.Clone(good)
	newer[1] = 9
	for _, c := range []struct {
		name  string
		entry []byte
		want  string
		newer bool
	}{
		{"newer version", newer, "decode entry: DeleteNamespace has version 9, this release knows up to 1: written by a newer release: upgrade this server", true},
		{"newer kind", []byte{200, 1, 0}, "decode entry: command kind 200 is not known here: written by a newer release: upgrade this server", true},
		{"no kind", []byte{0, 1, 0}, "decode entry: no command has kind 0, version 1", false},
		{"one byte", good[:1], "decode entry: input ends too early", false},
		{"cut", good[:len(good)-1], "decode DeleteNamespace: input ends too early", false},
		{"left over", []byte{byte(KindDeleteNamespace), 1, 5, 0, 0, 0, 0, 0}, "decode DeleteNamespace: 1 bytes left over", false},
		{"claims a billion", []byte{byte(KindUpsertEvals), 1, 6, 0, 0xff, 0xff, 0xff, 0xff, 7}, "decode UpsertEvals: 2147483647 items in 0 bytes", false},
		{"not JSON", []byte{byte(KindUpsertNamespace), 1, 4, 0, 0, 1, 'x'}, "decode UpsertNamespace: invalid character 'x' looking for beginning of value", false},
	} {
		_, err := decodeEntry(c.entry, nil)
		if err == nil || err.Error() != c.want || errors.Is(err, ErrNewer) != c.newer {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

func TestAStoreStopsAtAnEntryOfANewerRelease(t *testing.T) {
	s, _ := running(t)
	saved := save(t, s.Store)
	good, _ := Encode(&SetMeta{Key: "k", Value: []byte{1}})
	if _, err := s.Apply(s.index+1, good[:2]); err == nil || errors.Is(err, ErrNewer) {
		t.Fatalf("garbage: %v", err)
	}
	if s.Snapshot().Index() != s.index+1 {
		t.Fatal("garbage is to be skipped")
	}
	_, err := s.Apply(s.index+2, []byte{99, 1, 0})
	if !errors.Is(err, ErrNewer) || !strings.HasPrefix(err.Error(), "apply entry ") {
		t.Fatalf("newer: %v", err)
	}
	if _, again := s.Apply(s.index+3, good); !errors.Is(again, ErrNewer) || s.Snapshot().Index() != s.index+1 {
		t.Fatalf("after a newer entry: %v", again)
	}
	if err := s.Restore(saved); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(s.index+1, good); err != nil || s.Snapshot().Meta("k") == nil {
		t.Fatalf("after a restore: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range samples(f) {
		entry, err := Encode(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(entry)
	}
	f.Fuzz(func(t *testing.T, entry []byte) {
		commands, err := decodeEntry(entry, nil)
		if err != nil {
			return
		}
		again, err := Encode(commands...)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeEntry(again, nil); err != nil || !reflect.DeepEqual(back, commands) {
			t.Fatalf("%+v\nbecame %v\n%+v", commands, err, back)
		}
		s, _ := running(t)
		s.Apply(s.index+1, entry)
		restored(t, s.Store)
	})
}
