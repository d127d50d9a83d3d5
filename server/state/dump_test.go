package state

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/a43e60e4/cluster"
)

// dump shows everything that a snapshot holds: what is saved, and what is derived from it. Two states are
// the same if and only if their dumps are.
func dump(t interface {
	Helper()
	Fatal(...any)
}, sn *Snapshot) string {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "index %d\n", sn.index)
	saved := *sn
	saved.index = 0
	if err := saved.Persist(&b); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "\nallocations %d\n", sn.allocCount)
	for id, number := range sn.nodeNumbers.all() {
		n := sn.nodes.at(number)
		twice := slices.Sorted(slices.Values(n.twice))
		fmt.Fprintf(&b, "node %s slots %v used %v ports %v twice %v changed %d %d\n", id.Short(), n.slots, n.used, n.ports, twice, n.changed, n.allocsChanged)
	}
	for _, number := range sn.jobNumbers.all() {
		j := sn.jobs.at(number)
		fmt.Fprintf(&b, "job %v slots %v groups %v living %d evals %v open %d deployments %v changed %v dirty %v\n",
			j.key, j.slots, j.groups, j.living, j.evals, j.open, j.deployments, j.changed, j.dirty)
		for _, v := range j.versions {
			fmt.Fprintf(&b, "  version %d/%d allocations %d newest %v\n", v.spec.CreateIndex, v.spec.Version, v.allocs, v.job == j.job)
		}
	}
	for job, launches := range sn.ByClock() {
		fmt.Fprintf(&b, "by the clock %v %+v\n", job.Key(), *launches)
	}
	for key := range sn.pending.all() {
		fmt.Fprintf(&b, "pending %v\n", key)
	}
	for key := range sn.blocked.all() {
		fmt.Fprintf(&b, "blocked %v\n", key)
	}
	for key := range sn.active.all() {
		fmt.Fprintf(&b, "active %v\n", key)
	}
	for key, entry := range sn.services.all() {
		fmt.Fprintf(&b, "service %v %v %d\n", key, entry.endpoints, entry.changed)
	}
	return b.String()
}

// place plans and commits instances of the job's first group on the nodes, and gives their IDs.
func (s *store) place(job string, nodes ...uint32) []cluster.ID {
	s.t.Helper()
	var places []cluster.Placement
	for i, n := range nodes {
		places = append(places, cluster.Placement{NodeID: id(n), TaskGroup: "web", Index: int32(i),
			Ports: []cluster.AllocatedPort{{Label: "http", Value: 20000 + int32(i)}}})
	}
	r := s.plan(job, cluster.Plan{Places: places})
	if !r.Whole() {
		s.t.Fatalf("plan: %+v", r)
	}
	var ids []cluster.ID
	for a := range s.Snapshot().AllocsByJob("default", job) {
		if a.CreateIndex == s.index {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

// plan commits a plan for the job as it stands, for a new evaluation that is complete with it.
func (s *store) plan(job string, p cluster.Plan) PlanResult {
	s.t.Helper()
	sn := s.Snapshot()
	p.Namespace, p.JobID = "default", job
	stored := sn.Job("default", job)
	if stored == nil {
		stored = testJob(job)
	}
	p.CreateIndex, p.Version = stored.CreateIndex, stored.Version
	if p.SnapshotIndex == 0 {
		p.SnapshotIndex = sn.Index()
	}
	eval := testEval(uint32(1000+s.index), stored)
	s.do(&UpsertEvals{At: s.now, Evals: []cluster.Evaluation{*eval}})
	eval.Status = cluster.EvalComplete
	p.Eval = *eval
	return s.do(&CommitPlan{At: s.now, Seed: [16]byte{8: byte(s.index), 9: byte(s.index >> 8)}, Plan: p})[0].Plan
}
