package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
)

// refused fails the test unless the command is refused with the code and words.
func (s *store) refused(code cluster.Code, words string, c Command) {
	s.t.Helper()
	before := dump(s.t, s.Snapshot())
	r := s.try(c)[0]
	if r.Err == nil || cluster.CodeOf(r.Err) != code || r.Err.Error() != words {
		s.t.Fatalf("%s: got %v (%s), want %q (%s)", c.kind(), r.Err, cluster.CodeOf(r.Err), words, code)
	}
	if after := dump(s.t, s.Snapshot()); !sameButIndex(before, after) {
		s.t.Fatalf("%s was refused, but changed the state:\n%s\n%s", c.kind(), before, after)
	}
}

func sameButIndex(a, b string) bool {
	_, a, _ = strings.Cut(a, "\n")
	_, b, _ = strings.Cut(b, "\n")
	return a == b
}

func (s *store) register(job *cluster.Job) *cluster.Job {
	s.t.Helper()
	s.do(&RegisterJob{At: s.now, Job: job})
	return s.Snapshot().Job(job.Namespace, job.ID)
}

func TestARegistrationMakesAVersionOnlyWhenItSaysSomethingNew(t *testing.T) {
	s := newStore(t)
	first := s.register(testJob("web"))
	if first.Version != 0 || first.CreateIndex != s.index || first.JobModifyIndex != s.index || first.SubmitTime == 0 {
		t.Fatalf("first: %+v", first)
	}
	again := s.do(&RegisterJob{At: s.now, Job: testJob("web"), Eval: testEval(1, first)})[0]
	if again.NewVersion || again.JobModifyIndex != first.JobModifyIndex || again.EvalID != id(1) {
		t.Fatalf("again: %+v", again)
	}
	if eval := s.Snapshot().Eval(id(1)); eval == nil || eval.JobModifyIndex != first.JobModifyIndex {
		t.Fatalf("evaluation of an unchanged job: %+v", eval)
	}
	changed := testJob("web")
	changed.TaskGroups[0].Count = 3
	second := s.register(changed)
	if second.Version != 1 || second.CreateIndex != first.CreateIndex || second.JobModifyIndex != s.index {
		t.Fatalf("second: %+v", second)
	}
	versions := s.Snapshot().JobVersions("default", "web")
	if len(versions) != 2 || versions[0] != second || versions[1].TaskGroups[0].Count != 1 {
		t.Fatalf("versions: %+v", versions)
	}
}

func TestTheSixNewestVersionsAreKeptAndThoseThatRun(t *testing.T) {
	s := newStore(t)
	s.do(&RegisterNode{At: s.now, Node: testNode(1)})
	job := testJob("web")
	s.register(job)
	s.place("web", 1)
	for count := range 9 {
		next := testJob("web")
		next.TaskGroups[0].Count = count + 2
		s.do(&RegisterJob{At: s.now, Job: next, Source: &Submission{Source: "job", Format: "hcl2"}})
	}
	var kept []uint64
	for _, v := range s.Snapshot().JobVersions("default", "web") {
		kept = append(kept, v.Version)
	}
	if want := []uint64{9, 8, 7, 6, 5, 4, 0}; !slices.Equal(kept, want) {
		t.Fatalf("kept %v, want %v", kept, want)
	}
	sn := s.Snapshot()
	if sn.Submission("default", "web", 9).Source != "job" || sn.Submission("default", "web", 0) != nil || sn.Submission("default", "web", 1) != nil {
		t.Fatal("a submission belongs to its version")
	}
}

func TestRegistrationsThatAreRefused(t *testing.T) {
	s := newStore(t)
	stored := s.register(testJob("web"))
	elsewhere := testJob("web")
	elsewhere.Namespace = "prod"
	batch := testJob("web")
	batch.Type = cluster.JobTypeBatch
	for _, c := range []struct {
		command *RegisterJob
		code    cluster.Code
		words   string
	}{
		{&RegisterJob{Job: elsewhere}, cluster.CodeRejected, `job "web" is in nonexistent namespace "prod"`},
		{&RegisterJob{Job: batch}, cluster.CodeRejected, `cannot update job from type "service" to "batch"`},
		{&RegisterJob{Job: testJob("web"), EnforceIndex: true}, cluster.CodeConflict, "Enforcing job modify index 0: job already exists"},
		{&RegisterJob{Job: testJob("web"), EnforceIndex: true, JobModifyIndex: 7}, cluster.CodeConflict,
			"Enforcing job modify index 7: job exists with conflicting job modify index: 10"},
		{&RegisterJob{Job: testJob("new"), EnforceIndex: true, JobModifyIndex: 7}, cluster.CodeConflict,
			"Enforcing job modify index 7: job does not exist"},
	} {
		s.refused(c.code, c.words, c.command)
	}
	s.do(&RegisterJob{Job: testJob("web"), EnforceIndex: true, JobModifyIndex: stored.JobModifyIndex})
	s.do(&RegisterJob{Job: testJob("new"), EnforceIndex: true})
}

func TestAJobIsStoppedStartedAgainAndPurged(t *testing.T) {
	s := newStore(t)
	job := testJob("web")
	s.do(&RegisterJob{At: s.now, Job: job, Eval: testEval(1, job), Source: &Submission{Source: "text"}})
	r := s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "web", Eval: testEval(2, job)})[0]
	stopped := s.Snapshot().Job("default", "web")
	if !stopped.Stop || stopped.Version != 1 || r.EvalID != id(2) || stopped.Status != cluster.JobStatusDead {
		t.Fatalf("stopped: %+v, %+v", stopped, r)
	}
	if s.Snapshot().Submission("default", "web", 1).Source != "text" {
		t.Fatal("the stopped version has lost its text")
	}
	if started := s.register(job); started.Stop || started.Version != 2 || started.Status != cluster.JobStatusPending {
		t.Fatalf("started again: %+v", started)
	}
	s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "web", Purge: true, Eval: testEval(3, job)})
	sn := s.Snapshot()
	if sn.Job("default", "web") != nil || sn.JobVersions("default", "web") != nil || sn.JobSummary("default", "web") != nil {
		t.Fatal("a purged job is still there")
	}
	if n := len(slices.Collect(sn.EvalsByJob("default", "web"))); n != 3 {
		t.Fatalf("%d evaluations of the purged job", n)
	}
	if reborn := s.register(job); reborn.Version != 0 || reborn.CreateIndex != s.index {
		t.Fatalf("registered after the purge: %+v", reborn)
	}
	if r := s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "none", Eval: testEval(4, job)})[0]; !r.EvalID.IsZero() {
		t.Fatalf("an unknown job: %+v", r)
	}
}

func TestARepeatedRequestIsAnsweredOnce(t *testing.T) {
	s := newStore(t)
	job := testJob("web")
	command := &RegisterJob{At: s.now, RequestID: "r1", Job: job, Eval: testEval(1, job)}
	first := s.do(command)[0]
	before := dump(t, s.Snapshot())
	again := s.do(command)[0]
	if !again.Repeated || again.Index != first.Index || again.EvalID != first.EvalID || again.JobModifyIndex != first.JobModifyIndex || !again.NewVersion {
		t.Fatalf("first %+v, again %+v", first, again)
	}
	if !sameButIndex(before, dump(t, s.Snapshot())) {
		t.Fatal("the repeated request changed the state")
	}
	later := *command
	later.At += RequestWindow
	later.Eval = testEval(2, job)
	if r := s.do(&later)[0]; r.Repeated || r.EvalID != id(2) {
		t.Fatalf("after the window: %+v", r)
	}
}

func TestNamespaces(t *testing.T) {
	s := newStore(t)
	s.refused(cluster.CodeRejected, `delete namespace "default": it always exists`, &DeleteNamespace{Name: "default"})
	s.refused(cluster.CodeNotFound, "Namespace not found", &DeleteNamespace{Name: "prod"})
	s.do(&UpsertNamespace{Namespace: &cluster.Namespace{Name: "prod", Description: "real"}})
	created := s.index
	s.do(&UpsertNamespace{Namespace: &cluster.Namespace{Name: "prod", Description: "very real"}})
	if ns := s.Snapshot().Namespace("prod"); ns.CreateIndex != created || ns.ModifyIndex != s.index || ns.Description != "very real" {
		t.Fatalf("namespace: %+v", ns)
	}
	job := testJob("web")
	job.Namespace = "prod"
	s.register(job)
	s.register(testJob("web"))
	s.refused(cluster.CodeRejected, `delete namespace "prod": job "web" is pending: stop it first`, &DeleteNamespace{Name: "prod"})
	s.do(&DeregisterJob{Namespace: "prod", ID: "web"})
	s.do(&DeleteNamespace{Name: "prod"})
	if sn := s.Snapshot(); sn.Namespace("prod") != nil || sn.Job("prod", "web") != nil || sn.Job("default", "web") == nil {
		t.Fatal("deleting a namespace removes it and its jobs alone")
	}
}

func TestJobsAreListedByNamespaceAndID(t *testing.T) {
	s := newStore(t)
	s.do(&UpsertNamespace{Namespace: &cluster.Namespace{Name: "a"}}, &UpsertNamespace{Namespace: &cluster.Namespace{Name: "z"}})
	for _, name := range []string{"z/web", "default/web-2", "default/api", "a/web", "default/web-1"} {
		ns, jobID, _ := strings.Cut(name, "/")
		job := testJob(jobID)
		job.Namespace = ns
		s.register(job)
	}
	for _, c := range []struct{ namespace, prefix, want string }{
		{"*", "", "a/web default/api default/web-1 default/web-2 z/web"},
		{"*", "web", "a/web default/web-1 default/web-2 z/web"},
		{"default", "web", "default/web-1 default/web-2"},
		{"default", "x", ""},
		{"none", "", ""},
	} {
		var got []string
		for job := range s.Snapshot().Jobs(c.namespace, c.prefix) {
			got = append(got, job.Namespace+"/"+job.ID)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("jobs of %q with %q: %v, want %s", c.namespace, c.prefix, got, c.want)
		}
	}
}

func TestMeta(t *testing.T) {
	s := newStore(t)
	s.do(&SetMeta{Key: "cluster_id", Value: []byte{1}, Create: true})
	s.refused(cluster.CodeConflict, `set "cluster_id": it is set already`, &SetMeta{Key: "cluster_id", Value: []byte{2}, Create: true})
	s.do(&SetMeta{Key: "empty", Value: []byte{}})
	sn := s.Snapshot()
	if string(sn.Meta("cluster_id")) != "\x01" || sn.Meta("empty") == nil || sn.Meta("none") != nil {
		t.Fatal("meta is not what was set")
	}
	s.do(&SetMeta{Key: "cluster_id"})
	if s.Snapshot().Meta("cluster_id") != nil {
		t.Fatal("meta was not removed")
	}
}
