package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
)

const (
	// mostVoters is how many servers decide at most; more make every decision slower and none safer.
	mostVoters = 5
	// forgetDead is after how long a server that is gone loses its seat with nobody to take it. One leader must have missed it
	// for all of that time, by its own count: clocks jump.
	forgetDead = 24 * time.Hour
	// maxLag is how many entries a server may be behind to become a voter.
	maxLag = 500
	// catchUpInterval is between two looks at servers that are behind.
	catchUpInterval = 250 * time.Millisecond
)

// peer is one server as the leader sees it.
type peer struct {
	id      cluster.ID
	address string
	seated  bool // is in Raft's configuration
	voter   bool
	living  bool
	left    bool
	dead    time.Duration // for how long this leader has known that it is not living
	caught  bool          // living and not far behind
}

// seating is one change of Raft's configuration.
type seating struct {
	verb seatingVerb
	peer peer
}

type seatingVerb string

const (
	seatNone    seatingVerb = ""
	seatAdd     seatingVerb = "add"     // to follow without a vote
	seatPromote seatingVerb = "promote" // to a voter
	seatDemote  seatingVerb = "demote"
	seatRemove  seatingVerb = "remove"
)

// votersFor is how many of so many living servers should vote: one, two, or an odd number.
func votersFor(living int) int {
	if living > 2 {
		living -= (living + 1) % 2
	}
	return min(living, mostVoters)
}

// nextSeating is what to change next about who votes; the peers are in an order that stays, self is the leader. A dead voter
// goes when a living server has taken its place, so that the number of voters is odd again, or after a day: to remove it
// sooner would make the next death cost more.
func nextSeating(peers []peer, self cluster.ID) seating {
	living, voters, votingLiving := 0, 0, 0
	for _, p := range peers {
		if p.living && !p.left {
			living++
		}
		if p.voter {
			voters++
			if p.living && !p.left {
				votingLiving++
			}
		}
	}
	first := func(fits func(p peer) bool) (peer, bool) {
		i := slices.IndexFunc(peers, fits)
		if i < 0 {
			return peer{}, false
		}
		return peers[i], true
	}
	if p, ok := first(func(p peer) bool { return p.seated && p.left && p.id != self }); ok {
		dead, some := first(func(p peer) bool { return p.voter && !p.living })
		if p.voter && some && 2*votingLiving <= voters-1 { // who stays must be more than half
			return seating{seatRemove, dead}
		}
		return seating{seatRemove, p}
	}
	if p, ok := first(func(p peer) bool { return !p.seated && p.living && !p.left }); ok {
		return seating{seatAdd, p}
	}
	if votingLiving < votersFor(living) {
		if p, ok := first(func(p peer) bool { return p.seated && !p.voter && p.caught && !p.left }); ok {
			return seating{seatPromote, p}
		}
	}
	surplus := voters > mostVoters || voters > 2 && voters%2 == 0
	if p, ok := first(func(p peer) bool { return p.voter && !p.living && surplus }); ok {
		return seating{seatRemove, p}
	}
	if p, ok := first(func(p peer) bool { return p.seated && !p.living && p.dead >= forgetDead && (!p.voter || voters > 2) }); ok {
		return seating{seatRemove, p}
	}
	slices.Reverse(peers)
	defer slices.Reverse(peers)
	if p, ok := first(func(p peer) bool { return p.voter && p.id != self }); ok && surplus && votingLiving > votersFor(living) {
		return seating{seatDemote, p}
	}
	return seating{}
}

// missed remembers since when a leader has missed servers, in time since it began to lead.
type missed map[cluster.ID]time.Duration

// count says of each peer for how long it has been missed.
func (m missed) count(peers []peer, now time.Duration) {
	gone := make(map[cluster.ID]bool, len(peers))
	for i := range peers {
		p := &peers[i]
		if p.dead = 0; p.living {
			continue
		}
		gone[p.id] = true
		since, known := m[p.id]
		if !known {
			since, m[p.id] = now, now
		}
		p.dead = now - since
	}
	maps.DeleteFunc(m, func(id cluster.ID, _ time.Duration) bool { return !gone[id] })
}

// driveServers keeps as many living servers voting as is good, until ctx ends.
func (s *Server) driveServers(ctx context.Context) error {
	if s.config.Members == nil {
		return nil
	}
	gone, began := missed{}, time.Now() // whose difference to a later moment does not jump with the clock
	for ctx.Err() == nil {
		changed := s.membersChanged()
		peers, next, err := s.peers(ctx)
		if err != nil {
			return err
		}
		gone.count(peers, time.Since(began))
		if change := nextSeating(peers, s.config.Identity.ID()); change.verb != seatNone {
			if err := s.seat(ctx, change); err != nil {
				return err
			}
			continue
		}
		timer := time.NewTimer(next)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// seat carries out a change of Raft's configuration.
func (s *Server) seat(ctx context.Context, change seating) error {
	id, address := raft.ServerID(change.peer.id.String()), raft.ServerAddress(change.peer.address)
	var future raft.IndexFuture
	switch change.verb {
	case seatAdd:
		future = s.replica.raft.AddNonvoter(id, address, 0, 0)
	case seatPromote:
		future = s.replica.raft.AddVoter(id, address, 0, 0)
	case seatDemote:
		future = s.replica.raft.DemoteVoter(id, 0, 0)
	case seatRemove:
		future = s.replica.raft.RemoveServer(id, 0, 0)
	}
	if err := explain(future.Error()); err != nil { // Raft answers also when leadership ends
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("%s server %s: %w", change.verb, change.peer.id, err)
	}
	s.logger.Info("seat of a server changed: "+string(change.verb), "node", change.peer.id)
	return nil
}

// peers are the servers of Raft's configuration and of gossip, in the order of their IDs, and after how long to look again.
func (s *Server) peers(ctx context.Context) ([]peer, time.Duration, error) {
	future := s.replica.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return nil, 0, explain(err)
	}
	var peers []peer
	members := s.membersByID()
	for _, server := range future.Configuration().Servers {
		id, err := cluster.ParseID(string(server.ID))
		if err != nil {
			return nil, 0, fmt.Errorf("read servers: %w", err)
		}
		p := peer{id: id, address: string(server.Address), seated: true, voter: server.Suffrage == raft.Voter}
		if m, met := members[id]; met {
			p.living, p.left = m.State == cluster.MemberAlive, m.State == cluster.MemberLeft || m.Left
		}
		if id == s.config.Identity.ID() {
			p.living, p.left = true, false
		}
		delete(members, id)
		peers = append(peers, p)
	}
	for id, m := range members {
		if m.Server && m.State == cluster.MemberAlive && !m.Left && m.RPC != "" && m.Epoch == s.Epoch() {
			peers = append(peers, peer{id: id, address: m.RPC, living: true})
		}
	}
	slices.SortFunc(peers, func(a, b peer) int { return a.id.Compare(b.id) })
	behind := s.measure(ctx, peers)
	next := time.Hour
	if behind {
		next = catchUpInterval
	}
	return peers, next, nil
}

// measure finds out which servers without a vote have caught up, and reports whether some have not.
func (s *Server) measure(ctx context.Context, peers []peer) (behind bool) {
	ours := s.replica.raft.AppliedIndex()
	group := new(errgroup.Group)
	for i := range peers {
		if p := &peers[i]; p.seated && !p.voter && p.living {
			group.Go(func() error {
				theirs, err := AskProgress(ctx, s.config.Dialer, p.id, s.Epoch())
				p.caught = err == nil && theirs.Applied > 0 && theirs.Applied+maxLag >= ours
				return nil
			})
		}
	}
	group.Wait()
	return slices.ContainsFunc(peers, func(p peer) bool { return p.seated && !p.voter && p.living && !p.caught })
}
