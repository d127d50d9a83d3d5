package server

import (
	"context"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

func TestOneWitnessAloneIsNotBelievedForEver(t *testing.T) {
	a, b := cluster.ID{1}, cluster.ID{2}
	one, two, none := []cluster.ID{a}, []cluster.ID{a, b}, []cluster.ID(nil)
	type round struct {
		after    time.Duration
		self     bool
		vouchers []cluster.ID
		want     bool
	}
	for _, c := range []struct {
		name   string
		rounds []round
	}{
		{"nobody reaches it", []round{{0, false, none, false}}},
		{"the leader does", []round{{0, true, none, true}, {time.Hour, true, none, true}}},
		{"one does", []round{{0, false, one, true}, {loneWord - 1, false, one, true}, {1, false, one, false}}},
		{"two do", []round{{0, false, two, true}, {time.Hour, false, two, true}}},
		{"now one does, now the other", []round{{0, false, one, true}, {20 * time.Second, false, []cluster.ID{b}, true}, {20 * time.Second, false, one, true}}},
		{"two did, one goes on", []round{{0, false, two, true}, {loneWord, false, one, true}, {loneWord, false, one, false}}},
		{"one does, and the leader once", []round{{0, false, one, true}, {loneWord - 1, true, none, true}, {1, false, one, true}, {loneWord, false, one, false}}},
		{"one did, and then nobody", []round{{0, false, one, true}, {time.Second, false, none, false}}},
	} {
		var d doubt
		now := time.Unix(1000, 0)
		for i, r := range c.rounds {
			now = now.Add(r.after)
			next, spared := d.hear(r.self, r.vouchers, now)
			if spared != r.want || spared && !now.Before(next.until) {
				t.Errorf("%s: in round %d it is spared: %v, until %v", c.name, i, spared, next.until.Sub(now))
			}
			d = next
		}
	}
}

func TestWhoIsGivenUpRenewsNothingMeanwhile(t *testing.T) {
	var l leases
	began := time.Unix(1000, 0)
	l.begin(began)
	l.renew(nodeID, began.Add(2*time.Second))
	if _, silent := l.condemn(nodeID, began.Add(time.Second)); silent {
		t.Error("a node that was heard of since is given up")
	}
	decided, silent := l.condemn(nodeID, began.Add(3*time.Second))
	if !silent {
		t.Fatal("a node that nobody heard of is not given up")
	}
	if _, again := l.condemn(nodeID, began.Add(3*time.Second)); again {
		t.Error("it is given up twice at once")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l.awaitVerdict(ctx, nodeID) // who leaves does not wait
	l.awaitVerdict(t.Context(), otherID)
	heard := make(chan struct{})
	go func() { defer close(heard); l.awaitVerdict(t.Context(), nodeID) }()
	select {
	case <-heard:
		t.Error("its heartbeat is answered before the verdict")
	default:
	}
	decided()
	<-heard
	l.distrust(began.Add(time.Minute))
	if _, silent := l.condemn(nodeID, began.Add(time.Minute-1)); silent {
		t.Error("a node is given up by a leader that stood still")
	}
}

func TestANodeIsLostWhenBothProofsAreGone(t *testing.T) {
	const lease = leaseTTL
	for _, c := range []struct {
		name string
		sign sign
		want verdict
		next time.Duration
	}{
		{"heard of, and in gossip", sign{time.Second, cluster.MemberAlive, time.Hour, false}, trusted, time.Second},
		{"heard of, though gossip has it dead", sign{time.Second, cluster.MemberDead, time.Hour, false}, trusted, time.Second},
		{"silent, though gossip has it", sign{time.Hour, cluster.MemberAlive, time.Hour, false}, flagged, vigilance},
		{"silent and dead", sign{lease, cluster.MemberDead, 0, false}, suspect, 0},
		{"silent and dead, restarting", sign{lease, cluster.MemberDead, 10 * time.Second, true}, trusted, restartGrace - 10*time.Second},
		{"silent and dead, restarting for too long", sign{time.Hour, cluster.MemberDead, restartGrace, true}, suspect, 0},
		{"silent and never met", sign{lease, 0, 0, false}, trusted, restartGrace - lease},
		{"silent for long and never met", sign{restartGrace, 0, 0, false}, suspect, 0},
		{"said goodbye", sign{0, cluster.MemberLeft, 0, false}, goodbye, 0},
	} {
		if got, next := c.sign.judge(lease); got != c.want || next != c.next {
			t.Errorf("%s: verdict %d, again after %v; want %d, %v", c.name, got, next, c.want, c.next)
		}
	}
	for nodes, want := range map[int]time.Duration{0: lease, 1: lease, 1000: lease, 1001: 2 * lease, 5000: 5 * lease} {
		if got := ttl(nodes); got != want {
			t.Errorf("leases among %d nodes last %v, want %v", nodes, got, want)
		}
	}
}
