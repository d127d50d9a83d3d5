package server

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
	"github.com/a43e60e4/cluster/server/state"
)

func TestEveryRouteIsAnswered(t *testing.T) {
	able := struct {
		*world
		truster // whose routes are not called here
	}{world: newWorld(t)}
	endpoints := newAPIHandler(HTTPConfig{Core: able, Logger: slog.New(slog.DiscardHandler)}).endpoints()
	for _, route := range api.Routes() {
		e := endpoints[route]
		set := 0
		for _, there := range []bool{e.read != nil, e.write != nil, e.local != nil, e.node != nil, e.raw != nil} {
			if there {
				set++
			}
		}
		want := 1
		if route.Later != "" {
			want = 0
		}
		if set != want {
			t.Errorf("%s %s has %d functions, want %d", route.Method, route.Path, set, want)
		}
		kinds := map[api.Kind]bool{api.Read: e.read != nil, api.Write: e.write != nil, api.OnNode: e.node != nil, api.Local: e.local != nil || e.raw != nil}
		if want == 1 && !kinds[route.Kind] {
			t.Errorf("%s %s has a function of another kind than its route", route.Method, route.Path)
		}
	}
	if len(endpoints) > len(api.Routes()) {
		t.Error("some functions have no route in the table")
	}
}

func TestErrorsHaveTheStatusAndTextThatClientsKnow(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	unknown := "/" + otherID.String()
	for _, c := range []struct {
		method, path, body string
		status             int
		text               string
	}{
		{"GET", "/v1/nothing", "", 404, ""},
		{"GET", "/v1/job/", "", 404, ""},
		{"DELETE", "/v1/jobs", "", 405, "Invalid method"},
		{"PUT", "/v1/allocations", "", 405, "Invalid method"},
		{"GET", "/v1/job/nope", "", 404, "job not found"},
		{"GET", "/v1/job/nope/summary", "", 404, "job not found"},
		{"GET", "/v1/job/nope/versions", "", 404, "job not found"},
		{"GET", "/v1/job/nope/services", "", 404, "job not found"},
		{"GET", "/v1/job/web/submission?version=7", "", 404, "job source not found"},
		{"GET", "/v1/job/web/submission", "", 400, `read submission: want ?version= with a number, have ""`},
		{"PUT", "/v1/job/nope/evaluate", "", 500, "job not found"},
		{"GET", "/v1/allocation" + unknown, "", 404, "alloc not found"},
		{"GET", "/v1/allocation/short", "", 404, "alloc not found"},
		{"PUT", "/v1/allocation" + unknown + "/stop", "", 404, "alloc not found"},
		{"GET", "/v1/client/fs/ls" + unknown, "", 404, `Unknown allocation "` + otherID.String() + `"`},
		{"GET", "/v1/client/stats?node_id=" + unknown[1:], "", 404, `Unknown node "` + otherID.String() + `"`},
		{"GET", "/v1/evaluation" + unknown, "", 404, "eval not found"},
		{"GET", "/v1/deployment" + unknown, "", 404, "deployment not found"},
		{"GET", "/v1/node" + unknown, "", 404, "node not found"},
		{"GET", "/v1/namespace/nope", "", 404, "Namespace not found"},
		{"DELETE", "/v1/namespace/nope", "", 404, "Namespace not found"},
		{"DELETE", "/v1/namespace/default", "", 500, `delete namespace "default": it always exists`},
		{"PUT", "/v1/namespace/bad_name", `{}`, 400, `write namespace "bad_name": a name has 1 to 128 letters, digits and dashes`},
		{"PUT", "/v1/jobs", "", 400, "Request body is empty"},
		{"PUT", "/v1/jobs", "{", 400, "read job: unexpected end of JSON input"},
		{"PUT", "/v1/jobs", "{}", 400, "Job must be specified"},
		{"PUT", "/v1/jobs", `{"Job": null}`, 400, "Job must be specified"},
		{"PUT", "/v1/job/other", `{"Job": ` + jobText("web") + `}`, 400, `Job ID does not match: the path has "other", the job "web"`},
		{"PUT", "/v1/jobs", `{"Job": ` + jobText("web") + `, "EvalPriority": 101}`, 400, "read evaluation priority: want 1 to 100, have 101"},
		{"DELETE", "/v1/job/web?no_shutdown_delay=true", "", 501, "stopping without the shutdown delay: this version does not have it yet"},
		{"DELETE", "/v1/job/web?eval_priority=x", "", 400, `read eval_priority "x": want a number`},
		{"DELETE", "/v1/job/web?eval_priority=-1", "", 400, "read evaluation priority: want 1 to 100, have -1"},
		{"DELETE", "/v1/job/web?purge=x", "", 400, `Failed to parse value of "purge" ("x") as a bool: want true or false`},
		{"PUT", "/v1/jobs?namespace=nope", `{"Job": ` + jobText("web") + `}`, 500, `job "web" is in nonexistent namespace "nope"`},
		{"PUT", "/v1/jobs", `{"Job": ` + jobText("web") + `, "EnforceIndex": true, "JobModifyIndex": 3}`, 500,
			"Enforcing job modify index 3: job exists with conflicting job modify index: " + formatIndex(w.Snapshot().Job("default", "web").JobModifyIndex)},
		{"PUT", "/v1/jobs", `{"Job": ` + jobText("web") + `, "EnforceIndex": true}`, 500, "Enforcing job modify index 0: job already exists"},
		{"GET", "/v1/jobs?namespace=nope", "", 500, `nonexistent namespace "nope": create it first, or choose another with -namespace`},
		{"GET", "/v1/job/web?namespace=*", "", 400, `read namespace: "*" stands for all of them and works for lists alone; name one`},
		{"GET", "/v1/jobs?region=mars", "", 500, `No path to region "mars": there is one region, "global"`},
		{"GET", "/v1/jobs?index=x", "", 400, "Invalid index"},
		{"GET", "/v1/jobs?wait=x", "", 400, "Invalid wait time"},
		{"GET", "/v1/jobs?stale=x", "", 400, "Expect `true` or `false` for \"stale\" query string parameter, got \"x\""},
		{"GET", "/v1/jobs?per_page=x", "", 400, `Invalid per_page: want a number, have "x"`},
		{"GET", "/v1/jobs?filter=%3D%3D", "", 400, "failed to read filter expression: "},
		{"GET", "/v1/jobs?filter=Nope+%3D%3D+1", "", 400, "failed to read filter expression: "},
		{"GET", "/v1/allocations?next_token=x", "", 400, `read next_token "x": pass on the X-Nomad-NextToken of the page before`},
		{"GET", "/v1/service/web?choose=x", "", 400, `read choose "x": want a number, a bar and a key, such as 2|client-7`},
		{"GET", "/v1/jobs?" + strings.Repeat("x", maxURL), "", 414, "read request: its URL is over the limit of 16 KB"},
		{"PUT", "/v1/jobs/parse", `{}`, 400, "Job spec is empty"},
		{"PUT", "/v1/jobs/parse", `{"JobHCL": "job {"}`, 400, "Failed to parse job: "},
		{"GET", "/v1/client/allocation" + unknown + "/exec", "", 501, "exec: this version does not have it yet"},
		{"GET", "/v1/operator/snapshot", "", 501, "operator routes: this version does not have it yet"},
		{"GET", "/v1/agent/health", "", 500, `{"server":{"ok":true,"message":"ok"},"client":{"ok":false,"message":"no supervisor"}}`},
		{"GET", "/v1/metrics?format=x", "", 400, `read format "x": want prometheus, or nothing for JSON`},
		{"PUT", "/v1/internal/node" + unknown + "/report", "", 403, "Permission denied: only node " + otherID.String() + " itself may do this"},
		{"PUT", "/v1/node/" + nodeID.String() + "/eligibility", `{"Eligibility": "x"}`, 400, `read eligibility "x": want "eligible" or "ineligible"`},
	} {
		got := w.ask(c.method, c.path, c.body)
		exact := !strings.HasSuffix(c.text, ": ")
		if got.status != c.status || !strings.HasPrefix(got.body, c.text) || exact && got.body != c.text {
			t.Errorf("%s %.80s: %d %q, want %d %q", c.method, c.path, got.status, got.body, c.status, c.text)
		}
		if kind := got.header.Get("Content-Type"); kind != "text/plain; charset=utf-8" {
			t.Errorf("%s %.80s: an error comes as %s", c.method, c.path, kind)
		}
	}
}

func TestJobsThatAreTooLargeAreRefusedInWords(t *testing.T) {
	w := newWorld(t)
	big := `{"ID": "big", "Meta": {"x": "` + strings.Repeat("x", 1<<20) + `"}}`
	got := w.ask("PUT", "/v1/jobs", `{"Job": `+big+`}`)
	if got.status != 413 || !strings.HasPrefix(got.body, "read job: 1.0 MB is over the limit of 1 MB") {
		t.Errorf("job over 1 MB: %d %q", got.status, got.body)
	}
	got = w.ask("PUT", "/v1/jobs", strings.Repeat("x", maxRegistration+1))
	if got.status != 413 || got.body != "read job: 4.0 MB is over the limit of 4 MB" {
		t.Errorf("body over 4 MB: %d %q", got.status, got.body)
	}
	got = w.ask("PUT", "/v1/namespace", strings.Repeat("x", 1<<20+1), func(r *http.Request) { r.ContentLength = -1 })
	if got.status != 413 || got.body != "read namespace: it is over the limit of 1 MB" {
		t.Errorf("body of unknown length: %d %q", got.status, got.body)
	}
}

func TestInvalidJobsAreRefusedWithEveryReason(t *testing.T) {
	w := newWorld(t)
	got := w.ask("PUT", "/v1/jobs", `{"Job": {"ID": "a b", "Priority": 1000}}`)
	if got.status != 500 || !strings.Contains(got.body, "Job ID contains a space") || !strings.Contains(got.body, "Job priority must be between [1, 100]") {
		t.Errorf("%d %q", got.status, got.body)
	}
	if got.header.Get(cluster.HeaderError) != string(cluster.CodeRejected) {
		t.Errorf("code is %q", got.header.Get(cluster.HeaderError))
	}
}

func TestPagesOfOtherSitesAreRefused(t *testing.T) {
	w := newWorld(t)
	host := strings.TrimPrefix(w.url, "http://")
	port := host[strings.LastIndex(host, ":"):]
	for _, c := range []struct {
		host, origin string
		status       int
	}{
		{host, "", 200},
		{"localhost" + port, "", 200},
		{"[::1]" + port, "", 200},
		{"127.0.0.1", "", 200},
		{host, "http://" + host, 200},
		{"evil.example" + port, "", 403},
		{"127.0.0.1.evil.example" + port, "", 403},
		{"", "", 403},
		{host, "http://evil.example", 403},
		{host, "null", 403},
		{host, "http://127.0.0.1:1", 403},
		{"localhost" + port, "http://" + host, 403},
	} {
		got := w.ask("GET", "/v1/jobs", "", func(r *http.Request) {
			r.Host = c.host
			if c.host == "" {
				r.Host = " "
			}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
			}
		})
		if got.status != c.status {
			t.Errorf("host %q, origin %q: %d %q, want %d", c.host, c.origin, got.status, got.body, c.status)
		}
	}
}

func TestAnswersAreCompressedAndIndentedOnRequest(t *testing.T) {
	w := newWorld(t)
	w.populate("web", "api", "db")
	plain := w.ask("GET", "/v1/allocations", "")
	zipped := w.ask("GET", "/v1/allocations", "", func(r *http.Request) { r.Header.Set("Accept-Encoding", "deflate, gzip;q=0.5") })
	if zipped.header.Get("Content-Encoding") != "gzip" {
		t.Fatal("not compressed")
	}
	z, err := gzip.NewReader(strings.NewReader(zipped.body))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || string(text) != plain.body {
		t.Errorf("compressed answer differs: %v", err)
	}
	if refused := w.ask("GET", "/v1/allocations", "", func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip;q=0") }); refused.body != plain.body {
		t.Error("compressed although refused")
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, []byte(plain.body), "", "    "); err != nil {
		t.Fatal(err)
	}
	if pretty := w.ask("GET", "/v1/allocations?pretty", ""); pretty.body != indented.String()+"\n" {
		t.Error("?pretty does not indent by four")
	}
	if pretty := w.ask("GET", "/v1/allocations?pretty=0", ""); pretty.body != plain.body {
		t.Error("?pretty=0 indents")
	}
}

func TestReadsSayWhatTheyAreMadeFrom(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	got := w.ask("GET", "/v1/job/web", "")
	if got.header.Get(api.HeaderIndex) != formatIndex(w.Snapshot().KeyIndex(state.JobKey("default", "web"))) ||
		got.header.Get(api.HeaderKnownLeader) != "true" || got.header.Get(api.HeaderLastContact) != "0" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers are %v", got.header)
	}
	if got := w.ask("GET", "/v1/status/leader", ""); got.header.Get(api.HeaderIndex) != "" || got.body != `"127.0.0.1:4647"` {
		t.Errorf("leader is %s with headers %v", got.body, got.header)
	}
	if got := newWorld(t).ask("GET", "/v1/evaluations", ""); got.header.Get(api.HeaderIndex) != "1" || got.body != "[]" {
		t.Errorf("an empty list is %s with index %s", got.body, got.header.Get(api.HeaderIndex))
	}
}

func TestReadsBlockUntilTheirObjectChanges(t *testing.T) {
	w := newWorld(t)
	w.populate("web", "other")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, meta, err := w.client.Job(ctx, "web", api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		job  *cluster.Job
		meta api.Meta
		err  error
	}
	done := make(chan result, 1)
	go func() {
		job, meta, err := w.client.Job(ctx, "web", api.Query{Index: meta.Index, Wait: time.Minute})
		done <- result{job, meta, err}
	}()
	w.blocked(1)
	w.register("other") // another job's change wakes nobody
	if _, err := w.client.DeregisterJob(ctx, "web", false, api.Query{}); err != nil {
		t.Fatal(err)
	}
	got := <-done
	if got.err != nil || !got.job.Stop || got.meta.Index <= meta.Index {
		t.Errorf("woken with %+v at %d, %v", got.job, got.meta.Index, got.err)
	}
}

// blocked waits until n reads wait for a change.
func (w *world) blocked(n float64) {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		metrics, err := w.client.Metrics(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, gauge := range metrics.Gauges {
			if gauge.Name == "cluster_http_blocked_reads" && gauge.Value == n {
				return
			}
		}
	}
	w.t.Fatalf("never saw %v blocked reads", n)
}

func TestWhatIsNotThereCanBeWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan *cluster.Job, 1)
	go func() {
		job, _, _ := w.client.Job(ctx, "late", api.Query{Index: 1, Wait: time.Minute})
		done <- job
	}()
	w.blocked(1)
	w.register("late")
	if job := <-done; job == nil || job.ID != "late" {
		t.Errorf("woken with %v", job)
	}
}

func TestReadsGiveUpWaitingAfterTheirTime(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	_, meta, err := w.client.Jobs(context.Background(), api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	jobs, after, err := w.client.Jobs(context.Background(), api.Query{Index: meta.Index, Wait: time.Millisecond})
	if err != nil || len(jobs) != 1 || after.Index != meta.Index {
		t.Errorf("%d jobs at %d, %v", len(jobs), after.Index, err)
	}
	if jobs, _, err = w.client.Jobs(context.Background(), api.Query{Index: meta.Index - 1, Wait: time.Minute}); err != nil || len(jobs) != 1 {
		t.Errorf("an old index blocked: %v", err)
	}
}

func TestBlockedReadsEndWithTheServer(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	ctx, stop := context.WithCancel(context.Background())
	server := httptest.NewUnstartedServer(nil)
	server.Config = HTTPServer(ctx, w.handler, slog.New(slog.DiscardHandler))
	server.Start()
	client, err := api.New(api.Config{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, _, err := client.Jobs(context.Background(), api.Query{Index: 1 << 60})
		done <- err
	}()
	w.blocked(1)
	stop()
	if err := <-done; cluster.CodeOf(err) != cluster.CodeUnavailable {
		t.Errorf("ended with %v", err)
	}
	server.Close()
}

func TestListsComeInPages(t *testing.T) {
	w := newWorld(t)
	w.populate("a", "b", "c", "d", "e")
	for _, path := range []string{"/v1/jobs", "/v1/allocations", "/v1/evaluations", "/v1/deployments", "/v1/allocations?reverse=true", "/v1/service/web"} {
		var whole, paged []map[string]any
		if _, err := w.client.Get(context.Background(), path, api.Query{}, &whole); err != nil {
			t.Fatal(err)
		}
		next, pages := "", 0
		for pages == 0 || next != "" {
			var page []map[string]any
			separator := "?"
			if strings.Contains(path, "?") {
				separator = "&"
			}
			query := separator + "per_page=2"
			if next != "" {
				query += "&next_token=" + next
			}
			got := w.ask("GET", path+query, "")
			if err := json.Unmarshal([]byte(got.body), &page); err != nil {
				t.Fatal(err)
			}
			paged, next, pages = append(paged, page...), got.header.Get(api.HeaderNextToken), pages+1
		}
		if pages != 3 || len(paged) != 5 {
			t.Errorf("%s: %d pages with %d objects", path, pages, len(paged))
			continue
		}
		for i := range whole {
			if paged[i]["ID"] != whole[i]["ID"] {
				t.Errorf("%s: object %d is %v in pages and %v in the whole", path, i, paged[i]["ID"], whole[i]["ID"])
			}
		}
	}
}

func TestFiltersLookAtTheStoredObject(t *testing.T) {
	w := newWorld(t)
	allocs := w.populate("a", "b", "c")
	for _, c := range []struct {
		path, filter string
		want         int
	}{
		{"/v1/jobs", `Status == "running"`, 3},
		{"/v1/jobs", `ID == "b" or Meta.team == "team-c"`, 2},
		{"/v1/jobs", `Meta["team"] matches "team-[ab]"`, 2},
		{"/v1/jobs", `Datacenters contains "*" and Priority == 50`, 3},
		{"/v1/allocations", `ClientStatus == "running" and JobID != "a"`, 2},
		{"/v1/allocations", `Job.Meta["team"] == "team-a"`, 1},
		{"/v1/allocations", `NodeID == "` + nodeID.String() + `"`, 3},
		{"/v1/allocations", `ID == "` + allocs[1].ID.String() + `"`, 1},
		{"/v1/allocations", `Name contains "a.app"`, 1},
		{"/v1/allocations", `JobVersion == 0`, 3},
		{"/v1/allocations", `TaskStates.main.State == "running"`, 3},
		{"/v1/evaluations", `TriggeredBy == "job-register" and Status == "complete"`, 3},
		{"/v1/deployments", `"a" in JobID`, 1},
		{"/v1/nodes", `Attributes["os.name"] == "linux"`, 1},
		{"/v1/nodes", `Status != "ready"`, 0},
		{"/v1/service/web", `Tags contains "blue" and JobID == "b"`, 1},
	} {
		var found []map[string]any
		if _, err := w.client.Get(context.Background(), c.path, api.Query{Filter: c.filter}, &found); err != nil || len(found) != c.want {
			t.Errorf("%s with %s: %d found, want %d, %v", c.path, c.filter, len(found), c.want, err)
		}
	}
	if _, _, err := w.client.Jobs(context.Background(), api.Query{Filter: `Priority == "x"`}); cluster.CodeOf(err) != cluster.CodeInvalid {
		t.Errorf("a mismatch of types is %v", err)
	}
}

func TestFollowersPassOnWhatOnlyTheLeaderKnows(t *testing.T) {
	leader, follower := newWorld(t), newWorld(t)
	follower.handler.(*apiHandler).patience = 10 * time.Millisecond
	leader.populate("web")
	var forwarded http.Header
	follower.node = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forwarded = r.Header
		leader.handler.ServeHTTP(w, r)
	})
	follower.leader.Store(&Leadership{ID: otherID, Address: "127.0.0.1:1"})
	claim := func(r *http.Request) { r.Header.Set(headerForwarded, "1") } // which counts from servers alone
	if got := follower.ask("GET", "/v1/job/web", "", claim); got.status != 200 || forwarded.Get(headerForwarded) == "" {
		t.Errorf("a consistent read was not forwarded: %d %q", got.status, got.body)
	}
	if _, _, err := follower.client.Job(context.Background(), "web", api.Query{Stale: true}); cluster.CodeOf(err) != cluster.CodeNotFound {
		t.Errorf("a stale read is answered with %v", err)
	}
	again, got := httptest.NewRequest("GET", "/v1/jobs", nil), httptest.NewRecorder()
	again.TLS = newPassports(t).of(nodeID, pki.RoleServer)
	claim(again)
	if follower.handler.ServeHTTP(got, again); got.Code != 500 || got.Body.String() != "No cluster leader" {
		t.Errorf("a forwarded request was forwarded again: %d %q", got.Code, got.Body)
	}
	follower.leader.Store(&Leadership{})
	for _, method := range []string{"GET", "PUT"} {
		if got := follower.ask(method, "/v1/jobs", `{}`); got.status != 500 || got.body != "No cluster leader" || got.header.Get(cluster.HeaderError) != "unavailable" {
			t.Errorf("without a leader %s is answered with %d %q", method, got.status, got.body)
		}
	}
}

// TestServersThatAreBehindAskTheLeaderForNodes lets a server that has only just begun be asked for what runs on a node.
func TestServersThatAreBehindAskTheLeaderForNodes(t *testing.T) {
	leader, follower := newWorld(t), newWorld(t)
	follower.handler.(*apiHandler).patience = 10 * time.Millisecond
	alloc := leader.populate("web")[0]
	leader.node = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "lines") })
	follower.node = leader.handler
	follower.leader.Store(&Leadership{ID: otherID, Address: "127.0.0.1:1"})
	logs := "/v1/client/fs/logs/" + alloc.ID.String()
	if got := follower.ask("GET", logs, ""); got.status != 200 || got.body != "lines" {
		t.Errorf("asked for logs, it answers %d %q", got.status, got.body)
	}
	if got := follower.ask("GET", "/v1/client/fs/logs/"+otherID.String(), ""); got.status != 404 || !strings.HasPrefix(got.body, "Unknown allocation") {
		t.Errorf("asked for logs that nobody knows, it answers %d %q", got.status, got.body)
	}
	follower.leader.Store(&Leadership{})
	if got := follower.ask("GET", logs, ""); got.status != 500 || got.body != "No cluster leader" {
		t.Errorf("without a leader it answers %d %q", got.status, got.body)
	}
}

// TestANodeAnswersForWhatItRunsBeforeItsServerKnowsOfThat has the node of an allocation be a server that is behind: the leader has sent
// the allocation to its agent, and what was committed is not in its state yet.
func TestANodeAnswersForWhatItRunsBeforeItsServerKnowsOfThat(t *testing.T) {
	leader, behind := newWorld(t), newSilentWorld(t)
	alloc := leader.populate("web")[0]
	behind.leader.Store(&Leadership{ID: otherID, Address: "127.0.0.1:1"})
	behind.handler.(*apiHandler).patience = 10 * time.Millisecond
	behind.node = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method+" "+r.URL.Path) })
	passports := newPassports(t)
	leader.node = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context())
		r.TLS = passports.of(otherID, pki.RoleServer)
		behind.handler.ServeHTTP(w, r)
	})
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/v1/client/fs/logs/" + alloc.ID.String(), ""},
		{"PUT", "/v1/client/allocation/" + alloc.ID.String() + "/restart", ""},
		{"GET", "/v1/allocation/" + alloc.ID.String() + "/checks", "/v1/client/allocation/" + alloc.ID.String() + "/checks"},
		{"GET", "/v1/client/stats", ""},
	} {
		if got := leader.ask(c.method, c.path, ""); got.status != 200 || got.body != c.method+" "+cmp.Or(c.want, c.path) {
			t.Errorf("%s %s: %d %q", c.method, c.path, got.status, got.body)
		}
	}
	behind.leader.Store(&Leadership{})
	forged := httptest.NewRequest("GET", "/v1/client/fs/logs/"+alloc.ID.String(), nil)
	forged.Header.Set(headerNode, nodeID.String())
	for name, state := range map[string]*tls.ConnectionState{"a person": nil, "a client's agent": passports.of(cluster.ID{7}, pki.RoleClient)} {
		forged.TLS = state
		forged.Header.Set(headerPerson, "1")
		got := httptest.NewRecorder()
		if behind.handler.ServeHTTP(got, forged); got.Code == 200 {
			t.Errorf("%s says which node answers: %q", name, got.Body)
		}
	}
}

// TestWaitingReadsFollowTheLeader shows that a read which waits at a leader goes on with the next one, although the first says
// nothing any more.
func TestWaitingReadsFollowTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		follower := newSilentWorld(t)
		old, next := cluster.ID{1}, cluster.ID{2}
		asked := make(chan cluster.ID, 10)
		follower.carry = func(w http.ResponseWriter, r *http.Request) error {
			id := follower.leader.Load().ID
			asked <- id
			if id == old {
				<-r.Context().Done() // it was cut off
				return cluster.Errorf(cluster.CodeUnavailable, "ask node %s: %w", id, r.Context().Err())
			}
			_, err := io.WriteString(w, "answer")
			return err
		}
		follower.leader.Store(&Leadership{ID: old})
		time.AfterFunc(10*time.Minute, func() { follower.leader.Store(&Leadership{}) })
		time.AfterFunc(10*time.Minute+2*time.Second, func() { follower.leader.Store(&Leadership{ID: next}) })
		began, got := time.Now(), httptest.NewRecorder()
		follower.handler.ServeHTTP(got, httptest.NewRequest("GET", "/v1/jobs?index=5&wait=10m", nil))
		if took := time.Since(began); got.Body.String() != "answer" || <-asked != old || <-asked != next || took > 10*time.Minute+3*time.Second {
			t.Errorf("%d %q after %v", got.Code, got.Body, took)
		}
	})
}

func TestReadsThatWaitAtALeaderLeaveItWithItsTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newSilentWorld(t)
		w.carry = func(w http.ResponseWriter, r *http.Request) error {
			_, err := io.WriteString(w, "answer")
			return err
		}
		term, end := context.WithCancel(t.Context())
		w.leader.Store(&Leadership{ID: nodeID, Self: true, Term: term})
		time.AfterFunc(time.Minute, func() {
			w.leader.Store(&Leadership{ID: otherID})
			end()
		})
		began, got := time.Now(), httptest.NewRecorder()
		w.handler.ServeHTTP(got, httptest.NewRequest("GET", "/v1/jobs?index=5&wait=10m", nil))
		if took := time.Since(began); got.Body.String() != "answer" || took > time.Minute+time.Second {
			t.Errorf("%d %q after %v", got.Code, got.Body, took)
		}
	})
}

func TestRequestsWaitForALeader(t *testing.T) {
	passports := newPassports(t)
	for _, c := range []struct {
		after     time.Duration // until this server leads; 0: never
		forwarded bool
		status    int
	}{{time.Second, false, 200}, {time.Second, true, 200}, {0, false, 500}, {0, true, 500}} {
		synctest.Test(t, func(t *testing.T) {
			w := newSilentWorld(t)
			elected := *w.leader.Load()
			w.leader.Store(&Leadership{})
			if c.after > 0 {
				time.AfterFunc(c.after, func() { w.leader.Store(&elected) })
			}
			began, got := time.Now(), httptest.NewRecorder()
			request := httptest.NewRequest("GET", "/v1/jobs", nil)
			request.TLS = passports.of(otherID, pki.RoleServer)
			request.Header.Set(headerForwarded, "1")
			if !c.forwarded {
				request.TLS = nil
			}
			w.handler.ServeHTTP(got, request)
			waited := time.Since(began)
			if got.Code != c.status || waited < c.after || waited > c.after+leaderPatience {
				t.Errorf("leader after %v, forwarded %v: %d %q after %v", c.after, c.forwarded, got.Code, got.Body, waited)
			}
		})
	}
}

// TestOrdersToNodesAreRepeatedUnderOneName shows that what a node may have done already is asked of it again as the same request,
// by which the node knows it, and that it is said in the end if nobody knows whether it was done.
func TestOrdersToNodesAreRepeatedUnderOneName(t *testing.T) {
	w := newWorld(t)
	w.handler.(*apiHandler).patience = 10 * time.Millisecond
	alloc := w.populate("web")[0]
	lost := cluster.Errorf(cluster.CodeUnavailable, "ask node %s: connection reset", nodeID)
	unsent := fmt.Errorf("%w (%w)", lost, link.ErrUnsent)
	restart, logs := "/v1/client/allocation/"+alloc.ID.String()+"/restart", "/v1/client/fs/logs/"+alloc.ID.String()
	for _, c := range []struct {
		method, path string
		first        error
		then         error // ever after; nil: it answers
		status       int
		code         cluster.Code
		repeated     bool
	}{
		{"PUT", restart, lost, nil, http.StatusOK, "", true},
		{"POST", restart, lost, nil, http.StatusOK, "", true},
		{"PUT", restart, lost, lost, http.StatusBadGateway, "", true},
		{"PUT", restart, lost, unsent, http.StatusBadGateway, "", true},
		{"PUT", restart, unsent, nil, http.StatusNotFound, cluster.CodeUnavailable, false},
		{"GET", logs, lost, nil, http.StatusInternalServerError, cluster.CodeUnavailable, false},
	} {
		var names, bodies []string
		w.carry = func(w http.ResponseWriter, r *http.Request) error {
			body, _ := io.ReadAll(r.Body)
			names, bodies = append(names, r.Header.Get(api.HeaderRequestID)), append(bodies, string(body))
			if len(names) == 1 {
				return c.first
			}
			return c.then
		}
		got := w.ask(c.method, c.path, `{"AllTasks":true}`)
		if got.status != c.status || got.header.Get(cluster.HeaderError) != string(c.code) || c.repeated != (len(names) > 1) {
			t.Errorf("%s %s, %v, then %v: %d %q %q, asked %d times", c.method, c.path, c.first, c.then, got.status, got.header.Get(cluster.HeaderError), got.body, len(names))
		}
		if len(slices.Compact(names)) != 1 || len(slices.Compact(bodies)) != 1 || c.method != "GET" && names[0] == "" {
			t.Errorf("%s %s: asked as %q with %q", c.method, c.path, names, bodies)
		}
	}
}

func TestNodesAnswerThroughTheServer(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web")[0]
	if got := w.ask("GET", "/v1/client/fs/logs/"+alloc.ID.String(), ""); got.status != 404 || !strings.HasPrefix(got.body, "No path to node "+nodeID.String()) {
		t.Errorf("without a path: %d %q", got.status, got.body)
	}
	sent := make(chan struct{})
	w.node = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, `{"Data":"YWJj"}`)
		rw.(http.Flusher).Flush()
		<-sent // the first frame must arrive before there is a second
		io.WriteString(rw, `{"Data":"ZGVm","File":"`+r.URL.Path+"?"+r.URL.RawQuery+`"}`)
	})
	frames, err := w.client.Logs(context.Background(), alloc.ID, api.LogOptions{Task: "main", Follow: true}, api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	defer frames.Close()
	if first, err := frames.Next(); err != nil || string(first.Data) != "abc" {
		t.Fatalf("%+v, %v", first, err)
	}
	close(sent)
	second, err := frames.Next()
	want := "/v1/client/fs/logs/" + alloc.ID.String() + "?follow=true&offset=0&origin=start&task=main&type=stdout"
	if err != nil || string(second.Data) != "def" || second.File != want {
		t.Errorf("%+v, %v", second, err)
	}
	w.node = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.URL.Path) })
	if got := w.ask("GET", "/v1/allocation/"+alloc.ID.String()+"/checks", ""); got.body != "/v1/client/allocation/"+alloc.ID.String()+"/checks" {
		t.Errorf("checks are asked for at %q", got.body)
	}
	if got := w.ask("GET", "/v1/client/stats", ""); got.body != "/v1/client/stats" {
		t.Errorf("stats of the only node: %d %q", got.status, got.body)
	}
}

func TestOurOwnFaultsAreAnsweredAndLogged(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	h := newAPIHandler(HTTPConfig{Core: w, Logger: slog.New(slog.NewTextHandler(&log, nil)), Self: func() api.Agent { panic("oh") }})
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest("GET", "/v1/agent/self", nil))
	if recorder.Code != 500 || !strings.Contains(recorder.Body.String(), "bug") || !strings.Contains(log.String(), "stack=") {
		t.Errorf("%d %q, log %q", recorder.Code, recorder.Body, log.String())
	}
}

func TestHalfAnAnswerDoesNotLookLikeAWholeOne(t *testing.T) {
	w := newWorld(t)
	alloc := w.populate("web")[0]
	w.node = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		io.WriteString(rw, "half")
		rw.(http.Flusher).Flush()
		panic("oh")
	})
	body, err := w.client.ReadFile(context.Background(), alloc.ID, "/x", api.Query{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if text, err := io.ReadAll(body); err == nil || string(text) != "half" {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestSmallRoutes(t *testing.T) {
	w := newWorld(t)
	w.populate("web")
	for path, want := range map[string]string{
		"/v1/regions":                              `["global"]`,
		"/v1/status/leader":                        `"127.0.0.1:4647"`,
		"/v1/status/peers":                         `["127.0.0.1:4647"]`,
		"/v1/agent/health?type=server":             `{"server":{"ok":true,"message":"ok"}}`,
		"/v1/job/web/deployment?namespace=default": "",
	} {
		got := w.ask("GET", path, "")
		if got.status != 200 || want != "" && got.body != want {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if got := w.ask("PUT", "/v1/system/gc", ""); got.status != 200 || got.body != "null" {
		t.Errorf("gc: %d %q", got.status, got.body)
	}
	metrics := "\n" + w.ask("GET", "/v1/metrics?format=prometheus", "").body
	for _, line := range []string{"cluster_state_jobs 1", "cluster_client_lost_total 3", "# TYPE cluster_client_lost_total counter"} {
		if !strings.Contains(metrics, "\n"+line+"\n") {
			t.Errorf("metrics lack %s: %s", line, metrics)
		}
	}
	if got := w.ask("GET", "/", ""); got.status != 307 || got.header.Get("Location") != "/ui/" {
		t.Errorf("/ is answered with %d to %q", got.status, got.header.Get("Location"))
	}
	self, err := w.client.AgentSelf(context.Background())
	if err != nil || self.Stats["nomad"]["leader"] != "true" {
		t.Errorf("self is %+v, %v", self, err)
	}
	members, err := w.client.Members(context.Background())
	if err != nil || members.ServerName != "one" {
		t.Errorf("members are %+v, %v", members, err)
	}
}
