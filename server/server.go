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
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/state"
)

// Config is what a server needs to know.
type Config struct {
	Dir       string // the server's own, mode 0700
	ID        cluster.ID
	Bootstrap bool         // begin a new cluster if there is none in Dir
	Listener  net.Listener // port 4647; closed when Run returns
	Advertise string       // host:port at which other servers reach Listener
	Logger    *slog.Logger
	// Reach is the API of another server or, for its own routes (/v1/client/…), of a node.
	Reach func(cluster.ID) (http.Handler, error)
}

// Server is one server of the cluster. Its methods may be called concurrently from Open on.
type Server struct {
	config  Config
	logger  *slog.Logger
	store   *state.Store
	replica *replica
	wire    *wire
	trust   *trust
	commits *committer
	reports chan report
	overlay overlay
	leases  leases
	leading atomic.Bool                        // whether lead runs and its barrier has passed
	planner func(scheduler.Input) cluster.Plan // scheduler.Schedule
}

// Open reads the server's directory and joins (or begins) its cluster. Run must follow.
func Open(c Config) (*Server, error) {
	s := &Server{config: c, logger: c.Logger, store: state.New(), reports: make(chan report), planner: scheduler.Schedule}
	trust, err := openTrust(c.Dir, c.ID, c.Bootstrap)
	if err != nil {
		return nil, err
	}
	s.trust = trust
	s.wire = newWire(c.Listener, trust.tls, s.mayRaft, c.Logger)
	s.replica, err = openReplica(c, s.store, raftStream{s.wire.raft, trust.tls})
	if err != nil {
		return nil, err
	}
	s.commits = newCommitter(s.replica.raft)
	return s, nil
}

// Run works until ctx ends, then gives up leadership, closes the log and returns. An error says what failed.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	wired, cutWire := context.WithCancel(context.WithoutCancel(ctx))
	unwired := make(chan error, 1)
	go func() { unwired <- s.wire.Run(wired) }()
	group.Go(func() error { return s.follow(ctx) })
	group.Go(func() error { return s.commits.run(ctx) })
	group.Go(func() error { return s.takeReports(ctx) })
	group.Go(func() error { return s.replica.watch(ctx) })
	group.Go(func() error { return s.trust.keep(ctx, s.logger) })
	err := group.Wait()                       // Raft still answers: nobody waits for it in vain
	err = errors.Join(err, s.replica.close()) // while the wire still works: peers learn of the end
	cutWire()
	return errors.Join(err, <-unwired)
}

// mayRaft reports whether the server of that ID is a member.
func (s *Server) mayRaft(id cluster.ID) bool {
	future := s.replica.raft.GetConfiguration()
	return future.Error() == nil && slices.ContainsFunc(future.Configuration().Servers, func(member raft.Server) bool {
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
	at, name := s.replica.raft.LeaderWithID()
	id, err := cluster.ParseID(string(name))
	if err != nil {
		id = cluster.ID{}
	}
	l := Leadership{ID: id, Address: string(at), Self: s.leading.Load()}
	switch {
	case l.Self:
	case id == s.config.ID:
		l.ID, l.Address = cluster.ID{}, "" // elected, but not yet able to lead
	default:
		l.LastContact = time.Since(s.replica.raft.LastContact())
	}
	if future := s.replica.raft.GetConfiguration(); future.Error() == nil {
		for _, member := range future.Configuration().Servers {
			l.Peers = append(l.Peers, string(member.Address))
		}
	}
	return l
}

// Address is the host:port at which other servers reach this one.
func (s *Server) Address() string { return s.config.Advertise }

// Reach is the API of a node or another server.
func (s *Server) Reach(id cluster.ID) (http.Handler, error) { return s.config.Reach(id) }

// Stats are Raft's own figures, for people.
func (s *Server) Stats() map[string]string { return s.replica.raft.Stats() }

// NodeListener hands out connections of nodes to port 4647 that speak HTTP. Their certificates are verified.
func (s *Server) NodeListener() net.Listener { return s.wire.http }

// dice draws the random bytes that identities are made from.
func dice() (seed [16]byte) {
	rand.Read(seed[:])
	return seed
}
