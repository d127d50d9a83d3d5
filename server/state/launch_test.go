package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/a43e60e4/cluster"
)

// templateJob is a batch job that is launched every hour.
func templateJob(name string) *cluster.Job {
	job := testJob(name)
	job.Type = cluster.JobTypeBatch
	job.Periodic = &cluster.PeriodicConfig{Enabled: true, Specs: []string{"@hourly"}, TimeZone: "UTC"}
	return job
}

// launch launches the job for a slot, with what is to be remembered of it.
func (s *store) launch(parent string, slot int64) *LaunchJob {
	s.t.Helper()
	sn := s.Snapshot()
	job := sn.Job("default", parent)
	child := job.PeriodicLaunch(slot)
	after := *sn.Launches("default", parent)
	after.Last, after.Ran = slot, append(slices.Clone(after.Ran), cluster.SlotRange{From: slot, To: slot})
	return &LaunchJob{At: s.now, Namespace: "default", ParentID: parent, CreateIndex: job.CreateIndex, Job: child,
		Eval: testEval(uint32(5000+slot), child), Launches: &after}
}

func TestALaunchIsStoredWithWhatIsRememberedOfIt(t *testing.T) {
	s := newStore(t)
	r := s.do(&RegisterJob{At: s.now, Job: templateJob("p")})[0]
	parent := s.Snapshot().Job("default", "p")
	if parent.Status != cluster.JobStatusRunning || !r.EvalID.IsZero() {
		t.Fatalf("parent: %+v", parent)
	}
	begun := s.Snapshot().Launches("default", "p")
	if begun.Since != parent.SubmitTime || begun.Index != s.index {
		t.Fatalf("begun: %+v", begun)
	}
	before := s.Snapshot().KeyIndex(JobKey("default", "p"))
	first := s.launch("p", 100)
	r = s.do(first)[0]
	launch := s.Snapshot().Job("default", "p/periodic-100")
	if launch == nil || launch.ParentID != "p" || launch.Periodic != nil || launch.Status != cluster.JobStatusPending || launch.SubmitTime == 0 {
		t.Fatalf("launch: %+v", launch)
	}
	if r.LaunchID != launch.ID || !r.NewVersion || r.EvalID != id(5100) || r.JobModifyIndex != s.index || s.Snapshot().Eval(id(5100)) == nil {
		t.Fatalf("result: %+v", r)
	}
	if l := s.Snapshot().Launches("default", "p"); l.Last != 100 || l.Index != s.index || s.Snapshot().KeyIndex(JobKey("default", "p")) <= before {
		t.Fatalf("remembered: %+v", l)
	}
	// The same again, as of a leader that does not know what became of it, changes nothing.
	s.refused(cluster.CodeConflict, `launch job "p": it was launched meanwhile`, first)
	if children := slices.Collect(s.Snapshot().Launched("default", "p")); len(children) != 1 {
		t.Fatalf("launches: %v", children)
	}
	// A slot that is skipped is remembered as well.
	skipped := s.launch("p", 200)
	skipped.Job, skipped.Eval = nil, nil
	if r := s.do(skipped)[0]; r.LaunchID != "" || s.Snapshot().Launches("default", "p").Last != 200 {
		t.Fatalf("skipped: %+v", r)
	}
	// What is there as the launch of a slot is that.
	again := s.launch("p", 100)
	if r := s.do(again)[0]; r.LaunchID != "p/periodic-100" || r.NewVersion || !r.EvalID.IsZero() || r.JobModifyIndex != launch.JobModifyIndex {
		t.Fatalf("there already: %+v", r)
	}
}

func TestLaunchesThatAreRefused(t *testing.T) {
	s := newStore(t)
	s.register(templateJob("p"))
	good := s.launch("p", 100)
	other := *good
	other.CreateIndex++
	s.refused(cluster.CodeConflict, `launch job "p": it was stopped or replaced meanwhile`, &other)
	other = *good
	other.ParentID = "q"
	s.refused(cluster.CodeConflict, `launch job "q": it was stopped or replaced meanwhile`, &other)
	for _, edit := range []func(*cluster.Job){func(j *cluster.Job) { j.Namespace = "other" }, func(j *cluster.Job) { j.ParentID = "q" }, func(j *cluster.Job) { j.ID = "elsewhere" }} {
		other, stray := *good, *good.Job
		edit(&stray)
		other.Job = &stray
		s.refused(cluster.CodeRejected, fmt.Sprintf("launch job \"p\": job %q is no launch of it", stray.ID), &other)
	}
	taken := *good
	taken.Launches = nil
	s.do(&taken)
	s.refused(cluster.CodeConflict, `launch job "p": there is a job "p/periodic-100": try again`, &taken)
	s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "p"})
	s.refused(cluster.CodeConflict, `launch job "p": it was stopped or replaced meanwhile`, good)
}

func TestTheSameTokenIsTheSameLaunch(t *testing.T) {
	s := newStore(t)
	job := testJob("p")
	job.Type, job.ParameterizedJob = cluster.JobTypeBatch, &cluster.ParameterizedJobConfig{}
	s.register(job)
	parent := s.Snapshot().Job("default", "p")
	dispatch := func(name, token, request string) Result {
		launch := parent.PeriodicLaunch(1)
		launch.ID, launch.Dispatched, launch.DispatchIdempotencyToken, launch.Payload = "p/"+name, true, token, []byte{0, 1}
		return s.do(&LaunchJob{At: s.now, RequestID: request, Namespace: "default", ParentID: "p", CreateIndex: parent.CreateIndex, Job: launch, Eval: testEval(uint32(len(name)), launch)})[0]
	}
	first := dispatch("a", "once", "r")
	if again := dispatch("bb", "once", ""); again.LaunchID != "p/a" || !again.EvalID.IsZero() || again.NewVersion || again.JobModifyIndex != first.JobModifyIndex {
		t.Errorf("the token again: %+v", again)
	}
	if again := dispatch("ccc", "twice", "r"); again.LaunchID != "p/a" || !again.Repeated {
		t.Errorf("the request again: %+v", again)
	}
	if other := dispatch("dddd", "twice", ""); other.LaunchID != "p/dddd" {
		t.Errorf("another token: %+v", other)
	}
	if launch := s.Snapshot().Job("default", "p/a"); string(launch.Payload) != "\x00\x01" || launch.IsTemplate() || s.Snapshot().Launches("default", "p/a") != nil {
		t.Errorf("launch: %+v", launch)
	}
	s.Store = restored(t, s.Store)
	if again := dispatch("eeeee", "twice", ""); again.LaunchID != "p/dddd" {
		t.Errorf("the token after a restart: %+v", again)
	}
	s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "p/dddd", Purge: true})
	if other := dispatch("ffffff", "twice", ""); other.LaunchID != "p/ffffff" {
		t.Errorf("the token of a launch that is forgotten: %+v", other)
	}
	changed := *s.Snapshot().Job("default", "p/a")
	changed.DispatchIdempotencyToken = ""
	s.register(&changed)
	if other := dispatch("ggggggg", "once", ""); other.LaunchID != "p/ggggggg" {
		t.Errorf("the token of a launch that has it no more: %+v", other)
	}
	if moved := restored(t, s.Store).w.launchOf; !maps.Equal(moved, s.w.launchOf) {
		t.Errorf("after a restart the tokens are %v, before %v", moved, s.w.launchOf)
	}
}

func TestWhenAScheduleBegins(t *testing.T) {
	s := newStore(t)
	since := func() int64 { return s.Snapshot().Launches("default", "p").Since }
	s.register(templateJob("p"))
	first := since()
	s.do(s.launch("p", 100))
	changed := templateJob("p")
	changed.Meta = map[string]string{"a": "b"}
	if s.register(changed); since() != first || s.Snapshot().Job("default", "p").Version != 1 {
		t.Error("another change than of the schedule begins it anew")
	}
	changed = templateJob("p")
	changed.Periodic.Specs = []string{"@daily"}
	if s.register(changed); since() <= first || s.Snapshot().Launches("default", "p").Last != 100 {
		t.Error("a changed schedule goes on as before, or forgets what was launched")
	}
	resting := templateJob("p")
	resting.Periodic.Specs, resting.Periodic.Enabled = []string{"@daily"}, false
	s.register(resting)
	second := since()
	for range s.Snapshot().ByClock() {
		t.Error("a job that rests is launched")
	}
	if s.register(changed); since() <= second {
		t.Error("a schedule that rested goes on as before")
	}
	third := since()
	s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "p"})
	if job := s.Snapshot().Job("default", "p"); job.Status != cluster.JobStatusDead {
		t.Errorf("stopped: %s", job.Status)
	}
	for range s.Snapshot().ByClock() {
		t.Error("a job that is stopped is launched")
	}
	if s.register(changed); since() <= third {
		t.Error("a job that was stopped goes on as before")
	}
	s.do(&DeregisterJob{At: s.now, Namespace: "default", ID: "p", Purge: true})
	if s.Snapshot().Launches("default", "p") != nil || s.Snapshot().Job("default", "p/periodic-100") == nil {
		t.Error("a purge forgets the launches, or leaves what is remembered of them")
	}
}

func TestAJobStaysWhatItIs(t *testing.T) {
	s := newStore(t)
	plain := testJob("plain")
	plain.Type = cluster.JobTypeBatch
	s.register(plain)
	s.register(templateJob("p"))
	periodic := templateJob("plain")
	s.refused(cluster.CodeRejected, "cannot update non-periodic job to being periodic: stop and purge it first, or give the new one another ID", &RegisterJob{Job: periodic})
	plain = testJob("p")
	plain.Type = cluster.JobTypeBatch
	s.refused(cluster.CodeRejected, "cannot update periodic job to being non-periodic: stop and purge it first, or give the new one another ID", &RegisterJob{Job: plain})
	both := templateJob("p")
	both.ParameterizedJob = &cluster.ParameterizedJobConfig{}
	s.refused(cluster.CodeRejected, "cannot update non-parameterized job to being parameterized: stop and purge it first, or give the new one another ID", &RegisterJob{Job: both})
}

func TestLaunchesAreCountedAndTold(t *testing.T) {
	s := newStore(t)
	s.register(templateJob("p"))
	s.register(templateJob("p/periodic-other")) // nobody's launch, whatever its name is
	s.do(s.launch("p", 100), &UpsertNamespace{Namespace: &cluster.Namespace{Name: "other"}})
	s.do(s.launch("p", 200))
	children := func() cluster.ChildrenSummary { return s.Snapshot().JobSummary("default", "p").Children }
	if got := children(); got != (cluster.ChildrenSummary{Pending: 2}) {
		t.Fatalf("launched: %+v", got)
	}
	index := s.Snapshot().KeyIndex(JobKey("default", "p"))
	done := *testEval(5100, s.Snapshot().Job("default", "p/periodic-100"))
	done.Status = cluster.EvalComplete
	s.do(&UpsertEvals{Evals: []cluster.Evaluation{done}})
	if got := children(); got != (cluster.ChildrenSummary{Pending: 1, Dead: 1}) {
		t.Fatalf("one done: %+v", got)
	}
	if next := s.Snapshot().KeyIndex(JobKey("default", "p")); next <= index {
		t.Error("who waits for the parent does not hear of a launch's end")
	} else {
		index = next
	}
	s.do(&DeregisterJob{Namespace: "default", ID: "p/periodic-100", Purge: true})
	if s.Snapshot().KeyIndex(JobKey("default", "p")) <= index || children() != (cluster.ChildrenSummary{Pending: 1}) {
		t.Errorf("one purged: %+v", children())
	}
	if summary := s.Snapshot().JobSummary("default", "p"); summary.Launches.Last != 200 {
		t.Errorf("summary: %+v", summary)
	}
	restored(t, s.Store)
}

func TestWhatServersMustKnowOfACommand(t *testing.T) {
	for _, c := range []struct {
		command Command
		want    Kind
	}{
		{&RegisterJob{Job: testJob("web")}, KindRegisterJob},
		{&RegisterJob{Job: templateJob("p")}, KindLaunchJob},
		{&LaunchJob{}, KindLaunchJob},
		{&SwapMeta{}, KindSwapMeta},
	} {
		if got := Needs(c.command); got != c.want {
			t.Errorf("%s needs %s, want %s", c.command.kind(), got, c.want)
		}
	}
}

// The second format of saved states, and the commands that brought it, are read for ever.
func TestLaunchesStayReadable(t *testing.T) {
	s := newStore(t)
	at := int64(1e18)
	child := templateJob("p").PeriodicLaunch(1e9)
	eval := testEval(700, child)
	launches := &cluster.Launches{Since: at, Ran: []cluster.SlotRange{{From: 1, To: 1e9}}, Last: 1e9, Missed: 2, LastMissed: cluster.SlotRange{From: 3, To: 4},
		Skipped: 5, LastSkipped: 6, Index: 10}
	var log []byte
	for _, c := range []Command{
		&RegisterJob{At: at, Job: templateJob("p")},
		&LaunchJob{At: at + 1, RequestID: "r", Namespace: "default", ParentID: "p", CreateIndex: 10, Job: child, Eval: eval, Launches: launches},
		&LaunchJob{At: at + 2, Namespace: "default", ParentID: "p", CreateIndex: 10},
	} {
		entry, err := Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		log = append(binary.AppendUvarint(log, uint64(len(entry))), entry...)
	}
	for log = golden(t, "v2.log", log); len(log) > 0; {
		length, n := binary.Uvarint(log)
		s.index++
		results, err := s.Apply(s.index, log[n:n+int(length)])
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
		log = log[n+int(length):]
	}
	told := fmt.Sprintf("%s%+v\n", describe(s.Snapshot()), *s.Snapshot().Launches("default", "p"))
	if want := string(golden(t, "v2.txt", []byte(told))); told != want {
		t.Errorf("the log leads to\n%s\nwant\n%s", told, want)
	}
	next := New()
	if err := next.Restore(bytes.NewReader(golden(t, "v2.snapshot", save(t, s.Store).Bytes()))); err != nil {
		t.Fatal(err)
	}
	if got, want := dump(t, next.Snapshot()), dump(t, s.Snapshot()); got != want {
		t.Errorf("the snapshot holds\n%s\nthe log led to\n%s", got, want)
	}
	if r := s.do(&LaunchJob{At: at + 3, RequestID: "r"})[0]; !r.Repeated || r.LaunchID != "p/periodic-1000000000" {
		t.Errorf("the request again: %+v", r)
	}
}
