package pki

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

const day = 24 * time.Hour

// TestWrongClocksShutNobodyOutWhoBelongs counts time from when the cluster was founded.
func TestWrongClocksShutNobodyOutWhoBelongs(t *testing.T) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	const years = 2 * 365 * day
	ours := authority(t)
	type side struct {
		issued time.Duration // when its certificate was, by the clock of the issuer
		clock  time.Duration // what it says
	}
	right := side{10 * day, 12 * day}
	for name, test := range map[string]struct {
		one, other side
		ok         bool
	}{
		"right clocks":                           {right, right, true},
		"a clock ahead":                          {right, side{10 * day, 12*day + years}, true},
		"a clock behind":                         {right, side{10 * day, 12*day - years}, true},
		"both off, to either side":               {side{10 * day, years}, side{11 * day, -years}, true},
		"both ahead":                             {side{10 * day, years}, side{11 * day, years}, true},
		"behind, with one of 1970 of its own":    {right, side{-begin.Sub(time.Unix(0, 0)), -begin.Sub(time.Unix(0, 0))}, false},
		"ahead, and issued by such a clock":      {right, side{10*day + years, 12 * day}, true},
		"jumped back after it was issued":        {right, side{14 * day, 12 * day}, true},
		"just expired, the clock right":          {side{31 * day, 32 * day}, side{0, 32 * day}, false},
		"expired by years, the clock right":      {side{years, years}, side{0, years}, false},
		"expired, and the clock set back for it": {side{31 * day, 32 * day}, side{0, 15 * day}, false},
		"both expired together":                  {side{0, years}, side{10 * day, years}, true},
		"away so long that all others renewed":   {side{40 * day, 41 * day}, side{0, 41 * day}, false},
	} {
		config := func(id byte, s side) *tls.Config {
			return TLS(ours.Certificate, leaf(t, ours, cluster.ID{id}, RoleServer, begin.Add(s.issued)), func() time.Time { return begin.Add(s.clock) }, "raft/1")
		}
		for _, pair := range [][2]side{{test.one, test.other}, {test.other, test.one}} {
			serverErr, clientErr := handshake(config(1, pair[0]), config(2, pair[1]))
			if ok := serverErr == nil && clientErr == nil; ok != test.ok {
				t.Errorf("%s: server says %v, client says %v", name, serverErr, clientErr)
			}
		}
	}
}

func TestAClockThatJumpsCutsNothing(t *testing.T) {
	begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	ours := authority(t)
	now := begin
	server := TLS(ours.Certificate, leaf(t, ours, cluster.ID{1}, RoleServer, begin), func() time.Time { return begin.Add(day) }, "raft/1")
	client := TLS(ours.Certificate, leaf(t, ours, cluster.ID{2}, RoleServer, begin), func() time.Time { return now }, "raft/1")
	for _, jump := range []time.Duration{day, 730 * day, -730 * day, 40 * day, -day, 3 * time.Hour, 100 * 365 * day} {
		now = begin.Add(jump)
		if serverErr, clientErr := handshake(server, client); serverErr != nil || clientErr != nil {
			t.Errorf("off by %v: server says %v, client says %v", jump, serverErr, clientErr)
		}
	}
}
