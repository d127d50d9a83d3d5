package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// front is the API of an agent that is no server: what it knows itself it answers, everything else a living server does.
type front struct {
	r       *running
	local   http.Handler // the routes of the agent itself
	nearest *nearest
}

const (
	// frontPatience is how long a request waits for a server that takes it.
	frontPatience = 3 * time.Second
	// frontRest is between two times that all are tried, which takes some time itself.
	frontRest, shortestRound = 100 * time.Millisecond, 500 * time.Millisecond
)

// ServeHTTP passes the request on to servers, one after the other, until one answers it.
func (f *front) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if strings.HasPrefix(request.URL.Path, "/v1/agent/") || request.URL.Path == api.MetricsRead.Path {
		f.local.ServeHTTP(w, request)
		return
	}
	if err := f.pass(w, request); err != nil {
		answerError(w, err)
	}
}

// answerError answers with the error as the API does.
func answerError(w http.ResponseWriter, err error) {
	code := cluster.CodeOf(err)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set(cluster.HeaderError, string(code))
	w.WriteHeader(code.Status())
	io.WriteString(w, err.Error())
}

func (f *front) pass(w http.ResponseWriter, request *http.Request) error {
	if err := server.Guard(request); err != nil {
		return err
	}
	request, err := server.PassOn(request)
	if err != nil {
		return err
	}
	again, err := server.Rewindable(request)
	if err != nil {
		return err
	}
	ctx, blocking := request.Context(), request.URL.Query().Has("index")
	until := time.Now().Add(frontPatience)
	for {
		began := time.Now()
		vain := f.round(ctx, w, again)
		if vain == nil {
			return nil
		}
		if now := time.Now(); blocking && vain.asked && now.Sub(began) > frontPatience { // it waited for a change, not for a server
			until = now.Add(frontPatience)
		} else if now.Add(shortestRound).After(until) {
			return cluster.Errorf(cluster.CodeUnavailable, "No server of the cluster answers: %s", vain.words(f.r.directory))
		}
		select {
		case <-time.After(frontRest):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// round asks each of the servers once, those first that answer soonest. It returns nil when one has answered the request.
func (f *front) round(ctx context.Context, w http.ResponseWriter, again func() *http.Request) *failures {
	all := failures{why: map[cluster.ID]error{}}
	for servers := f.r.directory.Servers(); len(servers) > 0 && ctx.Err() == nil; {
		id, unreached := f.nearest.of(ctx, servers)
		maps.Copy(all.why, unreached)
		if id.IsZero() {
			break
		}
		err := f.r.carry(id, w, again())
		if err == nil {
			return nil
		}
		f.nearest.avoid(id)
		all.why[id] = err
		all.asked = all.asked || !errors.Is(err, link.ErrUnsent)
		servers = slices.DeleteFunc(servers, func(id cluster.ID) bool { return all.why[id] != nil })
	}
	return &all
}

// failures are why servers did not answer a request.
type failures struct {
	asked bool // one of them got it
	why   map[cluster.ID]error
}

// words say which servers were tried, and what was wrong with each.
func (f *failures) words(d *directory) string {
	if len(f.why) == 0 {
		return "none is known"
	}
	var texts []string
	for id, err := range f.why {
		texts = append(texts, d.named(id)+": "+reason(err))
	}
	slices.Sort(texts)
	return strings.Join(texts, "; ")
}

// reason says in short why a server was not reached; what a server itself said it says as it is.
func reason(err error) string {
	late, network := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused, no agent runs there"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to it"
	case network && late.Timeout():
		return "no answer"
	}
	return err.Error()
}

// carry has another node answer. It waits no longer when gossip says that the node is gone.
func (r *running) carry(id cluster.ID, w http.ResponseWriter, request *http.Request) error {
	ctx, cancel := context.WithCancel(request.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.directory.awaitLoss(ctx, id)
		cancel()
	}()
	defer func() {
		cancel()
		<-watched
	}()
	err := r.dialer.Carry(id, w, request.WithContext(ctx))
	if err != nil && ctx.Err() != nil && request.Context().Err() == nil {
		return cluster.Errorf(cluster.CodeUnavailable, "node %s was lost while it was asked", id)
	}
	return err
}

// newFront makes the API of this agent, which is no server.
func (r *running) newFront() http.Handler {
	return &front{r: r, nearest: &nearest{directory: r.directory, dialer: r.dialer}, local: server.NewHandler(server.HTTPConfig{
		Core: stranger{state.New(), r.reach}, Logger: r.logger, Version: version,
		Self: r.self, Members: r.members, Health: r.health, Figures: r.figures, Cluster: r.view, Leave: r.leave,
	})}
}

// stranger is the core of an API that has no state: only the agent's own routes go there.
type stranger struct {
	store *state.Store
	reach func(cluster.ID) (server.Carry, error)
}

func (s stranger) Snapshot() *state.Snapshot     { return s.store.Snapshot() }
func (s stranger) Store() *state.Store           { return s.store }
func (s stranger) Barrier(context.Context) error { return errNoServer }
func (s stranger) Leadership() server.Leadership { return server.Leadership{} }

func (s stranger) Apply(context.Context, state.Command) (state.Result, error) {
	return state.Result{}, errNoServer
}

func (s stranger) Reach(id cluster.ID) (server.Carry, error) { return s.reach(id) }

var errNoServer = cluster.Errorf(cluster.CodeUnavailable, "this agent is no server")
