package cluster

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDisconnectBlock(t *testing.T) {
	with := func(change func(*DisconnectStrategy)) *DisconnectStrategy {
		d := DefaultDisconnect()
		change(&d)
		return &d
	}
	for _, row := range []struct {
		group string
		want  *DisconnectStrategy
		warns string
	}{
		{`{}`, nil, ""},
		{`{"Disconnect": null, "MaxClientDisconnect": null}`, nil, ""},
		{`{"Disconnect": {"Replace": null}}`, nil, ""},
		{`{"Disconnect": {"Replace": false}}`, with(func(d *DisconnectStrategy) { d.Replace = false }), ""},
		{`{"Disconnect": {"LostAfter": 60000000000}}`, with(func(d *DisconnectStrategy) { d.LostAfter = time.Minute }), ""},
		{`{"Disconnect": {"StopOnClientAfter": "5s", "Reconcile": "keep_original"}}`, with(func(d *DisconnectStrategy) {
			d.StopOnClientAfter, d.Reconcile = 5*time.Second, ReconcileKeepOriginal
		}), ""},
		{`{"MaxClientDisconnect": 60000000000}`, with(func(d *DisconnectStrategy) { d.LostAfter = time.Minute }), "write a disconnect block with lost_after"},
		{`{"StopAfterClientDisconnect": 60000000000}`, with(func(d *DisconnectStrategy) { d.StopOnClientAfter = time.Minute }), "write a disconnect block with stop_on_client_after"},
		{`{"PreventRescheduleOnLost": true}`, with(func(d *DisconnectStrategy) { d.Replace = false }), "write a disconnect block with replace = false"},
		{`{"PreventRescheduleOnLost": true, "Disconnect": {"LostAfter": 60000000000}}`, with(func(d *DisconnectStrategy) { d.LostAfter = time.Minute }), "this block counts, and not stop_after_client_disconnect"},
		{`{"StopAfterClientDisconnect": 60000000000, "MaxClientDisconnect": 5}`, with(func(d *DisconnectStrategy) { d.StopOnClientAfter = time.Minute }), "is deprecated"},
		{`{"StopAfterClientDisconnect": -5, "MaxClientDisconnect": -5}`, nil, "is deprecated"},
	} {
		j := decoded(t, fmt.Sprintf(`{"ID": "j", "TaskGroups": [%s]}`, named(row.group)))
		if have := j.TaskGroups[0].Disconnect; !reflect.DeepEqual(have, row.want) {
			t.Errorf("%s: have %+v, want %+v", row.group, have, row.want)
		}
		if warnings := j.Warnings().Lines(); row.warns == "" && warnings != "" || !strings.Contains(warnings, row.warns) {
			t.Errorf("%s: warns %q, want %q", row.group, warnings, row.warns)
		}
		text, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		if again := decoded(t, string(text)); !reflect.DeepEqual(again, j) {
			t.Errorf("%s: decoding it again gives another job", row.group)
		}
	}
}

// A job file keeps the older spellings as they are; the server makes a block of them, if its kind of job may have it.
func TestOlderSpellingsOfDisconnect(t *testing.T) {
	raw := []byte(`{"ID": "j", "Type": "system", "TaskGroups": [{"Name": "g", "StopAfterClientDisconnect": 60000000000, "MaxClientDisconnect": 5}]}`)
	draft, err := DecodeDraft(raw)
	if err != nil || draft.TaskGroups[0].Disconnect != nil {
		t.Errorf("%+v, %v", draft.TaskGroups[0].Disconnect, err)
	}
	if d := decoded(t, string(raw)).TaskGroups[0].Disconnect; d == nil || d.StopOnClientAfter != 0 || d.LostAfter != 5 {
		t.Errorf("%+v", d)
	}
}

func TestUnknownIsNotTheEnd(t *testing.T) {
	a := &Allocation{Job: &Job{}, ClientStatus: ClientUnknown}
	if a.Terminal() || !a.Occupies() || !ClientLost.Terminal() || ClientRunning.Terminal() {
		t.Error("an unknown allocation may still run")
	}
	text, err := ClientUnknown.MarshalText()
	var back ClientStatus
	if err != nil || string(text) != "unknown" || back.UnmarshalText(text) != nil || back != ClientUnknown {
		t.Errorf("unknown is written %q and read as %v", text, back)
	}
}

func TestAbsentStatus(t *testing.T) {
	patient := &Job{TaskGroups: []TaskGroup{{Name: "g", Disconnect: &DisconnectStrategy{LostAfter: time.Minute, Replace: true}}}}
	hasty := &Job{TaskGroups: []TaskGroup{{Name: "g", Disconnect: &DisconnectStrategy{Replace: true}}}}
	alloc := func(j *Job, desired DesiredStatus, client ClientStatus) *Allocation {
		return &Allocation{Job: j, TaskGroup: "g", DesiredStatus: desired, ClientStatus: client}
	}
	for _, row := range []struct {
		name  string
		alloc *Allocation
		want  string
	}{
		{"runs", alloc(patient, DesiredRun, ClientRunning), NodeStatusDisconnected},
		{"is unknown", alloc(patient, DesiredRun, ClientUnknown), NodeStatusDisconnected},
		{"is lost", alloc(patient, DesiredStop, ClientLost), NodeStatusDown},
		{"is to stop", alloc(patient, DesiredStop, ClientRunning), NodeStatusDown},
		{"has ended", alloc(patient, DesiredRun, ClientComplete), NodeStatusDown},
		{"is not waited for", alloc(hasty, DesiredRun, ClientRunning), NodeStatusDown},
	} {
		if have := AbsentStatus(slices.Values([]*Allocation{alloc(hasty, DesiredRun, ClientRunning), row.alloc})); have != row.want {
			t.Errorf("with an allocation that %s: %s, want %s", row.name, have, row.want)
		}
	}
}

// named is the JSON of a group with a name.
func named(group string) string {
	if group == "{}" {
		return `{"Name": "g"}`
	}
	return `{"Name": "g", ` + group[1:]
}
