package driver_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster/driver"
)

type options struct {
	Command string            `config:"command,required"`
	Args    []string          `config:"args"`
	Count   int               `config:"count"`
	Init    bool              `config:"init"`
	Labels  map[string]string `config:"labels"`
	Mounts  []mountOptions    `config:"mount"`
	Auth    *authOptions      `config:"auth"`
	GC      gcOptions         `config:"gc"`
}

type mountOptions struct {
	Target string `config:"target,required"`
}

type authOptions struct {
	Username string `config:"username"`
}

type gcOptions struct {
	Image bool `config:"image"`
}

func TestDecode(t *testing.T) {
	got := options{Count: 5, GC: gcOptions{Image: true}}
	unsupported, err := driver.Decode(map[string]any{
		"command": "run",
		"args":    []any{"a", 8080.0, true},
		"init":    "true",
		"labels":  []any{map[string]any{"a": "1"}, map[string]any{"b": 2.0}},
		"mount":   []any{map[string]any{"target": "/x"}, map[string]any{"target": "/y"}},
		"auth":    []any{map[string]any{"username": "me"}},
		"gc":      map[string]any{"image_delay": "3m"},
		"count":   nil,
	}, &got, "gc.image_delay", "isolation")
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		Command: "run", Args: []string{"a", "8080", "true"}, Count: 5, Init: true, Labels: map[string]string{"a": "1", "b": "2"},
		Mounts: []mountOptions{{"/x"}, {"/y"}}, Auth: &authOptions{"me"}, GC: gcOptions{true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decoded\n%+v, want\n%+v", got, want)
	}
	if !reflect.DeepEqual(unsupported, []string{"gc.image_delay"}) {
		t.Errorf("unsupported %q", unsupported)
	}
}

func TestDecodeTaskErrors(t *testing.T) {
	for _, test := range []struct{ config, want string }{
		{`{}`, `option "command" is required`},
		{`{"command":""}`, `option "command" is required`},
		{`{"command":"x","comand":"y"}`, `unknown option "comand" (did you mean "command"?)`},
		{`{"command":"x","zzzzzz":"y"}`, `unknown option "zzzzzz" (there are: args, auth, command, count, gc, init, labels, mount)`},
		{`{"command":"x","isolation":"y"}`, `option "isolation" is not supported yet: remove it`},
		{`{"command":"x","isolatoin":"y"}`, `unknown option "isolatoin" (did you mean "isolation"?)`},
		{`{"command":["x"]}`, `option "command" must be a string, not a list`},
		{`{"command":"x","args":"-v"}`, `option "args" must be a list of strings, not the string "-v"`},
		{`{"command":"x","args":[["y"]]}`, `option "args" must be a list of strings, not a list`},
		{`{"command":"x","count":1.5}`, `option "count" must be a whole number, not the number 1.5`},
		{`{"command":"x","count":"many"}`, `option "count" must be a whole number, not the string "many"`},
		{`{"command":"x","init":1}`, `option "init" must be true or false, not the number 1`},
		{`{"command":"x","labels":7}`, `option "labels" must be a map of strings, not the number 7`},
		{`{"command":"x","mount":7}`, `option "mount" must be a block, not the number 7`},
		{`{"command":"x","mount":[{"traget":"/x"}]}`, `option "mount.target" is required; unknown option "mount.traget" (did you mean "mount.target"?)`},
		{`{"command":"x","auth":[{},{}]}`, `option "auth" must be one block, not a list`},
	} {
		var config map[string]any
		if err := json.Unmarshal([]byte(test.config), &config); err != nil {
			t.Fatal(err)
		}
		err := driver.DecodeTask(driver.Task{Name: "web", Config: config}, &options{}, "isolation")
		if want := `config of task "web": ` + test.want; err == nil || err.Error() != want {
			t.Errorf("%s:\n%v, want\n%s", test.config, err, want)
		}
		if !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: %v is not ErrInvalid", test.config, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"command":"x","args":["a",1,true,null],"mount":[{"target":"/x"}],"auth":{"username":"u"},"labels":[{"a":1}]}`)
	f.Add(`{"command":{"a":[]},"args":{},"count":1e300,"gc":[{"image":"true"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var config map[string]any
		if json.Unmarshal([]byte(text), &config) != nil {
			return
		}
		var into options
		if err := driver.DecodeTask(driver.Task{Config: config}, &into); err == nil && into.Command == "" {
			t.Error("accepted without the command")
		} else if err != nil && strings.Contains(err.Error(), "%!") {
			t.Errorf("message %q", err)
		}
	})
}

func TestInvalidf(t *testing.T) {
	cause := errors.New("cause")
	err := driver.Invalidf("read file: %w", cause)
	if !errors.Is(err, driver.ErrInvalid) || !errors.Is(err, cause) || err.Error() != "read file: cause" {
		t.Errorf("%q is not both", err)
	}
}

// A config as it is in a job may have references that a node resolves: those may become anything that text can be.
func TestCheckConfig(t *testing.T) {
	for _, c := range []struct {
		name   string
		config map[string]any
		want   []driver.Fault
	}{
		{"right", map[string]any{"command": "run", "count": "3", "init": "true"}, nil},
		{"with references", map[string]any{"command": "${meta.c}", "count": "${meta.n}", "init": "${meta.b}0", "labels": map[string]any{"a": "${meta.a}"}}, nil},
		{"wrong all the same", map[string]any{"command": "run", "args": "${meta.list}", "count": "many"}, []driver.Fault{
			{"args", `option "args" must be a list of strings, not the string "${meta.list}"`}, {"count", `option "count" must be a whole number, not the string "many"`}}},
		{"missing and unknown", map[string]any{"comand": "run", "mount": []any{map[string]any{}}}, []driver.Fault{
			{"", `option "command" is required`}, {"comand", `unknown option "comand" (did you mean "command"?)`}, {"mount", `option "mount.target" is required`}}},
		{"not there yet", map[string]any{"command": "run", "gc": map[string]any{"image_delay": "3m"}}, []driver.Fault{
			{"gc", `option "gc.image_delay" is not supported yet: remove it`}}},
	} {
		if got := driver.CheckConfig(c.config, &options{}, "gc.image_delay"); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	task := driver.Task{Name: "t", Config: map[string]any{"command": "run", "count": "${meta.n}"}}
	if err := driver.DecodeTask(task, &options{}); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("a reference that was not resolved: %v", err)
	}
}
