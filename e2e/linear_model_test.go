package e2e

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/a43e60e4/cluster/e2e/fleet"
)

// TestModelOfJobs gives the model short histories of one job.
func TestModelOfJobs(t *testing.T) {
	type op struct {
		from, to int64
		in       jobInput
		out      jobOutput
	}
	write := func(value int) jobInput { return jobInput{verb: writeJob, value: value} }
	checked := func(value int, index uint64) jobInput { return jobInput{verb: writeJob, value: value, check: &index} }
	read, stop, done := jobInput{verb: readJob}, jobInput{verb: stopJob}, jobOutput{}
	at := func(index uint64) jobOutput { return jobOutput{index: index} }
	is := func(value int, index uint64) jobOutput { return jobOutput{value: value, index: index} }
	refused, unknown := jobOutput{refused: true}, jobOutput{unknown: true}
	const never = math.MaxInt64
	for name, c := range map[string]struct {
		want bool
		ops  []op
	}{
		"read what was written":         {true, []op{{1, 2, write(1), at(5)}, {3, 4, read, is(1, 5)}}},
		"read of nothing":               {true, []op{{1, 2, read, done}, {3, 4, write(1), at(5)}}},
		"forgotten write":               {false, []op{{1, 2, write(1), at(5)}, {3, 4, read, done}}},
		"stale read":                    {false, []op{{1, 2, write(1), at(5)}, {3, 4, write(2), at(6)}, {5, 6, read, is(1, 5)}}},
		"read during a write":           {true, []op{{1, 2, write(1), at(5)}, {3, 6, write(2), at(6)}, {4, 5, read, is(1, 5)}}},
		"back and forth":                {false, []op{{1, 2, write(1), at(5)}, {3, 8, write(2), at(6)}, {4, 5, read, is(2, 6)}, {6, 7, read, is(1, 5)}}},
		"wrong index":                   {false, []op{{1, 2, write(1), at(5)}, {3, 4, read, is(1, 7)}}},
		"index that falls":              {false, []op{{1, 2, write(1), at(5)}, {3, 4, write(2), at(4)}}},
		"checked write":                 {true, []op{{1, 2, checked(1, 0), at(5)}, {3, 4, checked(2, 5), at(6)}}},
		"two with one index":            {false, []op{{1, 2, checked(1, 0), at(5)}, {3, 4, checked(2, 5), at(6)}, {5, 6, checked(3, 5), at(7)}}},
		"refused rightly":               {true, []op{{1, 2, checked(1, 0), at(5)}, {3, 4, checked(2, 0), refused}}},
		"refused wrongly":               {false, []op{{1, 2, checked(1, 0), at(5)}, {3, 4, checked(2, 5), refused}}},
		"unknown that was done":         {true, []op{{1, never, write(1), unknown}, {3, 4, read, is(1, 9)}, {5, 6, read, is(1, 9)}}},
		"unknown that was not done":     {true, []op{{1, never, write(1), unknown}, {3, 4, read, done}}},
		"unknown that is done late":     {true, []op{{1, never, write(1), unknown}, {3, 4, read, done}, {5, 6, read, is(1, 9)}}},
		"unknown that is done twice":    {false, []op{{1, 2, write(1), at(5)}, {3, never, write(2), unknown}, {4, 5, read, is(2, 6)}, {6, 7, write(3), at(7)}, {8, 9, read, is(2, 8)}}},
		"unknown and checked, not done": {true, []op{{1, 2, write(1), at(5)}, {3, never, checked(2, 4), unknown}, {4, 5, read, is(1, 5)}}},
		"stopped":                       {true, []op{{1, 2, write(1), at(5)}, {3, 4, stop, done}, {5, 6, read, jobOutput{value: 1, stopped: true, index: 6}}, {7, 8, write(2), at(7)}, {9, 10, read, is(2, 7)}}},
		"stopped and yet not":           {false, []op{{1, 2, write(1), at(5)}, {3, 4, stop, done}, {5, 6, read, is(1, 5)}}},
	} {
		var history []porcupine.Operation
		for i, o := range c.ops {
			history = append(history, porcupine.Operation{ClientId: i, Input: o.in, Output: o.out, Call: o.from, Return: o.to})
		}
		if got := porcupine.CheckOperations(jobModel, history); got != c.want {
			t.Errorf("%s: linearizable is %v", name, got)
		}
	}
}

// TestJobsAreLinearizableAlone crashes the agent of a machine that is alone while clients read and write.
func TestJobsAreLinearizableAlone(t *testing.T) {
	t.Parallel()
	f := fleet.New(t, fleet.Config{Program: programs.cluster})
	n, err := f.Node("a")
	if err == nil {
		err = n.Start(fleet.Both, "-bootstrap")
	}
	if err == nil {
		err = n.Ready(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	h := newHistory([]*fleet.Node{n}, rand.Uint64())
	stop := h.record(t.Context(), 6)
	defer stop()
	for range 4 {
		<-time.After(1200 * time.Millisecond)
		if err := n.Crash("agent"); err != nil {
			t.Error(err)
		}
		if err := n.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	}
	stop()
	h.check(t)
	if h.known < 100 {
		t.Errorf("only %d requests were answered", h.known)
	}
}
