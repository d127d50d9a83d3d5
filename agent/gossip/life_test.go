package gossip_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

func TestAllKnowWhatEachSays(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(5)
		say(t, nodes[3], "one", "two", "three")
		took := w.eventually(2*time.Second, "three parts everywhere", func() bool {
			return !slices.ContainsFunc(nodes, func(n *node) bool { return !slices.Equal(words(n.see(idOf(3))), []string{"one", "two", "three"}) })
		})
		t.Logf("a change is everywhere after %v", took)
		say(t, nodes[3], "one")
		w.eventually(2*time.Second, "one part everywhere", func() bool {
			return !slices.ContainsFunc(nodes, func(n *node) bool { return !slices.Equal(words(n.see(idOf(3))), []string{"one"}) })
		})
	})
}

func TestCrashIsDeadEverywhereWithinThreeSeconds(t *testing.T) {
	for _, size := range []int{2, 3, 5} {
		var worst time.Duration
		for seed := range uint64(5) {
			bubble(t, seed, func(t *testing.T, w *world) {
				nodes := w.startAll(size)
				w.pass(30*time.Second + time.Duration(seed)*37*time.Millisecond)
				w.net.Isolate(atOf(1))
				rest := slices.Delete(slices.Clone(nodes), 1, 2)
				took := w.eventually(3*time.Second, "dead everywhere", func() bool { return see(rest, idOf(1), cluster.MemberDead) })
				worst = max(worst, took)
				if got := words(nodes[0].see(idOf(1))); !slices.Equal(got, []string{"I am 1"}) {
					t.Errorf("the dead node's record is %q", got)
				}
			})
		}
		t.Logf("%d nodes: dead everywhere after %v at most", size, worst)
	}
}

// A node that has just come through a cut doubts itself and probes slowly; with two or three nodes nobody tells it better.
func TestCrashAfterRecoveryIsFoundInTime(t *testing.T) {
	for _, size := range []int{2, 3} {
		var worst time.Duration
		for seed := range uint64(10) {
			bubble(t, seed, func(t *testing.T, w *world) {
				nodes := w.startAll(size)
				w.net.Isolate(atOf(1))
				rest := slices.Delete(slices.Clone(nodes), 1, 2)
				w.eventually(4*time.Second, "dead everywhere", func() bool { return see(rest, idOf(1), cluster.MemberDead) })
				w.pass(20 * time.Second)
				w.net.Heal()
				w.eventually(30*time.Second, "back", func() bool {
					return agree(nodes, func(i int) []string { return []string{fmt.Sprintf("I am %d", i)} })
				})
				w.pass(1500 * time.Millisecond)
				w.net.Isolate(atOf(1))
				took := w.eventually(4*time.Second, "dead again", func() bool { return see(rest, idOf(1), cluster.MemberDead) })
				worst = max(worst, took)
			})
		}
		t.Logf("%d nodes: a crash 1.5 s after a recovery is known after %v at most", size, worst)
		if worst > 3*time.Second {
			t.Errorf("%v is too late", worst)
		}
	}
}

func TestCutHealsByItself(t *testing.T) {
	for seed := range uint64(3) {
		bubble(t, seed, func(t *testing.T, w *world) {
			nodes := w.startAll(5)
			one := []netip.AddrPort{atOf(0), atOf(1)}
			other := []netip.AddrPort{atOf(2), atOf(3), atOf(4)}
			w.net.Split(one, other)
			// Two of five find nobody else to confirm what they suspect: that takes them up to six times as long.
			w.eventually(15*time.Second, "cut", func() bool {
				return see(nodes[:2], idOf(4), cluster.MemberDead) && see(nodes[2:], idOf(0), cluster.MemberDead)
			})
			for i, n := range nodes {
				say(t, n, fmt.Sprintf("%d in the cut", i), "more")
			}
			w.pass(time.Minute)
			w.net.Heal()
			took := w.eventually(30*time.Second, "whole again, nothing stale", func() bool {
				return agree(nodes, func(i int) []string { return []string{fmt.Sprintf("%d in the cut", i), "more"} })
			})
			t.Logf("whole %v after the cut", took)
		})
	}
}

func TestLongLossCausesFewFalseAlarms(t *testing.T) {
	bubble(t, 7, func(t *testing.T, w *world) {
		nodes := w.startAll(5)
		w.net.Lose(0.3)
		w.pass(30 * time.Second)
		began := time.Now()
		deaths := 0
		was := map[[2]int]bool{}
		for time.Since(began) < 10*time.Minute {
			for i, n := range nodes {
				for j := range nodes {
					dead := n.see(idOf(j)).State == cluster.MemberDead
					if dead && !was[[2]int{i, j}] {
						deaths++
					}
					was[[2]int{i, j}] = dead
				}
			}
			w.pass(100 * time.Millisecond)
		}
		t.Logf("30 %% loss, 5 nodes, 10 minutes: %d false deaths", deaths)
		if deaths > 60 {
			t.Errorf("%d false deaths", deaths)
		}
		w.net.Lose(0)
		w.eventually(30*time.Second, "all alive after it", func() bool {
			return agree(nodes, func(i int) []string { return []string{fmt.Sprintf("I am %d", i)} })
		})
	})
}

func TestSuspendedProcessReturns(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(3)
		w.net.Suspend(atOf(2))
		w.eventually(4*time.Second, "dead", func() bool { return see(nodes[:2], idOf(2), cluster.MemberDead) })
		say(t, nodes[0], "news")
		w.pass(2 * time.Minute)
		w.net.Resume(atOf(2))
		took := w.eventually(30*time.Second, "back", func() bool {
			return agree(nodes, func(i int) []string { return []string{[]string{"news", "I am 1", "I am 2"}[i]} })
		})
		t.Logf("back after %v", took)
	})
}

func TestWipedNodeWithNewRegistrationIsNewer(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(3)
		for i := range 20 {
			say(t, nodes[2], fmt.Sprintf("edition %d", i))
		}
		w.pass(5 * time.Second)
		nodes[2].stop(w)
		c := w.config(2)
		c.Registration = 9
		nodes[2] = w.startAt(atOf(2), c)
		say(t, nodes[2], "wiped")
		w.eventually(5*time.Second, "the wiped node's word", func() bool {
			return agree(nodes, func(i int) []string { return []string{[]string{"I am 0", "I am 1", "wiped"}[i]} })
		})
	})
}

// A node whose disk forgot how often it started, with the registration that it had, learns from others what it said.
func TestNodeContinuesAboveWhatItForgot(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(3)
		for i := range 20 {
			say(t, nodes[2], fmt.Sprintf("edition %d", i))
		}
		w.pass(5 * time.Second)
		nodes[2].stop(w)
		nodes[2] = w.start(2)
		say(t, nodes[2], "after the backup", "a")
		took := w.eventually(20*time.Second, "its word", func() bool {
			return slices.Equal(words(nodes[0].see(idOf(2))), []string{"after the backup", "a"}) && slices.Equal(words(nodes[1].see(idOf(2))), []string{"after the backup", "a"})
		})
		t.Logf("believed after %v", took)
		// Nobody is suspected of being two machines for long; the conflict counter tells of equal versions only.
		if m := nodes[2].see(idOf(2)); m.Edition <= 20 {
			t.Errorf("edition %d is not above what it had said", m.Edition)
		}
	})
}

func TestRestartElsewhereIsTakenOverAtOnce(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(3)
		w.pass(10 * time.Second)
		w.net.Isolate(atOf(2))
		c := w.config(2)
		c.Registration = 2
		moved := w.startAt(atOf(12), c)
		w.net.Cut(atOf(2), atOf(12))
		say(t, moved, "moved")
		rest := nodes[:2]
		took := w.eventually(2*time.Second, "taken over", func() bool {
			return !slices.ContainsFunc(rest, func(n *node) bool {
				m := n.see(idOf(2))
				return m.Address != atOf(12) || m.State != cluster.MemberAlive || !slices.Equal(words(m), []string{"moved"})
			})
		})
		t.Logf("taken over after %v", took)
		for range 600 {
			for _, n := range rest {
				if m := n.see(idOf(2)); m.State != cluster.MemberAlive || m.Address != atOf(12) {
					t.Fatalf("it is %v at %v", m.State, m.Address)
				}
			}
			w.pass(100 * time.Millisecond)
		}
		if all := nodes[0].Conflicts(); len(all) > 0 {
			t.Errorf("conflicts: %q", all)
		}
	})
}

func TestOneIDOnTwoMachinesIsTold(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(3)
		c := w.config(2)
		c.Hint = "clone:4647"
		clone := w.startAt(atOf(12), c)
		say(t, clone, "I am 2 as well")
		w.pass(time.Minute)
		for _, n := range nodes {
			if all := n.Conflicts(); len(all) == 0 || n.Stats().Conflicts == 0 {
				t.Errorf("node %s knows of no conflict", n.id)
			}
		}
		if all := nodes[2].Twins(); !slices.Equal(all, []string{c.Hint}) {
			t.Errorf("the first knows of the twins %q", all)
		}
		if all := nodes[0].Twins(); len(all) > 0 {
			t.Errorf("a node whose ID is its own has twins: %q", all)
		}
		clone.stop(w)
		w.eventually(20*time.Second, "nobody else with its ID", func() bool { return len(nodes[2].Twins()) == 0 })
		t.Logf("%q", nodes[0].Conflicts())
	})
}

func TestKeysRotateWithNobodyLost(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(5)
		for _, keys := range [][][]byte{{key(1), key(2)}, {key(2), key(1)}, {key(2)}, {key(2), key(3)}, {key(3), key(2)}, {key(3)}} {
			for _, n := range nodes {
				if err := n.Rekey(keys); err != nil {
					t.Fatal(err)
				}
				w.pass(300 * time.Millisecond)
			}
			for range 50 {
				for _, n := range nodes {
					for i := range nodes {
						if n.see(idOf(i)).State != cluster.MemberAlive {
							t.Fatalf("node %d is lost with keys %x", i, keys)
						}
					}
				}
				w.pass(100 * time.Millisecond)
			}
		}
		w.keys = [][]byte{key(3)}
		late := w.start(5)
		say(t, late, "new")
		w.eventually(10*time.Second, "a node with the new key alone", func() bool { return see(nodes, idOf(5), cluster.MemberAlive) })
	})
}

func TestTwoClustersNeverMix(t *testing.T) {
	for _, c := range []struct {
		name, label string
		key         []byte
	}{
		{"other label", "another cluster", key(1)},
		{"other key", "2f4bb2f0-6a2f-4d26-a0c6-1d2b1c1f7a10", key(9)},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				nodes := w.startAll(3)
				var strangers []*node
				for i := 10; i < 13; i++ {
					config := w.config(i)
					config.Cluster, config.Keys = c.label, [][]byte{c.key}
					config.Peers = func() []string { return []string{atOf(0).String(), atOf(1).String(), atOf(10).String()} }
					strangers = append(strangers, w.startAt(atOf(i), config))
					say(t, strangers[i-10], "stranger")
				}
				w.eventually(30*time.Second, "the strangers among themselves", func() bool { return see(strangers, idOf(12), cluster.MemberAlive) })
				// An address of ours is used by one of them from now on.
				nodes[2].stop(w)
				config := w.config(13)
				config.Cluster, config.Keys = c.label, [][]byte{c.key}
				config.Peers = func() []string { return []string{atOf(10).String()} }
				w.startAt(atOf(2), config)
				w.pass(time.Minute)
				if n := len(nodes[0].View().Members); n != 3 {
					t.Errorf("%d members, want 3", n)
				}
				if s := nodes[0].see(idOf(2)).State; s != cluster.MemberDead {
					t.Errorf("the node whose address a stranger uses is %v", s)
				}
				if n := len(strangers[0].View().Members); n != 4 {
					t.Errorf("the strangers are %d, want 4", n)
				}
			})
		})
	}
}

func TestLeftForGood(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(4)
		w.net.Isolate(atOf(3)) // misses it
		w.pass(10 * time.Second)
		if err := nodes[2].Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.eventually(time.Second, "left", func() bool { return see(nodes[:2], idOf(2), cluster.MemberLeft) })
		if err := nodes[2].Publish(nil); err == nil {
			t.Error("who left publishes")
		}
		nodes[2].stop(w)
		if got := words(nodes[0].see(idOf(2))); got != nil {
			t.Errorf("who left says %q", got)
		}
		w.net.Heal()
		w.eventually(30*time.Second, "left for who missed it", func() bool { return see(nodes[3:], idOf(2), cluster.MemberLeft) })
		before := nodes[0].Stats().Unjoined
		w.pass(3 * time.Minute)
		if after := nodes[0].Stats().Unjoined; after != before {
			t.Errorf("%d attempts to reach who left", after-before)
		}
		if !see([]*node{nodes[0], nodes[1], nodes[3]}, idOf(2), cluster.MemberLeft) {
			t.Error("left is not what it is later")
		}
		nodes[2] = w.start(2)
		say(t, nodes[2], "I am 2")
		w.eventually(10*time.Second, "who left is back", func() bool {
			return agree(nodes, func(i int) []string { return []string{fmt.Sprintf("I am %d", i)} })
		})
	})
}

func TestForgottenStaysForgotten(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		nodes := w.startAll(4)
		if nodes[0].Forget(idOf(3)) {
			t.Error("forgot a living member")
		}
		w.net.Isolate(atOf(3))
		w.eventually(4*time.Second, "dead", func() bool { return see(nodes[:3], idOf(3), cluster.MemberDead) })
		w.pass(2 * time.Minute)
		if s := nodes[0].see(idOf(3)).State; s != cluster.MemberDead {
			t.Errorf("a dead member is %v after two minutes", s)
		}
		nodes[0].Forget(idOf(3))
		w.pass(2 * time.Minute) // the others know it still
		if m := nodes[0].see(idOf(3)); !m.ID.IsZero() {
			t.Errorf("it is back: %+v", m)
		}
		w.net.Heal()
		w.eventually(40*time.Second, "back by itself", func() bool {
			return agree(nodes, func(i int) []string { return []string{fmt.Sprintf("I am %d", i)} })
		})
	})
}

// What was published last is out when Flush returns: a process may end then.
func TestFlushedIsToldThoughTheProcessEnds(t *testing.T) {
	for seed := range uint64(5) {
		bubble(t, seed, func(t *testing.T, w *world) {
			nodes := w.startAll(4)
			say(t, nodes[2], "I restart")
			began := time.Now()
			if err := nodes[2].Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			nodes[2].stop(w)
			w.eventually(time.Second, "told", func() bool {
				return !slices.ContainsFunc(nodes[:2], func(n *node) bool { return !slices.Equal(words(n.see(idOf(2))), []string{"I restart"}) })
			})
			if took > 3*time.Second {
				t.Errorf("flushed after %v", took)
			}
		})
	}
	bubble(t, 1, func(t *testing.T, w *world) { // nobody to tell
		n := w.start(0)
		say(t, n, "alone")
		if err := n.Flush(context.Background()); err != nil {
			t.Error(err)
		}
		if err := n.Leave(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// A node that said all it has to say before anybody heard it is asked for it; where, nobody knows but by its hint.
func TestRecordsAreFetchedWhereTheHintPoints(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		first := w.start(0)
		c := w.config(1)
		c.Hint = "10.0.0.2:4647"
		second := w.startAt(atOf(1), c)
		w.eventually(20*time.Second, "a hint", func() bool { return first.see(idOf(1)).Hint == c.Hint })
		say(t, second, "hello")
		w.eventually(5*time.Second, "a record", func() bool { return slices.Equal(words(first.see(idOf(1))), []string{"hello"}) })
		if got := second.see(idOf(0)).Hint; got != "" {
			t.Errorf("a node without a hint has %q", got)
		}
	})
}

// TestMembersOnlyHeardOfAreFoundAgain: of two pairs that are cut off from one another one node each starts anew, and knows
// those beyond only by what its companion tells. Then the companions are gone, and the two have to find one another.
func TestMembersOnlyHeardOfAreFoundAgain(t *testing.T) {
	bubble(t, 12, func(t *testing.T, w *world) {
		nodes := make([]*node, 4)
		dirs := []string{t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()}
		start := func(i int, peers func() []string) {
			c := w.config(i)
			c.Dir, c.Peers = dirs[i], peers
			nodes[i] = w.startAt(atOf(i), c)
			say(t, nodes[i], fmt.Sprintf("I am %d", i))
		}
		for i := range nodes {
			start(i, w.config(i).Peers)
		}
		w.eventually(20*time.Second, "all know all", func() bool { return agree(nodes, func(i int) []string { return []string{fmt.Sprintf("I am %d", i)} }) })
		w.pass(3 * time.Second) // the disks know it too
		w.net.Split([]netip.AddrPort{atOf(0), atOf(2)}, []netip.AddrPort{atOf(1), atOf(3)})
		w.eventually(20*time.Second, "the cut is noticed", func() bool {
			return nodes[2].see(idOf(1)).State == cluster.MemberDead && nodes[3].see(idOf(0)).State == cluster.MemberDead
		})
		for i, beyond := range []cluster.ID{idOf(1), idOf(0)} {
			for range 2 { // the second time from a disk that was written during the cut
				nodes[i].stop(w)
				start(i, nil)
				w.eventually(time.Minute, "its companion tells", func() bool { return nodes[i].see(beyond).Parts != nil })
				if at := nodes[i].see(beyond).Address; at.IsValid() {
					t.Fatalf("it knows more than what is told: %s", at)
				}
				w.pass(3 * time.Second)
			}
		}
		nodes[2].stop(w)
		nodes[3].stop(w)
		w.net.Heal()
		w.eventually(time.Minute, "they find one another", func() bool {
			return nodes[0].see(idOf(1)).State == cluster.MemberAlive && nodes[1].see(idOf(0)).State == cluster.MemberAlive
		})
	})
}
