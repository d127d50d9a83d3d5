package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
)

// control is the servers as the agent sees them. What needs the leader goes through this process's API, which knows the way.
// Leases are renewed with the leader every second, and with the others now and then, so that a new leader knows them. While the
// leader does not answer, the others are asked to pass it on.
type control struct {
	client  *api.Client         // of this process
	self    cluster.ID          // this node
	own     renewal             // of the server in this process; nil if there is none
	servers func() []cluster.ID // all of them, this node too if it is one
	beater  func(cluster.ID) *link.Beater

	sending sync.WaitGroup // of heartbeats on their way
	muted   atomic.Bool    // the node's ID is another's: nothing is reported

	mu     sync.Mutex // guards what follows
	beats  map[cluster.ID]*beat
	leader cluster.ID // who said last that it leads; zero: nobody
	last   string     // what the leader said last of the node's status; "" while no server answers
}

// renewal renews a lease with the server in this process.
type renewal func(context.Context, cluster.ID) (link.Standing, error)

// beat is the way to one server for heartbeats.
type beat struct {
	beater *link.Beater
	busy   bool      // a heartbeat is on its way; under control.mu
	due    time.Time // for one if the server does not lead; under control.mu
}

var _ agent.Control = (*control)(nil)

const (
	// mostBeats is how many servers are told that the node lives: as many as vote.
	mostBeats = 5
	// followerBeat is between two heartbeats to a server that does not lead. One that begins to lead asks gossip and other nodes
	// before it believes that a node which it heard of so long ago is gone.
	followerBeat = 5 * time.Second
)

// status is what the servers said last of the node's status, "" while none answers.
func (c *control) status() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Register says what the node is.
func (c *control) Register(ctx context.Context, node *cluster.Node) error {
	_, err := c.client.RegisterSelf(ctx, node)
	return err
}

// Allocations waits for what the servers want of the node.
func (c *control) Allocations(ctx context.Context, node cluster.ID, index uint64) (agent.Assignments, error) {
	answer, err := c.client.OwnAllocations(ctx, node, api.Query{Index: index})
	if err != nil {
		return agent.Assignments{}, err
	}
	return agent.Assignments{Index: answer.Index, IDs: answer.IDs, Changed: answer.Changed}, nil
}

// Report says what became of allocations.
func (c *control) Report(ctx context.Context, node cluster.ID, updates []cluster.AllocUpdate) error {
	if c.muted.Load() {
		return cluster.Errorf(cluster.CodeUnavailable, "report allocations: another machine has this node's ID, and runs them")
	}
	return c.client.Report(ctx, node, updates)
}

// heard is one server's answer to a heartbeat.
type heard struct {
	server   cluster.ID
	standing link.Standing
	err      error
}

// Heartbeat renews the node's lease with the leader and with those others whose turn it is; with all, be it through one another, if
// the leader did not answer last. It returns with the leader's answer, whichever way that came, or when none is expected any more.
func (c *control) Heartbeat(ctx context.Context, node cluster.ID) (agent.Standing, error) {
	answers, asked := c.send(ctx, node)
	best, err := c.gather(ctx, answers, asked)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		c.leader, c.last = cluster.ID{}, ""
	case best.Leader:
		c.last = best.Status
	default:
		c.leader = cluster.ID{}
	}
	return best, err
}

// gather takes the answers until one is the leader's.
func (c *control) gather(ctx context.Context, answers <-chan heard, asked int) (best agent.Standing, err error) {
	err = cluster.Errorf(cluster.CodeUnavailable, "renew lease: no server is known")
	answered := false
	for range asked {
		select {
		case got := <-answers:
			switch {
			case got.err != nil:
				if !answered {
					err = got.err
				}
			case got.standing.Leader:
				if got.standing.Unknown {
					return best, cluster.Errorf(cluster.CodeNotFound, "renew lease: the servers do not know this node")
				}
				return agent.Standing{Status: got.standing.Status, Leader: true}, nil
			default:
				best, answered, err = agent.Standing{Status: got.standing.Status}, true, nil
			}
		case <-ctx.Done():
			return best, ctx.Err()
		}
	}
	return best, err
}

// send sends heartbeats to the servers whose turn it is.
func (c *control) send(ctx context.Context, node cluster.ID) (answers <-chan heard, asked int) {
	servers := c.servers()
	servers = servers[:min(len(servers), mostBeats)]
	heards := make(chan heard, len(servers))
	pass := c.leaderless()
	for _, id := range servers {
		b := c.take(id, time.Now())
		if b == nil {
			continue
		}
		asked++
		c.sending.Go(func() { // ends within the time that a heartbeat may take; meanwhile no other is sent to that server
			standing, err := c.renew(context.WithoutCancel(ctx), way{id, b, pass}, node)
			c.release(b, id, err == nil && standing.Leader && !standing.Passed)
			heards <- heard{id, standing, err}
		})
	}
	c.prune(servers)
	return heards, asked
}

// way is how one heartbeat goes.
type way struct {
	server cluster.ID
	beat   *beat
	pass   bool // the server is to pass it on to the leader
}

func (c *control) renew(ctx context.Context, to way, node cluster.ID) (link.Standing, error) {
	if to.server != c.self {
		return to.beat.beater.Beat(ctx, to.pass)
	}
	if c.own == nil {
		return link.Standing{}, cluster.Errorf(cluster.CodeUnavailable, "renew lease: the server of this agent does not run")
	}
	return c.own(ctx, node)
}

// take reserves the way to the server; nil if a heartbeat is on its way there, or it is not its turn.
func (c *control) take(id cluster.ID, now time.Time) *beat {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.beats[id]
	if b == nil {
		b = &beat{beater: c.beater(id)}
		if c.beats == nil {
			c.beats = map[cluster.ID]*beat{}
		}
		c.beats[id] = b
	}
	if b.busy || !c.leader.IsZero() && c.leader != id && now.Before(b.due) {
		return nil
	}
	b.busy, b.due = true, now.Add(followerBeat)
	return b
}

// release ends a heartbeat. Who leads is noted also if it answers late: then it is asked again.
func (c *control) release(b *beat, server cluster.ID, leads bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.busy = false
	if leads {
		c.leader = server
	}
}

// leaderless reports whether the leader did not answer last, or nobody knows who it is.
func (c *control) leaderless() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader.IsZero()
}

// prune forgets the ways to those who are no servers any more.
func (c *control) prune(servers []cluster.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, b := range c.beats {
		if !b.busy && !slices.Contains(servers, id) {
			b.beater.Close()
			delete(c.beats, id)
		}
	}
}

// Close waits for heartbeats on their way, and ends the connections. Heartbeat must not be called any more.
func (c *control) Close() {
	c.sending.Wait()
	for _, b := range c.beats {
		b.beater.Close()
	}
}
