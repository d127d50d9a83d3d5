package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

// serve is a client of a server that answers with the handler.
func serve(t *testing.T, c Config, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c.Address = server.URL
	client, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func TestErrorsComeBackAsTheyWereRaised(t *testing.T) {
	for _, code := range []cluster.Code{cluster.CodeInternal, cluster.CodeInvalid, cluster.CodeRejected, cluster.CodeNotFound,
		cluster.CodeForbidden, cluster.CodeConflict, cluster.CodeUnavailable, cluster.CodeTooLarge, cluster.CodeMethod} {
		const text = "place group \"web\": no node has room\n * 3 lack cpu"
		client := serve(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
			if code != cluster.CodeInternal {
				w.Header().Set(cluster.HeaderError, string(code))
			}
			w.WriteHeader(code.Status())
			io.WriteString(w, text)
		})
		_, err := client.Get(context.Background(), "/v1/jobs", Query{}, nil)
		if cluster.CodeOf(err) != code || err.Error() != text {
			t.Errorf("raised %q, came back as %q: %v", code, cluster.CodeOf(err), err)
		}
	}
}

func TestErrorsOfOtherServersGetACodeByStatus(t *testing.T) {
	for status, want := range map[int]cluster.Code{400: cluster.CodeInvalid, 401: cluster.CodeForbidden, 403: cluster.CodeForbidden,
		404: cluster.CodeNotFound, 405: cluster.CodeMethod, 409: cluster.CodeConflict, 413: cluster.CodeTooLarge,
		429: cluster.CodeUnavailable, 500: cluster.CodeInternal, 502: cluster.CodeUnavailable} {
		client := serve(t, Config{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, _, err := client.Jobs(context.Background(), Query{})
		if cluster.CodeOf(err) != want || !strings.Contains(err.Error(), http.StatusText(status)) {
			t.Errorf("status %d: code %q, text %v", status, cluster.CodeOf(err), err)
		}
	}
}

func TestRequestsCarryWhatTheQueryAsks(t *testing.T) {
	var seen *http.Request
	client := serve(t, Config{Token: "secret", Namespace: "team", Region: "global"}, func(w http.ResponseWriter, r *http.Request) {
		seen = r
		Meta{Index: 7, LastContact: 3 * time.Millisecond, KnownLeader: true, NextToken: "next"}.Write(w.Header())
		io.WriteString(w, "[]")
	})
	_, meta, err := client.Allocations(context.Background(), Query{Index: 5, Wait: time.Second, Stale: true, Prefix: "a", Filter: `x == "y"`,
		PerPage: 3, NextToken: "t", Reverse: true})
	if err != nil {
		t.Fatal(err)
	}
	want := "filter=x+%3D%3D+%22y%22&index=5&namespace=team&next_token=t&per_page=3&prefix=a&region=global&reverse=true&stale=true&wait=1s"
	if seen.URL.RawQuery != want || seen.Header.Get(HeaderToken) != "secret" {
		t.Errorf("sent %s with token %q", seen.URL.RawQuery, seen.Header.Get(HeaderToken))
	}
	if meta != (Meta{Index: 7, LastContact: 3 * time.Millisecond, KnownLeader: true, NextToken: "next"}) {
		t.Errorf("meta is %+v", meta)
	}
	if _, _, err = client.Job(context.Background(), "a/b c", Query{Namespace: "other"}); err == nil || seen.RequestURI != "/v1/job/a%2Fb%20c?namespace=other&region=global" {
		t.Errorf("asked for %s, %v", seen.RequestURI, err)
	}
}

func TestUnixSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `"10.0.0.1:4647"`) })}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	client, err := New(Config{Address: "unix://" + path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if leader, err := client.Leader(context.Background()); err != nil || leader != "10.0.0.1:4647" {
		t.Errorf("leader %q, %v", leader, err)
	}
}

func TestAddressesThatAreNone(t *testing.T) {
	for _, address := range []string{"127.0.0.1:4646", "ftp://x", "http://", "unix://", "http://[::1", "://"} {
		if _, err := New(Config{Address: address}); cluster.CodeOf(err) != cluster.CodeInvalid {
			t.Errorf("address %q: %v", address, err)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	client, err := New(Config{Address: "http://" + listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Leader(context.Background())
	if cluster.CodeOf(err) != cluster.CodeUnavailable || !strings.Contains(err.Error(), "is it running?") {
		t.Errorf("error is %v", err)
	}
	stopped, stop := context.WithCancelCause(context.Background())
	cause := errors.New("the user had enough")
	stop(cause)
	if _, err = client.Leader(stopped); err != cause {
		t.Errorf("error is %v", err)
	}
}

func TestFramesReadAsBytes(t *testing.T) {
	stream := `{}{"Offset":3,"Data":"YWJj","File":"alloc/logs/web.stdout.0"}{}{"Data":"ZGVm"}{"FileEvent":"file truncated"}{"Data":"Z2g="}`
	text, err := io.ReadAll(NewFrames(io.NopCloser(strings.NewReader(stream))))
	if string(text) != "abcdefgh" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	frames := NewFrames(io.NopCloser(strings.NewReader(stream[:len(stream)-3])))
	if _, err := io.ReadAll(frames); cluster.CodeOf(err) != cluster.CodeUnavailable {
		t.Errorf("a broken stream reads as %v", err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(`{"Data":"YWJj"}{}`))
	f.Fuzz(func(t *testing.T, stream []byte) {
		frames := NewFrames(io.NopCloser(bytes.NewReader(stream)))
		for {
			if _, err := frames.Next(); err != nil {
				return
			}
		}
	})
}

func TestRoutesMatchTheirOwnPaths(t *testing.T) {
	seen := map[string]bool{}
	for _, route := range Routes() {
		if seen[route.Method+route.Path] {
			t.Errorf("%s %s is there twice", route.Method, route.Path)
		}
		seen[route.Method+route.Path] = true
		if got := route.URL("a/b c", "d e"); strings.ContainsAny(got, "{} ") || strings.Contains(got, "a/b") {
			t.Errorf("%s becomes %s", route.Path, got)
		}
		path := strings.NewReplacer("{", "", "}", "").Replace(route.Path)
		if _, ok := route.Match(path); !ok {
			t.Errorf("%s does not match %s", route.Path, path)
		}
		if arg, ok := route.MatchSent(route.URL("a/b c", "d/e")); !ok || arg != "" && !strings.HasPrefix(arg, "a/b c") {
			t.Errorf("%s sent as %s reads as %q", route.Path, route.URL("a/b c", "d/e"), arg)
		}
	}
	if arg, ok := JobAllocsList.Match("/v1/job/team/web/allocations"); !ok || arg != "team/web" {
		t.Errorf("a job ID with a slash reads as %q", arg)
	}
	for path, want := range map[string]string{"/v1/job/team%2Fplan": "team/plan", "/v1/job/%25": "%", "/v1/job/team/plan": "", "/v1/job/team/%2F": "", "/v1/job/%": "", "/v1/job/": ""} {
		if arg, ok := JobRead.MatchSent(path); arg != want || ok != (want != "") {
			t.Errorf("%s as it was sent reads as %q, %v", path, arg, ok)
		}
	}
	if _, ok := JobAllocsList.Match("/v1/job/allocations"); ok {
		t.Error("no job ID matched")
	}
	arg, ok := JobTag.Match("/v1/job/team/versions/web/versions/v1/tag")
	if job, tag := JobTag.Split(arg); !ok || job != "team/versions/web" || tag != "v1" {
		t.Errorf("a path with two names reads as %q and %q", job, tag)
	}
	for _, path := range []string{"/v1/job/web/tag", "/v1/job/web/versions/tag", "/v1/job/web/versions//tag", "/v1/job//versions/v1/tag"} {
		if arg, ok := JobTag.Match(path); ok {
			t.Errorf("%s matched as %q", path, arg)
		}
	}
}

func TestStubsPrintEveryField(t *testing.T) {
	job := cluster.DefaultJob(cluster.JobTypeService)
	text, err := json.Marshal(StubOf(&cluster.Allocation{Job: &job}))
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(`ID EvalID Name Namespace NodeID NodeName JobID JobType JobVersion TaskGroup AllocatedResources
		DesiredStatus DesiredDescription ClientStatus ClientDescription DesiredTransition TaskStates DeploymentStatus FollowupEvalID
		NextAllocation RescheduleTracker PreemptedAllocations PreemptedByAllocation CreateIndex ModifyIndex CreateTime ModifyTime`) {
		if !bytes.Contains(text, []byte(`"`+field+`":`)) {
			t.Errorf("no %s in %s", field, text)
		}
	}
}
