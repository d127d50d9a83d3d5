package dns_test

import (
	"context"
	"fmt"

	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	upstream "github.com/miekg/dns"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/dns"
)

// world is a server on loopback, the catalog that it answers from, and what it may ask.
type world struct {
	server  *dns.Server
	address string
	catalog atomic.Pointer[cluster.Catalog]
}

// start opens and runs a server until the test ends. Change may be nil.
func start(t testing.TB, change func(*dns.Config), members ...cluster.Member) *world {
	t.Helper()
	w := &world{}
	w.catalog.Store(cluster.NewCatalog(members))
	config := dns.Config{Listen: []string{"127.0.0.1:0"}, Node: id(1), Catalog: w.catalog.Load}
	if change != nil {
		change(&config)
	}
	server, err := dns.Open(config)
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	if all := server.Addresses(); len(all) > 0 {
		w.address = all[0].String()
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not end")
		}
	})
	return w
}

func id(n int) cluster.ID { return cluster.ID{byte(n >> 8), byte(n), 0x42} }

// member is a living node n at 10.0.0.n.
func member(n int, endpoints ...cluster.Endpoint) cluster.Member {
	address := netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)})
	for i := range endpoints {
		e := &endpoints[i]
		e.Alloc, e.Passing = id(100*n+i), true
		if !e.Address.IsValid() {
			e.Address = address
		}
		if e.Namespace == "" {
			e.Namespace = "default"
		}
	}
	return cluster.Member{State: cluster.MemberAlive, Record: cluster.Record{Node: id(n), Name: fmt.Sprintf("node%d", n), Address: address, Endpoints: endpoints}}
}

// ask sends the question and gives the answer.
func (w *world) ask(t testing.TB, network, name string, kind uint16) *upstream.Msg {
	t.Helper()
	m := &upstream.Msg{}
	m.SetQuestion(name, kind)
	return w.exchange(t, network, m)
}

func (w *world) exchange(t testing.TB, network string, m *upstream.Msg) *upstream.Msg {
	t.Helper()
	client := upstream.Client{Net: network, Timeout: 10 * time.Second, UDPSize: 4096}
	r, _, err := client.Exchange(m, w.address)
	if err != nil {
		t.Fatalf("ask for %s: %v", m.Question[0].Name, err)
	}
	return r
}

// text is an answer in a line: rcode, then each section's records without owner and class.
func text(m *upstream.Msg) string {
	var b strings.Builder
	b.WriteString(upstream.RcodeToString[m.Rcode])
	if m.Truncated {
		b.WriteString(" truncated")
	}
	for _, section := range []struct {
		name    string
		records []upstream.RR
	}{{"", m.Answer}, {"/", m.Ns}, {"+", m.Extra}} {
		var lines []string
		for _, r := range section.records {
			if r.Header().Rrtype == upstream.TypeOPT {
				continue
			}
			fields := strings.SplitN(r.String(), "\t", 5)
			line := fields[3] + " " + fields[4]
			if r.Header().Rrtype == upstream.TypeSOA {
				line = "SOA"
			}
			if section.name == "+" {
				line = fields[0] + " " + line
			}
			lines = append(lines, line)
		}
		slices.Sort(lines)
		for _, line := range lines {
			b.WriteString(" " + section.name + line)
		}
	}
	return b.String()
}

func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(20 * time.Second); !is(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it never was: " + what)
		}
	}
}
