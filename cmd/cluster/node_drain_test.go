package main

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// changeNode replaces a node by a changed copy.
func (w *world) changeNode(id string, change func(*cluster.Node) error) (any, error) {
	i := slices.IndexFunc(w.nodes, func(n *cluster.Node) bool { return n.ID.String() == id })
	if i < 0 {
		return nil, cluster.Errorf(cluster.CodeNotFound, "node not found")
	}
	next := *w.nodes[i]
	if err := change(&next); err != nil {
		return nil, err
	}
	w.nodes[i] = &next
	return api.NodeUpdateResponse{NodeModifyIndex: w.index}, nil
}

func (w *world) setEligibility(id string, body []byte) (any, error) {
	var req api.NodeEligibilityRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	return w.changeNode(id, func(n *cluster.Node) error {
		if n.DrainStrategy != nil && req.Eligibility == cluster.NodeEligible {
			return cluster.Errorf(cluster.CodeRejected, "make node %s eligible: it is being drained", n.ID)
		}
		n.SchedulingEligibility = req.Eligibility
		return nil
	})
}

// drain moves one allocation after the other to the other node, unless the drain has no deadline: then nothing happens.
func (w *world) drain(id string, body []byte) (any, error) {
	var req api.NodeDrainRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	w.index++
	last := &cluster.LastDrain{StartedAt: worldTime, UpdatedAt: worldTime, Status: cluster.DrainStatusDraining, Meta: req.Meta}
	answer, err := w.changeNode(id, func(n *cluster.Node) error {
		if n.DrainStrategy = nil; req.DrainSpec == nil {
			last.Status = cluster.DrainStatusCanceled
			if n.SchedulingEligibility = cluster.NodeIneligible; req.MarkEligible {
				n.SchedulingEligibility = cluster.NodeEligible
			}
		} else {
			n.DrainStrategy = &cluster.DrainStrategy{DrainSpec: *req.DrainSpec, StartedAt: worldTime, ForceDeadline: worldTime.Add(req.DrainSpec.Deadline)}
			n.SchedulingEligibility = cluster.NodeIneligible
		}
		n.LastDrain = last
		return nil
	})
	if req.DrainSpec == nil || req.DrainSpec.Deadline == 0 || err != nil {
		return answer, err
	}
	for i, a := range w.allocs {
		if a.NodeID.String() != id || a.Terminal() {
			continue
		}
		w.steps = append(w.steps, func() {
			next := *a
			next.ID, next.NodeID, next.NodeName = w.id(0x80), w.nodes[1].ID, w.nodes[1].Name
			w.allocs = append(w.allocs, &next)
			w.allocs[i] = a.WithDetails(func(r *cluster.AllocationRare) { r.NextAllocation = next.ID })
			w.allocs[i].DesiredStatus = cluster.DesiredStop
		}, func() { w.allocs[i] = w.halt(w.allocs[i], "node n1 is being drained") })
	}
	w.steps = append(w.steps, func() {
		_, err := w.changeNode(id, func(n *cluster.Node) error {
			ended := *last
			ended.Status = cluster.DrainStatusComplete
			n.DrainStrategy, n.LastDrain = nil, &ended
			return nil
		})
		if err != nil {
			w.t.Error(err)
		}
	})
	return answer, nil
}

// What a drain waits for is said, once.
func TestNewsOfADrain(t *testing.T) {
	job := &cluster.Job{ID: "web", Namespace: "default", TaskGroups: []cluster.TaskGroup{{Name: "app"}}}
	a := &cluster.Allocation{ID: cluster.ID{0xaa}, Job: job, TaskGroup: "app", ClientStatus: cluster.ClientRunning}
	blocked := &cluster.Evaluation{Status: cluster.EvalBlocked, Namespace: "default", JobID: "web", FailedTGAllocs: map[string]cluster.AllocMetric{"app": {NodesEvaluated: 1, NodesExhausted: 1}}}
	v := &drainView{id: cluster.ID{1}, zone: time.UTC, known: map[cluster.ID]string{}, waits: map[cluster.JobKey]string{},
		node:   &cluster.Node{DrainStrategy: &cluster.DrainStrategy{DrainSpec: cluster.DrainSpec{Deadline: -1}}},
		allocs: []*cluster.Allocation{a}, blocked: []*cluster.Evaluation{blocked, {Namespace: "default", JobID: "other"}}}
	want := []string{`Node "01000000" is being drained at once; allocations there: 1`,
		`Job "web" waits for room; group "app": Resources exhausted on 1 node`}
	if got := v.news(); !slices.Equal(got, want) {
		t.Errorf("at first %q", got)
	}
	if got := v.news(); len(got) != 0 {
		t.Errorf("twice %q", got)
	}
	v.node = &cluster.Node{LastDrain: &cluster.LastDrain{Status: cluster.DrainStatusComplete}}
	if lines, err := v.outcome(); err != nil || !strings.Contains(lines[1], "but for 1 of system jobs") {
		t.Errorf("in the end %q, %v", lines, err)
	}
}

// Who stops following leaves the drain alone.
func TestFollowingADrainIsInterrupted(t *testing.T) {
	s := newSession(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.context = ctx
	done := make(chan string)
	go func() {
		out, status := s.run("node", "drain", "-enable", "-no-deadline", "n1")
		if status != exitInterrupted {
			t.Errorf("status %d", status)
		}
		done <- out
	}()
	s.world.mu.Lock()
	for s.world.nodes[0].DrainStrategy == nil || s.world.looking || s.world.seen < s.world.index {
		s.world.changed.Wait()
	}
	s.world.mu.Unlock()
	cancel()
	if out := <-done; !strings.Contains(out, "Following ended; the drain goes on") {
		t.Errorf("it says %s", out)
	}
	if s.world.nodes[0].DrainStrategy == nil {
		t.Error("the drain has ended")
	}
}
