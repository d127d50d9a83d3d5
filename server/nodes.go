package server

import (
	"context"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// Heartbeat renews a node's lease with this server, be it the leader or not. A node that was down is ready again when
// the leader hears of it, and work that fits it is planned.
func (s *Server) Heartbeat(ctx context.Context, id cluster.ID) (link.Standing, error) {
	if err := checkTrusted(s.Snapshot(), id); err != nil {
		return link.Standing{}, err
	}
	s.leases.renew(id, time.Now())
	return s.standing(ctx, id)
}

// standing is what this server thinks of a node whose lease was renewed just now.
func (s *Server) standing(ctx context.Context, id cluster.ID) (link.Standing, error) {
	s.leases.awaitVerdict(ctx, id)
	if ctx.Err() != nil { // there may be none yet
		return link.Standing{}, context.Cause(ctx)
	}
	standing := link.Standing{Leader: s.leading.Load() != nil && s.assured.fresh(ctx, s.commits.verify)}
	node := s.Snapshot().Node(id)
	if node == nil {
		standing.Unknown = standing.Leader
		return standing, nil
	}
	standing.Status = node.Status
	if !standing.Leader || node.Status == cluster.NodeStatusReady {
		return standing, nil
	}
	if err := s.welcome(ctx, id, "heard of again"); err != nil {
		return standing, err
	}
	standing.Status = cluster.NodeStatusReady
	return standing, nil
}

// welcome makes a node ready that is heard of and is not. Its heartbeats may come several ways at once: the first does it.
func (s *Server) welcome(ctx context.Context, id cluster.ID, why string) (err error) {
	for range overtakings {
		node := s.Snapshot().Node(id)
		if node == nil || node.Status == cluster.NodeStatusReady {
			return nil
		}
		if err = s.setNodeStatus(ctx, node, cluster.NodeStatusReady, why); cluster.CodeOf(err) != cluster.CodeConflict {
			return err
		}
	}
	return err
}

// Register stores what a node says of itself and counts as a heartbeat.
func (s *Server) Register(ctx context.Context, node *cluster.Node) error {
	now := time.Now()
	s.leases.renew(node.ID, now) // or a request that another server carried here: its heartbeats tell by and by
	snapshot := s.Snapshot()
	known := snapshot.Node(node.ID)
	next := *node
	if known == nil {
		next.Status = cluster.NodeStatusReady
	}
	event := &cluster.NodeEvent{Message: registration(known, node), Subsystem: "Cluster", Timestamp: now.UTC().Format(time.RFC3339)}
	_, err := s.Apply(ctx, &state.RegisterNode{At: now.UnixNano(), Node: &next, Event: event,
		Evals: evalsForNode(snapshot, node, now)})
	if err != nil {
		return err
	}
	return s.welcome(ctx, node.ID, "")
}

// registration is the line in a node's diary for what it now says of itself; known is the node as it was, nil if it is new.
func registration(known, node *cluster.Node) string {
	switch {
	case node.Impediment != "" && (known == nil || known.Impediment != node.Impediment):
		return "Node takes no new work: " + node.Impediment
	case known == nil:
		return "Node registered"
	case known.Impediment != node.Impediment:
		return "Node takes new work again"
	}
	return "Node re-registered"
}

// setNodeStatus decides a node's status and has the jobs that it concerns planned anew. A decision is about the node as it was seen:
// CodeConflict if it has changed since.
func (s *Server) setNodeStatus(ctx context.Context, node *cluster.Node, status, why string) error {
	now := time.Now()
	event := &cluster.NodeEvent{Message: "Node status is " + status, Subsystem: "Cluster", Timestamp: now.UTC().Format(time.RFC3339)}
	if why != "" {
		event.Message += ": " + why
	}
	_, err := s.Apply(ctx, &state.NodeStatus{At: now.UnixNano(), ID: node.ID, ModifyIndex: node.ModifyIndex, Status: status, Description: why,
		Event: event, Evals: evalsForNode(s.Snapshot(), node, now)})
	return err
}

// evalsForNode are the evaluations that a change of the node asks for. Blocked work is tried again by itself.
func evalsForNode(snapshot *state.Snapshot, node *cluster.Node, now time.Time) []cluster.Evaluation {
	seed := dice()
	var evals []cluster.Evaluation
	for _, job := range concerned(snapshot, node.ID) {
		eval := newEval(cluster.IDFrom(seed, uint32(len(evals))), job, cluster.TriggerNodeUpdate, now)
		eval.NodeID, eval.NodeModifyIndex = node.ID, node.ModifyIndex
		evals = append(evals, eval)
	}
	return evals
}

// newEval is a pending evaluation of the job.
func newEval(id cluster.ID, job *cluster.Job, trigger string, now time.Time) cluster.Evaluation {
	return cluster.Evaluation{
		ID: id, Namespace: job.Namespace, Priority: job.Priority, Type: job.Type, TriggeredBy: trigger, JobID: job.ID,
		JobModifyIndex: job.JobModifyIndex, Status: cluster.EvalPending, CreateTime: now.UnixNano(), ModifyTime: now.UnixNano(),
	}
}
