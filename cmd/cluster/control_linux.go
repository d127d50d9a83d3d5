package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
)

// control is the servers as the agent sees them: the same routes for a server in this process and for one elsewhere.
// What needs the leader goes through this process's API, which knows the way. Leases are renewed with every server, each by a
// connection of its own, so that a new leader knows them.
type control struct {
	client  *api.Client         // of this process
	servers func() []cluster.ID // all of them, this node too if it is one
	reach   func(cluster.ID) *http.Transport

	mu    sync.Mutex // guards what follows
	beats map[cluster.ID]*beat
	last  string // what the leader said last of the node's status; "" while no server answers
}

// status is what the servers said last of the node's status, "" while none answers.
func (c *control) status() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// beat is the way to one server for heartbeats.
type beat struct {
	client *api.Client
	http   *http.Transport
	busy   bool // a heartbeat is on its way, under control.mu
}

var _ agent.Control = (*control)(nil)

// mostBeats is how many servers are told that the node lives: as many as vote.
const mostBeats = 5

// beatPatience is how long a heartbeat may take before it is sent anew, over a new connection: on a bad line TCP waits
// longer and longer.
const beatPatience = 1500 * time.Millisecond

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
	return c.client.Report(ctx, node, updates)
}

// heard is one server's answer to a heartbeat.
type heard struct {
	standing *api.SelfHeartbeatResponse
	err      error
}

// Heartbeat renews the node's lease with all servers; see beatAll.
func (c *control) Heartbeat(ctx context.Context, node cluster.ID) (agent.Standing, error) {
	standing, err := c.beatAll(ctx, node)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || standing.Leader || c.last == "" {
		c.last = standing.Status
	}
	return standing, err
}

// beatAll renews the node's lease with all servers. It returns with the leader's answer, or when all have answered or
// none is expected any more.
func (c *control) beatAll(ctx context.Context, node cluster.ID) (agent.Standing, error) {
	servers := c.servers()
	servers = servers[:min(len(servers), mostBeats)]
	answers := make(chan heard, len(servers))
	asked := 0
	for _, id := range servers {
		if b := c.take(id); b != nil {
			asked++
			go func() { // ends within beatPatience; who waits for it is the next heartbeat to that server
				defer c.release(b)
				answers <- b.send(context.WithoutCancel(ctx), node)
			}()
		}
	}
	c.prune(servers)
	var best agent.Standing
	err := cluster.Errorf(cluster.CodeUnavailable, "renew lease: no server answers")
	answered := false
	for range asked {
		select {
		case got := <-answers:
			switch {
			case got.err != nil && (!answered || cluster.CodeOf(got.err) == cluster.CodeNotFound):
				err = got.err
				if cluster.CodeOf(err) == cluster.CodeNotFound { // the leader alone says so
					return best, err
				}
			case got.err == nil && got.standing.Leader:
				return agent.Standing{Status: got.standing.Status, Leader: true}, nil
			case got.err == nil:
				best, answered = agent.Standing{Status: got.standing.Status}, true
			}
		case <-ctx.Done():
			return best, ctx.Err()
		}
	}
	if answered {
		return best, nil
	}
	return best, err
}

// take reserves the way to the server; nil if a heartbeat is on its way there.
func (c *control) take(id cluster.ID) *beat {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.beats[id]
	if b == nil {
		transport := c.reach(id)
		client, err := api.New(api.Config{Address: link.URL(id), HTTP: &http.Client{Transport: transport}})
		if err != nil {
			return nil // no ID makes a wrong address
		}
		b = &beat{client: client, http: transport}
		if c.beats == nil {
			c.beats = map[cluster.ID]*beat{}
		}
		c.beats[id] = b
	}
	if b.busy {
		return nil
	}
	b.busy = true
	return b
}

func (c *control) release(b *beat) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.busy = false
}

// prune forgets the ways to those who are no servers any more.
func (c *control) prune(servers []cluster.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[cluster.ID]bool{}
	for _, id := range servers {
		known[id] = true
	}
	for id, b := range c.beats {
		if !known[id] && !b.busy {
			b.http.CloseIdleConnections()
			delete(c.beats, id)
		}
	}
}

// Close ends the connections.
func (c *control) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.beats {
		b.http.CloseIdleConnections()
	}
}

// send sends one heartbeat. A connection on which it failed is not used again.
func (b *beat) send(ctx context.Context, node cluster.ID) heard {
	ctx, cancel := context.WithTimeout(ctx, beatPatience)
	defer cancel()
	standing, err := b.client.Heartbeat(ctx, node)
	if err != nil {
		b.http.CloseIdleConnections()
	}
	return heard{standing, err}
}
