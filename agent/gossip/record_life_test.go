package gossip_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/gossip"
)

// Whoever holds the gossip key can speak, but not in another's name.
func TestForgedPartsAreRefused(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(3)

		unsigned := w.config(7)
		unsigned.Sign = func([]byte) ([]byte, error) { return make([]byte, 64), nil }
		forger := w.startAt(atOf(7), unsigned)
		say(t, forger, "nobody signed this")

		// Node 8's key with node 1's name, under a newer registration; once with node 8's certificate, once with node 1's.
		for i, certificate := range [][]byte{certify(idOf(8), privateKey(8)), certify(idOf(1), privateKey(1))} {
			other := w.config(1)
			other.Registration = 5
			other.Sign = func(digest []byte) ([]byte, error) { return ed25519.Sign(privateKey(8), digest), nil }
			other.Certificate = func() []byte { return certificate }
			say(t, w.startAt(atOf(8+i), other), "in the name of 1")
		}
		w.mu.Lock()
		w.nodes[idOf(1)] = nodes[1]
		w.mu.Unlock()

		w.pass(2 * time.Minute)
		for _, n := range nodes {
			if m := n.see(idOf(1)); !slices.Equal(words(m), []string{"I am 1"}) || m.Registration != 1 {
				t.Errorf("node 1 says %q (registration %d)", words(m), m.Registration)
			}
			if m := n.see(idOf(7)); m.Parts != nil {
				t.Errorf("the forger says %q", words(m))
			}
			if s := n.Stats(); s.Refused == 0 {
				t.Errorf("nothing was refused: %+v", s)
			}
		}
	})
}

func TestLargeRecordsAreFetched(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(4)
		var text []string
		for i := range 1100 {
			text = append(text, fmt.Sprintf("%d %s", i, strings.Repeat("x", 300)))
		}
		text = append(text, strings.Repeat("large", 10000))
		packets, before := w.net.Sent()
		say(t, nodes[1], text...)
		everywhere := func(nodes []*node) func() bool {
			return func() bool {
				return !slices.ContainsFunc(nodes, func(n *node) bool { return !slices.Equal(words(n.see(idOf(1))), text) })
			}
		}
		took := w.eventually(10*time.Second, "1100 parts", everywhere(nodes))
		after, bytes := w.net.Sent()
		t.Logf("1100 parts are everywhere after %v; %d packets, %d bytes meanwhile", took, after-packets, bytes-before)

		text[1034] = "changed"
		say(t, nodes[1], text...)
		took = w.eventually(2*time.Second, "one of them changed", everywhere(nodes))
		t.Logf("a change of one is everywhere after %v", took)

		text = text[:10]
		say(t, nodes[1], text...)
		w.eventually(2*time.Second, "most of them gone", everywhere(nodes))

		late := w.start(9)
		w.eventually(10*time.Second, "a late node", everywhere([]*node{late}))
		if err := nodes[1].Publish([][]byte{make([]byte, 1<<17)}); err == nil {
			t.Error("a part of 128 KiB was published")
		}
	})
}

// Two parts that are published together are seen together, whatever packets do.
func TestRecordsAreSeenAsTheyWerePublished(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		nodes := w.startAll(5)
		w.net.Lose(0.2)
		w.net.Delay(time.Millisecond, 300*time.Millisecond)
		seen := make([]map[string]bool, len(nodes))
		for i := range 100 {
			text := make([]string, 2+i%7)
			for j := range text {
				text[j] = fmt.Sprintf("edition %d", i)
			}
			say(t, nodes[0], append(text, "constant")...)
			for range 10 {
				for j, n := range nodes {
					got := words(n.see(idOf(0)))
					if seen[j] == nil {
						seen[j] = map[string]bool{}
					}
					seen[j][got[0]] = true
					if len(got) > 1 && slices.ContainsFunc(got[:len(got)-1], func(s string) bool { return s != got[0] }) {
						t.Fatalf("node %d sees a mix: %q", j, got)
					}
				}
				w.pass(20 * time.Millisecond)
			}
		}
		for j := range nodes {
			t.Logf("node %d saw %d of 100 publications", j, len(seen[j]))
			if len(seen[j]) < 20 {
				t.Errorf("node %d saw %d of 100 publications", j, len(seen[j]))
			}
		}
		w.eventually(30*time.Second, "the last one", func() bool {
			return !slices.ContainsFunc(nodes, func(n *node) bool { return words(n.see(idOf(0)))[0] != "edition 99" })
		})
	})
}

// What a dead node said is learned from the others by who was not there.
func TestWhatTheDeadSaidIsLearned(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(3)
		nodes[2].stop(w)
		w.eventually(4*time.Second, "dead", func() bool { return see(nodes[:2], idOf(2), cluster.MemberDead) })
		w.pass(2 * time.Minute)
		nodes[1].stop(w)
		nodes[1] = w.start(1)
		w.eventually(5*time.Second, "learned", func() bool {
			m := nodes[1].see(idOf(2))
			return m.State == cluster.MemberDead && slices.Equal(words(m), []string{"I am 2"})
		})
	})
}

func TestRenewedCertificateIsTold(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c := w.config(0)
		signer := 0 // whose key signs: a renewal may bring a new one
		c.Certificate = func() []byte { return certify(idOf(0), privateKey(signer)) }
		c.Sign = func(digest []byte) ([]byte, error) { return ed25519.Sign(privateKey(signer), digest), nil }
		first := w.startAt(atOf(0), c)
		say(t, first, "said before")
		second := w.start(1)
		w.eventually(10*time.Second, "known", func() bool { return words(second.see(idOf(0))) != nil })
		before := second.see(idOf(0)).Edition
		signer = 77
		w.eventually(15*time.Second, "renewed", func() bool { return second.see(idOf(0)).Edition > before })
		say(t, first, "said after")
		w.eventually(5*time.Second, "a word signed with the new key", func() bool { return slices.Equal(words(second.see(idOf(0))), []string{"said after"}) })
	})
}

func TestMembersAreRememberedOnDiskAndIdleWritesNothing(t *testing.T) {
	dir := t.TempDir()
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(3)
		c := w.config(3)
		c.Dir = dir
		n := w.startAt(atOf(3), c)
		say(t, n, "I remember")
		w.eventually(5*time.Second, "joined", func() bool { return see(nodes, idOf(3), cluster.MemberAlive) })
		w.pass(5 * time.Second)
		path := filepath.Join(dir, "gossip.json")
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), atOf(2).String()) {
			t.Errorf("%v: %s", err, text)
		}
		if err := os.Rename(path, path+".kept"); err != nil {
			t.Fatal(err)
		}
		w.pass(3 * time.Minute)
		if _, err := os.Stat(path); err == nil {
			t.Error("three idle minutes wrote the file")
		}
		if err := os.Rename(path+".kept", path); err != nil {
			t.Fatal(err)
		}
		n.stop(w)

		c.Peers = nil
		n = w.startAt(atOf(3), c)
		say(t, n, "from disk alone")
		took := w.eventually(5*time.Second, "back from disk alone", func() bool {
			return slices.Equal(words(nodes[2].see(idOf(3))), []string{"from disk alone"})
		})
		t.Logf("joined after %v", took)
		if m := nodes[2].see(idOf(3)); m.Edition>>32 != 1 {
			t.Errorf("edition %x does not count the starts", m.Edition)
		}
		n.stop(w)
		if err := os.WriteFile(path, []byte("not this"), 0o600); err != nil {
			t.Fatal(err)
		}
		n = w.startAt(atOf(3), c) // a broken file is no reason not to start
		n.stop(w)
	})
}

func TestIdleTraffic(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(10)
		w.pass(time.Minute)
		packets, bytes := w.net.Sent()
		version := nodes[0].View().Version
		w.pass(2 * time.Minute)
		packets2, bytes2 := w.net.Sent()
		t.Logf("10 idle nodes: %.1f packets and %.0f bytes a second each", float64(packets2-packets)/1200, float64(bytes2-bytes)/1200)
		if v := nodes[0].View().Version; v != version {
			t.Errorf("the view changed from %d to %d without a cause", version, v)
		}
		if s := nodes[0].Stats(); s.Queued != 0 || s.Needed != 0 || s.Refused+s.Malformed+s.Dropped+s.Conflicts != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t, 1)
	for what, change := range map[string]func(*gossip.Config){
		"no ID":         func(c *gossip.Config) { c.ID = cluster.ID{} },
		"no label":      func(c *gossip.Config) { c.Cluster = "" },
		"no key":        func(c *gossip.Config) { c.Keys = nil },
		"a short key":   func(c *gossip.Config) { c.Keys = [][]byte{make([]byte, 16)} },
		"no Verify":     func(c *gossip.Config) { c.Verify = nil },
		"a name":        func(c *gossip.Config) { c.Bind, c.Advertise = "127.0.0.1:0", "example:4648" },
		"all addresses": func(c *gossip.Config) { c.Bind = "0.0.0.0:0" },
	} {
		c := w.config(1)
		change(&c)
		if _, err := gossip.Open(c); err == nil {
			t.Errorf("%s: opened", what)
		} else {
			t.Log(err)
		}
	}
}

// Somebody has it: whoever that is, it is found, though the teller and the owner do not answer and most requests are lost.
func TestFetchingGoesOnUntilItIsHere(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := []*node{w.start(0), w.start(1), w.start(2)}
		c := w.config(3)
		tries, heard := 0, 0
		c.Fetch = func(ctx context.Context, from cluster.ID, request []byte) ([]byte, error) {
			if tries++; from != idOf(2) {
				return nil, errors.New("no answer")
			}
			if heard++; heard%3 != 0 { // counted of its own: tries could meet each fourth at another node for ever
				return nil, errors.New("lost")
			}
			return w.fetch(ctx, atOf(3), from, request)
		}
		nodes = append(nodes, w.startAt(atOf(3), c))
		w.eventually(20*time.Second, "all alive", func() bool {
			return see(nodes, idOf(1), cluster.MemberAlive) && see(nodes, idOf(3), cluster.MemberAlive) && see(nodes, idOf(2), cluster.MemberAlive)
		})
		large := strings.Repeat("large", 5000)
		say(t, nodes[1], large)
		took := w.eventually(15*time.Minute, "the part that only one gives", func() bool { return slices.Equal(words(nodes[3].see(idOf(1))), []string{large}) })
		t.Logf("after %v and %d requests", took, tries)
		if s := nodes[3].Stats(); s.Needed != 0 || s.Unfetched == 0 {
			t.Errorf("%+v", s)
		}
	})
}
