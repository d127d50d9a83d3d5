package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/jobspec"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func TestTheExamplesOfInitAreJobsThatRun(t *testing.T) {
	for name, text := range map[string]string{"example": exampleJob, "short": shortJob} {
		result, err := jobspec.Parse(jobspec.Config{File: jobspec.File{Name: name, Text: []byte(text)}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(result.Refused)+len(result.Warnings) > 0 {
			t.Errorf("%s asks for what there is not: %v %v", name, result.Refused, result.Warnings)
		}
		if problems := result.Job.Validate(); len(problems) > 0 || result.Job.ID != "example" {
			t.Errorf("%s: %v", name, problems)
		}
		if formatted, err := jobspec.Format(jobspec.File{Name: name, Text: []byte(text)}); err != nil || string(formatted) != text {
			t.Errorf("%s is not laid out as is usual: %v", name, err)
		}
	}
}

func TestInitOverwritesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	s := newSession(t)
	if out, status := s.run("job", "init"); status != exitDone || !strings.Contains(out, "cluster job run example.nomad.hcl") {
		t.Fatalf("%d %s", status, out)
	}
	if text, err := os.ReadFile(exampleFile); err != nil || string(text) != exampleJob {
		t.Errorf("the file has %d bytes, %v", len(text), err)
	}
	if out, status := s.run("job", "init", "-short"); status != exitError || !strings.Contains(out, "there is a example.nomad.hcl already") {
		t.Errorf("once more: %d %s", status, out)
	}
	if out, status := s.run("init", "-short", "other.hcl"); status != exitDone {
		t.Errorf("under another name: %d %s", status, out)
	}
	if out, status := s.run("job", "init", "no/such/place.hcl"); status != exitError || !strings.Contains(out, "no such") {
		t.Errorf("nowhere: %d %s", status, out)
	}
}

const (
	crooked  = "job \"a\" {\n count=1\n}\n"
	straight = "job \"a\" {\n  count = 1\n}\n"
)

func TestFmt(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, line, stdin string
		status            int
		out               string
		rewritten         string // the files that have become straight
	}{
		{"the working directory", "fmt", "", 0, "crooked.hcl\n", "crooked.hcl"},
		{"with its directories", "fmt -recursive .", "", 0, "crooked.hcl\nsub/deep.nomad\n", "crooked.hcl sub/deep.nomad"},
		{"named files", "fmt straight.hcl crooked.txt crooked.hcl crooked.hcl", "", 0, "crooked.hcl\ncrooked.txt\n", "crooked.hcl crooked.txt"},
		{"a check", "fmt -check", "", 1, "crooked.hcl\n", ""},
		{"a check without list", "fmt -check -list=false", "", 1, "", ""},
		{"a check of what is straight", "fmt -check straight.hcl", "", 0, "", ""},
		{"only a list", "fmt -write=false", "", 0, "crooked.hcl\n", ""},
		{"only the text", "fmt -write=false -list=false crooked.hcl", "", 0, straight, ""},
		{"standard input", "fmt -", crooked, 0, straight, ""},
		{"a check of standard input", "fmt -check -", crooked, 1, "", ""},
		{"a check of straight input", "fmt -check -", straight, 0, "", ""},
		{"input that is wrong", "fmt -", "job {", 1, "Error: <stdin>:1", ""},
		{"a wrong file among others", "fmt wrong.txt crooked.hcl", "", 1, "crooked.hcl\nError: wrong.txt:1", "crooked.hcl"},
		{"what is not there", "fmt none.hcl", "", 1, "Error: format files: stat none.hcl", ""},
		{"input and files", "fmt - a.hcl", "", 1, "Error: format files: - stands for itself alone", ""},
	} {
		write("crooked.hcl", crooked)
		write("straight.hcl", straight)
		write("crooked.txt", crooked)
		write("wrong.txt", "job {")
		write("sub/deep.nomad", crooked)
		write("sub/.hidden/x.hcl", crooked)
		s := newSession(t)
		s.stdin = c.stdin
		out, status := s.run(strings.Fields(c.line)...)
		if status != c.status || out != c.out && !(strings.Contains(c.out, "Error") && strings.HasPrefix(out, c.out)) {
			t.Errorf("%s: status %d, %q, want %d, %q", c.name, status, out, c.status, c.out)
		}
		for _, name := range []string{"crooked.hcl", "crooked.txt", "sub/deep.nomad", "sub/.hidden/x.hcl"} {
			text, err := os.ReadFile(name)
			if rewritten := string(text) == straight; err != nil || rewritten != slices.Contains(strings.Fields(c.rewritten), name) {
				t.Errorf("%s: %s has become %q, %v", c.name, name, text, err)
			}
		}
		if entry, err := os.Stat("crooked.hcl"); err != nil || entry.Mode().Perm() != 0o600 {
			t.Errorf("%s: the file's permissions are %v", c.name, entry.Mode())
		}
	}
}

func TestBatchSizes(t *testing.T) {
	for _, c := range []struct {
		text        string
		total, want int // 0: refused
	}{
		{"1", 10, 1}, {"20", 10, 20}, {"25%", 10, 3}, {"1%", 10, 1}, {"100%", 7, 7}, {"50%", 1, 1},
		{"0", 1, 0}, {"-1", 1, 0}, {"0%", 1, 0}, {"101%", 1, 0}, {"many", 1, 0}, {"", 1, 0}, {"%", 1, 0},
	} {
		size, err := batchSize(c.text)
		if (err != nil) != (c.want == 0) || err == nil && size(c.total) != c.want {
			t.Errorf("%q of %d: %v", c.text, c.total, err)
		}
	}
}

func TestVersionsAreNamedByNumberOrTag(t *testing.T) {
	versions := []*cluster.Job{
		{Version: 7},
		{Version: 3, VersionTag: &cluster.JobVersionTag{Name: "golden"}},
		{Version: 2, VersionTag: &cluster.JobVersionTag{Name: "7"}},
		{Version: 1, VersionTag: &cluster.JobVersionTag{Name: "9"}},
	}
	for text, want := range map[string]uint64{"7": 7, "3": 3, "golden": 3, "9": 1} {
		if got := findVersion(versions, text); got == nil || got.Version != want {
			t.Errorf("%s: %+v", text, got)
		}
	}
	for _, text := range []string{"", "4", "gold", "-1"} {
		if got := findVersion(versions, text); got != nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestWhichInstancesAreRestarted(t *testing.T) {
	alloc := func(group string, created uint64, status cluster.ClientStatus, tasks map[string]cluster.TaskPhase) api.AllocListStub {
		a := api.AllocListStub{AllocFields: api.AllocFields{TaskGroup: group, CreateIndex: created, ClientStatus: status, TaskStates: map[string]cluster.TaskStateView{}}}
		for name, state := range tasks {
			a.TaskStates[name] = cluster.TaskStateView{State: state}
		}
		return a
	}
	runs := map[string]cluster.TaskPhase{"main": cluster.TaskRunning, "init": cluster.TaskDead}
	stubs := []api.AllocListStub{
		alloc("web", 5, cluster.ClientRunning, runs), alloc("api", 9, cluster.ClientRunning, runs), alloc("web", 3, cluster.ClientRunning, runs),
		alloc("web", 1, cluster.ClientComplete, runs), alloc("api", 2, cluster.ClientPending, nil),
	}
	stopped := alloc("web", 4, cluster.ClientRunning, runs)
	stopped.DesiredStatus = cluster.DesiredStop
	stubs = append(stubs, stopped)
	for _, c := range []struct {
		r    restarting
		want []uint64 // by creation
	}{
		{restarting{}, []uint64{9, 3, 5}},
		{restarting{groups: []string{"web"}}, []uint64{3, 5}},
		{restarting{tasks: []string{"main"}}, []uint64{9, 3, 5}},
		{restarting{tasks: []string{"init"}}, nil}, // it does not run
		{restarting{tasks: []string{"init"}, all: true}, []uint64{9, 3, 5}},
	} {
		var got []uint64
		for _, a := range c.r.choose(stubs) {
			got = append(got, a.CreateIndex)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.r, got, c.want)
		}
	}
}

func TestQuestionsAreAnsweredByALine(t *testing.T) {
	for _, c := range []struct {
		input string
		want  []bool
	}{
		{"y\nn\n", []bool{true, false}}, // each question takes its own line
		{"what\n YES \n", []bool{true}},
		{"", []bool{false}},
		{"no", []bool{false}},
	} {
		s := newSession(t)
		s.stdin = c.input
		var out strings.Builder
		p := s.program(&out, &out)
		p.asked(t, c.want)
	}
}

// asked puts as many questions as there are answers.
func (p *program) asked(t *testing.T, want []bool) {
	t.Helper()
	lines := cli.NewContext(nil, nil, nil)
	lines.Context = t.Context()
	c := &call{Context: lines, program: p, out: p.output(true)}
	for i, answer := range want {
		if got := c.askYes("Go on?"); got != answer {
			t.Errorf("answer %d is %v", i, got)
		}
	}
}

func TestValuesOfTheEnvironmentAreKeptWithTheText(t *testing.T) {
	c := jobspec.Config{
		File:          jobspec.File{Name: "f", Text: []byte("variable \"a\" {}\nvariable \"b\" {}\nvariable \"c\" {}\njob \"x\" {}")},
		VariableFiles: []jobspec.File{{Name: "v", Text: []byte("b = 1")}},
		Variables:     map[string]string{"c": "flag"},
		Environ:       []string{"NOMAD_VAR_a=theirs", "CLUSTER_VAR_a=ours", "CLUSTER_VAR_b=hidden", "CLUSTER_VAR_c=hidden", "CLUSTER_VAR_other=secret", "a=no"},
	}
	got := usedVariables(c)
	if len(got) != 2 || got["a"] != "ours" || got["c"] != "flag" {
		t.Errorf("kept are %v", got)
	}
}
