package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// reading is what a read found: what to wait for, and how to make the answer (given what its headers will say). The
// keys come first because a read that blocks makes no answer before they change.
type reading struct {
	keys  []state.Key
	value func(api.Meta) (any, error)
}

// page is a piece of a list.
type page struct {
	items any
	next  string // token of the next page, "" after the last
}

// constant is a reading of a value that is there already.
func constant(value any, keys ...state.Key) reading {
	return reading{keys, func(api.Meta) (any, error) { return value, nil }}
}

// missing is a reading of what is not there. It can be waited for.
func missing(what string, keys ...state.Key) reading {
	return reading{keys, func(api.Meta) (any, error) { return nil, cluster.Errorf(cluster.CodeNotFound, "%s not found", what) }}
}

// read answers a read from the state, after waiting for a change if that is what the caller wants.
func (h *apiHandler) read(w *reply, r *request, e endpoint) error {
	if !r.stale {
		if err := h.Core.Barrier(r.Context()); err != nil {
			return err
		}
	}
	snapshot := h.Core.Snapshot()
	found, err := e.read(r, snapshot)
	if err != nil {
		return err
	}
	if r.index > 0 && newest(snapshot, found.keys) <= r.index {
		if snapshot, err = h.waitFor(w, r, found.keys); err != nil {
			return err
		}
		if found, err = e.read(r, snapshot); err != nil {
			return err
		}
	}
	leader := h.Core.Leadership()
	meta := api.Meta{Index: newest(snapshot, found.keys), LastContact: leader.LastContact, KnownLeader: !leader.ID.IsZero()}
	value, err := found.value(meta)
	if err != nil {
		meta.Write(w.Header())
		return err
	}
	if p, ok := value.(page); ok {
		value, meta.NextToken = p.items, p.next
	}
	meta.Write(w.Header())
	return w.json(r, value)
}

// newest is the index of the newest change of the keys, at least 1: clients take 0 for "never wait".
func newest(snapshot *state.Snapshot, keys []state.Key) uint64 {
	index := uint64(1)
	for _, key := range keys {
		index = max(index, snapshot.KeyIndex(key))
	}
	return index
}

// waitFor waits until one of the keys changes after the request's index or the request's time is over. Some chance is
// added to the time, so that callers who began together do not come back together.
func (h *apiHandler) waitFor(w *reply, r *request, keys []state.Key) (*state.Snapshot, error) {
	wait := r.wait + rand.N(r.wait/16+1)
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	h.meters.waiting.Inc()
	defer h.meters.waiting.Dec()
	defer func(began time.Time) { w.waited += time.Since(began) }(time.Now())
	snapshot, err := h.Core.Store().Wait(ctx, r.index, keys...)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "wait for a change: %w", err)
	}
	return snapshot, nil
}

// Headers between servers. They mean something from a server's certificate alone.
const (
	headerForwarded = "X-Cluster-Forwarded" // the request was forwarded once and must not be again
	headerCaller    = "X-Cluster-Caller"    // the node that sent the forwarded request, "" for people
)

const (
	// leaderPatience is how long a request waits for a leader: elections take less.
	leaderPatience = 5 * time.Second
	// firstLook and longestLook are between two looks whether there is one; each is twice the one before.
	firstLook   = 2 * time.Millisecond
	longestLook = 50 * time.Millisecond
)

// leader waits until there is one, or, with alone, until it is this server.
func (h *apiHandler) leader(ctx context.Context, alone bool) (Leadership, error) {
	patience := time.NewTimer(h.patience)
	defer patience.Stop()
	for rest := firstLook; ; rest = min(2*rest, longestLook) {
		leader := h.Core.Leadership()
		if leader.Self || !alone && !leader.ID.IsZero() {
			return leader, nil
		}
		select {
		case <-time.After(rest):
		case <-patience.C:
			return leader, cluster.Errorf(cluster.CodeUnavailable, "No cluster leader")
		case <-ctx.Done():
			return leader, cluster.Errorf(cluster.CodeUnavailable, "No cluster leader: %w", context.Cause(ctx))
		}
	}
}

// forward passes the request to the leader if only the leader can answer it and this server is not the one. What was
// forwarded already goes no further: it waits here for this server to lead.
func (h *apiHandler) forward(w http.ResponseWriter, r *request) (bool, error) {
	if r.route.Kind != api.Write && (r.route.Kind != api.Read || r.stale) {
		return false, nil
	}
	leader, err := h.leader(r.Context(), r.Header.Get(headerForwarded) != "")
	if err != nil || leader.Self {
		return false, err
	}
	handler, err := h.Core.Reach(leader.ID)
	if err != nil {
		return false, cluster.Errorf(cluster.CodeUnavailable, "reach the leader: %w", err)
	}
	out, err := r.passOn()
	if err != nil {
		return false, err
	}
	out.Header.Set(headerForwarded, "1")
	out.Header.Set(headerCaller, r.caller.Node.String())
	handler.ServeHTTP(w, out)
	return true, nil
}

// onNode passes the request to the agent of the node that it is about.
func (h *apiHandler) onNode(w *reply, r *request, e endpoint) error {
	id, err := e.node(r)
	if err != nil {
		return err
	}
	handler, err := h.Core.Reach(id)
	if err != nil {
		return &statusError{http.StatusNotFound, err}
	}
	out, err := r.passOn()
	if err != nil {
		return err
	}
	if r.route == api.AllocChecks {
		out.URL.Path, out.URL.RawPath = api.AllocNodeChecks.URL(r.arg), ""
	}
	handler.ServeHTTP(w, out)
	return nil
}
