package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

func TestHistoryInJSONIsTheListOfVersions(t *testing.T) {
	s := newSession(t)
	s.run("run", "-detach", "testdata/jobs/web.hcl")
	s.run("run", "-detach", "testdata/jobs/changed.hcl")
	out, status := s.run("job", "history", "-json", "web")
	var list []cluster.Job
	if err := json.Unmarshal([]byte(out), &list); err != nil || status != exitDone || len(list) != 2 || list[0].Version != 1 {
		t.Errorf("all: status %d, %v, %.200s", status, err, out)
	}
	if out, status := s.run("job", "history", "-t", "{{range .}}{{.Version}} {{end}}", "web"); status != exitDone || out != "1 0 \n" {
		t.Errorf("by a template: status %d, %q", status, out)
	}
	out, status = s.run("job", "history", "-json", "-version", "0", "web")
	var one cluster.Job
	if err := json.Unmarshal([]byte(out), &one); err != nil || status != exitDone || one.ID != "web" || one.Version != 0 {
		t.Errorf("one: status %d, %v, %.200s", status, err, out)
	}
}

func TestChangesOfOneVersion(t *testing.T) {
	all := api.JobVersions{Versions: []*cluster.Job{{Version: 7}, {Version: 3}, {Version: 2}}, Diffs: []*cluster.JobDiff{{ID: "3 to 7"}, {ID: "2 to 3"}}}
	for version, want := range map[uint64]string{7: "3 to 7", 3: "2 to 3", 2: "", 5: ""} {
		got := changesOf(all, &cluster.Job{Version: version})
		said := ""
		for _, d := range got.Diffs {
			said += d.ID
		}
		if said != want || len(got.Versions) > 1 || len(got.Versions) == 1 && got.Versions[0].Version != version || len(got.Versions) == 0 && version != 5 {
			t.Errorf("version %d: %+v, %q", version, got.Versions, said)
		}
	}
	if got := changesOf(all, nil); len(got.Versions) != 3 || len(got.Diffs) != 2 {
		t.Errorf("all: %+v", got)
	}
}

// A payload is what somebody has, as a file or on standard input; an address is data like any other.
func TestPayloadsAreNotFetched(t *testing.T) {
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(web.Close)
	s := newSession(t)
	s.run("run", "testdata/jobs/encode.hcl")
	for _, args := range [][]string{{web.URL + "/x"}, {"-payload", web.URL + "/x"}} {
		out, status := s.run(append([]string{"job", "dispatch", "-detach", "-meta", "input=a", "encode"}, args...)...)
		if status != exitError || asked.Load() > 0 || !strings.Contains(out, "no such file") {
			t.Errorf("%v: status %d, the address was asked %d times, %s", args, status, asked.Load(), out)
		}
	}
}

func TestValidationSaysEachProblemOnce(t *testing.T) {
	s := newSession(t)
	s.world.refuse = "the group is too large"
	if out, status := s.run("job", "validate", "testdata/jobs/web.hcl"); status != exitError || strings.Count(out, "too large") != 1 {
		t.Errorf("status %d, %s", status, out)
	}
}

func TestFilesOfValuesAreReadNoFurtherThanAJobMayBeLong(t *testing.T) {
	s := newSession(t)
	if out, status := s.run("job", "run", "-output", "-var-file", "/dev/zero", "testdata/jobs/web.hcl"); status != exitError || !strings.Contains(out, "over the limit") {
		t.Errorf("status %d, %.300s", status, out)
	}
	s.stdin = "nothing = 1"
	if out, status := s.run("job", "run", "-output", "-var-file", "-", "testdata/jobs/web.hcl"); status != exitError || !strings.Contains(out, "<stdin>:1") {
		t.Errorf("of standard input: status %d, %.300s", status, out)
	}
}

// A job file is somebody else's text: its bytes are for files and pipes, a terminal gets nothing that steers it.
func TestTextsOfOthersDoNotSteerATerminal(t *testing.T) {
	const evil = "# \x1b]0;owned\x07\u009b2J\u202e\r\n\tjob"
	s := newSession(t)
	s.run("run", "-detach", "testdata/jobs/web.hcl")
	s.world.submissions["web"] = &api.JobSubmission{Source: evil + "\n", Format: "hcl2"}
	for size, want := range map[terminalSize]string{{}: evil + "\n", {80, 24}: "# ]0;owned2J\n\tjob\n"} {
		s.size = size
		if out, status := s.run("job", "inspect", "-hcl", "web"); status != exitDone || out != want {
			t.Errorf("terminal %v: status %d, %q", size, status, out)
		}
		s.world.jobs[cluster.JobKey{Namespace: "default", ID: "web"}][0].Meta = map[string]string{"note": evil}
		if out, status := s.run("job", "inspect", "-t", "{{.Meta.note}}", "web"); status != exitDone || out != want {
			t.Errorf("by a template, terminal %v: status %d, %q", size, status, out)
		}
	}
}
