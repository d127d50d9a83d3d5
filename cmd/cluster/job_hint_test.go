package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

// What a message says to type must find the job, also where neither flag nor environment is as it was.
func TestCommandsForAJobNameItsNamespace(t *testing.T) {
	for _, c := range []struct{ theirs, ours, namespace, id, want string }{
		{"", "", "default", "web", "cluster job status web"},
		{"", "", "team", "web", "cluster job status -namespace=team web"},
		{"", "team", "team", "web", "cluster job status web"},
		{"team", "", "team", "web", "cluster job status web"},
		{"team", "", "default", "web", "cluster job status -namespace=default web"},
		{"other", "team", "team", "web", "cluster job status web"},
		{"", "", "default", "it's", `cluster job status 'it'\''s'`},
	} {
		s := newSession(t)
		s.env["NOMAD_NAMESPACE"], s.env["CLUSTER_NAMESPACE"] = c.theirs, c.ours
		asked := &call{Context: cli.NewContext(nil, nil, nil), program: s.program(nil, nil)}
		if got := asked.jobCommand("status", cluster.JobKey{Namespace: c.namespace, ID: c.id}); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// untilSaid ends a context when a text is written.
type untilSaid struct {
	bytes.Buffer
	text string
	end  func()
}

func (u *untilSaid) Write(b []byte) (int, error) {
	n, err := u.Buffer.Write(b)
	if strings.Contains(u.Buffer.String(), u.text) {
		u.end()
	}
	return n, err
}

func TestRestartingThatIsInterruptedSaysHowFarItCame(t *testing.T) {
	s := newSession(t)
	s.run("run", "-detach", "testdata/jobs/web.hcl")
	s.world.do("settle")
	ctx, end := context.WithCancel(t.Context())
	defer end()
	out := &untilSaid{text: "Waiting 1h", end: end}
	line := cli.NewContext(nil, nil, nil)
	line.Context = ctx
	c := &call{Context: line, program: s.program(out, out), out: s.program(out, out).output(true)}
	client, err := api.New(api.Config{Address: s.world.server.URL})
	if err != nil {
		t.Fatal(err)
	}
	var batches [][]api.AllocListStub
	for _, a := range s.world.allocs {
		stub := api.StubOf(a)
		stub.TaskStates = nil // nothing to wait for
		batches = append(batches, []api.AllocListStub{stub})
	}
	err = c.restartBatches(client, restarting{wait: time.Hour}, batches)
	if exit, ok := errors.AsType[*exitStatus](err); !ok || exit.status != exitInterrupted || !strings.Contains(out.String(), "Restarting ended after batch 1 of 2; the rest was left alone") {
		t.Errorf("%v\n%s", err, out)
	}
}
