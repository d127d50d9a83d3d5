package gossip_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/gossip"
	"github.com/a43e60e4/cluster/agent/gossip/gossiptest"
)

// world is a cluster of nodes on a network in memory, with an authority of its own. It lives in a bubble.
type world struct {
	t    testing.TB
	net  *gossiptest.Network
	keys [][]byte

	mu    sync.Mutex
	nodes map[cluster.ID]*node // whom Fetch reaches
	all   []*node
}

// node is one process.
type node struct {
	*gossip.Gossip
	id     cluster.ID
	at     netip.AddrPort
	cancel context.CancelFunc
	done   chan error
}

func newWorld(t testing.TB, seed uint64) *world {
	return &world{t: t, net: gossiptest.New(seed), keys: [][]byte{key(1)}, nodes: map[cluster.ID]*node{}}
}

// bubble runs the test in fake time, on a new world that is ended after it.
func bubble(t *testing.T, seed uint64, test func(t *testing.T, w *world)) {
	gossiptest.Bubble(t, func(t *testing.T) {
		w := newWorld(t, seed)
		defer w.end()
		test(t, w)
	})
}

func (w *world) end() {
	for _, n := range w.all {
		n.stop(w)
	}
}

func (n *node) stop(w *world) {
	n.cancel()
	if err, open := <-n.done; open && err != nil {
		w.t.Errorf("run: %v", err)
	}
}

func key(b byte) []byte {
	k := make([]byte, 32)
	k[0] = b
	return k
}

func idOf(i int) cluster.ID { return cluster.IDFrom([16]byte{1}, uint32(i)) }

func atOf(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 4648)
}

// authority signs certificates: ID, public key, signature.
var authority = ed25519.NewKeyFromSeed(make([]byte, 32))

func privateKey(i int) ed25519.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i)))
	return ed25519.NewKeyFromSeed(seed[:])
}

func certify(id cluster.ID, k ed25519.PrivateKey) []byte {
	text := append(id[:], k.Public().(ed25519.PublicKey)...)
	return append(text, ed25519.Sign(authority, text)...)
}

func verify(id cluster.ID, certificate, digest, signature []byte) error {
	if len(certificate) != 48+64 || !ed25519.Verify(authority.Public().(ed25519.PublicKey), certificate[:48], certificate[48:]) {
		return errors.New("no certificate of this authority")
	}
	if cluster.ID(certificate[:16]) != id {
		return errors.New("another node's certificate")
	}
	if !ed25519.Verify(certificate[16:48], digest, signature) {
		return errors.New("wrong signature")
	}
	return nil
}

// config is how node i starts, with node 0's address as what it knows.
func (w *world) config(i int) gossip.Config {
	c := gossip.Config{
		ID: idOf(i), Cluster: "2f4bb2f0-6a2f-4d26-a0c6-1d2b1c1f7a10", Keys: w.keys, Registration: 1,
		Sign:        func(digest []byte) ([]byte, error) { return ed25519.Sign(privateKey(i), digest), nil },
		Certificate: func() []byte { return certify(idOf(i), privateKey(i)) },
		Verify:      verify,
		Peers:       func() []string { return []string{atOf(0).String()} },
	}
	if os.Getenv("GOSSIP_LOG") != "" {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("on", i)
	}
	return c
}

// start starts node i at its address.
func (w *world) start(i int) *node { return w.startAt(atOf(i), w.config(i)) }

func (w *world) startAt(at netip.AddrPort, c gossip.Config) *node {
	w.t.Helper()
	c.Transport = w.net.Open(at)
	if c.Fetch == nil {
		c.Fetch = func(ctx context.Context, from cluster.ID, request []byte) ([]byte, error) {
			return w.fetch(ctx, at, from, request)
		}
	}
	g, err := gossip.Open(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.run(g, c.ID, at)
}

func (w *world) run(g *gossip.Gossip, id cluster.ID, at netip.AddrPort) *node {
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{Gossip: g, id: id, at: at, cancel: cancel, done: make(chan error, 1)}
	go func() {
		n.done <- g.Run(ctx)
		close(n.done)
	}()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[id] = n
	w.all = append(w.all, n)
	return n
}

// fetch carries a request as far as the network does.
func (w *world) fetch(ctx context.Context, at netip.AddrPort, from cluster.ID, request []byte) ([]byte, error) {
	w.mu.Lock()
	n := w.nodes[from]
	w.mu.Unlock()
	if n == nil || len(request) > gossip.MaxRequest {
		return nil, errors.New("nobody there")
	}
	if !w.net.Connected(at, n.at) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	answer, err := n.Answer(request)
	if len(answer) > gossip.MaxAnswer {
		w.t.Errorf("an answer of %d bytes", len(answer))
	}
	return answer, err
}

// startAll starts n nodes that each say one thing, and waits until all know it.
func (w *world) startAll(n int) []*node {
	w.t.Helper()
	var nodes []*node
	for i := range n {
		nodes = append(nodes, w.start(i))
		say(w.t, nodes[i], fmt.Sprintf("I am %d", i))
	}
	w.eventually(20*time.Second, "all know all", func() bool { return agree(nodes, func(i int) []string { return []string{fmt.Sprintf("I am %d", i)} }) })
	return nodes
}

// agree reports whether all nodes see each other alive, saying so.
func agree(nodes []*node, says func(i int) []string) bool {
	for _, n := range nodes {
		for i, other := range nodes {
			m := n.see(other.id)
			if m.State != cluster.MemberAlive || !slices.Equal(words(m), says(i)) {
				return false
			}
		}
	}
	return true
}

func say(t testing.TB, n *node, text ...string) {
	t.Helper()
	var parts [][]byte
	for _, s := range text {
		parts = append(parts, []byte(s))
	}
	if err := n.Publish(parts); err != nil {
		t.Fatal(err)
	}
}

func words(m gossip.Member) []string {
	var all []string
	for _, p := range m.Parts {
		all = append(all, string(p))
	}
	return all
}

// see is how the node sees another.
func (n *node) see(id cluster.ID) gossip.Member {
	members := n.View().Members
	i := slices.IndexFunc(members, func(m gossip.Member) bool { return m.ID == id })
	if i < 0 {
		return gossip.Member{}
	}
	return members[i]
}

// eventually waits for the condition, and reports how long it took.
func (w *world) eventually(limit time.Duration, what string, ok func() bool) time.Duration {
	w.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			w.t.Fatalf("%s: not within %v", what, limit)
		}
		w.pass(10 * time.Millisecond)
	}
	return time.Since(began)
}

// see reports whether all nodes, itself aside, see the member in a state.
func see(nodes []*node, id cluster.ID, state cluster.MemberState) bool {
	for _, n := range nodes {
		if n.id != id && n.see(id).State != state {
			return false
		}
	}
	return true
}

// pass lets so much fake time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
