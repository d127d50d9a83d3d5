package server

import (
	"context"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/a43e60e4/cluster"
)

// handOver gives leadership to another server, if this one leads and there is one that lives: it takes over in some
// milliseconds, where an election would begin only when this server is missed.
func (s *Server) handOver() error {
	if s.replica.raft.State() != raft.Leader || !s.successor() {
		return nil
	}
	return explain(s.replica.raft.LeadershipTransfer().Error())
}

// successor reports whether another voter may live.
func (s *Server) successor() bool {
	future := s.replica.raft.GetConfiguration()
	if future.Error() != nil {
		return false
	}
	members := s.membersByID()
	return slices.ContainsFunc(future.Configuration().Servers, func(member raft.Server) bool {
		id, _ := cluster.ParseID(string(member.ID))
		return member.Suffrage == raft.Voter && id != s.config.Identity.ID() && members[id].State == cluster.MemberAlive
	})
}

// leaveInterval is between two looks whether this server has lost its seat.
const leaveInterval = 100 * time.Millisecond

// Leave gives up this server's seat. Its node must have said before that it leaves: the leader takes seats from those. It
// returns when another server leads without this one, or when ctx ends.
func (s *Server) Leave(ctx context.Context) error {
	for {
		if s.replica.raft.State() == raft.Leader {
			if err := s.handOver(); err != nil {
				s.logger.Info("leadership is not handed over yet, trying again", "err", err)
			}
		}
		if s.unseated(ctx) {
			return nil
		}
		pause(ctx, leaveInterval)
		if ctx.Err() != nil {
			return cluster.Errorf(cluster.CodeUnavailable, "give up the seat of server %s: the other servers do not take note of it: see `cluster status`, or leave with -force", s.config.Identity.ID())
		}
	}
}

// unseated reports whether a living server leads and says that this one has no seat.
func (s *Server) unseated(ctx context.Context) bool {
	self := s.config.Identity.ID()
	for _, id := range s.others() {
		theirs, err := AskProgress(ctx, s.config.Dialer, id, s.Epoch())
		if err == nil && theirs.Leader == id && theirs.Epoch == s.Epoch() {
			return !slices.Contains(theirs.Seats, self)
		}
	}
	return false
}

// MayLeave reports why this server must not leave now, nil if it may.
func (s *Server) MayLeave() error {
	switch {
	case s.Leadership().ID.IsZero():
		return cluster.Errorf(cluster.CodeUnavailable, "leave the cluster: it has no leader now that could take note: see `cluster status`, or leave with -force")
	case !s.successor():
		return cluster.Errorf(cluster.CodeRejected, "leave the cluster: this is its last server, and with it all state would go: let another server join first, or leave with -force")
	}
	return nil
}
