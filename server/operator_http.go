package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// operator is what a server does for those who look after the servers. A core may be one.
type operator interface {
	raftServers() (*api.RaftServers, error)
	unseat(context.Context, cluster.ID) error
	transfer(cluster.ID) (*api.TransferResponse, error)
	Recover(ctx context.Context, older bool) (*api.RecoverResponse, error)
}

// errNoServer answers what only a server can.
var errNoServer = cluster.Errorf(cluster.CodeRejected, "this agent is no server: ask one, see `cluster server members`")

// noOperator is what an agent that is no server does for operators.
type noOperator struct{}

func (noOperator) raftServers() (*api.RaftServers, error)             { return nil, errNoServer }
func (noOperator) unseat(context.Context, cluster.ID) error           { return errNoServer }
func (noOperator) transfer(cluster.ID) (*api.TransferResponse, error) { return nil, errNoServer }
func (noOperator) Recover(context.Context, bool) (*api.RecoverResponse, error) {
	return nil, errNoServer
}

func (h *apiHandler) operatorEndpoints() map[api.Route]endpoint {
	all := map[api.Route]endpoint{
		api.AgentCluster: {local: func(r *request) (any, error) {
			if h.Cluster == nil {
				return nil, errNoServer
			}
			return h.Cluster(r.Context()), nil
		}},
		api.AgentLeave: {local: func(r *request) (any, error) {
			var req api.LeaveRequest
			if err := r.decode("leave", &req); err != nil {
				return nil, err
			}
			if h.Leave == nil {
				return nil, cluster.Errorf(cluster.CodeRejected, "leave the cluster: this agent cannot")
			}
			return nil, h.Leave(r.Context(), req)
		}},
	}
	o, able := h.Core.(operator)
	if !able {
		o = noOperator{}
	}
	all[api.RaftConfiguration] = endpoint{read: func(*request, *state.Snapshot) (reading, error) {
		return reading{nil, func(api.Meta) (any, error) { return o.raftServers() }}, nil
	}}
	all[api.RaftPeerRemove] = endpoint{write: func(r *request) (written, error) {
		if r.query.Has("address") {
			return written{}, cluster.Errorf(cluster.CodeInvalid, "remove server: write its id: addresses change")
		}
		id, err := cluster.ParseID(r.query.Get("id"))
		if err != nil {
			return written{}, cluster.Errorf(cluster.CodeInvalid, "remove server: Must specify ?id with the server's ID: %w", err)
		}
		return written{}, o.unseat(r.Context(), id)
	}}
	all[api.RaftTransfer] = endpoint{write: func(r *request) (written, error) {
		id := cluster.ID{}
		if text := r.query.Get("id"); text != "" {
			var err error
			if id, err = cluster.ParseID(text); err != nil {
				return written{}, cluster.Errorf(cluster.CodeInvalid, "transfer leadership: %w", err)
			}
		} else if r.query.Has("address") {
			return written{}, cluster.Errorf(cluster.CodeInvalid, "transfer leadership: write the server's id: addresses change")
		}
		return wrote(o.transfer(id))
	}}
	all[api.RecoverBegin] = endpoint{raw: func(r *request, w http.ResponseWriter) error { return h.recover(o, r, w.(*reply)) }}
	return all
}

// recover is answered by the server whose copy is chosen: the request goes there once.
func (h *apiHandler) recover(o operator, r *request, w *reply) error {
	rewind, err := r.rewindable()
	if err != nil {
		return err
	}
	rewind()
	var req api.RecoverRequest
	if err := r.decode("recovery", &req); err != nil {
		return err
	}
	self := h.Self().Member.Tags["id"]
	if req.Server.IsZero() || req.Server.String() == self {
		begun, err := o.Recover(r.Context(), req.Older)
		if err != nil {
			return err
		}
		return w.json(r, begun)
	}
	if !r.caller.By.IsZero() {
		return cluster.Errorf(cluster.CodeInvalid, "recover from server %s: this is server %s", req.Server, self)
	}
	carry, err := h.Core.Reach(req.Server)
	if err != nil {
		return err
	}
	rewind()
	return carry(w, r.spokenFor())
}

// raftServers lists who has the log.
func (s *Server) raftServers() (*api.RaftServers, error) {
	future := s.replica.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, explain(err)
	}
	list := &api.RaftServers{Servers: []api.RaftServer{}, Index: future.Index()}
	members, leader := s.membersByID(), s.Leadership().ID
	for _, server := range future.Configuration().Servers {
		id, err := cluster.ParseID(string(server.ID))
		if err != nil {
			return nil, fmt.Errorf("read servers: %w", err)
		}
		name := members[id].Name
		if name == "" && id == s.config.Identity.ID() {
			name = s.config.Name
		}
		list.Servers = append(list.Servers, api.RaftServer{ID: id, Node: name, Address: s.addressOf(id, string(server.Address)),
			Leader: id == leader, Voter: server.Suffrage == raft.Voter, RaftProtocol: "3"})
	}
	slices.SortFunc(list.Servers, func(a, b api.RaftServer) int { return a.ID.Compare(b.ID) })
	return list, nil
}

// mayUnseat reports why the server must not lose its seat by hand, nil if it may.
func mayUnseat(peers []peer, id, self cluster.ID) error {
	i := slices.IndexFunc(peers, func(p peer) bool { return p.id == id && p.seated })
	if i < 0 {
		return cluster.Errorf(cluster.CodeNotFound, "remove server %s: it has no seat", id)
	}
	voters, living := 0, 0
	for _, p := range peers {
		if p.voter && p.id != id {
			voters++
			if p.living {
				living++
			}
		}
	}
	switch {
	case id == self:
		return cluster.Errorf(cluster.CodeRejected, "remove server %s: it leads: hand over first with `cluster operator raft transfer-leadership`", id)
	case peers[i].living && !peers[i].left:
		return cluster.Errorf(cluster.CodeRejected, "remove server %s: it lives and would get its seat back: run `cluster leave` there, or end its agent", id)
	case 2*living <= voters:
		return cluster.Errorf(cluster.CodeRejected, "remove server %s: of the %d other voters %d live, which is no majority", id, voters, living)
	}
	return nil
}

// unseat takes its seat from a server that is gone. For the leader.
func (s *Server) unseat(ctx context.Context, id cluster.ID) error {
	future := s.replica.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return explain(err)
	}
	members := s.membersByID()
	var peers []peer
	for _, server := range future.Configuration().Servers {
		at, err := cluster.ParseID(string(server.ID))
		if err != nil {
			return fmt.Errorf("read servers: %w", err)
		}
		m := members[at]
		peers = append(peers, peer{id: at, seated: true, voter: server.Suffrage == raft.Voter,
			living: at == s.config.Identity.ID() || m.State == cluster.MemberAlive, left: m.Left || m.State == cluster.MemberLeft})
	}
	if err := mayUnseat(peers, id, s.config.Identity.ID()); err != nil {
		return err
	}
	return s.seat(ctx, seating{seatRemove, peer{id: id}})
}

// transfer gives leadership to the server, or to the one that is the least behind. For the leader.
func (s *Server) transfer(to cluster.ID) (*api.TransferResponse, error) {
	self := s.config.Identity.ID()
	answer := &api.TransferResponse{From: api.RaftTarget{ID: self.String(), Address: s.config.Advertise}}
	if to == self {
		answer.To, answer.Noop = answer.From, true
		return answer, nil
	}
	if to.IsZero() {
		if !s.successor() {
			return nil, cluster.Errorf(cluster.CodeRejected, "transfer leadership: no other voter lives")
		}
		return answer, explain(s.replica.raft.LeadershipTransfer().Error())
	}
	address := raft.ServerAddress(to.String())
	answer.To = api.RaftTarget{ID: to.String(), Address: s.addressOf(to, "")}
	if err := s.replica.raft.LeadershipTransferToServer(raft.ServerID(to.String()), address).Error(); err != nil {
		return nil, cluster.Errorf(cluster.CodeRejected, "transfer leadership to server %s: %w", to, err)
	}
	return answer, nil
}
