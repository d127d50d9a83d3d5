// Package server is what servers do: keep the state by Raft, plan work onto nodes, and answer the API.
//
// A Server is opened on its directory and then runs until its context ends. Everything it does as leader happens
// inside one call (lead) under a context that ends with leadership; nothing it holds in memory must survive that.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// Config is what a server needs to know.
type Config struct {
	Dir       string // the server's own, mode 0700
	Identity  *link.Identity
	Name      string                  // of this node, for people
	Bootstrap bool                    // begin the log if it was not begun and the cluster was founded in Dir
	Raft      net.Listener            // of other servers' connections for Raft
	Beats     net.Listener            // of nodes' connections for heartbeats; nil: none come
	Dialer    *link.Dialer            // to other servers
	Advertise string                  // host:port at which other servers reach this one
	Gossip    func(cluster.ID) string // host:port of a node's gossip, "" if not known; nil: nobody knows
	Members   Members                 // nil: this server is alone
	Logger    *slog.Logger
	// Remembered are the servers that this node knew when it ran before. With none of them, and none in its log, it does not
	// ask before it takes part in elections.
	Remembered []cluster.ID
	// NewestEpoch is the newest epoch that servers have announced, as far as this node knows or remembers; nil: 0.
	NewestEpoch func() uint64
	// TrackedVersions is how many versions of a job are kept besides those that are tagged or run; 0 is the default, 6. What the
	// leader says counts.
	TrackedVersions int
	// Reach is the way to the API of another server or, for its own routes (/v1/client/…), of a node.
	Reach func(cluster.ID) (Carry, error)
}

// Members is what gossip knows of all nodes. Its methods may be called concurrently.
type Members interface {
	// Members are all nodes that gossip knows, this one among them. They must not be modified.
	Members() []cluster.Member
	// Changed is closed when Members would answer otherwise than at the call of Changed.
	Changed() <-chan struct{}
}

// Server is one server of the cluster. Its methods may be called concurrently from Open on.
type Server struct {
	config  Config
	logger  *slog.Logger
	store   *state.Store
	replica *replica
	epochs  *epochs
	vault   vault
	commits *committer
	reports chan report
	passing chan passing
	overlay overlay
	leases  leases
	assured *assurance
	holders holders
	leading atomic.Pointer[context.Context]    // of the term; nil unless lead runs and its barrier has passed
	planner func(scheduler.Input) cluster.Plan // scheduler.Schedule
}

// Open reads the server's directory and joins (or begins) its cluster. Run must follow.
func Open(c Config) (*Server, error) {
	s := &Server{config: c, logger: c.Logger, store: state.New(), assured: newAssurance(), reports: make(chan report), passing: make(chan passing),
		planner: scheduler.Schedule}
	s.vault = vault{c.Dir, c.Identity, func() []byte { return s.store.Snapshot().Meta(metaSealedBy + c.Identity.ID().String()) }}
	reformed, err := false, error(nil)
	if s.epochs, reformed, err = openEpochs(&c); err != nil {
		return nil, err
	}
	if s.replica, err = openReplica(c, s.store, s.epochs, reformed); err != nil {
		return nil, err
	}
	s.commits = newCommitter(s.replica.raft)
	return s, nil
}

// Run works until ctx ends, then hands over leadership, closes the log and returns. An error says what failed; ErrAnew is
// none, but asks for another Open. The ways to other servers should work until it has returned: they learn of the end.
func (s *Server) Run(ctx context.Context) error {
	asked := ctx.Done()
	working, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, ctx := errgroup.WithContext(working)
	group.Go(func() error {
		select {
		case <-asked:
			s.handOver()
			end()
		case <-ctx.Done():
		}
		return nil
	})
	group.Go(func() error { return s.guardEpoch(ctx) })
	group.Go(func() error { return s.follow(ctx) })
	group.Go(func() error { return s.commits.run(ctx) })
	group.Go(func() error { return s.takeReports(ctx) })
	group.Go(func() error { return s.takePassing(ctx) })
	group.Go(func() error { return s.replica.watch(ctx) })
	group.Go(func() error { return s.keepCertificate(ctx, s.led) })
	if s.config.Beats != nil {
		group.Go(func() error { return link.ServeBeats(ctx, s.config.Beats, s.beat) })
	}
	group.Go(func() error { return s.fetchSeal(ctx) })
	err := group.Wait() // Raft still answers: nobody waits for it in vain
	return errors.Join(err, s.replica.close())
}

// MayRaft reports whether the server of that ID is a member, or this one does not yet know who is.
func (s *Server) MayRaft(id cluster.ID) bool {
	future := s.replica.raft.GetConfiguration()
	if future.Error() != nil {
		return false
	}
	members := future.Configuration().Servers
	return len(members) == 0 || slices.ContainsFunc(members, func(member raft.Server) bool {
		return member.ID == raft.ServerID(id.String())
	})
}

// Snapshot is the newest state that this server knows.
func (s *Server) Snapshot() *state.Snapshot { return s.store.Snapshot() }

// Store is the server's copy of the state, for waiting.
func (s *Server) Store() *state.Store { return s.store }

// Apply commits a command and returns what came of it and its index. It blocks until the command is in the state
// of this server. CodeUnavailable if this server does not lead or stopped leading meanwhile: the command may or
// may not have been committed then.
func (s *Server) Apply(ctx context.Context, command state.Command) (state.Result, error) {
	if err := s.legible(command); err != nil {
		return state.Result{}, err
	}
	text, err := state.Encode(command)
	if err != nil {
		return state.Result{}, err
	}
	reply, err := s.commits.apply(ctx, text)
	if err != nil {
		return state.Result{}, err
	}
	if reply.Err != nil {
		return state.Result{}, reply.Err
	}
	if len(reply.Results) != 1 {
		return state.Result{}, fmt.Errorf("commit command: %d results for one command", len(reply.Results))
	}
	return reply.Results[0], reply.Results[0].Err
}

// Barrier returns when Snapshot shows everything that was committed before the call. CodeUnavailable if this server
// does not lead.
func (s *Server) Barrier(ctx context.Context) error {
	return s.commits.verify(ctx)
}

// Leadership is who leads, as far as this server knows.
func (s *Server) Leadership() Leadership {
	_, name := s.replica.raft.LeaderWithID()
	id, err := cluster.ParseID(string(name))
	if err != nil {
		id = cluster.ID{}
	}
	if refusal := s.refusal(); refusal != "" {
		return Leadership{Refusal: refusal}
	}
	l := Leadership{ID: id, Term: s.term(), Trouble: s.replica.bolt.failing()}
	l.Self = l.Term != nil
	l.Address = s.addressOf(id, "")
	switch {
	case l.Self:
	case id == s.config.Identity.ID():
		l.ID, l.Address = cluster.ID{}, "" // elected, but not yet able to lead
	default:
		l.LastContact = time.Since(s.replica.raft.LastContact())
	}
	if future := s.replica.raft.GetConfiguration(); future.Error() == nil {
		for _, member := range future.Configuration().Servers {
			id, _ := cluster.ParseID(string(member.ID))
			l.Peers = append(l.Peers, s.addressOf(id, string(member.Address)))
		}
	}
	return l
}

// term is the context of this server's leadership, nil if it does not lead.
func (s *Server) term() context.Context {
	if term := s.leading.Load(); term != nil {
		return *term
	}
	return nil
}

// addressOf is where the server is reached now; known is what to say if nobody knows.
func (s *Server) addressOf(id cluster.ID, known string) string {
	if id == s.config.Identity.ID() {
		return s.config.Advertise
	}
	if address, ok := s.config.Dialer.Address(id); ok {
		return address
	}
	return known
}

// Address is the host:port at which other servers reach this one.
func (s *Server) Address() string { return s.config.Advertise }

// Reach is the way to a node or another server.
func (s *Server) Reach(id cluster.ID) (Carry, error) { return s.config.Reach(id) }

// Stats are Raft's own figures, for people.
func (s *Server) Stats() map[string]string { return s.replica.raft.Stats() }

// dice draws the random bytes that identities are made from.
func dice() (seed [16]byte) {
	rand.Read(seed[:])
	return seed
}
