package server

import (
	"context"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

const (
	// restartGrace is how long a silent node keeps its work: its agent may be restarting.
	restartGrace = 30 * time.Second
	// vigilance is how often the leader looks for silent nodes while there are living ones; maxDoze is how much later
	// than it wanted to it may do so and still trust what it did not hear.
	vigilance = time.Second
	maxDoze   = 5 * time.Second
)

// leases remembers when each node was last heard of by this leader. Losing it does no harm: a lease that this
// leader has not seen renewed began when its leadership did.
type leases struct {
	mu    sync.Mutex
	since time.Time // when leadership began
	seen  map[cluster.ID]time.Time
}

func (l *leases) begin(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since, l.seen = now, map[cluster.ID]time.Time{}
}

func (l *leases) renew(id cluster.ID, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen != nil {
		l.seen[id] = now
	}
}

// last is when the node was last heard of.
func (l *leases) last(id cluster.ID) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at, ok := l.seen[id]; ok {
		return at
	}
	return l.since
}

// Heartbeat renews a node's lease. A node that was down is ready again, and work that fits it is planned.
func (s *Server) Heartbeat(ctx context.Context, id cluster.ID) error {
	node := s.Snapshot().Node(id)
	if node == nil {
		return cluster.Errorf(cluster.CodeNotFound, "renew lease of node %s: it is not registered", id)
	}
	s.leases.renew(id, time.Now())
	if node.Status == cluster.NodeStatusReady {
		return nil
	}
	return s.setNodeStatus(ctx, node, cluster.NodeStatusReady, "heard of again")
}

// Register stores what a node says of itself and counts as a heartbeat.
func (s *Server) Register(ctx context.Context, node *cluster.Node) error {
	now := time.Now()
	s.leases.renew(node.ID, now)
	snapshot := s.Snapshot()
	known := snapshot.Node(node.ID)
	next, text := *node, "Node re-registered"
	if known == nil {
		next.Status, text = cluster.NodeStatusReady, "Node registered"
	}
	event := &cluster.NodeEvent{Message: text, Subsystem: "Cluster", Timestamp: now.UTC().Format(time.RFC3339)}
	_, err := s.Apply(ctx, &state.RegisterNode{At: now.UnixNano(), Node: &next, Event: event,
		Evals: evalsForNode(snapshot, node, now)})
	if err != nil {
		return err
	}
	if known != nil && known.Status != cluster.NodeStatusReady {
		return s.setNodeStatus(ctx, known, cluster.NodeStatusReady, "")
	}
	return nil
}

// setNodeStatus decides a node's status and has the jobs that it concerns planned anew.
func (s *Server) setNodeStatus(ctx context.Context, node *cluster.Node, status, why string) error {
	now := time.Now()
	event := &cluster.NodeEvent{Message: "Node status is " + status, Subsystem: "Cluster", Timestamp: now.UTC().Format(time.RFC3339)}
	if why != "" {
		event.Message += ": " + why
	}
	_, err := s.Apply(ctx, &state.NodeStatus{At: now.UnixNano(), ID: node.ID, Status: status, Description: why,
		Event: event, Evals: evalsForNode(s.Snapshot(), node, now)})
	return err
}

// evalsForNode are the evaluations that a change of the node asks for: of every job that has work on it, be it only
// ending or the job purged, and of every system job, which may fit it now. Blocked work is tried again by itself.
func evalsForNode(snapshot *state.Snapshot, node *cluster.Node, now time.Time) []cluster.Evaluation {
	jobs := map[cluster.JobKey]*cluster.Job{}
	for alloc := range snapshot.AllocsByNode(node.ID) {
		if alloc.Occupies() {
			jobs[cluster.JobKey{Namespace: alloc.Namespace(), ID: alloc.JobID()}] = alloc.Job
		}
	}
	for key := range jobs {
		if job := snapshot.Job(key.Namespace, key.ID); job != nil {
			jobs[key] = job
		}
	}
	for job := range snapshot.Jobs(cluster.AllNamespaces, "") {
		if job.Type == cluster.JobTypeSystem && !job.Stop {
			jobs[job.Key()] = job
		}
	}
	seed := dice()
	var evals []cluster.Evaluation
	for _, job := range jobs {
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

// watchNodes marks nodes that were silent for too long as down, so that their work is done elsewhere. A leader that
// was itself stopped for a while (a suspended machine, say) has heard nothing and gives every node a new lease.
func (s *Server) watchNodes(ctx context.Context) error {
	for ctx.Err() == nil {
		snapshot, now := s.Snapshot(), time.Now()
		next := time.Time{}
		for node := range snapshot.Nodes() {
			if node.Status == cluster.NodeStatusDown {
				continue
			}
			silent := now.Sub(s.leases.last(node.ID))
			if silent < restartGrace {
				next = now.Add(vigilance)
				continue
			}
			s.logger.Warn("node is silent, its work moves", "node", node.ID, "for", silent.Round(time.Second).String())
			if err := s.setNodeStatus(ctx, node, cluster.NodeStatusDown, "no heartbeat for "+restartGrace.String()); err != nil {
				return err
			}
		}
		s.await(ctx, snapshot.Index(), next, nil, state.TableKey(state.Nodes))
		if late := time.Since(next); !next.IsZero() && late > maxDoze {
			s.logger.Info("this server stood still for a while: all nodes get a new lease", "for", late.Round(time.Second).String())
			s.leases.begin(time.Now())
		}
	}
	return nil
}
