package server

import (
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) drainEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.NodeDrain:    {write: h.drainNode},
		api.NodeEvaluate: {write: h.evaluateNode},
		api.NodePurge:    {write: h.purgeNode},
	}
}

// writtenNode is the node that a write is about, and the state that it is in.
func (h *apiHandler) writtenNode(r *request) (*cluster.Node, *state.Snapshot, error) {
	id, err := r.id("node")
	if err != nil {
		return nil, nil, err
	}
	snapshot := h.Core.Snapshot()
	node := snapshot.Node(id)
	if node == nil {
		return nil, nil, cluster.Errorf(cluster.CodeNotFound, "node not found")
	}
	return node, snapshot, nil
}

// writeNode applies a command about a node and answers with the evaluations that it brought.
func (h *apiHandler) writeNode(r *request, command state.Command, evals []cluster.Evaluation) (written, error) {
	result, err := h.Core.Apply(r.Context(), command)
	if err != nil {
		return written{}, err
	}
	return nodeWritten(result, evals), nil
}

// nodeWritten is the answer to a change of a node that brought those evaluations.
func nodeWritten(result state.Result, evals []cluster.Evaluation) written {
	response := api.NodeUpdateResponse{NodeModifyIndex: result.Index, Meta: api.Meta{Index: result.Index, KnownLeader: true}}
	for _, eval := range evals {
		response.EvalIDs, response.EvalCreateIndex = append(response.EvalIDs, eval.ID), result.Index
	}
	return written{response, result.Index}
}

// drainNode begins, changes or ends a drain. What it moves is planned by the leader's own loop.
func (h *apiHandler) drainNode(r *request) (written, error) {
	var req api.NodeDrainRequest
	if err := r.decode("drain", &req); err != nil {
		return written{}, err
	}
	node, snapshot, err := h.writtenNode(r)
	if err != nil {
		return written{}, err
	}
	now := time.Now()
	command := &state.DrainNode{At: now.UnixNano(), RequestID: r.requestID(), ID: node.ID, Spec: req.DrainSpec, MarkEligible: req.MarkEligible, Meta: req.Meta}
	switch {
	case req.DrainSpec == nil && node.DrainStrategy == nil:
		command.Event = drainEvent("Node marked as eligible for scheduling", now)
	case req.DrainSpec == nil:
		command.Event = drainEvent("Node drain disabled", now)
	case node.DrainStrategy == nil:
		command.Event = drainEvent("Node drain strategy set", now)
	default:
		command.Event = drainEvent("Node drain strategy updated", now)
	}
	if req.DrainSpec == nil && req.MarkEligible {
		command.Evals = evalsForNode(snapshot, node, now)
	}
	return h.writeNode(r, command, command.Evals)
}

// evaluateNode has the jobs that have work on the node, and all system jobs, planned anew.
func (h *apiHandler) evaluateNode(r *request) (written, error) {
	node, snapshot, err := h.writtenNode(r)
	if err != nil {
		return written{}, err
	}
	now := time.Now()
	command := &state.UpsertEvals{At: now.UnixNano(), Evals: evalsForNode(snapshot, node, now)}
	if len(command.Evals) == 0 {
		return written{api.NodeUpdateResponse{NodeModifyIndex: node.ModifyIndex, Meta: api.Meta{Index: snapshot.Index(), KnownLeader: true}}, snapshot.Index()}, nil
	}
	return h.writeNode(r, command, command.Evals)
}

// purgeNode forgets a node. One that lives would only register again.
func (h *apiHandler) purgeNode(r *request) (written, error) {
	if result, done := h.answered(r); done {
		return nodeWritten(result, nil), nil
	}
	node, snapshot, err := h.writtenNode(r)
	if err != nil {
		return written{}, err
	}
	if node.Status != cluster.NodeStatusDown {
		return written{}, cluster.Errorf(cluster.CodeRejected, "purge node %s: it is %s: stop its agent and wait until it is down", node.ID, node.Status)
	}
	now := time.Now()
	command := &state.DeleteNode{At: now.UnixNano(), RequestID: r.requestID(), ID: node.ID, Evals: evalsForNode(snapshot, node, now)}
	return h.writeNode(r, command, command.Evals)
}
