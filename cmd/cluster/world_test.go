package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// world is a cluster in memory that answers the API: jobs are registered, planned by the rules below, run and end, one
// step at a time. A step is taken when somebody waits for a change and everything until now has been looked at, so that
// a follower sees each.
type world struct {
	t       testing.TB
	server  *httptest.Server
	handler map[api.Route]func(arg string, q url.Values, body []byte) (any, error)

	mu          sync.Mutex
	changed     *sync.Cond
	index       uint64
	seen        uint64 // the index at which a whole look ended
	looking     bool
	closed      bool
	made        uint32 // IDs
	steps       []func()
	nodes       []*cluster.Node
	jobs        map[cluster.JobKey][]*cluster.Job // versions, oldest first
	submissions map[string]*api.JobSubmission
	evals       []*cluster.Evaluation // oldest first
	deployments []*cluster.Deployment
	allocs      []*cluster.Allocation
	output      map[string]string // by "task.stream"
	refuse      string            // what validation says of every job
	cut         int               // log streams break after so many bytes, once
}

// worldTime is when the world stands still.
var worldTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newWorld(t testing.TB) *world {
	w := &world{t: t, index: 10, jobs: map[cluster.JobKey][]*cluster.Job{}, submissions: map[string]*api.JobSubmission{},
		output: map[string]string{}}
	w.changed = sync.NewCond(&w.mu)
	w.handler = w.routes()
	w.nodes = []*cluster.Node{w.node("n1", ""), w.node("n2", "big")}
	w.server = httptest.NewServer(w)
	t.Cleanup(func() {
		w.mu.Lock()
		w.closed = true
		w.changed.Broadcast()
		w.mu.Unlock()
		w.server.CloseClientConnections()
		w.server.Close()
	})
	return w
}

func (w *world) id(kind byte) cluster.ID {
	w.made++
	return cluster.ID{kind, byte(w.made >> 8), byte(w.made), 0xcd, 4: kind, 6: 0x40, 8: 0x80, 15: byte(w.made)}
}

func (w *world) node(name, class string) *cluster.Node {
	n := &cluster.Node{ID: w.id(0x40), Name: name, Datacenter: "dc1", NodePool: "default", NodeClass: class, HTTPAddr: "127.0.0.1:4646",
		Status: cluster.NodeStatusReady, SchedulingEligibility: cluster.NodeEligible,
		Attributes: map[string]string{"kernel.name": "linux"},
		Drivers: map[string]cluster.DriverState{"raw_exec": {Detected: true, Healthy: true},
			"docker": {Detected: true, HealthDescription: "engine does not answer"}},
		Events: []cluster.NodeEvent{{Message: "Node registered", Subsystem: "Cluster", Timestamp: worldTime.Add(-time.Hour).Format(time.RFC3339)}}}
	n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB, n.NodeResources.Disk.DiskMB = 8000, 16000, 100000
	n.NodeResources.NodeNetworks = []cluster.NodeNetwork{{Mode: "host", Addresses: []cluster.NodeAddress{{Family: "ipv4", Alias: "default", Address: "192.0.2.7"}}}}
	return n
}

// ServeHTTP answers as a server does: routes, blocking, headers, errors as plain text.
func (w *world) ServeHTTP(reply http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	route, arg := w.match(r)
	q := r.URL.Query()
	if route == api.FSLogs {
		w.logs(reply, arg, q)
		return
	}
	handle := w.handler[route]
	if handle == nil {
		http.Error(reply, "unknown route "+r.URL.Path, http.StatusNotFound)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if index, _ := strconv.ParseUint(q.Get("index"), 10, 64); index > 0 {
		w.block(index)
	} else {
		w.looked(route)
	}
	answer, err := handle(arg, q, body)
	reply.Header().Set(api.HeaderIndex, strconv.FormatUint(w.index, 10))
	if err != nil {
		reply.Header().Set(cluster.HeaderError, string(cluster.CodeOf(err)))
		http.Error(reply, err.Error(), cluster.CodeOf(err).Status())
		return
	}
	_ = json.NewEncoder(reply).Encode(answer)
}

func (w *world) match(r *http.Request) (api.Route, string) {
	var best api.Route
	var found string
	for route := range w.handler {
		if arg, ok := route.Match(r.URL.Path); ok && route.Method == r.Method && len(route.Path) > len(best.Path) {
			best, found = route, arg
		}
	}
	if arg, ok := api.FSLogs.Match(r.URL.Path); ok {
		return api.FSLogs, arg
	}
	return best, found
}

// looked keeps track of the follower's looks: evaluations first, allocations last.
func (w *world) looked(route api.Route) {
	switch route {
	case api.JobEvalsList, api.NodeRead:
		w.looking = true
	case api.JobAllocsList, api.NodeAllocsList:
		w.looking, w.seen = false, w.index
		w.changed.Broadcast()
	}
}

func (w *world) block(index uint64) {
	for w.index <= index && !w.closed {
		if w.seen == w.index && !w.looking && len(w.steps) > 0 {
			step := w.steps[0]
			w.steps = w.steps[1:]
			w.index++
			step()
			w.changed.Broadcast()
			continue
		}
		w.changed.Wait()
	}
}

func (w *world) routes() map[api.Route]func(string, url.Values, []byte) (any, error) {
	type args = url.Values
	job := func(read func(key cluster.JobKey) (any, error)) func(string, args, []byte) (any, error) {
		return func(id string, q args, _ []byte) (any, error) { return read(w.key(id, q)) }
	}
	return map[api.Route]func(string, args, []byte) (any, error){
		api.JobsList:     func(_ string, q args, _ []byte) (any, error) { return w.jobList(q), nil },
		api.JobsRegister: func(_ string, _ args, body []byte) (any, error) { return w.register(body) },
		api.JobValidate:  func(string, args, []byte) (any, error) { return w.validation(), nil },
		api.JobPlan:      func(_ string, _ args, body []byte) (any, error) { return w.preview(body) },
		api.JobRead:      job(func(key cluster.JobKey) (any, error) { return w.job(key) }),
		api.JobDeregister: func(id string, q args, _ []byte) (any, error) {
			return w.deregister(w.key(id, q), q.Get("purge") == "true")
		},
		api.JobDispatch: func(id string, q args, body []byte) (any, error) {
			return w.dispatch(w.key(id, q), q.Get("idempotency_token"), body)
		},
		api.JobPeriodicForce: job(w.force),
		api.JobVersionsList:  job(func(key cluster.JobKey) (any, error) { return w.versions(key), nil }),
		api.JobAllocsList: job(func(key cluster.JobKey) (any, error) {
			return w.stubs(func(a *cluster.Allocation) bool { return a.Job.Key() == key }), nil
		}),
		api.JobEvalsList:     job(func(key cluster.JobKey) (any, error) { return w.evaluations(key.ID), nil }),
		api.JobLatestDeploy:  job(func(key cluster.JobKey) (any, error) { return w.latest(key), nil }),
		api.JobSummaryRead:   job(func(key cluster.JobKey) (any, error) { return w.summary(key), nil }),
		api.JobSubmissionGet: job(func(key cluster.JobKey) (any, error) { return w.submissions[key.ID], nil }),
		api.AllocsList: func(_ string, q args, _ []byte) (any, error) {
			return w.stubs(func(a *cluster.Allocation) bool { return strings.HasPrefix(a.ID.String(), q.Get("prefix")) }), nil
		},
		api.AllocRead:       func(id string, _ args, _ []byte) (any, error) { return w.alloc(id) },
		api.AllocStop:       func(id string, _ args, _ []byte) (any, error) { return w.stopAlloc(id) },
		api.AllocRestart:    func(id string, _ args, _ []byte) (any, error) { return cluster.IndexResponse{Index: w.index}, nil },
		api.AllocNodeChecks: func(string, args, []byte) (any, error) { return w.checks(), nil },
		api.FSList:          func(string, args, []byte) (any, error) { return w.files(), nil },
		api.NodesList:       func(string, args, []byte) (any, error) { return w.nodeList(), nil },
		api.NodeRead:        func(id string, _ args, _ []byte) (any, error) { return w.nodeBy(id) },
		api.NodeEligibility: func(id string, _ args, body []byte) (any, error) { return w.setEligibility(id, body) },
		api.NodeDrain:       func(id string, _ args, body []byte) (any, error) { return w.drain(id, body) },
		api.NodeAllocsList: func(id string, _ args, _ []byte) (any, error) {
			return slices.Collect(func(yield func(*cluster.Allocation) bool) {
				for _, a := range w.allocs {
					if a.NodeID.String() == id && !yield(a) {
						return
					}
				}
			}), nil
		},
		api.EvalsList: func(_ string, q args, _ []byte) (any, error) { return w.evaluations(q.Get("job")), nil },
		api.EvalRead:  func(id string, _ args, _ []byte) (any, error) { return w.evaluation(id) },
		api.EvalAllocsList: func(id string, _ args, _ []byte) (any, error) {
			return w.stubs(func(a *cluster.Allocation) bool { return a.EvalID.String() == id }), nil
		},
		api.DeploysList:  func(string, args, []byte) (any, error) { return w.deployments, nil },
		api.DeployRead:   func(id string, _ args, _ []byte) (any, error) { return w.deploymentBy(id) },
		api.ServicesList: func(string, args, []byte) (any, error) { return w.services(), nil },
		api.ServiceRead:  func(name string, _ args, _ []byte) (any, error) { return w.endpoints(name), nil },
		api.SearchPrefix: func(_ string, _ args, body []byte) (any, error) { return w.search(body) },
		api.StatusLeader: func(string, args, []byte) (any, error) { return "192.0.2.7:4647", nil },
		api.AgentSelf: func(string, args, []byte) (any, error) {
			return api.Agent{Stats: map[string]map[string]string{"client": {"node_id": w.nodes[0].ID.String()}}}, nil
		},
		api.AgentMembers: func(string, args, []byte) (any, error) { return w.members(), nil },
		api.AgentCluster: func(string, args, []byte) (any, error) { return w.view(), nil },
	}
}

func (w *world) key(id string, q url.Values) cluster.JobKey {
	namespace := q.Get("namespace")
	if namespace == "" {
		namespace = cluster.DefaultNamespace
	}
	return cluster.JobKey{Namespace: namespace, ID: id}
}

func (w *world) keys() []cluster.JobKey {
	var keys []cluster.JobKey
	for key := range w.jobs {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b cluster.JobKey) int {
		return strings.Compare(a.Namespace+"\x00"+a.ID, b.Namespace+"\x00"+b.ID)
	})
	return keys
}

func (w *world) newest(key cluster.JobKey) *cluster.Job { return w.jobs[key][len(w.jobs[key])-1] }

func (w *world) job(key cluster.JobKey) (*cluster.Job, error) {
	if len(w.jobs[key]) == 0 {
		return nil, cluster.Errorf(cluster.CodeNotFound, "job not found")
	}
	return w.newest(key), nil
}

func (w *world) jobList(q url.Values) []api.JobListStub {
	list := []api.JobListStub{}
	for _, key := range w.keys() {
		j := w.newest(key)
		if strings.HasPrefix(j.ID, q.Get("prefix")) && (q.Get("namespace") == "*" || key.Namespace == w.key("", q).Namespace) {
			list = append(list, api.JobListStub{ID: j.ID, ParentID: j.ParentID, Periodic: j.IsPeriodic(), ParameterizedJob: j.IsParameterized(), Name: j.Name, Namespace: j.Namespace, Type: j.Type, Priority: j.Priority,
				Status: j.Status, Stop: j.Stop, SubmitTime: j.SubmitTime})
		}
	}
	return list
}

func (w *world) versions(key cluster.JobKey) api.JobVersions {
	list := slices.Clone(w.jobs[key])
	slices.Reverse(list)
	return api.JobVersions{Versions: list}
}

func (w *world) stubs(which func(*cluster.Allocation) bool) []api.AllocListStub {
	list := []api.AllocListStub{}
	for _, a := range w.allocs {
		if which(a) {
			list = append(list, api.StubOf(a))
		}
	}
	return list
}

func (w *world) evaluations(job string) []*cluster.Evaluation {
	list := []*cluster.Evaluation{}
	for _, e := range slices.Backward(w.evals) {
		if job == "" || e.JobID == job {
			list = append(list, e)
		}
	}
	return list
}

func (w *world) latest(key cluster.JobKey) *cluster.Deployment {
	for _, d := range slices.Backward(w.deployments) {
		if d.JobID == key.ID {
			return d
		}
	}
	return nil
}

func (w *world) summary(key cluster.JobKey) *cluster.JobSummary {
	s := &cluster.JobSummary{JobID: key.ID, Summary: map[string]cluster.GroupSummary{}}
	if w.newest(key).IsPeriodic() {
		s.Launches = &cluster.Launches{Last: worldTime.Unix() - 60, Missed: 3, LastMissed: cluster.SlotRange{From: worldTime.Unix() - 7200, To: worldTime.Unix() - 3600},
			Skipped: 1, LastSkipped: worldTime.Unix() - 300}
	}
	for _, j := range w.keys() {
		if launch := w.newest(j); launch.ParentID == key.ID {
			s.Children.Add(launch.Status)
		}
	}
	for i := range w.newest(key).TaskGroups {
		s.Summary[w.newest(key).TaskGroups[i].Name] = cluster.GroupSummary{}
	}
	for _, a := range w.allocs {
		if a.Job.Key() != key {
			continue
		}
		g := s.Summary[a.TaskGroup]
		switch a.ClientStatus {
		case cluster.ClientPending:
			g.Starting++
		case cluster.ClientRunning:
			g.Running++
		case cluster.ClientComplete:
			g.Complete++
		case cluster.ClientFailed:
			g.Failed++
		}
		s.Summary[a.TaskGroup] = g
	}
	return s
}

func (w *world) validation() *api.JobValidateResponse {
	answer := &api.JobValidateResponse{DriverConfigValidated: true}
	if w.refuse != "" {
		answer.ValidationErrors, answer.Error = []string{w.refuse}, cluster.Problems{{Text: w.refuse}}.Error()
	}
	return answer
}

func (w *world) alloc(id string) (*cluster.Allocation, error) {
	for _, a := range w.allocs {
		if a.ID.String() == id {
			return a, nil
		}
	}
	return nil, cluster.Errorf(cluster.CodeNotFound, "alloc not found")
}

func (w *world) checks() map[string]cluster.CheckStatus {
	return map[string]cluster.CheckStatus{"c1": {Check: "alive", Service: "web", Task: "", Mode: "healthiness", Status: cluster.CheckSuccess, Output: "200 OK\nmore"}}
}

func (w *world) nodeList() []api.NodeListStub {
	list := []api.NodeListStub{}
	for _, n := range w.nodes {
		list = append(list, api.NodeListStub{ID: n.ID, Name: n.Name, Address: "192.0.2.7", Datacenter: n.Datacenter, NodePool: n.NodePool, NodeClass: n.NodeClass,
			Version: "0.1.0", Status: n.Status, SchedulingEligibility: n.SchedulingEligibility, Drain: n.DrainStrategy != nil,
			Impediment: n.Impediment})
	}
	return list
}

func (w *world) nodeBy(id string) (*cluster.Node, error) {
	for _, n := range w.nodes {
		if n.ID.String() == id {
			return n, nil
		}
	}
	return nil, cluster.Errorf(cluster.CodeNotFound, "node not found")
}

func (w *world) evaluation(id string) (*cluster.Evaluation, error) {
	for _, e := range w.evals {
		if e.ID.String() == id {
			return e, nil
		}
	}
	return nil, cluster.Errorf(cluster.CodeNotFound, "eval not found")
}

func (w *world) deploymentBy(id string) (*cluster.Deployment, error) {
	for _, d := range w.deployments {
		if d.ID.String() == id {
			return d, nil
		}
	}
	return nil, cluster.Errorf(cluster.CodeNotFound, "deployment not found")
}

func (w *world) endpoints(name string) []cluster.ServiceRegistration {
	list := []cluster.ServiceRegistration{}
	for _, a := range w.allocs {
		if a.ClientStatus != cluster.ClientRunning {
			continue
		}
		for _, s := range a.Group().AllServices() {
			if s.Name == name {
				list = append(list, cluster.ServiceRegistration{ServiceName: name, JobID: a.JobID(), Address: "192.0.2.7", Port: 20000 + int(a.Index),
					Tags: s.Tags, NodeID: a.NodeID, AllocID: a.ID, Namespace: a.Namespace()})
			}
		}
	}
	return list
}

func (w *world) services() []api.ServiceList {
	l := api.ServiceList{Namespace: "default"}
	seen := map[string]bool{}
	for _, a := range w.allocs {
		for _, s := range a.Group().AllServices() {
			if !seen[s.Name] && a.ClientStatus == cluster.ClientRunning {
				seen[s.Name] = true
				l.Services = append(l.Services, api.ServiceStub{ServiceName: s.Name, Tags: s.Tags})
			}
		}
	}
	return []api.ServiceList{l}
}

func (w *world) search(body []byte) (any, error) {
	var req api.SearchRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	found := map[string][]string{}
	add := func(context, id string) {
		if strings.HasPrefix(id, req.Prefix) {
			found[context] = append(found[context], id)
		}
	}
	for _, key := range w.keys() {
		add("jobs", key.ID)
	}
	for _, a := range w.allocs {
		add("allocs", a.ID.String())
	}
	for _, n := range w.nodes {
		add("nodes", n.ID.String())
	}
	for _, e := range w.evals {
		add("evals", e.ID.String())
	}
	for _, d := range w.deployments {
		add("deployment", d.ID.String())
	}
	return api.SearchResponse{Matches: found}, nil
}

func (w *world) members() api.Members {
	return api.Members{ServerName: "n1.global", Members: []api.Member{{Name: "n1.global", Addr: "192.0.2.7", Port: 4648, Status: "alive",
		Tags: map[string]string{"id": serverOne.String(), "rpc_addr": "192.0.2.7", "port": "4647", "raft_vsn": "3", "build": "0.1.0", "dc": "dc1", "region": "global"}}}}
}

var serverOne = cluster.ID{0x70, 1, 2, 3, 4, 5, 0x46, 7, 0x88}

func (w *world) view() api.ClusterView {
	return api.ClusterView{Node: serverOne, Name: "n1", Server: true, Leader: serverOne, Nodes: 3, NodesAlive: 2, Servers: []api.ServerView{{
		ID: serverOne, Name: "n1", Address: "192.0.2.7:4647", Status: "alive", Copy: &api.Copy{LastIndex: w.index, LastTerm: 2, Leader: serverOne, Voters: []cluster.ID{serverOne}}}}}
}

func (w *world) String() string { return fmt.Sprintf("world at %d", w.index) }
