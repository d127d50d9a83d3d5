package main

import (
	"strings"
	"testing"
)

func TestStoppingByTheBeginningOfAnIDAsks(t *testing.T) {
	s := newSession(t)
	s.run("run", "-detach", "testdata/jobs/web.hcl")
	s.world.do("settle")
	s.size = terminalSize{80, 24}
	for _, c := range []struct {
		answer, want string
		status       int
	}{{"n\n", "nothing was stopped", exitError}, {"", "nothing was stopped", exitError}, {"y\n", "Evaluation ID", exitDone}} {
		s.stdin = c.answer
		if out, status := s.run("job", "stop", "-detach", "we"); status != c.status || !strings.Contains(out, `Stop job "web"? [y/n]`) || !strings.Contains(out, c.want) {
			t.Errorf("%q: status %d, %s", c.answer, status, out)
		}
	}
}
