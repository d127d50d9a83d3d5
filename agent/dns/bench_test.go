package dns

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/a43e60e4/cluster"
)

// manyServices is a catalog of so many services with three endpoints each.
func manyServices(n int) *cluster.Catalog {
	members := make([]cluster.Member, 3)
	for i := range members {
		m := &members[i]
		m.State, m.Node, m.Name = cluster.MemberAlive, cluster.ID{byte(i + 1)}, fmt.Sprintf("node%d", i)
		m.Address = netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})
		for s := range n {
			m.Endpoints = append(m.Endpoints, cluster.Endpoint{Alloc: cluster.ID{byte(i), byte(s)}, Namespace: "default", Service: fmt.Sprintf("service%d", s), Address: m.Address, Port: uint16(s), Passing: true})
		}
	}
	return cluster.NewCatalog(members)
}

// BenchmarkAnswer answers a question as a reader of packets does, without the sockets: of a name that was asked for
// before, of one asked for the first time since the catalog has changed, of one that there is not.
func BenchmarkAnswer(b *testing.B) {
	z, err := newZone(Zone, cluster.ID{1}, 1)
	if err != nil {
		b.Fatal(err)
	}
	catalogs := []*cluster.Catalog{manyServices(100), manyServices(100)}
	for _, bench := range []struct {
		name, asked string
		kind        uint16
		changing    bool
	}{
		{"A", "service7.cluster.internal.", dns.TypeA, false},
		{"SRV", "_service7._tcp.cluster.internal.", dns.TypeSRV, false},
		{"A-first", "service7.cluster.internal.", dns.TypeA, true},
		{"SRV-first", "service7.cluster.internal.", dns.TypeSRV, true},
		{"NXDOMAIN", "nothing.cluster.internal.", dns.TypeA, false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			m := &dns.Msg{}
			m.SetQuestion(bench.asked, bench.kind)
			m.SetEdns0(1232, false)
			packet, err := m.Pack()
			if err != nil {
				b.Fatal(err)
			}
			a := newAnswerer(z, &counts{}, (&machine{}).near)
			a.use(catalogs[0])
			client := netip.MustParseAddr("127.0.0.1")
			out := make([]byte, 0, packetSize)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if bench.changing {
					a.use(catalogs[i&1])
				}
				if reply, _, what := a.reply(out, packet, client, 0); what != verdictReply || len(reply) < 50 {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// TestAnAnswerCostsNoMemory: what was asked for before is answered without an allocation.
func TestAnAnswerCostsNoMemory(t *testing.T) {
	z, err := newZone(Zone, cluster.ID{1}, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := &dns.Msg{}
	m.SetQuestion("Service7.cluster.internal.", dns.TypeA)
	packet, _ := m.Pack()
	a := newAnswerer(z, &counts{}, (&machine{}).near)
	a.use(manyServices(10))
	out := make([]byte, 0, packetSize)
	if n := testing.AllocsPerRun(100, func() { a.reply(out, packet, netip.IPv6Loopback(), 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzAnswer answers any question from a catalog made of any record: what is written is a packet, and never too long.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"i":"","a":"10.0.0.1","e":[{"s":"web","t":["v1"],"p":80,"o":true},{"s":"Web","p":81,"o":true,"a":"fd00::1"}]}`), "web", uint16(dns.TypeSRV), uint16(600))
	f.Add([]byte(`{"e":[{"s":"a.b","t":[""],"o":true}],"n":"Team"}`), "v1.tag.web.team.ns", uint16(dns.TypeA), uint16(0))
	f.Add([]byte(`{}`), "0a000001.addr.node", uint16(dns.TypeANY), uint16(65535))
	z, err := newZone(Zone, cluster.ID{1}, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, part []byte, name string, kind, size uint16) {
		r, err := cluster.DecodeRecord(cluster.ID{1}, [][]byte{[]byte(`{"n":"a node!","a":"10.0.0.1"}`), part})
		if err != nil {
			return
		}
		wire, ok := appendName(nil, append(strings.Split(name, "."), z.labels...)...)
		if !ok {
			return
		}
		packet := append([]byte{1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1}, append(wire, 0, byte(kind>>8), byte(kind), 0, 1)...)
		packet = append(packet, 0, 0, 41, byte(size>>8), byte(size), 0, 0, 0, 0, 0, 0)
		a := newAnswerer(z, &counts{}, (&machine{}).near)
		a.use(cluster.NewCatalog([]cluster.Member{{Record: r, State: cluster.MemberAlive}}))
		reply, _, what := a.reply(nil, packet, netip.IPv6Loopback(), 0)
		if what != verdictReply || len(reply) > min(max(dns.MinMsgSize, int(size)), packetSize) {
			t.Fatalf("%d, %d bytes", what, len(reply))
		}
		if err := new(dns.Msg).Unpack(reply); err != nil {
			t.Fatalf("%x: %v", reply, err)
		}
	})
}
