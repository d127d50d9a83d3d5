package server

import (
	"context"
	"net/http"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
)

// passPatience is how long a heartbeat may take from this server to the leader and back: less than the node waits for it.
const passPatience = 700 * time.Millisecond

// passing is a heartbeat of a node that does not reach the leader, on its way there through this server.
type passing struct {
	node cluster.ID
	told chan<- link.Standing // has room for one; gets what the leader said, Standing{} if nothing
}

// beat renews a node's lease with this server, and with pass, if another leads, with that one: what the node gets then is the
// leader's own word, so that it may rely on it as if it had been there.
func (s *Server) beat(ctx context.Context, id cluster.ID, pass bool) (link.Standing, error) {
	standing, err := s.Heartbeat(ctx, id)
	if err != nil || standing.Leader || !pass || s.leaderElsewhere().IsZero() {
		return standing, err
	}
	ctx, cancel := context.WithTimeout(ctx, passPatience)
	defer cancel()
	told := make(chan link.Standing, 1)
	select {
	case s.passing <- passing{id, told}:
	case <-ctx.Done():
		return standing, nil
	}
	select {
	case leaders := <-told:
		if leaders.Leader {
			leaders.Passed = true
			return leaders, nil
		}
	case <-ctx.Done():
	}
	return standing, nil
}

// leaderElsewhere is the other server that leads; zero if none is known.
func (s *Server) leaderElsewhere() cluster.ID {
	_, name := s.replica.raft.LeaderWithID()
	id, err := cluster.ParseID(string(name))
	if err != nil || id == s.config.Identity.ID() {
		return cluster.ID{}
	}
	return id
}

// takePassing passes heartbeats on to the leader until ctx ends: those that come while others are on their way go together.
func (s *Server) takePassing(ctx context.Context) error {
	for {
		select {
		case first := <-s.passing:
			s.passOn(ctx, s.withPassing(first))
		case <-ctx.Done():
			return nil
		}
	}
}

// withPassing is the heartbeat and those that wait now.
func (s *Server) withPassing(first passing) []passing {
	batch := []passing{first}
	for len(batch) < link.MostPassed {
		select {
		case next := <-s.passing:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (s *Server) passOn(ctx context.Context, batch []passing) {
	ctx, cancel := context.WithTimeout(ctx, passPatience)
	defer cancel()
	nodes := make([]cluster.ID, len(batch))
	for i, p := range batch {
		nodes[i] = p.node
	}
	standings := make([]link.Standing, len(batch))
	if leader := s.leaderElsewhere(); !leader.IsZero() {
		answered, err := s.config.Dialer.Pass(ctx, leader, nodes)
		if err == nil {
			standings = answered
		} else {
			s.logger.Debug("heartbeats of nodes that do not reach the leader do not reach it through this server either", "err", err)
		}
	}
	for i, p := range batch {
		p.told <- standings[i]
	}
}

// PassHandler takes in, as the leader, which nodes other servers have heard. It is for nodes of the cluster alone.
func (s *Server) PassHandler() (path string, handler http.Handler) {
	return link.PassHandler(s.vouched)
}

// vouched renews the lease of a node that another server has heard, if this one leads.
func (s *Server) vouched(ctx context.Context, id cluster.ID) (link.Standing, error) {
	if s.term() == nil {
		return link.Standing{}, nil
	}
	if err := checkTrusted(s.Snapshot(), id); err != nil {
		return link.Standing{}, err
	}
	s.leases.vouch(id, time.Now())
	return s.standing(ctx, id)
}
