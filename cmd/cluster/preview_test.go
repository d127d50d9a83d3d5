package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/api"
)

// preview answers what registering a job would lead to, as a server does.
func (w *world) preview(body []byte) (any, error) {
	var req api.JobPlanRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	job, err := cluster.DecodeJob(req.Job)
	if err != nil {
		return nil, err
	}
	if job.Meta["fate"] == "no answer" {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "No cluster leader")
	}
	var old *cluster.Job
	answer := api.JobPlanResponse{Meta: api.Meta{Index: w.index}}
	if list := w.jobs[job.Key()]; len(list) > 0 {
		old = list[len(list)-1]
		answer.JobModifyIndex, job.Version, job.CreateIndex = old.JobModifyIndex, old.Version+1, old.CreateIndex
	}
	in := scheduler.Input{Now: worldTime, Job: job, Eval: &cluster.Evaluation{Status: cluster.EvalPending}}
	if answer.Diff = cluster.Diff(old, job, true); answer.Diff.Type == cluster.DiffNone {
		in.Job = old
	}
	for _, a := range w.allocs {
		if a.Job.Key() == job.Key() {
			in.Allocs = append(in.Allocs, a)
		}
	}
	for _, n := range w.nodes {
		in.Nodes = append(in.Nodes, scheduler.Node{Node: n})
	}
	look := scheduler.Look(in)
	answer.Diff.Annotate(look.Desired)
	answer.Annotations.DesiredTGUpdates, answer.FailedTGAllocs = look.Desired, look.Plan.Eval.FailedTGAllocs
	if job.Meta["warn"] != "" {
		answer.Warnings = job.Meta["warn"]
	}
	if job.Meta["next"] != "" {
		answer.NextPeriodicLaunch = worldTime.Add(90 * 60e9)
	}
	for i, p := range look.Plan.Places {
		n := w.nodes[slices.IndexFunc(w.nodes, func(n *cluster.Node) bool { return n.ID == p.NodeID })]
		answer.Placements = append(answer.Placements, api.PlanPlacement{Name: fmt.Sprintf("%s.%s[%d]", job.ID, p.TaskGroup, p.Index),
			TaskGroup: p.TaskGroup, NodeID: n.ID, NodeName: n.Name, Previous: p.Previous, JobVersion: job.Version, Score: look.Scores[i]})
	}
	for _, network := range job.TaskGroups[0].Networks {
		for _, port := range network.DynamicPorts {
			answer.Ports = append(answer.Ports, api.PlanPort{Type: cluster.DiffNone, TaskGroup: job.TaskGroups[0].Name, Label: port.Label, To: port.To,
				Services: []string{"web"}, Addresses: []string{"192.0.2.7"}})
		}
		for _, port := range network.ReservedPorts {
			answer.Ports = append(answer.Ports, api.PlanPort{Type: cluster.DiffAdded, TaskGroup: job.TaskGroups[0].Name, Label: port.Label, Value: port.Value,
				Addresses: []string{"127.0.0.1", "192.0.2.7", "192.0.2.8", "192.0.2.9", "2001:db8::1"}})
		}
	}
	return answer, nil
}

func TestDifferencesInColour(t *testing.T) {
	side := func(text string) *cluster.Job {
		job, err := cluster.DecodeJob([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return job
	}
	diff := cluster.Diff(side(`{"ID": "web", "Meta": {"a": "1"}, "TaskGroups": [{"Name": "web", "Tasks": [{"Name": "x"}]}]}`),
		side(`{"ID": "web", "Meta": {"b": "\u001b[2J"}, "TaskGroups": [{"Name": "web", "Count": 2, "Tasks": [{"Name": "x"}]}]}`), true)
	diff.Annotate(map[string]cluster.DesiredUpdates{"web": {Place: 1}})
	for terminal, want := range map[bool]string{
		false: "+/- Job: \"web\"\n- Meta[a]: \"1\"\n+ Meta[b]: \"[2J\"\n+/- Task Group: \"web\" (1 create)\n  +/- Count: \"1\" => \"2\" (forces create)\n      Task: \"x\" (forces create/destroy update)\n",
		true: "\x1b[33m+/-\x1b[0m \x1b[1mJob\x1b[0m: \"web\"\n\x1b[31m-\x1b[0m Meta[a]: \"1\"\n\x1b[32m+\x1b[0m Meta[b]: \"[2J\"\n" +
			"\x1b[33m+/-\x1b[0m \x1b[1mTask Group\x1b[0m: \"web\" (\x1b[32m1 create\x1b[0m)\n  \x1b[33m+/-\x1b[0m Count: \"1\" => \"2\" (forces create)\n" +
			"      \x1b[1mTask\x1b[0m: \"x\" (forces create/destroy update)\n",
	} {
		var out bytes.Buffer
		differences{&output{w: &out, colours: terminal}, false}.job(diff)
		if out.String() != want {
			t.Errorf("terminal %v:\n%q, want\n%q", terminal, out.String(), want)
		}
	}
}

func TestPlansSubmissionIsACommandThatAShellReads(t *testing.T) {
	for word, want := range map[string]string{"a-b=c": "a-b=c", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'", "-var=n=[1]": "'-var=n=[1]'"} {
		if got := shellQuoted(word); got != want {
			t.Errorf("%q is written %s, want %s", word, got, want)
		}
	}
	s := newSession(t)
	out, status := s.run("plan", "-var", "count=3", "testdata/jobs/web.hcl")
	if status != exitDisturbs || !strings.Contains(out, "\ncluster job run -check-index 0 -var=count=3 testdata/jobs/web.hcl\n") {
		t.Errorf("status %d:\n%s", status, out)
	}
}
