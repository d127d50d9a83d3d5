package state

import (
	"testing"

	"github.com/a43e60e4/cluster"
)

// store is a Store that tests drive by commands.
type store struct {
	*Store
	t     testing.TB
	index uint64
	now   int64
}

func newStore(t testing.TB) *store { return &store{Store: New(), t: t, index: 9, now: 1_700_000_000e9} }

// do applies commands as one entry and fails the test if any is refused.
func (s *store) do(commands ...Command) []Result {
	s.t.Helper()
	results := s.try(commands...)
	for i, r := range results {
		if r.Err != nil {
			s.t.Fatalf("%s: %v", commands[i].kind(), r.Err)
		}
	}
	return results
}

func (s *store) try(commands ...Command) []Result {
	s.t.Helper()
	entry, err := Encode(commands...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.index++
	s.now += 1e9
	results, err := s.Apply(s.index, entry)
	if err != nil {
		s.t.Fatal(err)
	}
	return results
}

func id(n uint32) cluster.ID { return cluster.IDFrom([16]byte{1, 2, 3}, n) }

func testNode(n uint32) *cluster.Node {
	return &cluster.Node{ID: id(n), Name: "node", Datacenter: "dc1", Status: cluster.NodeStatusReady}
}

func testJob(name string) *cluster.Job {
	j := cluster.DefaultJob(cluster.JobTypeService)
	j.ID, j.Name = name, name
	g := cluster.DefaultGroup(&j)
	g.Name = "web"
	task := cluster.DefaultTask(&g)
	task.Name, task.Driver = "server", "raw_exec"
	task.Services = []cluster.Service{{Name: "site", PortLabel: "http"}}
	task.Config = map[string]any{"command": "/bin/true"}
	g.Tasks = []cluster.Task{task}
	j.TaskGroups = []cluster.TaskGroup{g}
	return &j
}

func testEval(n uint32, job *cluster.Job) *cluster.Evaluation {
	return &cluster.Evaluation{ID: id(n), Namespace: job.Namespace, JobID: job.ID, Type: job.Type, Priority: 50,
		TriggeredBy: cluster.TriggerJobRegister, Status: cluster.EvalPending}
}

func TestAJobIsPlacedRunsAndStops(t *testing.T) {
	s := newStore(t)
	job := testJob("web")
	s.do(&RegisterNode{At: s.now, Node: testNode(1)})
	r := s.do(&RegisterJob{At: s.now, Job: job, Eval: testEval(100, job)})[0]
	if !r.NewVersion || r.EvalID != id(100) || r.JobModifyIndex != s.index {
		t.Fatalf("register: %+v", r)
	}
	sn := s.Snapshot()
	stored := sn.Job("default", "web")
	if stored.Status != cluster.JobStatusPending || stored.CreateIndex != s.index {
		t.Fatalf("job: %+v", stored)
	}
	eval := *testEval(100, job)
	eval.Status = cluster.EvalComplete
	r = s.do(&CommitPlan{At: s.now, Seed: [16]byte{9: 7}, Plan: cluster.Plan{
		Namespace: "default", JobID: "web", CreateIndex: stored.CreateIndex, SnapshotIndex: sn.Index(), Eval: eval,
		Places: []cluster.Placement{{NodeID: id(1), TaskGroup: "web", Ports: []cluster.AllocatedPort{{Label: "http", Value: 20000}}}},
	}})[0]
	if !r.Plan.Whole() || r.Plan.Placed != 1 {
		t.Fatalf("plan: %+v", r.Plan)
	}
	sn = s.Snapshot()
	if sn.AllocCount() != 1 || sn.Job("default", "web").Status != cluster.JobStatusRunning {
		t.Fatalf("after plan: %+v", sn.Job("default", "web"))
	}
}
