package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
)

// How servers send on a request, in headerForwarded.
const (
	forwarded = "1" // to whom it was meant for: it goes no further
	aside     = "2" // by a server that knows no leader: it goes to the leader, and no further
)

const (
	// leaderPatience is how long a request waits for a leader: elections take less.
	leaderPatience = 5 * time.Second
	// insistence is for how long a request that does not wait for a change is sent again at all, if each time takes long.
	insistence = 6 * leaderPatience
	// firstLook and longestLook are between two looks whether there is one; each is twice the one before.
	firstLook   = 2 * time.Millisecond
	longestLook = 50 * time.Millisecond
	// leaderless is for how long a server has to be without a leader to ask others whether they know one: elections take less.
	leaderless = 1500 * time.Millisecond
	// asideRest is between two times that the others are asked.
	asideRest = 250 * time.Millisecond
)

// Carry takes a request to an agent and brings back the answer. With an error nothing was written yet; with
// errors.Is(err, link.ErrUnsent) nothing was sent either.
type Carry func(http.ResponseWriter, *http.Request) error

// Local carries requests to a handler in this process.
func Local(handler http.Handler) Carry {
	return func(w http.ResponseWriter, r *http.Request) error {
		handler.ServeHTTP(w, r)
		return nil
	}
}

// leader waits until there is one, or, for what was forwarded, until it is this server. It returns a Leadership without one if
// others should be asked, after so long a wait. Who asks aside waits himself.
func (h *apiHandler) leader(ctx context.Context, came string, asideAfter time.Duration) (Leadership, error) {
	patience := time.NewTimer(h.patience)
	defer patience.Stop()
	began := time.Now()
	for rest := firstLook; ; rest = min(2*rest, longestLook) {
		leader := h.Core.Leadership()
		if leader.Self || came != forwarded && !leader.ID.IsZero() {
			return leader, nil
		}
		if leader.Refusal != "" {
			return leader, cluster.Errorf(cluster.CodeUnavailable, "%s", leader.Refusal)
		}
		switch {
		case came == aside:
			return leader, leader.leaderless()
		case came == "" && h.Another != nil && leader.LastContact > leaderless && time.Since(began) >= asideAfter:
			return leader, nil
		}
		select {
		case <-time.After(rest):
		case <-patience.C:
			return leader, leader.leaderless()
		case <-ctx.Done():
			return leader, cluster.Errorf(cluster.CodeUnavailable, "No cluster leader: %w", context.Cause(ctx))
		}
	}
}

var errLeaderless = cluster.Errorf(cluster.CodeUnavailable, "No cluster leader")

// leaderless is the error of what needs a leader while there is none, with the reason if it is this server's.
func (l Leadership) leaderless() error {
	switch {
	case errors.Is(l.Trouble, syscall.ENOSPC):
		return cluster.Errorf(cluster.CodeUnavailable, "No cluster leader: this server cannot write its log: %w: make room there and try again; what was accepted is safe", l.Trouble)
	case l.Trouble != nil:
		return cluster.Errorf(cluster.CodeUnavailable, "No cluster leader: this server cannot write its log: %w", l.Trouble)
	}
	return errLeaderless
}

// byLeader answers what only the leader can answer: here if this server leads, else there. What fails because leadership
// changed is tried again, with the next leader, for as long as a request waits for one; writes bear an ID that makes the
// repetition harmless. What was forwarded already goes no further and is not repeated here: the server that sent it does.
func (h *apiHandler) byLeader(w *reply, r *request, e endpoint) error {
	came := r.came()
	r.Request = named(r.Request)
	body, err := r.rewindable()
	if err != nil {
		return err
	}
	until, asideAfter := time.Now().Add(h.patience), time.Duration(0)
	end := time.Now().Add(insistence)
	for {
		began := time.Now()
		body()
		leader, err := h.leader(r.Context(), came, asideAfter)
		if err != nil {
			return err
		}
		switch {
		case leader.Self:
			err = h.here(w, r, e)
		case leader.ID.IsZero():
			asideAfter, err = asideRest, h.byOthers(w, r, body)
		default:
			err = h.elsewhere(w, r, leader.ID)
		}
		if cluster.CodeOf(err) != cluster.CodeUnavailable || w.status != 0 || came != "" || r.Context().Err() != nil {
			return err
		}
		if now := time.Now(); now.Sub(began) > h.patience && (r.index > 0 || now.Before(end)) { // it waited for something else than a leader
			until = now.Add(h.patience)
		} else if now.After(until) {
			return err
		}
		h.meters.repeated.Inc()
		pause(r.Context(), longestLook)
	}
}

// byOthers has a server answer that knows a leader, or leads: this one may be cut off from the leader alone. It waits no longer than
// until this one knows the leader again: who was asked may be the next to be lost. What this server asks for itself goes no such way,
// as another cannot speak for it.
func (h *apiHandler) byOthers(w *reply, r *request, body func()) error {
	if r.caller.Server {
		return h.Core.Leadership().leaderless()
	}
	var vain []cluster.ID
	for id := h.Another(r.Context(), nil); !id.IsZero(); id = h.Another(r.Context(), vain) {
		vain = append(vain, id)
		carry, err := h.Core.Reach(id)
		if err != nil {
			continue
		}
		body()
		out := r.spokenFor()
		out.Header.Set(headerForwarded, aside)
		if err = carryUntil(carry, w, out, h.knowsLeader); cluster.CodeOf(err) != cluster.CodeUnavailable || w.status != 0 || r.Context().Err() != nil {
			return err
		}
	}
	return h.Core.Leadership().leaderless()
}

// knowsLeader reports whether this server leads, or knows who does.
func (h *apiHandler) knowsLeader() bool {
	now := h.Core.Leadership()
	return now.Self || !now.ID.IsZero()
}

// came is how another server sent the request, "" if none did.
func (r *request) came() string {
	if r.caller.By.IsZero() {
		return ""
	}
	if r.Header.Get(headerForwarded) == aside {
		return aside
	}
	return forwarded
}

// meantFor is the node whose agent is to answer, as another server has found out; zero if none has.
func (r *request) meantFor() cluster.ID {
	if r.caller.By.IsZero() {
		return cluster.ID{}
	}
	id, _ := cluster.ParseID(r.Header.Get(headerNode))
	return id
}

// order reports whether the request has a node do what, done twice, is another thing. The node remembers its ID.
func (r *request) order() bool { return r.route == api.AllocRestart || r.route == api.AllocSignal }

// here answers as the leader.
func (h *apiHandler) here(w *reply, r *request, e endpoint) error {
	if e.node != nil {
		if err := h.Core.Barrier(r.Context()); err != nil {
			return err
		}
		id, err := e.node(r)
		if err != nil {
			return err
		}
		return h.toNode(w, r, id)
	}
	if err := h.checkNamespace(r); err != nil {
		return err
	}
	if e.write != nil {
		return h.write(w, r, e)
	}
	return h.read(w, r, e)
}

// elsewhere has the leader answer. It waits no longer when another server leads, or when this one has lost the leader: one that was
// cut off says nothing.
func (h *apiHandler) elsewhere(w *reply, r *request, leader cluster.ID) error {
	carry, err := h.Core.Reach(leader)
	if err != nil {
		return cluster.Errorf(cluster.CodeUnavailable, "reach the leader: %w", err)
	}
	return carryUntil(carry, w, r.spokenFor(), func() bool {
		now := h.Core.Leadership()
		return now.Self || !now.ID.IsZero() && now.ID != leader || now.ID.IsZero() && now.LastContact > leaderless
	})
}

// wayLook is between two looks whether another server should be asked by now.
const wayLook = 100 * time.Millisecond

// carryUntil carries the request to a server, and waits no longer than until another should be asked.
func carryUntil(carry Carry, w http.ResponseWriter, request *http.Request, other func() bool) error {
	ctx, cancel := context.WithCancel(request.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer cancel()
		ticker := time.NewTicker(wayLook)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if other() {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		<-watched
	}()
	err := carry(w, request.WithContext(ctx))
	if err != nil && ctx.Err() != nil && request.Context().Err() == nil {
		return cluster.Errorf(cluster.CodeUnavailable, "ask the leader: it leads no more, or cannot be reached")
	}
	return err
}

// spokenFor is the request as this server passes it on for its caller.
func (r *request) spokenFor() *http.Request {
	out := r.Clone(r.Context())
	r.caller.forward(out.Header)
	return out
}

// rewindable reads the request's body, if it has one; the function it returns lets it be read from the beginning.
func (r *request) rewindable() (rewind func(), err error) {
	if r.ContentLength == 0 {
		return func() {}, nil
	}
	if r.ContentLength > maxReport {
		return func() {}, nil // which whoever decodes it refuses
	}
	text, err := r.body("request", maxReport)
	if err != nil {
		return nil, err
	}
	r.Request, r.text = r.Clone(r.Context()), text
	return func() {
		r.Body = io.NopCloser(bytes.NewReader(text))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
	}, nil
}

// Guard refuses what an API looks at no further, be it a server's or that of an agent which passes requests on.
func Guard(r *http.Request) error {
	if len(r.URL.Path)+len(r.URL.RawQuery) > maxURL {
		return &statusError{http.StatusRequestURITooLong, cluster.Errorf(cluster.CodeTooLarge, "read request: its URL is over the limit of 16 KB")}
	}
	return guardLoopback(r)
}

// Rewindable reads the request's body, if it has one, so that the request can be sent several times: each call of the function
// gives it anew.
func Rewindable(r *http.Request) (func() *http.Request, error) {
	if r.ContentLength == 0 {
		return func() *http.Request { return r }, nil
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxReport+1))
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeInvalid, "read request: %w", err)
	}
	if len(text) > maxReport {
		return nil, cluster.Errorf(cluster.CodeTooLarge, "read request: it is over the limit of %d MB", maxReport>>20)
	}
	return func() *http.Request {
		again := r.Clone(r.Context())
		again.ContentLength = int64(len(text))
		again.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
		again.Body, _ = again.GetBody()
		return again
	}, nil
}

// onNode passes the request to the agent of the node that it is about. A server that does not know of it may have begun a
// moment ago or be behind: it leaves the answer to the leader. Where another server sent it to this node, as the one that it is about,
// what the server here knows does not matter: that may be less than what runs here.
func (h *apiHandler) onNode(w *reply, r *request, e endpoint) error {
	if id := r.meantFor(); !id.IsZero() {
		return h.toNode(w, r, id)
	}
	if err := h.checkNamespace(r); err != nil {
		return err
	}
	id, err := e.node(r)
	if cluster.CodeOf(err) == cluster.CodeNotFound {
		return h.byLeader(w, r, e)
	}
	if err != nil {
		return err
	}
	return h.toNode(w, r, id)
}

// toNode has the agent of the node answer. What changes something there bears an ID that the agent remembers, so it is repeated
// like a write where the answer was lost.
func (h *apiHandler) toNode(w *reply, r *request, id cluster.ID) error {
	carry, err := h.Core.Reach(id)
	if err != nil {
		return &statusError{http.StatusNotFound, err}
	}
	r.Request = named(r.Request)
	rewind, err := r.rewindable()
	if err != nil {
		return err
	}
	until := time.Now().Add(h.patience)
	for sent := false; ; {
		rewind()
		out := r.spokenFor()
		out.Header.Set(headerNode, id.String())
		if r.route == api.AllocChecks {
			out.URL.Path, out.URL.RawPath = api.AllocNodeChecks.URL(r.arg), ""
		}
		err := carry(w, out)
		unsent := errors.Is(err, link.ErrUnsent)
		switch {
		case err == nil || r.Context().Err() != nil:
			return err
		case unsent && !sent:
			return &statusError{http.StatusNotFound, cluster.Errorf(cluster.CodeUnavailable, "No path to node %s: %w", id, err)}
		case !r.order():
			return err
		case time.Now().After(until): // the error has no code that has anybody repeat it
			return &statusError{http.StatusBadGateway, fmt.Errorf("ask node %s: it may or may not have done it, look before you ask again: %v", id, err)}
		}
		sent = true
		h.meters.repeated.Inc()
		pause(r.Context(), longestLook)
	}
}
