package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/e2e/fleet"
	"github.com/a43e60e4/cluster/server/api"
)

// What clients do to a job.
const (
	readJob  = "read"
	writeJob = "write"
	stopJob  = "stop"
)

// jobInput is a request. Every write has a value of its own.
type jobInput struct {
	verb  string
	job   string
	value int
	check *uint64 // of writes, nil: whatever index the job has
}

// jobOutput is what was answered.
type jobOutput struct {
	unknown bool // of writes and stops: nobody knows whether it was done
	refused bool // of writes with a check: the job has another index
	value   int  // of reads, 0: there is no such job
	stopped bool // of reads
	index   uint64
}

// jobState is a job as the model knows it. The index of a write without an answer is found out by the next read.
type jobState struct {
	value   int // 0: there is no such job
	stopped bool
	index   uint64 // 0: not known
	floor   uint64 // the index is not below
}

// seen is the state after its index was seen, if it can be that one.
func (s jobState) seen(index uint64) (bool, jobState) {
	possible := s.index == index || s.index == 0 && index >= s.floor
	s.index, s.floor = index, index
	return possible, s
}

// step is the model: one job, on which one request is done after the other.
func (s jobState) step(in jobInput, out jobOutput) (bool, jobState) {
	switch in.verb {
	case readJob:
		if out.value != s.value || out.stopped != s.stopped {
			return false, s
		}
		if s.value == 0 {
			return true, s
		}
		return s.seen(out.index)
	case stopJob:
		if s.value == 0 {
			return true, s
		}
		s.stopped, s.index = true, 0
		return true, s
	}
	return s.written(in, out)
}

func (s jobState) written(in jobInput, out jobOutput) (bool, jobState) {
	matches := in.check == nil || s.value == 0 && *in.check == 0 ||
		s.value != 0 && (s.index == *in.check || s.index == 0 && *in.check >= s.floor)
	switch {
	case out.refused:
		return in.check != nil && (!matches || s.index == 0 && s.value != 0), s
	case !matches:
		return out.unknown, s
	case out.unknown:
		return true, jobState{value: in.value, floor: s.floor + 1}
	case out.index <= s.floor:
		return false, s
	}
	return true, jobState{value: in.value, index: out.index, floor: out.index}
}

// jobModel checks each job by itself.
var jobModel = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		byJob := map[string][]porcupine.Operation{}
		for _, op := range all {
			job := op.Input.(jobInput).job
			byJob[job] = append(byJob[job], op)
		}
		var parts [][]porcupine.Operation
		for _, part := range byJob {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return jobState{} },
	Step: func(state, in, out any) (bool, any) { return state.(jobState).step(in.(jobInput), out.(jobOutput)) },
	DescribeOperation: func(in, out any) string {
		i, o := in.(jobInput), out.(jobOutput)
		check := ""
		if i.check != nil {
			check = fmt.Sprintf(" if %d", *i.check)
		}
		return fmt.Sprintf("%s %s %d%s → %+v", i.verb, i.job, i.value, check, o)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
}

// history records what clients did to jobs and what they were answered, through any of the nodes.
//
//	h := newHistory(nodes, seed)
//	stop := h.record(ctx, 6)      // clients at work
//	… faults …
//	stop()
//	h.check(t)                    // afterwards, with the cluster whole again or not
type history struct {
	nodes []*fleet.Node
	seed  uint64
	begun time.Time

	mu     sync.Mutex
	values int
	ops    []porcupine.Operation
	known  int // writes and reads that were answered
}

// jobAge is how long clients stay with one job. It bounds what the checker has to search after requests without an answer.
const jobAge = 3 * time.Second

func newHistory(nodes []*fleet.Node, seed uint64) *history {
	return &history{nodes: nodes, seed: seed, begun: time.Now()}
}

// record lets so many clients work until the returned function is called, which waits for them.
func (h *history) record(ctx context.Context, clients int) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var working sync.WaitGroup
	for id := range clients {
		working.Go(func() {
			dice := rand.New(rand.NewPCG(h.seed, uint64(id)))
			for ctx.Err() == nil {
				if !h.request(id, dice) {
					<-time.After(100 * time.Millisecond)
				}
				<-time.After(time.Duration(dice.IntN(20)) * time.Millisecond)
			}
		})
	}
	return func() { cancel(); working.Wait() }
}

// request does one thing and records it. It reports whether there was an answer.
func (h *history) request(id int, dice *rand.Rand) bool {
	client := h.nodes[dice.IntN(len(h.nodes))].API()
	in := h.choose(client, dice)
	if in == nil {
		return false
	}
	called := time.Since(h.begun).Nanoseconds()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := perform(ctx, client, *in)
	returned := time.Since(h.begun).Nanoseconds()
	switch {
	case err != nil && (in.verb == readJob || unsent(err)):
		return false // it tells nothing
	case err != nil:
		out, returned = jobOutput{unknown: true}, math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: id, Input: *in, Output: out, Call: called, Return: returned})
	if err == nil {
		h.known++
	}
	return err == nil
}

// choose draws a request, nil if it needs an index that was not to be had.
func (h *history) choose(client *api.Client, dice *rand.Rand) *jobInput {
	in := &jobInput{verb: readJob, job: fmt.Sprintf("linear-%d-%d", time.Since(h.begun)/jobAge, dice.IntN(2))}
	switch n := dice.IntN(10); {
	case n < 5:
		return in
	case n == 5:
		in.verb = stopJob
		return in
	case n < 8: // with the index that is read first, of the past even
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		index := uint64(0)
		switch job, _, err := client.Job(ctx, in.job, api.Query{Stale: true}); {
		case err == nil:
			index = job.JobModifyIndex
		case cluster.CodeOf(err) != cluster.CodeNotFound:
			return nil
		}
		in.check = &index
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.values++
	in.verb, in.value = writeJob, h.values
	return in
}

// unsent reports whether a request has certainly not reached any agent: nobody was there to connect to.
func unsent(err error) bool {
	wrong, ok := errors.AsType[*net.OpError](err)
	return ok && wrong.Op == "dial"
}

// perform does a request. Its error means that nobody knows what came of it.
func perform(ctx context.Context, client *api.Client, in jobInput) (jobOutput, error) {
	switch in.verb {
	case readJob:
		job, _, err := client.Job(ctx, in.job, api.Query{})
		if cluster.CodeOf(err) == cluster.CodeNotFound && err != nil {
			return jobOutput{}, nil
		}
		if err != nil {
			return jobOutput{}, err
		}
		value, err := strconv.Atoi(job.Meta["value"])
		return jobOutput{value: value, stopped: job.Stop, index: job.JobModifyIndex}, err
	case stopJob:
		_, err := client.DeregisterJob(ctx, in.job, false, api.Query{})
		if err != nil && cluster.CodeOf(err) == cluster.CodeNotFound {
			err = nil // there is nothing to stop
		}
		return jobOutput{}, err
	}
	task := map[string]any{"Name": "none", "Driver": "raw_exec", "Config": map[string]any{"command": "true"}}
	request := map[string]any{"Job": map[string]any{
		"ID": in.job, "Meta": map[string]any{"value": strconv.Itoa(in.value)},
		"TaskGroups": []any{map[string]any{"Name": "none", "Count": 0, "Tasks": []any{task}}},
	}}
	if in.check != nil {
		request["EnforceIndex"], request["JobModifyIndex"] = true, *in.check
	}
	var out api.JobRegisterResponse
	_, err := client.Put(ctx, "/v1/jobs", api.Query{}, request, &out)
	if code := cluster.CodeOf(err); err != nil && in.check != nil && (code == cluster.CodeConflict || code == cluster.CodeRejected) {
		return jobOutput{refused: true}, nil
	}
	return jobOutput{index: out.JobModifyIndex}, err
}

// check fails unless some order of the requests explains every answer. What does not fit is drawn into a file.
func (h *history) check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Logf("%d requests, %d of them answered, seed %d", len(h.ops), h.known, h.seed)
	result, info := porcupine.CheckOperationsVerbose(jobModel, h.ops, time.Minute)
	switch result {
	case porcupine.Unknown:
		t.Error("a minute was not enough to find an order of the requests, or that there is none")
	case porcupine.Illegal:
		file := filepath.Join(os.TempDir(), "history-"+strconv.FormatUint(h.seed, 10)+".html")
		t.Errorf("no order of the requests explains all answers; see %s, %v", file, porcupine.VisualizePath(jobModel, info, file))
	}
}
