package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// batchText is the JSON of a batch job with further settings.
func batchText(id, more string) string {
	return fmt.Sprintf(`{"Job": {"ID": %q, "Type": "batch", "Meta": {"team": "blue", "size": "1"}, %s, "TaskGroups": [{"Name": "app",
		"Tasks": [{"Name": "main", "Driver": "raw_exec", "Config": {"command": "/bin/true"}}]}]}}`, id, more)
}

const parameterized = `"ParameterizedJob": {"MetaRequired": ["input"], "MetaOptional": ["size"]}`

func (w *world) submit(text string) api.JobRegisterResponse {
	w.t.Helper()
	got := w.ask("PUT", "/v1/jobs", text)
	var response api.JobRegisterResponse
	if err := json.Unmarshal([]byte(got.body), &response); err != nil || got.status != 200 {
		w.t.Fatalf("register: %d %s", got.status, got.body)
	}
	return response
}

func TestAParameterizedJobIsDispatched(t *testing.T) {
	w := newWorld(t)
	if response := w.submit(batchText("encode", parameterized)); !response.EvalID.IsZero() || response.EvalCreateIndex != 0 {
		t.Errorf("its registration made an evaluation: %+v", response)
	}
	ctx := context.Background()
	answer, err := w.client.DispatchJob(ctx, "encode", api.JobDispatchRequest{Payload: []byte("a\x00b"), Meta: map[string]string{"input": "x", "size": "2"},
		IdPrefixTemplate: "night", Priority: 70}, "once", api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^encode/dispatch-night-\d{10}-[0-9a-f]{8}$`).MatchString(answer.DispatchedJobID) || answer.EvalID.IsZero() ||
		answer.EvalCreateIndex != answer.Index || answer.JobCreateIndex != answer.Index {
		t.Errorf("answer: %+v", answer)
	}
	launch := w.Snapshot().Job("default", answer.DispatchedJobID)
	if !launch.Dispatched || launch.ParentID != "encode" || launch.Name != launch.ID || string(launch.Payload) != "a\x00b" || launch.Priority != 70 ||
		launch.DispatchIdempotencyToken != "once" || launch.ParameterizedJob == nil ||
		!maps.Equal(launch.Meta, map[string]string{"team": "blue", "size": "2", "input": "x"}) {
		t.Errorf("launch: %+v", launch)
	}
	if eval := w.Snapshot().Eval(answer.EvalID); eval.JobID != launch.ID || eval.Priority != 70 || eval.TriggeredBy != cluster.TriggerJobRegister {
		t.Errorf("evaluation: %+v", eval)
	}
	if meta := w.Snapshot().Job("default", "encode").Meta; len(meta) != 2 || meta["size"] != "1" {
		t.Errorf("the parent's meta: %v", meta)
	}
	again, err := w.client.DispatchJob(ctx, "encode", api.JobDispatchRequest{Meta: map[string]string{"input": "y"}}, "once", api.Query{})
	if err != nil || again.DispatchedJobID != answer.DispatchedJobID || !again.EvalID.IsZero() || again.JobCreateIndex != answer.JobCreateIndex {
		t.Errorf("the same token: %+v, %v", again, err)
	}
	other, err := w.client.DispatchJob(ctx, "encode", api.JobDispatchRequest{Meta: map[string]string{"input": "y"}}, "", api.Query{})
	if err != nil || other.DispatchedJobID == answer.DispatchedJobID {
		t.Errorf("without a token: %+v, %v", other, err)
	}
	raw := w.ask("PUT", "/v1/job/encode/dispatch", `{"Meta": {"input": "z"}}`, func(r *http.Request) { r.Header.Set(api.HeaderRequestID, "r") })
	if repeated := w.ask("POST", "/v1/job/encode/dispatch", `{"Meta": {"input": "z"}}`, func(r *http.Request) { r.Header.Set(api.HeaderRequestID, "r") }); repeated.body != raw.body || raw.status != 200 {
		t.Errorf("a repeated request made a difference: %s, then %s", raw.body, repeated.body)
	}

	// The parent tells of its launches.
	list, _, err := w.client.Jobs(ctx, api.Query{})
	if err != nil || len(list) != 4 || !list[0].ParameterizedJob || list[0].Periodic || list[0].JobSummary.Children != (cluster.ChildrenSummary{Pending: 3}) ||
		list[0].Status != "running" || list[1].ParameterizedJob || list[1].ParentID != "encode" {
		t.Errorf("list: %+v, %v", list, err)
	}
	if summary, _, err := w.client.JobSummary(ctx, "encode", api.Query{}); err != nil || summary.Children.Pending != 3 || summary.Launches != nil {
		t.Errorf("summary: %+v, %v", summary, err)
	}
	// To stop the parent is no work for anybody, and leaves its launches alone.
	stopped, err := w.client.DeregisterJob(ctx, "encode", false, api.Query{})
	if err != nil || !stopped.EvalID.IsZero() || w.Snapshot().Job("default", "encode").Status != "dead" || w.Snapshot().Job("default", launch.ID).Stop {
		t.Errorf("stopped: %+v, %v", stopped, err)
	}
}

func TestDispatchesThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.submit(batchText("encode", parameterized))
	w.submit(batchText("needy", `"ParameterizedJob": {"Payload": "required"}`))
	w.submit(batchText("strict", `"ParameterizedJob": {"Payload": "forbidden"}`))
	w.submit(batchText("stopped", parameterized))
	w.submit(batchText("nightly", `"Periodic": {"Specs": ["@daily"]}`))
	w.submit(batchText("both", `"Periodic": {"Specs": ["@daily"]}, "ParameterizedJob": {}`))
	w.submit(batchText("always", `"Periodic": {"Specs": ["* * * * * * *"]}`))
	w.register("web")
	w.ask("DELETE", "/v1/job/stopped", "")
	large := strings.Repeat("A", 4*(cluster.MaxPayload/3+1))
	for _, c := range []struct {
		path, body string
		status     int
		text       string
	}{
		{"/v1/job/none/dispatch", "", 404, "job not found"},
		{"/v1/job/web/dispatch", "", 500, `dispatch job "web": it is not a parameterized job; its file has no "parameterized" block`},
		{"/v1/job/nightly/dispatch", "", 500, `dispatch job "nightly": it is not a parameterized job; its file has no "parameterized" block`},
		{"/v1/job/stopped/dispatch", "", 500, `dispatch job "stopped": it is stopped; submit it again with "job run"`},
		{"/v1/job/encode/dispatch", `{"JobID": "other"}`, 400, `Job ID does not match: the path has "encode", the body "other"`},
		{"/v1/job/encode/dispatch", `{}`, 500, `dispatch job "encode": it requires meta "input"`},
		{"/v1/job/encode/dispatch", `{"Meta": {"input": "x", "sise": "2", "team": "red"}}`, 500, `dispatch job "encode": it takes no meta "sise", "team"`},
		{"/v1/job/encode/dispatch", `{"Meta": {"input": "x"}, "Payload": "` + large + `"}`, 413,
			`dispatch job "encode": the payload exceeds the maximum size: 16386 bytes, the limit is 16384`},
		{"/v1/job/encode/dispatch", `{"Meta": {"input": "x"}, "Payload": "%"}`, 400, "read dispatch: illegal base64 data at input byte 0"},
		{"/v1/job/encode/dispatch", `{"Meta": {"input": "x"}, "Priority": 101}`, 400, `dispatch job "encode": the priority must be between 1 and 100, have 101`},
		{"/v1/job/encode/dispatch", `{"Meta": {"input": "x"}, "IdPrefixTemplate": "a b"}`, 400,
			`dispatch job "encode": the ID prefix "a b" must have at most 128 bytes, no spaces and no slashes`},
		{"/v1/job/encode/dispatch?idempotency_token=" + strings.Repeat("x", 129), `{"Meta": {"input": "x"}}`, 400,
			`dispatch job "encode": the idempotency token is 129 bytes long, the limit is 128`},
		{"/v1/job/needy/dispatch", "", 500, `dispatch job "needy": it requires a payload, and there is none`},
		{"/v1/job/strict/dispatch/payload", "text", 500, `dispatch job "strict": it forbids a payload`},
		{"/v1/job/strict/dispatch/payload", strings.Repeat("x", maxDispatch+1), 413,
			`dispatch job "strict": the payload exceeds the maximum size: the limit is 16384 bytes`},
		{"/v1/job/none/periodic/force", "", 404, "job not found"},
		{"/v1/job/web/periodic/force", "", 500, `launch job "web": it is not a periodic job; its file has no "periodic" block`},
		{"/v1/job/both/periodic/force", "", 500, `launch job "both": it is parameterized as well; force the launches that "job dispatch" makes of it`},
		{"/v1/job/always/periodic/force", "", 500, `launch job "always": its own schedule has every second of the next minute`},
		{"/v1/job/nightly/evaluate", "", 500, `evaluate job "nightly": it is periodic or parameterized and runs nothing itself; evaluate one of its launches`},
		{"/v1/jobs", batchText("broken", `"Periodic": {"Specs": ["30-10 * * * *"]}`), 500, `ends before it begins`},
	} {
		if got := w.ask("PUT", c.path, c.body); got.status != c.status || !strings.Contains(got.body, c.text) {
			t.Errorf("%s %.100s: %d %s, want %d %s", c.path, c.body, got.status, got.body, c.status, c.text)
		}
	}
	if got := w.ask("PUT", "/v1/job/needy/dispatch/payload", "text"); got.status != 200 {
		t.Errorf("a payload as it is: %d %s", got.status, got.body)
	}
}

func TestAPeriodicJobIsForced(t *testing.T) {
	w := newWorld(t)
	w.submit(batchText("nightly", `"Periodic": {"Specs": ["@daily"]}`))
	ids := map[string]bool{}
	for range 3 { // within one second: each has a name of its own
		answer, err := w.client.ForceJob(context.Background(), "nightly", api.Query{})
		if err != nil || answer.EvalID.IsZero() || answer.EvalCreateIndex != answer.Index || !strings.HasPrefix(answer.LaunchedJobID, "nightly/periodic-") {
			t.Fatalf("%+v, %v", answer, err)
		}
		ids[answer.LaunchedJobID] = true
		launch := w.Snapshot().Job("default", answer.LaunchedJobID)
		if launch.Periodic != nil || launch.ParentID != "nightly" || w.Snapshot().Eval(answer.EvalID).TriggeredBy != cluster.TriggerPeriodicJob {
			t.Errorf("%+v", launch)
		}
	}
	if l := w.Snapshot().Launches("default", "nightly"); len(ids) != 3 || l.Last != 0 || len(l.Ran) != 0 {
		t.Errorf("%v: %+v", ids, l)
	}
}

// A schedule that rests is not looked at: it may be wrong, and takes no second of a launch by hand.
func TestARestingScheduleMayBeWrong(t *testing.T) {
	w := newWorld(t)
	for id, periodic := range map[string]string{"none": `{"Enabled": false}`, "wrong": `{"Enabled": false, "Specs": ["30-10 * * * *"], "TimeZone": "Nowhere"}`,
		"always": `{"Enabled": false, "Specs": ["* * * * * * *"]}`} {
		w.submit(batchText(id, `"Periodic": `+periodic))
		if _, err := w.client.ForceJob(context.Background(), id, api.Query{}); err != nil {
			t.Error(err)
		}
	}
	if due, _ := (schedules{}).due(w.Snapshot(), time.Now(), slog.New(slog.DiscardHandler)); len(due) != 0 {
		t.Errorf("due are %+v", due)
	}
	w.refused("PUT", "/v1/jobs", batchText("wrong", `"Periodic": {"Specs": ["30-10 * * * *"]}`), 500, "ends before it begins")
}

func TestNobodySaysThatAJobIsALaunch(t *testing.T) {
	w := newWorld(t)
	w.submit(batchText("fake", `"ParentID": "encode", "Dispatched": true, "Payload": "YQ==", "DispatchIdempotencyToken": "x"`))
	if job := w.Snapshot().Job("default", "fake"); job.ParentID != "" || job.Dispatched || job.Payload != nil || job.DispatchIdempotencyToken != "" {
		t.Errorf("%+v", job)
	}
	w.submit(batchText("encode", parameterized))
	answer, err := w.client.DispatchJob(context.Background(), "encode", api.JobDispatchRequest{Payload: []byte("a"), Meta: map[string]string{"input": "x"}}, "once", api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	w.submit(batchText(answer.DispatchedJobID, `"Priority": 51`))
	if job := w.Snapshot().Job("default", answer.DispatchedJobID); job.Version != 1 || job.ParentID != "encode" || !job.Dispatched || string(job.Payload) != "a" {
		t.Errorf("changed: %+v", job)
	}
}

// The ID of a launch may be longer than a user's: it can be changed like any job.
func TestALaunchWithALongNameCanBeChanged(t *testing.T) {
	w := newWorld(t)
	id := strings.Repeat("e", cluster.MaxNameLength)
	w.submit(batchText(id, parameterized))
	answer, err := w.client.DispatchJob(context.Background(), id, api.JobDispatchRequest{IdPrefixTemplate: strings.Repeat("p", 128), Meta: map[string]string{"input": "x"}}, "", api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	launch := answer.DispatchedJobID
	w.submit(batchText(launch, `"Priority": 51`))
	if _, err := w.client.ScaleJob(context.Background(), launch, api.JobScaleRequest{Count: new(int64(2)), Target: map[string]string{"Group": "app"}}, api.Query{}); err != nil {
		t.Error(err)
	}
	if _, err := w.client.RevertJob(context.Background(), api.JobRevertRequest{JobID: launch}, api.Query{}); err != nil {
		t.Error(err)
	}
	if job := w.Snapshot().Job("default", launch); job.Version != 3 || job.Priority != 50 || job.TaskGroups[0].Count != 1 {
		t.Errorf("version %d has priority %d", job.Version, job.Priority)
	}
	w.refused("PUT", "/v1/jobs", batchText(launch+"x", `"ParentID": "`+id+`"`), 500, "the limit is 128")
}

// The launches of a template are forgotten before it is, which must be stopped.
func TestGarbageOfLaunches(t *testing.T) {
	w := newWorld(t)
	w.submit(batchText("nightly", `"Periodic": {"Specs": ["@daily"]}`))
	answer, err := w.client.ForceJob(context.Background(), "nightly", api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(1000 * time.Hour)
	collected := func() (names []string) {
		reap := garbage(w.Snapshot(), later, false)
		for _, key := range reap.Jobs {
			names = append(names, key.ID)
		}
		reap.At = later.UnixNano()
		w.apply(reap)
		return names
	}
	w.ask("DELETE", "/v1/job/nightly", "")
	if got := collected(); len(got) != 0 {
		t.Errorf("while a launch is pending: %v", got)
	}
	eval := *w.Snapshot().Eval(answer.EvalID)
	eval.Status = cluster.EvalComplete
	w.apply(&state.UpsertEvals{At: 1, Evals: []cluster.Evaluation{eval}})
	if got := collected(); !slices.Equal(got, []string{answer.LaunchedJobID}) {
		t.Errorf("with a launch that is over: %v", got)
	}
	if got := collected(); !slices.Equal(got, []string{"nightly"}) {
		t.Errorf("without launches: %v", got)
	}
}

// everySecond is a job that is launched every second.
func everySecond(overlap bool) *cluster.Job {
	job := newJob("tick", 1, 100)
	job.Type, job.Periodic = cluster.JobTypeBatch, &cluster.PeriodicConfig{Enabled: true, Specs: []string{"* * * * * * *"}, TimeZone: "UTC", ProhibitOverlap: !overlap}
	return job
}

// slots are those of the launches that are there, ascending.
func slots(sn *state.Snapshot) (all []int64) {
	for launch := range sn.Launched("default", "tick") {
		var slot int64
		fmt.Sscanf(launch.ID, "tick/periodic-%d", &slot)
		all = append(all, slot)
	}
	slices.Sort(all)
	return all
}

// A server is stopped and started again while a job is launched every second: each slot has a launch or is told as missed, none
// has two, and the latest of those that were missed runs.
func TestSlotsOverARestart(t *testing.T) {
	dir := t.TempDir()
	l := start(t, dir)
	if _, err := l.Apply(context.Background(), &state.RegisterJob{At: time.Now().UnixNano(), Job: everySecond(true)}); err != nil {
		t.Fatal(err)
	}
	l.eventually("two launches", func(sn *state.Snapshot) bool { return len(slots(sn)) >= 2 })
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	last := slots(l.Snapshot())
	awake, cancel := context.WithDeadline(context.Background(), time.Unix(last[len(last)-1]+4, 0))
	<-awake.Done() // some slots pass
	cancel()
	l = start(t, dir)
	before := len(last)
	sn := l.eventually("more launches", func(sn *state.Snapshot) bool { return len(slots(sn)) >= before+3 })
	all, launches := slots(sn), sn.Launches("default", "tick")
	if missed := int(launches.Last-all[0]) + 1 - len(all); missed < 2 || int(launches.Missed) != missed {
		t.Errorf("%d launches, %d told as missed: %v, %+v", len(all), launches.Missed, all, launches)
	}
	if launches.LastMissed.To+1 != all[before] {
		t.Errorf("after %v the first launch is %v, missed were %+v", last, all[before], launches.LastMissed)
	}
	for _, slot := range all {
		evals := slices.Collect(sn.EvalsByJob("default", fmt.Sprintf("tick/periodic-%d", slot)))
		if !slices.ContainsFunc(evals, func(e *cluster.Evaluation) bool { return e.TriggeredBy == cluster.TriggerPeriodicJob }) {
			t.Errorf("slot %d has evaluations %+v", slot, evals)
		}
	}
	if !strings.Contains(l.log.String(), "launches missed") {
		t.Error("the log says nothing of missed launches")
	}
}

// While one launch has not ended (there is no node for it) no other begins, and those that were left out are counted.
func TestLaunchesDoNotOverlap(t *testing.T) {
	l := start(t, t.TempDir())
	ctx := context.Background()
	if _, err := l.Apply(ctx, &state.RegisterJob{At: time.Now().UnixNano(), Job: everySecond(false)}); err != nil {
		t.Fatal(err)
	}
	sn := l.eventually("two skipped", func(sn *state.Snapshot) bool { return sn.Launches("default", "tick").Skipped >= 2 })
	first := slots(sn)
	if len(first) != 1 {
		t.Fatalf("launches: %v", first)
	}
	if _, err := l.Apply(ctx, &state.DeregisterJob{At: time.Now().UnixNano(), Namespace: "default", ID: fmt.Sprintf("tick/periodic-%d", first[0])}); err != nil {
		t.Fatal(err)
	}
	l.eventually("another launch", func(sn *state.Snapshot) bool { return len(slots(sn)) == 2 })
}

// A launch that was stopped has not ended before its tasks have.
func TestAStoppedLaunchOverlapsUntilItsTasksHaveEnded(t *testing.T) {
	w := newWorld(t)
	w.populate()
	w.submit(batchText("nightly", `"Periodic": {"Specs": ["@daily"], "ProhibitOverlap": true}`))
	job := w.Snapshot().Job("default", "nightly")
	if overlaps(w.Snapshot(), job) {
		t.Error("without a launch")
	}
	answer, err := w.client.ForceJob(context.Background(), "nightly", api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	alloc := w.place(answer.LaunchedJobID, answer.EvalID)
	w.apply(&state.DeregisterJob{At: 1, Namespace: "default", ID: answer.LaunchedJobID})
	w.apply(&state.StopAllocs{At: 1, Stops: []cluster.Stop{{ID: alloc.ID}}})
	if launch := w.Snapshot().Job("default", answer.LaunchedJobID); launch.Status != cluster.JobStatusDead || !overlaps(w.Snapshot(), job) {
		t.Errorf("its tasks are ending, the launch is %s", launch.Status)
	}
	w.apply(&state.ReportAllocs{At: 2, Updates: []cluster.AllocUpdate{{ID: alloc.ID, ClientStatus: cluster.ClientComplete}}})
	if overlaps(w.Snapshot(), job) {
		t.Error("its tasks have ended")
	}
}

// A slot whose turn was decided before a launch by hand came is not launched beside that.
func TestAForcedLaunchOvertakesASlot(t *testing.T) {
	w := newWorld(t)
	w.submit(batchText("nightly", `"Periodic": {"Specs": ["@daily"], "ProhibitOverlap": true}`))
	job := w.Snapshot().Job("default", "nightly")
	slot := &state.LaunchJob{At: 1, Namespace: "default", ParentID: "nightly", CreateIndex: job.CreateIndex, Job: job.PeriodicLaunch(86400),
		Launches: w.Snapshot().Launches("default", "nightly")}
	meanwhile := true
	w.overtake = func(state.Command) {
		if meanwhile {
			meanwhile = false
			w.ask("PUT", "/v1/job/nightly/periodic/force", "")
		}
	}
	if answer, err := w.client.ForceJob(context.Background(), "nightly", api.Query{}); err != nil || answer.LaunchedJobID == "" {
		t.Errorf("two by hand at once: %+v, %v", answer, err)
	}
	if _, err := w.Apply(context.Background(), slot); cluster.CodeOf(err) != cluster.CodeConflict {
		t.Errorf("the slot: %v", err)
	}
	if launches := slices.Collect(w.Snapshot().Launched("default", "nightly")); len(launches) != 2 {
		t.Errorf("there are %d launches", len(launches))
	}
}

// What waits is what is due: a job that rests, one that is stopped and one that is parameterized are left alone.
func TestWhoseTurnItIs(t *testing.T) {
	w := newWorld(t)
	for id, more := range map[string]string{
		"hourly":   `"Periodic": {"Specs": ["@hourly"]}`,
		"broken":   `"Periodic": {"Specs": ["@hourly"]}`,
		"resting":  `"Periodic": {"Specs": ["@hourly"], "Enabled": false}`,
		"stopped":  `"Periodic": {"Specs": ["@hourly"]}`,
		"template": `"Periodic": {"Specs": ["@hourly"]}, "ParameterizedJob": {}`,
	} {
		w.submit(batchText(id, more))
	}
	w.ask("DELETE", "/v1/job/stopped", "")
	known, log := schedules{}, slog.New(slog.DiscardHandler)
	now := time.Now()
	next := now.Truncate(time.Hour).Add(time.Hour)
	due, wake := known.due(w.Snapshot(), now, log)
	if len(due) != 0 || !wake.Equal(next) || len(known) != 2 {
		t.Fatalf("now: %+v, %v", due, wake)
	}
	due, _ = known.due(w.Snapshot(), next, log)
	if len(due) != 2 || due[0].job.ID != "broken" || due[1].Slot != next.Unix() {
		t.Fatalf("at the slot: %+v", due)
	}
	if due, _ = known.due(w.Snapshot(), next, log); len(due) != 2 {
		t.Fatalf("what was not done is not due any more: %+v", due)
	}
	w.apply(&state.LaunchJob{At: 1, Namespace: "default", ParentID: "hourly", CreateIndex: due[1].job.CreateIndex, Launches: due[1].After})
	if due, _ = known.due(w.Snapshot(), next, log); len(due) != 1 {
		t.Fatalf("what was done is still due: %+v", due)
	}
	w.ask("DELETE", "/v1/job/broken", "")
	if due, wake = known.due(w.Snapshot(), next, log); len(due) != 0 || len(known) != 1 || !wake.Equal(next.Add(time.Hour)) {
		t.Fatalf("in the end: %+v, %v", due, wake)
	}
}

// Servers of an older release get no command that they would stop at.
func TestOlderServersAreSparedNewCommands(t *testing.T) {
	for _, c := range []struct {
		member cluster.Record
		want   string
	}{
		{cluster.Record{Name: "b", Version: "0.2.0", Commands: int(state.KindLaunchJob)}, ""},
		{cluster.Record{Name: "b", Version: "0.2.0", Commands: state.NewestKind + 5}, ""},
		{cluster.Record{Name: "b", Version: "0.1.0", Commands: int(state.KindLaunchJob) - 1},
			"commit command: server b runs version 0.1.0, which does not understand this: upgrade it first"},
		{cluster.Record{}, "commit command: server " + otherID.String() + ` has not said yet whether it understands this: start it, or remove it with "operator raft remove-peer"`},
	} {
		got := ""
		if err := understands(otherID, cluster.Member{Record: c.member}, state.KindLaunchJob); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%+v: %q, want %q", c.member, got, c.want)
		}
	}
}
