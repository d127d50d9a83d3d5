package gossip_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/gossip"
)

// Real sockets on 127.0.0.1: join, tell, ping, crash.
func TestRealSockets(t *testing.T) {
	w := newWorld(t, 1)
	var nodes []*node
	for i := range 3 {
		c := w.config(i)
		c.Bind = "127.0.0.1:0"
		if i == 1 {
			c.Bind, c.Advertise = "0.0.0.0:0", "127.0.0.1"
		}
		c.Peers = nil
		if i > 0 {
			peers := []string{nodes[0].at.String()}
			c.Peers = func() []string { return peers }
		}
		c.Fetch = func(_ context.Context, from cluster.ID, request []byte) ([]byte, error) {
			w.mu.Lock()
			n := w.nodes[from]
			w.mu.Unlock()
			if n == nil {
				return nil, errors.New("nobody there")
			}
			return n.Answer(request)
		}
		g, err := gossip.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, w.run(g, c.ID, g.Address()))
		say(t, nodes[i], fmt.Sprintf("I am %d", i), "and more")
	}
	defer w.end()
	await(t, nodes, "all know all", func() bool {
		return agree(nodes, func(i int) []string { return []string{fmt.Sprintf("I am %d", i), "and more"} })
	})
	if took, err := nodes[0].Ping(idOf(2)); err != nil {
		t.Error(err)
	} else {
		t.Logf("ping: %v", took)
	}
	began := time.Now()
	nodes[2].stop(w)
	rest := nodes[:2]
	await(t, rest, "dead", func() bool { return see(rest, idOf(2), cluster.MemberDead) })
	t.Logf("dead everywhere %v after the end began", time.Since(began))
	if since := nodes[0].see(idOf(2)).Since; !strings.Contains(since.String(), " m=") {
		t.Errorf("it is dead since %v: how long that is depends on whether the clock is set", since)
	}
	if _, err := nodes[0].Ping(idOf(2)); err == nil {
		t.Error("a dead node answers")
	}
	if got := words(nodes[0].see(idOf(2))); !slices.Equal(got, []string{"I am 2", "and more"}) {
		t.Errorf("the dead node says %q", got)
	}
}

// await waits until the condition holds, looking whenever one of the nodes' views changes.
func await(t *testing.T, nodes []*node, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	changed := make(chan struct{}, 1)
	for _, n := range nodes {
		go func() {
			for version := uint64(0); ; {
				v, err := n.Wait(ctx, version)
				if err != nil {
					return
				}
				version = v.Version
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		}()
	}
	for !ok() {
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s: not within 30 s", what)
		}
	}
}
