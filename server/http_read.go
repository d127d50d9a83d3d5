package server

import (
	"context"
	"errors"
	"math/rand/v2"
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
	leader := h.Core.Leadership()
	lost := func() bool { return !r.stale && (!leader.Self || leader.Term != nil && leader.Term.Err() != nil) }
	if leader.Term != nil && !r.stale { // what is committed after it comes here late, or never if the disk is full
		defer context.AfterFunc(leader.Term, cancel)()
	}
	if lost() {
		cancel()
	}
	h.meters.waiting.Inc()
	defer h.meters.waiting.Dec()
	defer func(began time.Time) { w.waited += time.Since(began) }(time.Now())
	snapshot, err := h.Core.Store().Wait(ctx, r.index, keys...)
	if err != nil && lost() {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "wait for a change: this server does not lead any more")
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, cluster.Errorf(cluster.CodeUnavailable, "wait for a change: %w", err)
	}
	return snapshot, nil
}
