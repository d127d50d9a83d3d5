package agent

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/a43e60e4/cluster"
)

// Fence kills allocations when the node has lost the servers for too long, whatever becomes of this process. Its
// methods may be called concurrently and return within the context.
type Fence interface {
	// Guard says that the lease of the allocations was renewed by a request that was sent at that time of Boottime.
	// It returns those that were killed because their time had passed, be it long ago: a renewal does not undo it.
	Guard(ctx context.Context, sent time.Duration, allocs map[cluster.ID]Guarded) (fallen []cluster.ID, err error)
	// Unguard ends the guard over allocations that do not need it any more. Others are not harmed.
	Unguard(ctx context.Context, allocs []cluster.ID) error
}

// Guarded says how an allocation is guarded.
type Guarded struct {
	After      time.Duration // it is killed when its lease is this old
	Containers bool          // some of its tasks may not be children of the supervisor
}

// fencePatience is how long a heartbeat waits for the fence.
const fencePatience = time.Second

// errUnfenced is why an allocation is not started on a node without a fence.
var errUnfenced = errors.New("stop_on_client_after needs the supervisor, and this agent runs without one: start it by `cluster agent`")

// errFallen is why a fallen allocation is not started.
var errFallen = errors.New("the node was without contact to the servers for longer than stop_on_client_after")

// errUnwanted is why an allocation is not started of which the servers said meanwhile that it should stop.
var errUnwanted = errors.New("the servers want it to stop")

// guards is what the node has told its fence.
type guards struct {
	sent   time.Duration // when the newest renewal that the leader has confirmed was sent
	held   bool          // there was one
	leased chan struct{} // closed then
	wished chan struct{} // closed when the servers have said what they want of the node, the first time
	told   map[cluster.ID]bool
	asked  bool // what a process before this one had guarded was gone through
}

// guarded says how the allocation is to be guarded; false: not at all.
func guarded(a *cluster.Allocation) (Guarded, bool) {
	g := a.Group()
	if g == nil || g.Disconnect == nil || g.Disconnect.StopOnClientAfter <= 0 {
		return Guarded{}, false
	}
	how := Guarded{After: g.Disconnect.StopOnClientAfter}
	for i := range g.Tasks {
		how.Containers = how.Containers || g.Tasks[i].Driver == "docker"
	}
	return how, true
}

// renewed tells the fence that the leader has renewed the node's lease.
func (n *Node) renewed(ctx context.Context, sent time.Duration) {
	wanted, needless := map[cluster.ID]Guarded{}, []cluster.ID{}
	n.fencing.Lock()
	n.guards.sent = max(n.guards.sent, sent)
	if !n.guards.held {
		n.guards.held = true
		close(n.guards.leased)
	}
	for _, r := range n.all() {
		rec := r.record()
		how, ok := guarded(rec.Alloc)
		switch {
		case ok && !rec.over():
			wanted[r.id] = how
		case n.guards.told[r.id] || !n.guards.asked:
			needless = append(needless, r.id)
		}
	}
	n.fencing.Unlock()
	if n.config.Fence == nil || len(wanted)+len(needless) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, fencePatience)
	defer cancel()
	n.unguard(ctx, needless)
	n.guard(ctx, sent, wanted)
}

// guard has the fence guard allocations. Those that have fallen end.
func (n *Node) guard(ctx context.Context, sent time.Duration, allocs map[cluster.ID]Guarded) (fallen map[cluster.ID]bool, err error) {
	if len(allocs) == 0 {
		return nil, nil
	}
	ids, err := n.config.Fence.Guard(ctx, sent, allocs)
	if err != nil {
		n.log.Warn("the fence does not hear of the lease's renewal: what it guards may be killed", "err", err)
		return nil, err
	}
	n.fencing.Lock()
	for id := range maps.Keys(allocs) {
		n.guards.told[id] = true
	}
	n.fencing.Unlock()
	fallen = map[cluster.ID]bool{}
	var strangers []cluster.ID
	for _, id := range ids {
		fallen[id] = true
		r := n.runner(id)
		if r == nil {
			strangers = append(strangers, id)
			continue
		}
		n.mu.Lock()
		live := n.live
		n.mu.Unlock()
		n.group.Go(func() { r.post(live, func() { r.set(r.rec.fenced(now()), keepMachine) }) })
	}
	n.unguard(ctx, strangers)
	return fallen, nil
}

func (n *Node) unguard(ctx context.Context, ids []cluster.ID) {
	if len(ids) > 0 {
		if err := n.config.Fence.Unguard(ctx, ids); err != nil {
			n.log.Warn("the fence guards what has ended", "err", err)
			return
		}
	}
	n.fencing.Lock()
	defer n.fencing.Unlock()
	n.guards.asked = true
	for _, id := range ids {
		delete(n.guards.told, id)
	}
}

// enclose has an allocation guarded before a task of it is started. It waits for the first lease of this process, and for the first
// word of what the servers want: what is on record may have been given to another node since, and a machine that was started anew
// has a fence that remembers nothing.
func (n *Node) enclose(ctx context.Context, a *cluster.Allocation) error {
	how, ok := guarded(a)
	if !ok {
		return nil
	}
	if n.config.Fence == nil {
		return errUnfenced
	}
	for _, known := range []<-chan struct{}{n.guards.wished, n.guards.leased} {
		select {
		case <-known:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if r := n.runner(a.ID); r != nil && (r.record().Alloc.Terminal() || r.record().Orphan) {
		return errUnwanted
	}
	n.fencing.Lock()
	sent := n.guards.sent
	n.fencing.Unlock()
	fallen, err := n.guard(ctx, sent, map[cluster.ID]Guarded{a.ID: how})
	if err == nil && fallen[a.ID] {
		err = errFallen
	}
	return err
}

// fenced is the record after the fence has killed the allocation for good.
func (r record) fenced(now int64) record {
	if r.Fenced || r.over() {
		return r
	}
	r = r.changeAll(func(_ int, t *taskRecord) {
		if t.State != cluster.TaskDead {
			t.add(now, cluster.EventKilling, &cluster.EventDetails{Message: errFallen.Error()})
		}
	})
	r.Fenced = true
	return r
}
