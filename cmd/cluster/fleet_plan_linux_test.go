package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// plan asks a machine what the job would lead to.
func (f *fleet) plan(n *fleetNode, job *cluster.Job) *api.JobPlanResponse {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 20*time.Second)
	defer cancel()
	began := time.Now()
	answer, err := n.client.PlanJob(ctx, job, true)
	f.note("plan %s through %s in %s: %v", job.ID, n.name, time.Since(began), err)
	if err != nil {
		f.t.Fatalf("%s: plan through %s: %v", clock(), n.name, err)
	}
	return answer
}

// planned is what a plan is held by: equal texts are equal answers.
func planned(answer *api.JobPlanResponse) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %d: %+v", answer.Diff.Type, answer.JobModifyIndex, answer.Annotations.DesiredTGUpdates)
	for _, p := range answer.Placements {
		fmt.Fprintf(&b, " %s on %s", p.Name, p.NodeName)
	}
	return b.String()
}

// TestAPlanGoesThroughAnyNode asks every machine for plans: all give the leader's answer, and nothing comes of asking. Then the leader's
// machine is lost between a plan and what was planned.
func TestAPlanGoesThroughAnyNode(t *testing.T) {
	live(t, 1, 3, 1, func(f *fleet) {
		f.pass(30 * time.Second)
		f.register("job-0")
		f.pass(20 * time.Second)
		job := f.jobs["job-0"].may[0]
		more := *job
		more.TaskGroups = []cluster.TaskGroup{job.TaskGroups[0]}
		more.TaskGroups[0].Count++
		leader := f.leader()
		same, want := planned(f.plan(leader, job)), planned(f.plan(leader, &more))
		if !strings.HasPrefix(same, cluster.DiffNone) || !strings.HasPrefix(want, cluster.DiffEdited) || !strings.Contains(want, "Place:1") {
			f.t.Errorf("planned are %q and %q", same, want)
		}
		for _, n := range f.nodes {
			if have := planned(f.plan(n, job)); have != same {
				f.t.Errorf("through %s: %q, through the leader %q", n.name, have, same)
			}
			if have := planned(f.plan(n, &more)); have != want {
				f.t.Errorf("through %s: %q, through the leader %q", n.name, have, want)
			}
		}
		index := f.plan(leader, &more).JobModifyIndex

		f.note("crash %s", leader.name)
		leader.crash(true)
		asked, side := time.Now(), f.nodes[3]
		if answer := f.plan(side, &more); answer.JobModifyIndex != index || answer.Diff.Type != cluster.DiffEdited || answer.Annotations.DesiredTGUpdates[more.TaskGroups[0].Name].Place != 1 {
			f.t.Errorf("after the leader's loss: %s", planned(answer))
		}
		if took := time.Since(asked); took > 10*time.Second {
			f.t.Errorf("after the leader's loss a plan took %v", took)
		}
		f.mu.Lock()
		f.limit["job-0"] += 2
		f.mu.Unlock()
		before := index - 1
		if _, err := side.client.RegisterJob(f.t.Context(), &more, api.RegisterOptions{CheckIndex: &before}); cluster.CodeOf(err) != cluster.CodeConflict && cluster.CodeOf(err) != cluster.CodeRejected {
			f.t.Errorf("registered at %d of %d: %v", before, index, err)
		}
		f.through = side
		f.write("register job-0 as planned", "job-0", &more, func(ctx context.Context, client *api.Client) error {
			_, err := client.RegisterJob(ctx, &more, api.RegisterOptions{CheckIndex: &index})
			return err
		})
		if len(f.jobs["job-0"].may) != 1 {
			f.t.Errorf("%s: what was planned was not registered", clock())
		}
		f.through = nil
		leader.comeBack()
	})
}
