package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/a43e60e4/cluster"
)

func TestWhereContainersAsk(t *testing.T) {
	for _, test := range []struct{ name, node, gateways, taken, want, why string }{
		{"the node's address", "10.0.0.5", "172.17.0.1", "", "[10.0.0.5]", ""},
		{"no default network", "10.0.0.5", "", "", "[10.0.0.5]", ""},
		{"another has the node's port", "10.0.0.5", "172.17.0.1", "10.0.0.5", "[172.17.0.1]", ""},
		{"loopback", "127.0.0.1", "172.17.0.1 fd00::1", "", "[172.17.0.1]", ""},
		{"loopback of IPv6", "::1", "fe80::1 fd00::1", "", "[fd00::1]", ""},
		{"IPv6, containers of IPv4", "2001:db8::5", "172.17.0.1", "", "[172.17.0.1 2001:db8::5]", ""},
		{"IPv6 alone", "2001:db8::5", "fd00::1", "", "[2001:db8::5]", ""},
		{"nothing is free", "10.0.0.5", "172.17.0.1", "10.0.0.5 172.17.0.1", "[]", "listen for DNS on 10.0.0.5:53: another program has that port"},
		{"nothing is there", "127.0.0.1", "", "", "[]", "they cannot reach this node's address 127.0.0.1"},
	} {
		listened := map[string]int{}
		r := &resolver{}
		r.serve(func() netip.Addr { return netip.MustParseAddr(test.node) }, func(address string) error {
			host, port, _ := net.SplitHostPort(address)
			if port != "53" {
				t.Errorf("%s: it listens on %s", test.name, address)
			}
			if slices.Contains(strings.Fields(test.taken), host) {
				return fmt.Errorf("listen: %w", syscall.EADDRINUSE)
			}
			listened[host]++
			return nil
		})
		var gateways []netip.Addr
		for _, text := range strings.Fields(test.gateways) {
			gateways = append(gateways, netip.MustParseAddr(text))
		}
		for range 2 { // the second time there is nothing to do
			got, err := r.answer(gateways)
			if fmt.Sprint(got) != test.want || (err == nil) != (test.why == "") || err != nil && !strings.Contains(err.Error(), test.why) {
				t.Errorf("%s: %v, %v; want %s", test.name, got, err, test.want)
			}
		}
		for host, times := range listened {
			if times != 1 {
				t.Errorf("%s: it listens %d times on %s", test.name, times, host)
			}
		}
	}
	if _, err := (&resolver{}).answer(nil); err == nil {
		t.Error("one that is not served answers")
	}
}

func TestDriversSayWhatTheyLack(t *testing.T) {
	node := &cluster.Node{Drivers: map[string]cluster.DriverState{
		"docker":   {Detected: true, Healthy: true, HealthDescription: "Healthy, but no names"},
		"raw_exec": {Detected: true, Healthy: true, HealthDescription: "Healthy"},
		"exec":     {Detected: true, HealthDescription: "broken"},
		"java":     {HealthDescription: "not here"},
	}}
	want := []string{"docker (Healthy, but no names)", "exec (unhealthy: broken)", "raw_exec"}
	if got := usableDrivers(node); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
