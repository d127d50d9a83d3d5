package server

import (
	"iter"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) allocEndpoints() map[api.Route]endpoint {
	endpoints := map[api.Route]endpoint{
		api.AllocsList:        {read: listAllocs},
		api.AllocRead:         {read: readAlloc},
		api.AllocServicesList: {read: listAllocServices},
		api.AllocStop:         {write: h.stopAlloc},
	}
	for _, route := range []api.Route{
		api.AllocChecks, api.AllocNodeChecks, api.AllocStats, api.AllocRestart, api.AllocSignal, api.AllocGC,
		api.FSList, api.FSStat, api.FSCat, api.FSReadAt, api.FSStream, api.FSLogs,
	} {
		endpoints[route] = endpoint{node: h.nodeOfAlloc}
	}
	return endpoints
}

func listAllocs(r *request, sn *state.Snapshot) (reading, error) {
	allocs := sn.Allocs()
	if r.list.prefix != "" {
		allocs = slices.Values(sn.AllocsByPrefix(r.list.prefix))
	}
	inNamespace := where(allocs, func(a *cluster.Allocation) bool { return r.inNamespace(a.Namespace()) })
	return allocReading(r, inNamespace, state.TableKey(state.Allocs))
}

// allocReading is a list of allocations as stubs.
func allocReading(r *request, allocs iter.Seq[*cluster.Allocation], keys ...state.Key) (reading, error) {
	resources, err := r.flag("resources")
	if err != nil {
		return reading{}, err
	}
	tasks := true
	if r.query.Get("task_states") != "" {
		if tasks, err = r.flag("task_states"); err != nil {
			return reading{}, err
		}
	}
	stubs := lister[cluster.Allocation, api.AllocListStub]{
		at: func(a *cluster.Allocation) cursor { return r.byAge(a.CreateIndex, a.ID) },
		datum: func(a *cluster.Allocation) any {
			fields := fieldsOf(a.Stub())
			fields["Job"] = a.Job
			return fields
		},
		view: func(a *cluster.Allocation) api.AllocListStub {
			stub := api.StubOf(a)
			if !resources {
				stub.AllocatedResources = nil
			}
			if !tasks {
				stub.TaskStates = nil
			}
			return stub
		},
	}
	return reading{keys, func(api.Meta) (any, error) { return stubs.list(r, allocs) }}, nil
}

// byAge is the cursor of lists that are in order of age, or of IDs where the request has a prefix.
func (r *request) byAge(createIndex uint64, id cluster.ID) cursor {
	if r.list.prefix != "" {
		return cursor{id: id.String()}
	}
	return cursor{index: createIndex, id: id.String()}
}

func readAlloc(r *request, sn *state.Snapshot) (reading, error) {
	id, err := r.id("alloc")
	if err != nil {
		return reading{}, err
	}
	if alloc := sn.Alloc(id); alloc != nil {
		shown := *alloc
		shown.Ports = alloc.PortsOn(sn.Node(alloc.NodeID))
		return constant(&shown, state.AllocKey(id)), nil
	}
	return missing("alloc", state.AllocKey(id)), nil
}

func listAllocServices(r *request, sn *state.Snapshot) (reading, error) {
	id, err := r.id("alloc")
	if err != nil {
		return reading{}, err
	}
	alloc := sn.Alloc(id)
	if alloc == nil {
		return missing("alloc", state.AllocKey(id)), nil
	}
	return constant(orEmpty(cluster.Registrations(alloc, sn.Node(alloc.NodeID))), state.AllocKey(id)), nil
}

// stopAlloc ends an allocation and has its job planned, which replaces it.
func (h *apiHandler) stopAlloc(r *request) (written, error) {
	id, err := r.id("alloc")
	if err != nil {
		return written{}, err
	}
	if err := r.refuseFlags(map[string]string{
		"no_shutdown_delay": "stopping without the shutdown delay", "reschedule": "rescheduling by force"}); err != nil {
		return written{}, err
	}
	alloc := h.Core.Snapshot().Alloc(id)
	if alloc == nil {
		return written{}, cluster.Errorf(cluster.CodeNotFound, "alloc not found")
	}
	now := time.Now()
	eval := newEval(cluster.IDFrom(dice(), 0), alloc.Job, cluster.TriggerAllocStop, now)
	result, err := h.Core.Apply(r.Context(), &state.StopAllocs{
		At: now.UnixNano(), RequestID: r.requestID(),
		Stops: []cluster.Stop{{ID: id, Description: "stopped by a user"}},
		Evals: []cluster.Evaluation{eval},
	})
	if err != nil {
		return written{}, err
	}
	return written{api.AllocStopResponse{EvalID: result.EvalID, Meta: api.Meta{Index: result.Index, KnownLeader: true}}, result.Index}, nil
}

// nodeOfAlloc is the node that the allocation of the request lives on.
func (h *apiHandler) nodeOfAlloc(r *request) (cluster.ID, error) {
	unknown := cluster.Errorf(cluster.CodeNotFound, "Unknown allocation %.100q", r.arg)
	id, err := r.id("alloc")
	if err != nil {
		return cluster.ID{}, unknown
	}
	alloc := h.Core.Snapshot().Alloc(id)
	if alloc == nil {
		return cluster.ID{}, unknown
	}
	return alloc.NodeID, nil
}
