package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// asNode is a client in the server's own process that speaks for the node.
func (w *world) asNode(id cluster.ID) *api.Client {
	w.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.handler.ServeHTTP(rw, r.WithContext(AsNode(r.Context(), id)))
	}))
	w.t.Cleanup(server.Close)
	client, err := api.New(api.Config{Address: server.URL})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	return client
}

func TestNodesLiveTheirLifeOverTheAPI(t *testing.T) {
	w := newWorld(t)
	self := w.asNode(nodeID)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	standing, err := self.RegisterSelf(ctx, newNode(nodeID, "one"))
	if err != nil || standing.Status != cluster.NodeStatusReady {
		t.Fatalf("%+v, %v", standing, err)
	}
	want, err := self.OwnAllocations(ctx, nodeID, api.Query{})
	if err != nil || len(want.IDs) != 0 || want.Index == 0 {
		t.Fatalf("%+v, %v", want, err)
	}
	woken := make(chan *api.SelfAllocsResponse, 1)
	await := func(index uint64) {
		response, err := self.OwnAllocations(ctx, nodeID, api.Query{Index: index, Wait: time.Minute})
		if err != nil {
			t.Error(err)
		}
		woken <- response
	}
	go await(want.Index)
	w.blocked(1)
	alloc := w.place("web", w.register("web").EvalID) // reports it as running, too
	first := <-woken
	if len(first.IDs) != 1 || len(first.Changed) != 1 || first.Changed[0].ID != alloc.ID || first.Changed[0].Job.ID != "web" {
		t.Fatalf("woken with %+v", first)
	}
	go await(first.Index)
	w.blocked(1)
	update := cluster.AllocUpdate{ID: alloc.ID, ClientStatus: cluster.ClientRunning, TaskStates: []cluster.TaskState{{Name: "main", State: cluster.TaskRunning, Restarts: 1}}}
	if err := self.Report(ctx, nodeID, []cluster.AllocUpdate{update}); err != nil {
		t.Fatal(err)
	}
	if got := w.Snapshot().Alloc(alloc.ID); got.TaskStates[0].Restarts != 1 {
		t.Errorf("the report is not in the state: %+v", got.TaskStates)
	}
	w.blocked(1) // the node's own report does not wake it
	if _, err := w.client.StopAllocation(ctx, alloc.ID, api.Query{}); err != nil {
		t.Fatal(err)
	}
	second := <-woken
	if len(second.Changed) != 1 || second.Changed[0].DesiredStatus != cluster.DesiredStop || second.Index <= first.Index {
		t.Errorf("woken with %+v", second)
	}
	quiet, err := self.OwnAllocations(ctx, nodeID, api.Query{Index: second.Index, Wait: time.Millisecond})
	if err != nil || len(quiet.Changed) != 0 || len(quiet.IDs) != 1 {
		t.Errorf("without a change: %+v, %v", quiet, err)
	}
}

func TestNodesSpeakForThemselvesAlone(t *testing.T) {
	w := newWorld(t)
	other := w.asNode(otherID)
	ctx := context.Background()
	if _, err := other.RegisterSelf(ctx, newNode(nodeID, "one")); cluster.CodeOf(err) != cluster.CodeForbidden {
		t.Errorf("registered another: %v", err)
	}
	if err := other.Report(ctx, nodeID, nil); cluster.CodeOf(err) != cluster.CodeForbidden {
		t.Errorf("reported for another: %v", err)
	}
	if _, err := other.OwnAllocations(ctx, nodeID, api.Query{}); cluster.CodeOf(err) != cluster.CodeForbidden {
		t.Errorf("read another's: %v", err)
	}
	var out any
	_, err := other.Put(ctx, api.SelfRegister.URL(otherID.String()), api.Query{}, api.SelfRegisterRequest{Node: newNode(nodeID, "one")}, &out)
	if cluster.CodeOf(err) != cluster.CodeInvalid {
		t.Errorf("registered another in the body: %v", err)
	}
}

// FuzzAPI sends any body to any path: nothing may crash, and only what is known to be answered with 500 may be.
func FuzzAPI(f *testing.F) {
	for _, route := range api.Routes() {
		f.Add(route.Method, route.URL("web")+"?namespace=default", []byte(`{}`))
	}
	f.Add("PUT", "/v1/jobs", []byte(`{"Job": `+jobText("web")+`}`))
	f.Add("GET", `/v1/jobs?filter=Meta.team+matches+"[a-z]"&per_page=1&next_token=x&index=1&wait=1ns`, []byte(nil))
	f.Add("GET", `/v1/allocations?filter=Job.TaskGroups.0.Name+is+empty&prefix=a&reverse=true&pretty`, []byte(nil))
	f.Add("GET", `/v1/service/web?choose=1|x`, []byte(nil))
	f.Add("PUT", "/v1/search", []byte(`{"Prefix": "a", "Context": "all"}`))
	w := newWorld(f)
	w.populate("web")
	w.node = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	f.Fuzz(func(t *testing.T, method, target string, body []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
		if err != nil {
			return // not a request that anybody could send
		}
		recorder := httptest.NewRecorder()
		w.handler.ServeHTTP(recorder, r)
		code := cluster.Code(recorder.Header().Get(cluster.HeaderError))
		if recorder.Code >= 500 && code != cluster.CodeRejected && code != cluster.CodeConflict && code != cluster.CodeUnavailable {
			t.Errorf("%s %s: %d %s", method, target, recorder.Code, recorder.Body)
		}
		if recorder.Code == 200 && recorder.Header().Get("Content-Type") == "application/json" && !json.Valid(recorder.Body.Bytes()) {
			t.Errorf("%s %s: %s is no JSON", method, target, recorder.Body)
		}
	})
}
