package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// world is a whole little cluster without Raft: a real state, a log of one writer, a node's handler, and the real API
// on a real socket.
type world struct {
	t        testing.TB
	store    *state.Store
	mu       sync.Mutex // guards index and the order of commands
	index    uint64
	leader   atomic.Pointer[Leadership]
	node     http.Handler // what Reach gives; nil: no path
	carry    Carry        // … instead of it, if not nil
	client   *api.Client
	url      string
	handler  http.Handler
	reports  chan []cluster.AllocUpdate
	overtake func(state.Command) // does something before the command is applied; nil: nothing
}

var (
	nodeID  = cluster.ID{0xaa, 1, 2, 3, 4, 5, 0x46, 7, 0x88}
	otherID = cluster.ID{0xbb, 1, 2, 3, 4, 5, 0x46, 7, 0x88}
)

// newWorld is a world whose API answers on a real socket.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := newSilentWorld(t)
	server := httptest.NewServer(w.handler)
	t.Cleanup(server.Close)
	w.url = server.URL
	client, err := api.New(api.Config{Address: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w.client = client
	return w
}

// newSilentWorld is a world that nobody can call but through its handler.
func newSilentWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, store: state.New(), index: 10, reports: make(chan []cluster.AllocUpdate, 10)}
	w.leader.Store(&Leadership{ID: nodeID, Address: "127.0.0.1:4647", Self: true, Peers: []string{"127.0.0.1:4647"}})
	w.handler = NewHandler(HTTPConfig{
		Core: w, Keeper: w, Logger: slog.New(slog.DiscardHandler), Version: "0.0.1",
		Self: func() api.Agent {
			return api.Agent{Config: map[string]any{"Region": "global"}, Stats: map[string]map[string]string{"nomad": {"leader": "true"}}}
		},
		Figures: func() []Figure {
			return []Figure{{Name: "cluster_client_lost_total", Help: "Lost.", Total: true, Value: 3}}
		},
		Members: func() api.Members {
			return api.Members{ServerName: "one", ServerRegion: "global", ServerDC: "dc1", Members: []api.Member{}}
		},
		Health: func() api.Health {
			return api.Health{Server: &api.HealthState{OK: true, Message: "ok"}, Client: &api.HealthState{Message: "no supervisor"}}
		},
	})
	return w
}

func (w *world) Snapshot() *state.Snapshot     { return w.store.Snapshot() }
func (w *world) Store() *state.Store           { return w.store }
func (w *world) Barrier(context.Context) error { return nil }
func (w *world) Leadership() Leadership        { return *w.leader.Load() }
func (w *world) Collect(context.Context) error { return nil }

// Preview plans on the state as it is, with nothing under way.
func (w *world) Preview(sn *state.Snapshot, job *cluster.Job, eval *cluster.Evaluation) scheduler.Preview {
	in := scheduler.Input{Now: time.Unix(100, 0), Eval: eval, Job: job, Allocs: slices.Collect(sn.AllocsByJob(job.Namespace, job.ID)),
		Deployment: sn.LatestDeployment(job.Namespace, job.ID), SnapshotIndex: sn.Index()}
	for node, used := range sn.Usages() {
		in.Nodes = append(in.Nodes, scheduler.Node{Node: node, Used: used.Capacity, Ports: used.Ports})
	}
	return scheduler.Look(in)
}

func (w *world) Apply(_ context.Context, command state.Command) (state.Result, error) {
	text, err := state.Encode(command)
	if err != nil {
		return state.Result{}, err
	}
	if w.overtake != nil {
		w.overtake(command)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index++
	results, err := w.store.Apply(w.index, text)
	if err != nil {
		return state.Result{}, err
	}
	return results[0], results[0].Err
}

// apply applies a command that must be good.
func (w *world) apply(command state.Command) state.Result {
	w.t.Helper()
	result, err := w.Apply(context.Background(), command)
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

func (w *world) Reach(id cluster.ID) (Carry, error) {
	if w.carry != nil {
		return w.carry, nil
	}
	if w.node == nil {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "No path to node %s", id)
	}
	return Local(w.node), nil
}

func (w *world) Register(ctx context.Context, node *cluster.Node) error {
	if _, err := w.Apply(ctx, &state.RegisterNode{At: 1, Node: node}); err != nil {
		return err
	}
	_, err := w.Apply(ctx, &state.NodeStatus{At: 1, ID: node.ID, Status: cluster.NodeStatusReady})
	return err
}

func (w *world) Report(ctx context.Context, _ cluster.ID, updates []cluster.AllocUpdate) error {
	w.reports <- updates
	_, err := w.Apply(ctx, &state.ReportAllocs{At: 1, Updates: updates})
	return err
}

// newNode is a node that may run work.
func newNode(id cluster.ID, name string) *cluster.Node {
	n := &cluster.Node{ID: id, Name: name, Datacenter: "dc1", NodePool: "default", HTTPAddr: "127.0.0.1:4646",
		Attributes: map[string]string{"os.name": "linux"}, SchedulingEligibility: cluster.NodeEligible,
		Drivers: map[string]cluster.DriverState{"raw_exec": {Detected: true, Healthy: true}}}
	n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB, n.NodeResources.Disk.DiskMB = 4000, 8000, 50000
	n.NodeResources.NodeNetworks = []cluster.NodeNetwork{{Mode: "host", Device: "lo",
		Addresses: []cluster.NodeAddress{{Family: "ipv4", Alias: "default", Address: "127.0.0.1"}}}}
	return n
}

// jobText is the JSON of a small job.
func jobText(id string) string {
	return fmt.Sprintf(`{"ID": %q, "Type": "service", "Meta": {"team": %q}, "TaskGroups": [{"Name": "app", "Count": 2,
		"Networks": [{"DynamicPorts": [{"Label": "http"}]}],
		"Services": [{"Name": "web", "PortLabel": "http", "Tags": ["blue", "v1"], "Provider": "nomad"}],
		"Tasks": [{"Name": "main", "Driver": "raw_exec", "Config": {"command": "/bin/true"}}]}]}`, id, "team-"+id)
}

// populate registers a node and, in the default namespace, a job with a running allocation whose service passes.
func (w *world) populate(jobs ...string) []*cluster.Allocation {
	w.t.Helper()
	if err := w.Register(context.Background(), newNode(nodeID, "one")); err != nil {
		w.t.Fatal(err)
	}
	var placed []*cluster.Allocation
	for _, id := range jobs {
		response := w.register(id)
		placed = append(placed, w.place(id, response.EvalID))
	}
	return placed
}

func (w *world) register(id string) api.JobRegisterResponse {
	w.t.Helper()
	var response api.JobRegisterResponse
	_, err := w.client.Put(context.Background(), "/v1/jobs", api.Query{}, json.RawMessage(`{"Job": `+jobText(id)+`}`), &response)
	if err != nil {
		w.t.Fatal(err)
	}
	return response
}

// place runs one instance of the job as a plan would, and reports it as running.
func (w *world) place(jobID string, evalID cluster.ID) *cluster.Allocation {
	w.t.Helper()
	sn := w.Snapshot()
	job, eval := sn.Job("default", jobID), *sn.Eval(evalID)
	eval.Status = cluster.EvalComplete
	deployment := cluster.Deployment{ID: cluster.IDFrom(evalID, 1), Namespace: "default", JobID: jobID, JobVersion: job.Version,
		JobCreateIndex: job.CreateIndex, Status: cluster.DeploymentRunning, TaskGroups: map[string]cluster.DeploymentGroup{"app": {DesiredTotal: 2}}}
	result := w.apply(&state.CommitPlan{At: 5, Seed: evalID, Plan: cluster.Plan{Eval: eval, Namespace: "default", JobID: jobID,
		CreateIndex: job.CreateIndex, Version: job.Version, SnapshotIndex: sn.Index(),
		Deployments: []cluster.Deployment{deployment},
		Places: []cluster.Placement{{NodeID: nodeID, TaskGroup: "app", DeploymentID: deployment.ID,
			Ports: []cluster.AllocatedPort{{Label: "http", Value: 20000 + int32(w.index), To: 8080}}}}}})
	if !result.Plan.Whole() {
		w.t.Fatalf("plan carried out in part: %+v", result.Plan)
	}
	for alloc := range w.Snapshot().AllocsByEval(evalID) {
		w.run(alloc, 1)
		return w.Snapshot().Alloc(alloc.ID)
	}
	w.t.Fatal("nothing was placed")
	return nil
}

// run reports the allocation as running, its services passing by the bits.
func (w *world) run(alloc *cluster.Allocation, passing uint64) {
	w.t.Helper()
	w.apply(&state.ReportAllocs{At: 6, Updates: []cluster.AllocUpdate{{ID: alloc.ID, ClientStatus: cluster.ClientRunning, Passing: passing,
		TaskStates: []cluster.TaskState{{Name: "main", State: cluster.TaskRunning, StartedAt: 6, Events: []cluster.TaskEvent{{Type: cluster.EventStarted, Time: 6}}}}}}})
}

// answer is what a raw request came back with.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a raw request. Edits change it before it is sent.
func (w *world) ask(method, path, body string, edits ...func(*http.Request)) answer {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, w.url+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, edit := range edits {
		edit(req)
	}
	transport := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}
