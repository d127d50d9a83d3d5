package server

import (
	"cmp"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) nodeEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.NodesList:       {read: listNodes},
		api.NodeRead:        {read: readNode},
		api.NodeAllocsList:  {read: listNodeAllocs},
		api.NodeEligibility: {write: h.setEligibility},
		api.NodeStats:       {node: h.nodeOfQuery},
		api.NodeGC:          {node: h.nodeOfQuery},
		api.SelfRegister:    {write: h.registerSelf},
		api.SelfAllocs:      {read: readOwnAllocs},
		api.SelfReport:      {write: h.report},
	}
}

func listNodes(r *request, sn *state.Snapshot) (reading, error) {
	resources, err := r.flag("resources")
	if err != nil {
		return reading{}, err
	}
	os, err := r.flag("os")
	if err != nil {
		return reading{}, err
	}
	nodes := sn.Nodes()
	if r.list.prefix != "" {
		nodes = slices.Values(sn.NodesByPrefix(r.list.prefix))
	}
	stubs := lister[cluster.Node, api.NodeListStub]{
		at:     func(n *cluster.Node) cursor { return cursor{id: n.ID.String()} },
		view:   func(n *cluster.Node) api.NodeListStub { return nodeStub(n, resources, os) },
		sorted: true,
	}
	return reading{[]state.Key{state.TableKey(state.Nodes)}, func(api.Meta) (any, error) { return stubs.list(r, nodes) }}, nil
}

func nodeStub(n *cluster.Node, resources, os bool) api.NodeListStub {
	stub := api.NodeListStub{
		Address: n.Address(), ID: n.ID, Datacenter: n.Datacenter, Name: n.Name, NodePool: n.NodePool, NodeClass: n.NodeClass,
		Version:               cmp.Or(n.Attributes["cluster.version"], n.Attributes["nomad.version"]),
		SchedulingEligibility: n.SchedulingEligibility, Status: n.Status, StatusDescription: n.StatusDescription, Impediment: n.Impediment,
		Drain: n.DrainStrategy != nil, LastDrain: n.LastDrain, Drivers: n.Drivers, CreateIndex: n.CreateIndex, ModifyIndex: n.ModifyIndex,
	}
	if resources {
		stub.NodeResources, stub.ReservedResources = &n.NodeResources, &n.ReservedResources
	}
	if name, ok := n.Attributes["os.name"]; ok && os {
		stub.Attributes = map[string]string{"os.name": name}
	}
	return stub
}

func readNode(r *request, sn *state.Snapshot) (reading, error) {
	id, err := r.id("node")
	if err != nil {
		return reading{}, err
	}
	if n := sn.Node(id); n != nil {
		return constant(api.ViewOf(n), state.NodeKey(id)), nil
	}
	return missing("node", state.NodeKey(id)), nil
}

func listNodeAllocs(r *request, sn *state.Snapshot) (reading, error) {
	id, err := r.id("node")
	if err != nil {
		return reading{}, err
	}
	// The key for all of a node's allocations leaves out the node's own reports, which people want to see.
	return reading{[]state.Key{state.TableKey(state.Allocs)}, func(api.Meta) (any, error) {
		return orEmpty(slices.Collect(sn.AllocsByNode(id))), nil
	}}, nil
}

func (h *apiHandler) setEligibility(r *request) (written, error) {
	var req api.NodeEligibilityRequest
	if err := r.decode("eligibility", &req); err != nil {
		return written{}, err
	}
	id, err := r.id("node")
	if err != nil {
		return written{}, err
	}
	if req.Eligibility != cluster.NodeEligible && req.Eligibility != cluster.NodeIneligible {
		return written{}, cluster.Errorf(cluster.CodeInvalid, "read eligibility %.100q: want %q or %q", req.Eligibility, cluster.NodeEligible, cluster.NodeIneligible)
	}
	snapshot := h.Core.Snapshot()
	node := snapshot.Node(id)
	if node == nil {
		return written{}, cluster.Errorf(cluster.CodeNotFound, "node not found")
	}
	now := time.Now()
	command := &state.NodeEligibility{At: now.UnixNano(), RequestID: r.requestID(), ID: id, Eligibility: req.Eligibility,
		Event: &cluster.NodeEvent{Message: "Node marked as " + req.Eligibility + " for scheduling", Subsystem: "Cluster", Timestamp: now.UTC().Format(time.RFC3339)}}
	if req.Eligibility == cluster.NodeEligible {
		command.Evals = evalsForNode(snapshot, node, now)
	}
	return h.writeNode(r, command, command.Evals)
}

// nodeOfQuery is the node that ?node_id names; without it, the one node that there is.
func (h *apiHandler) nodeOfQuery(r *request) (cluster.ID, error) {
	sn := h.Core.Snapshot()
	text := r.query.Get("node_id")
	if text == "" {
		nodes := slices.Collect(sn.Nodes())
		if len(nodes) != 1 {
			return cluster.ID{}, cluster.Errorf(cluster.CodeInvalid, "find node: say which with ?node_id=, there are %d", len(nodes))
		}
		return nodes[0].ID, nil
	}
	id, err := cluster.ParseID(text)
	if err != nil || sn.Node(id) == nil {
		return cluster.ID{}, cluster.Errorf(cluster.CodeNotFound, "Unknown node %.100q", text)
	}
	return id, nil
}

// The routes that a node calls for itself; the policy has checked that it is the one in the path.

func (h *apiHandler) registerSelf(r *request) (written, error) {
	var req api.SelfRegisterRequest
	if err := r.decode("node", &req); err != nil {
		return written{}, err
	}
	if req.Node == nil || req.Node.ID != r.caller.Node {
		return written{}, cluster.Errorf(cluster.CodeInvalid, "register node %s: the body describes another", r.caller.Node)
	}
	if err := h.Keeper.Register(r.Context(), req.Node); err != nil {
		return written{}, err
	}
	return h.standing(r), nil
}

// standing tells the calling node what the servers think of it.
func (h *apiHandler) standing(r *request) written {
	node := h.Core.Snapshot().Node(r.caller.Node)
	if node == nil {
		return written{value: api.SelfRegisterResponse{}}
	}
	return written{api.SelfRegisterResponse{Status: node.Status}, node.ModifyIndex}
}

// readOwnAllocs wakes for changes by the servers alone. The request's index is also what the node knows everything
// up to: what changed after it is there whole.
func readOwnAllocs(r *request, sn *state.Snapshot) (reading, error) {
	return reading{[]state.Key{state.NodeAllocsKey(r.caller.Node)}, func(meta api.Meta) (any, error) {
		response := api.SelfAllocsResponse{Index: meta.Index, IDs: []cluster.ID{}}
		for alloc := range sn.AllocsByNode(r.caller.Node) {
			response.IDs = append(response.IDs, alloc.ID)
			if alloc.AllocModifyIndex > r.index {
				response.Changed = append(response.Changed, alloc)
			}
		}
		return response, nil
	}}, nil
}

func (h *apiHandler) report(r *request) (written, error) {
	var req api.SelfReportRequest
	if err := r.decodeUpTo(maxReport, "report", &req); err != nil {
		return written{}, err
	}
	err := h.Keeper.Report(r.Context(), r.caller.Node, req.Allocs)
	return written{index: h.Core.Snapshot().Index()}, err
}

// maxReport is the largest report: a node with a thousand allocations, each with a full diary.
const maxReport = 16 * api.MaxBody
