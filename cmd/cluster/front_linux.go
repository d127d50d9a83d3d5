package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/state"
)

// front is the API of an agent that is no server: what it knows itself it answers, everything else a living server does.
type front struct {
	r     *running
	local http.Handler // the routes of the agent itself
}

// frontPatience is how long a request waits for a server that answers.
const frontPatience = 5 * time.Second

// ServeHTTP passes the request on to servers, one after the other, until one takes it.
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
	if err := errors.Join(server.Guard(request), server.GuardLending(request)); err != nil {
		return err
	}
	if request.Method != http.MethodGet && request.Header.Get(api.HeaderRequestID) == "" {
		request = request.Clone(request.Context())
		request.Header.Set(api.HeaderRequestID, rand.Text()) // which makes a repetition harmless
	}
	again, err := server.Rewindable(request)
	if err != nil {
		return err
	}
	until := time.Now().Add(frontPatience)
	for {
		began, asked := time.Now(), false
		last := cluster.Errorf(cluster.CodeUnavailable, "no server is known")
		for _, id := range f.r.directory.Servers() {
			if last = f.carry(id, w, again()); last == nil || request.Context().Err() != nil {
				return last
			}
			asked = asked || !errors.Is(last, link.ErrUnsent)
		}
		if now := time.Now(); asked && now.Sub(began) > frontPatience { // it waited for a change, not for a server
			until = now.Add(frontPatience)
		} else if now.After(until) {
			return cluster.Errorf(cluster.CodeUnavailable, "No server of the cluster answers: %w", last)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-request.Context().Done():
			return request.Context().Err()
		}
	}
}

// carry has the server answer. It waits no longer when gossip says that the server is gone.
func (f *front) carry(id cluster.ID, w http.ResponseWriter, request *http.Request) error {
	ctx, cancel := context.WithCancel(request.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		f.r.directory.awaitLoss(ctx, id)
		cancel()
	}()
	defer func() {
		cancel()
		<-watched
	}()
	return f.r.dialer.Carry(id, w, request.WithContext(ctx))
}

// newFront makes the API of this agent, which is no server.
func (r *running) newFront() http.Handler {
	return &front{r: r, local: server.NewHandler(server.HTTPConfig{
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
