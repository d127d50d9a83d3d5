package main

import (
	"net/netip"
	"strings"
	"testing"
)

func TestMachineHasMoved(t *testing.T) {
	for _, c := range []struct {
		told, route, own string
		want             bool
	}{
		{"10.0.0.1", "10.0.0.1", "127.0.0.1 10.0.0.1", false},
		{"10.0.0.1", "10.0.0.2", "127.0.0.1 10.0.0.2", true},
		{"10.0.0.1", "10.9.0.2", "127.0.0.1 10.0.0.1 10.9.0.2", false}, // a new route, say of a tunnel; the old address works
		{"10.0.0.1", "127.0.0.1", "127.0.0.1", false},                  // no network: it may come back as it was
		{"127.0.0.1", "10.0.0.1", "127.0.0.1 10.0.0.1", true},
		{"fd77::1", "fd77::2", "::1 fd77::2", true},
		{"10.0.0.1", "10.0.0.2", "", false},
	} {
		var own []netip.Addr
		for _, text := range strings.Fields(c.own) {
			own = append(own, netip.MustParseAddr(text))
		}
		if got := moved(netip.MustParseAddr(c.told), netip.MustParseAddr(c.route), own); got != c.want {
			t.Errorf("told %s, route %s, own %s: %t", c.told, c.route, c.own, got)
		}
	}
}
