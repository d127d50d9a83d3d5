package state

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/a43e60e4/cluster"
)

// change registers the job's next version.
func (s *store) change(name string) *cluster.Job {
	s.t.Helper()
	job := testJob(name)
	job.Meta = map[string]string{"at": fmt.Sprint(s.index)}
	s.do(&RegisterJob{At: s.now, Job: job, Source: &Submission{Source: fmt.Sprint("source ", s.index)}})
	return s.Snapshot().Job("default", name)
}

func (s *store) mark(version uint64, edit func(*MarkVersion)) Result {
	s.t.Helper()
	c := &MarkVersion{At: s.now, Version: JobVersion{"default", "web", s.Snapshot().Job("default", "web").CreateIndex, version}}
	edit(c)
	return s.try(c)[0]
}

func (s *store) tag(version uint64, name string) Result {
	return s.mark(version, func(c *MarkVersion) { c.Tag = &cluster.JobVersionTag{Name: name, Description: "why"} })
}

func (s *store) scale(group string, event cluster.ScalingEvent, eval *cluster.Evaluation) Result {
	s.t.Helper()
	return s.try(&ScaleJob{At: s.now, Namespace: "default", ID: "web", Group: group, Event: event, Eval: eval,
		JobModifyIndex: s.Snapshot().Job("default", "web").JobModifyIndex})[0]
}

// kept are the numbers of the versions that are there, the newest first.
func (s *store) kept() []uint64 {
	var numbers []uint64
	for _, j := range s.Snapshot().JobVersions("default", "web") {
		numbers = append(numbers, j.Version)
	}
	return numbers
}

func (s *store) wantKept(want ...uint64) {
	s.t.Helper()
	if got := s.kept(); !reflect.DeepEqual(got, want) {
		s.t.Errorf("versions %v are kept, want %v", got, want)
	}
}

func TestHowManyVersionsAreKept(t *testing.T) {
	s := newStore(t)
	for range 10 {
		s.change("web")
	}
	s.wantKept(9, 8, 7, 6, 5, 4)
	s.do(&SetMeta{Key: MetaTrackedVersions, Value: []byte("3")})
	s.change("web")
	s.wantKept(10, 9, 8)
	if s.Snapshot().Submission("default", "web", 7) != nil || s.Snapshot().Submission("default", "web", 8) == nil {
		t.Error("a version's text is kept as long as the version, no longer")
	}
	moved := &store{Store: restored(t, s.Store), t: t, index: s.index, now: s.now}
	moved.change("web")
	moved.wantKept(11, 10, 9)
	s.do(&SetMeta{Key: MetaTrackedVersions, Value: []byte("1")})
	s.change("web")
	s.wantKept(11)
	for _, nonsense := range []string{"", "-1", "0", "many"} {
		if n := readTracked([]byte(nonsense)); n != DefaultTrackedVersions {
			t.Errorf("%q is read as %d", nonsense, n)
		}
	}
}

func TestTaggedVersionsAndTheNewestStableOneAreKept(t *testing.T) {
	s := newStore(t)
	for range 3 {
		s.change("web")
	}
	if r := s.tag(1, "good"); r.Err != nil {
		t.Fatal(r.Err)
	}
	s.mark(0, func(c *MarkVersion) { c.Stable = new(true) })
	for range 9 {
		s.change("web")
	}
	s.wantKept(11, 10, 9, 8, 7, 1, 0)
	s.mark(10, func(c *MarkVersion) { c.Stable = new(true) })
	s.change("web")
	s.wantKept(12, 11, 10, 9, 8, 7, 1)
	s.tag(12, "newest")
	s.change("web")
	s.wantKept(13, 12, 11, 10, 9, 8, 7, 1)
	s.mark(1, func(c *MarkVersion) { c.Untag = true })
	s.wantKept(13, 12, 11, 10, 9, 8, 7)
}

func TestTagsNameOneVersion(t *testing.T) {
	s := newStore(t)
	s.change("web")
	s.change("web")
	if r := s.tag(7, "good"); cluster.CodeOf(r.Err) != cluster.CodeNotFound {
		t.Errorf("a version that is not there: %v", r.Err)
	}
	if r := s.tag(0, "good"); r.Err != nil {
		t.Fatal(r.Err)
	}
	if r := s.tag(1, "good"); cluster.CodeOf(r.Err) != cluster.CodeRejected {
		t.Errorf("a name that another version has: %v", r.Err)
	}
	s.tag(0, "better")
	v := s.Snapshot().JobVersion("default", "web", 0)
	if v.VersionTag == nil || v.VersionTag.Name != "better" || v.VersionTag.Description != "why" || v.VersionTag.TaggedTime == 0 || v.ModifyIndex != s.index {
		t.Errorf("tagged version: %+v, tag %+v", v, v.VersionTag)
	}
	s.tag(1, "now")
	if tag := s.change("web").VersionTag; tag != nil {
		t.Errorf("the next version has the tag %+v", tag)
	}
	s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "web"})
	if job := s.Snapshot().Job("default", "web"); job.Version != 3 || job.VersionTag != nil {
		t.Errorf("the stopped version: %+v", job)
	}
	again := restored(t, s.Store).Snapshot()
	if tag := again.JobVersion("default", "web", 1).VersionTag; tag == nil || tag.Name != "now" {
		t.Errorf("after a restart the tag is %+v", tag)
	}
	if dump(t, again) != dump(t, s.Snapshot()) {
		t.Error("a restart changes the state")
	}
}

func TestScalingChangesTheCountAndIsNoted(t *testing.T) {
	s := newStore(t)
	job := s.change("web")
	eval := testEval(300, job)
	r := s.scale("web", cluster.ScalingEvent{Count: new(int64(5)), Message: "busy"}, eval)
	if r.Err != nil || !r.NewVersion || r.EvalID != id(300) {
		t.Fatalf("scale: %+v", r)
	}
	now := s.Snapshot().Job("default", "web")
	if now.Version != 1 || now.TaskGroups[0].Count != 5 || now.JobModifyIndex != s.index || job.TaskGroups[0].Count != 1 {
		t.Fatalf("scaled job: %+v", now)
	}
	if source := s.Snapshot().Submission("default", "web", 1); source == nil || source != s.Snapshot().Submission("default", "web", 0) {
		t.Errorf("its text: %+v", source)
	}
	if got := s.Snapshot().Eval(id(300)).JobModifyIndex; got != s.index {
		t.Errorf("the evaluation is for index %d", got)
	}
	r = s.scale("web", cluster.ScalingEvent{Message: "nothing to do", Error: true}, nil)
	if r.Err != nil || r.NewVersion || !r.EvalID.IsZero() {
		t.Fatalf("note: %+v", r)
	}
	events := s.Snapshot().ScalingEvents("default", "web")["web"]
	if len(events) != 2 || events[0].Message != "nothing to do" || events[0].PreviousCount != 5 || events[0].EvalID != nil ||
		events[1].Message != "busy" || events[1].PreviousCount != 1 || *events[1].EvalID != id(300) || events[1].CreateIndex == 0 || events[1].Time == 0 {
		t.Errorf("events: %+v", events)
	}
	if got := restored(t, s.Store).Snapshot().ScalingEvents("default", "web"); !reflect.DeepEqual(got["web"], events) {
		t.Errorf("after a restart: %+v", got)
	}
	for range cluster.KeptScalingEvents {
		s.scale("web", cluster.ScalingEvent{Count: new(int64(5))}, nil)
	}
	if events := s.Snapshot().ScalingEvents("default", "web")["web"]; len(events) != cluster.KeptScalingEvents || events[19].Message != "" {
		t.Errorf("%d events are kept", len(events))
	}
	s.wantKept(1, 0)
	s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "web", Purge: true})
	s.change("web")
	if events := s.Snapshot().ScalingEvents("default", "web"); len(events) > 0 {
		t.Errorf("after a purge there are %v", events)
	}
}

func TestScalingIsRefusedWhenTheJobIsAnother(t *testing.T) {
	s := newStore(t)
	old := s.change("web")
	s.change("web")
	before := dump(t, s.Snapshot())
	for _, c := range []struct {
		command ScaleJob
		want    cluster.Code
	}{
		{ScaleJob{ID: "none", Group: "web"}, cluster.CodeNotFound},
		{ScaleJob{ID: "web", Group: "web", JobModifyIndex: old.JobModifyIndex}, cluster.CodeConflict},
		{ScaleJob{ID: "web", Group: "none", JobModifyIndex: s.index}, cluster.CodeInvalid},
	} {
		c.command.Namespace, c.command.Event.Count = "default", new(int64(3))
		if r := s.try(&c.command)[0]; cluster.CodeOf(r.Err) != c.want {
			t.Errorf("%+v: %v", c.command, r.Err)
		}
	}
	if after := dump(t, s.Snapshot()); after[10:] != before[10:] {
		t.Error("a refused command changed the state")
	}
}

func TestAStateThatNeedsNothingNewIsWrittenInTheOldFormat(t *testing.T) {
	s := newStore(t)
	s.change("web")
	s.tag(0, "good")
	if saved := save(t, s.Store).Bytes(); saved[len(magic)] != 1 {
		t.Errorf("it is written in format %d", saved[len(magic)])
	}
	s.scale("web", cluster.ScalingEvent{Count: new(int64(2))}, nil)
	if saved := save(t, s.Store).Bytes(); saved[len(magic)] != 3 {
		t.Errorf("with scaling events it is written in format %d", saved[len(magic)])
	}
}
