package server

import (
	"github.com/hashicorp/raft"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

// firstAnnounced is the first kind of command that some release does not know. All before it came with the first one.
const firstAnnounced = state.KindLaunchJob

// legible refuses a command that a voter does not understand, as far as it has said: it would have to stop at it.
func (s *Server) legible(command state.Command) error {
	needs := state.Needs(command)
	if needs < firstAnnounced || s.config.Members == nil {
		return nil
	}
	future := s.replica.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return explain(err)
	}
	members := s.membersByID()
	for _, voter := range future.Configuration().Servers {
		id, err := cluster.ParseID(string(voter.ID))
		if err != nil || voter.Suffrage != raft.Voter || id == s.config.Identity.ID() {
			continue
		}
		if err := understands(id, members[id], needs); err != nil {
			return err
		}
	}
	return nil
}

// understands is nil if the server has said that it understands the kind of command. m is zero if it has said nothing.
func understands(server cluster.ID, m cluster.Member, needs state.Kind) error {
	switch {
	case m.Commands >= int(needs):
		return nil
	case m.Version == "":
		return cluster.Errorf(cluster.CodeUnavailable, "commit command: server %s has not said yet whether it understands this: start it, or remove it with \"operator raft remove-peer\"", server)
	}
	return cluster.Errorf(cluster.CodeUnavailable, "commit command: server %s runs version %s, which does not understand this: upgrade it first", m.Name, m.Version)
}
