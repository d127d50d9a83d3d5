package server

import (
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

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
		{"silent and dead, restarting in years to come: the clock was set back", sign{time.Hour, cluster.MemberDead, -20000 * time.Hour, true}, suspect, 0},
		{"silent and dead, restarting, the clock a little back", sign{lease, cluster.MemberDead, -time.Second, true}, trusted, restartGrace - time.Second},
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
