package server

import (
	"context"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
)

// leases remembers when this server last heard of each node. Nodes renew them with every server, so that a new leader
// need not wait. Losing them does no harm: a lease that was never renewed here began when leadership did.
type leases struct {
	mu    sync.Mutex // guards what follows
	since time.Time  // when leadership began, or this server stood still
	seen  map[cluster.ID]renewed
	tried map[cluster.ID]chan struct{} // nodes that are being given up; closed when that is decided
}

// condemn reports whether the node has not been heard of after that time. If so, whoever hears of it from now on waits for
// the verdict, which the returned function says is there: no lease is renewed that a decision on its way overrules.
func (l *leases) condemn(id cluster.ID, after time.Time) (decided func(), silent bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[id].at.After(after) || l.since.After(after) || l.tried[id] != nil {
		return nil, false
	}
	if l.tried == nil {
		l.tried = map[cluster.ID]chan struct{}{}
	}
	verdict := make(chan struct{})
	l.tried[id] = verdict
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.tried, id)
		close(verdict)
	}, true
}

// awaitVerdict returns when the node is not about to be given up, or when ctx ends.
func (l *leases) awaitVerdict(ctx context.Context, id cluster.ID) {
	l.mu.Lock()
	verdict := l.tried[id]
	l.mu.Unlock()
	if verdict == nil {
		return
	}
	select {
	case <-verdict:
	case <-ctx.Done():
	}
}

// renewed is when a node's lease was renewed last, and when by the node itself; not direct is what other servers heard of it.
type renewed struct{ at, direct time.Time }

// begin is the beginning of a term of leadership.
func (l *leases) begin(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = now
}

// distrust gives every node a new lease.
func (l *leases) distrust(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since, l.seen = now, nil
}

// renew is for a node that was heard of by this server.
func (l *leases) renew(id cluster.ID, now time.Time) { l.put(id, now, true) }

// vouch is for a node that another server has heard of.
func (l *leases) vouch(id cluster.ID, now time.Time) { l.put(id, now, false) }

func (l *leases) put(id cluster.ID, now time.Time, direct bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[cluster.ID]renewed{}
	}
	r := l.seen[id]
	r.at = now
	if direct {
		r.direct = now
	}
	l.seen[id] = r
}

// passed reports whether the node's lease is renewed through other servers alone, and would have lapsed without them.
func (l *leases) passed(id cluster.ID, ttl time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.seen[id]
	return ok && r.at.Sub(r.direct) >= ttl
}

// last is when the node was last heard of.
func (l *leases) last(id cluster.ID) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.seen[id]; ok {
		return r.at
	}
	return l.since
}

// leadingFor is for how long this server has led, or trusted what it hears.
func (l *leases) leadingFor(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.since)
}

// forget drops the leases of nodes that are not known any more.
func (l *leases) forget(known func(cluster.ID) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.seen {
		if !known(id) {
			delete(l.seen, id)
		}
	}
}

// assurance remembers when the other servers confirmed last that this one leads.
type assurance struct {
	turn  chan struct{} // has room for one, who may look at asked and asks for all
	asked time.Time
}

func newAssurance() *assurance { return &assurance{turn: make(chan struct{}, 1)} }

// assuredFor is how long a confirmation of leadership counts for leases: those who fence their work off by a lease wait
// longer than that beyond its end.
const assuredFor = 300 * time.Millisecond

// fresh reports whether leadership was confirmed a moment ago, or is now.
func (a *assurance) fresh(ctx context.Context, confirm func(context.Context) error) bool {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return false
	}
	now := time.Now()
	if now.Sub(a.asked) < assuredFor {
		return true
	}
	if confirm(ctx) != nil {
		return false
	}
	a.asked = now
	return true
}
