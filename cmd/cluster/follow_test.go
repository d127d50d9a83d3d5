package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// screen is a terminal that understands what the live view says to it.
type screen struct {
	mu    sync.Mutex
	lines []string
	row   int
	frame func() // called after each write, if not nil
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	text := string(p)
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b["):
			end := strings.IndexFunc(text[2:], func(r rune) bool { return r >= '@' && r <= '~' }) + 2
			n := 0
			_, _ = fmt.Sscanf(text[2:end], "%d", &n)
			switch text[end] {
			case 'A':
				s.row = max(s.row-n, 0)
			case 'J':
				s.lines = s.lines[:min(s.row, len(s.lines))]
			}
			text = text[end+1:]
		case text[0] == '\r':
			text = text[1:]
		default:
			line, rest, ended := strings.Cut(text, "\n")
			plain, _, _ := strings.Cut(line, "\x1b[K")
			for len(s.lines) <= s.row {
				s.lines = append(s.lines, "")
			}
			s.lines[s.row] = strip(plain)
			if ended {
				s.row++
			}
			text = rest
		}
	}
	frame := s.frame
	s.mu.Unlock()
	if frame != nil {
		frame()
	}
	return len(p), nil
}

// strip takes colours out of a line.
func strip(line string) string {
	for {
		before, rest, found := strings.Cut(line, "\x1b[")
		if !found {
			return line
		}
		_, after, _ := strings.Cut(rest, "m")
		line = before + after
	}
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// The live view redraws in place: at the end the screen shows one picture, cut to the terminal, and the outcome.
func TestLiveView(t *testing.T) {
	s := newSession(t)
	s.size = terminalSize{width: 100, height: 30}
	var shot screen
	if status := s.program(&shot, io.Discard).Run(t.Context(), []string{"run", "testdata/jobs/web.hcl"}); status != exitDone {
		t.Fatalf("status %d\n%s", status, &shot)
	}
	const want = `Job "web", version 0
Evaluation 500003cd  complete
Deployment 600004cd  successful  Deployment completed successfully

Task Group  Desired  Placed  Healthy  Unhealthy  Progress Deadline
web         2        2       2        0          2026-03-01 12:10:00

Allocation  Node  Group  Version  Status   Health   Last Event
800005cd    n1    web    0        running  healthy  Started: Task started by client (10s ago)
800006cd    n2    web    0        running  healthy  Started: Task started by client (10s ago)
Deployment "600004cd" successful`
	if shot.String() != want {
		t.Errorf("the screen shows\n%s", &shot)
	}

	s.size = terminalSize{width: 30, height: 8}
	shot = screen{}
	s.program(&shot, io.Discard).Run(t.Context(), []string{"run", "-var", "count=9", "testdata/jobs/web.hcl"})
	lines := strings.Split(shot.String(), "\n")
	for _, l := range lines {
		if len([]rune(l)) > 30 && !strings.HasPrefix(l, "Deployment \"") {
			t.Errorf("%q is wider than the terminal", l)
		}
	}
	if len(lines) != 8 {
		t.Errorf("a screen of 8 lines shows\n%s", &shot)
	}
}

// Interrupting a follower ends the following alone.
func TestFollowInterrupted(t *testing.T) {
	s := newSession(t)
	ctx, stop := context.WithCancel(t.Context())
	s.context = ctx
	var out bytes.Buffer
	seen := &collector{until: "Monitoring", reach: stop}
	status := s.program(io.MultiWriter(&out, seen), &out).Run(ctx, []string{"run", "testdata/jobs/web.hcl"})
	if status != exitInterrupted || !strings.Contains(out.String(), "what was asked for goes on: see `cluster job status web`") {
		t.Errorf("status %d\n%s", status, &out)
	}
	s.context = t.Context()
	if out, status := s.run("job", "status", "-short", "web"); status != exitDone {
		t.Error(out)
	}
}

// An agent that goes away and comes back does not end the following.
func TestFollowOutage(t *testing.T) {
	s := newSession(t)
	var out bytes.Buffer
	seen := &collector{until: "finished with status", reach: func() { s.world.server.CloseClientConnections() }}
	status := s.program(io.MultiWriter(&out, seen), &out).Run(t.Context(), []string{"run", "testdata/jobs/web.hcl"})
	if status != exitDone || !strings.Contains(out.String(), "successful") {
		t.Errorf("status %d\n%s", status, &out)
	}
}

func stub(group string, status cluster.ClientStatus, change ...func(*api.AllocListStub)) api.AllocListStub {
	var a api.AllocListStub
	a.ID, a.TaskGroup, a.ClientStatus = cluster.ID{byte(len(group)), 1}, group, status
	for _, f := range change {
		f(&a)
	}
	return a
}

func TestVerdict(t *testing.T) {
	eval := cluster.ID{1}
	done := []*cluster.Evaluation{{ID: eval, Status: cluster.EvalComplete}}
	job := func(kind string, count int) *cluster.Job {
		return &cluster.Job{ID: "j", Type: kind, TaskGroups: []cluster.TaskGroup{{Name: "g", Count: count}}}
	}
	noRoom := func(blocked string) []*cluster.Evaluation {
		return []*cluster.Evaluation{{ID: cluster.ID{2}, Status: blocked}, {ID: eval, Status: cluster.EvalComplete, BlockedEval: cluster.ID{2},
			FailedTGAllocs: map[string]cluster.AllocMetric{"g": {NodesEvaluated: 1, NodesExhausted: 1}}}}
	}
	next := func(a *api.AllocListStub) { a.NextAllocation = cluster.ID{9} }
	follow := func(a *api.AllocListStub) { a.FollowupEvalID = cluster.ID{9} }
	old := func(a *api.AllocListStub) { a.JobVersion = 7 }
	for _, c := range []struct {
		name   string
		scene  scene
		want   string // "" for not over
		status int
	}{
		{"not planned yet", scene{following: following{job: job("service", 1), eval: eval}}, "", 0},
		{"pending", scene{following: following{job: job("service", 1), eval: eval}, evals: []*cluster.Evaluation{{ID: eval, Status: "pending"}}}, "", 0},
		{"not planned at all", scene{following: following{job: job("service", 1), eval: eval}, evals: []*cluster.Evaluation{{ID: eval, Status: "failed", StatusDescription: "too hard"}}}, `Evaluation "01000000" failed: too hard`, 2},
		{"no room", scene{following: following{job: job("service", 1), eval: eval}, evals: noRoom("blocked")}, "Job \"j\" could not be placed as a whole\nTask Group \"g\" (failed to place 1 allocation):\n  * Resources exhausted on 1 node\nEvaluation \"02000000\" waiting for additional capacity to place remainder", 2},
		{"room may have appeared", scene{following: following{job: job("service", 1), eval: eval}, evals: noRoom("pending")}, "", 0},
		{"room appeared", scene{following: following{job: job("service", 0), eval: eval}, evals: noRoom("complete")}, `Job "j": 0 of 0 allocations running`, 0},
		{"a deployment under way", scene{following: following{job: job("service", 1), eval: eval}, evals: done, deployment: &cluster.Deployment{Status: "running"}}, "", 0},
		{"a deployment cancelled", scene{following: following{job: job("service", 1), eval: eval}, evals: done, deployment: &cluster.Deployment{ID: eval, Status: "cancelled", StatusDescription: "newer"}}, `Deployment "01000000" cancelled: newer`, 2},
		{"nothing wanted", scene{following: following{job: job("service", 0), eval: eval}, evals: done}, `Job "j": 0 of 0 allocations running`, 0},
		{"running without deployment", scene{following: following{job: job("service", 1), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientRunning)}}, `Job "j": 1 of 1 allocations running`, 0},
		{"one of two", scene{following: following{job: job("service", 2), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientRunning)}}, "", 0},
		{"only the old version", scene{following: following{job: job("service", 1), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientRunning, old)}}, "", 0},
		{"batch running", scene{following: following{job: job("batch", 1), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientRunning)}}, "", 0},
		{"batch complete", scene{following: following{job: job("batch", 1), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientComplete)}}, `Job "j": 1 of 1 allocations complete`, 0},
		{"batch failed once", scene{following: following{job: job("batch", 1), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientFailed, next), stub("g", cluster.ClientComplete)}}, `Job "j": 1 of 1 allocations complete`, 0},
		{"batch to be tried again", scene{following: following{job: job("batch", 1), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientFailed, follow)}}, "", 0},
		{"batch failed", scene{following: following{job: job("batch", 1), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientFailed)}}, `Job "j" failed: 1 of 1 allocations failed`, 2},
		{"system", scene{following: following{job: job("system", 1), eval: eval}, evals: done, allocs: []api.AllocListStub{stub("g", cluster.ClientRunning), stub("g", cluster.ClientPending)}}, "", 0},
		{"stopping", scene{following: following{job: job("service", 1), goal: stopped}, allocs: []api.AllocListStub{stub("g", cluster.ClientRunning)}}, "", 0},
		{"stopped", scene{following: following{job: job("service", 1), goal: stopped}, allocs: []api.AllocListStub{stub("g", cluster.ClientLost)}}, `Job "j" has stopped`, 0},
		{"forgotten", scene{following: following{job: job("service", 1), goal: stopped}}, `Job "j" has stopped`, 0},
		{"replaced, unknown", scene{following: following{job: job("service", 1), goal: replaced, alloc: cluster.ID{5}}}, `Allocation "05000000" has stopped`, 0},
	} {
		v := c.scene.verdict()
		if v.over != (c.want != "") || v.text != c.want || v.status != c.status {
			t.Errorf("%s: %+v, want %q", c.name, v, c.want)
		}
	}
}

func TestPassing(t *testing.T) {
	for err, want := range map[error]bool{
		cluster.Errorf(cluster.CodeUnavailable, "no leader"): true,
		cluster.Errorf(cluster.CodeForbidden, "no"):          false,
		cluster.Errorf(cluster.CodeInternal, "bug"):          false,
		errors.New("connection reset"):                       true,
		fmt.Errorf("read: %w", io.ErrUnexpectedEOF):          true,
	} {
		if passing(err) != want {
			t.Errorf("passing(%v) is %t", err, !want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0s", 1500 * time.Millisecond: "1s", 90 * time.Second: "1m30s", 3 * time.Hour: "3h",
		49*time.Hour + time.Second: "2d1h", 400 * 24 * time.Hour: "1y35d", time.Hour + time.Second: "1h"} {
		if got := span(d); got != want {
			t.Errorf("span(%s) is %q, want %q", d, got, want)
		}
	}
}

// What came from elsewhere cannot steer the terminal.
func TestPrintable(t *testing.T) {
	if got := printable("a\x1b[2Jb\u202e\u009bc\td\n"); got != "a[2Jbc\td\n" {
		t.Errorf("%q", got)
	}
}
