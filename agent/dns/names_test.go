package dns_test

import (
	"net/netip"
	"strings"
	"testing"

	upstream "github.com/miekg/dns"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/dns"
)

// demo is two nodes with web, one with db in a container and over IPv6, and a job of a team.
func demo() []cluster.Member {
	failing := member(4, cluster.Endpoint{Service: "ill", Port: 1})
	failing.Endpoints[0].Passing = false
	return []cluster.Member{
		member(1, cluster.Endpoint{Service: "web", Port: 8080, Tags: []string{"v1"}}, cluster.Endpoint{Service: "api", Namespace: "team", Port: 9000}),
		member(2, cluster.Endpoint{Service: "Web", Port: 8081, Tags: []string{"V2", "x.y"}}),
		member(3, cluster.Endpoint{Service: "db", Port: 5432, Address: netip.MustParseAddr("172.17.0.5")}, cluster.Endpoint{Service: "db", Port: 5433, Address: netip.MustParseAddr("fd00::5")}),
		failing,
	}
}

// nameTable is what the names of demo mean: kind, name, answer.
const nameTable = `
A    web.cluster.internal.                    NOERROR A 10.0.0.1 A 10.0.0.2
AAAA web.cluster.internal.                    NOERROR /SOA
A    WEB.Cluster.Internal.                    NOERROR A 10.0.0.1 A 10.0.0.2
SRV  web.cluster.internal.                    NOERROR SRV 1 1 8080 node1.node.cluster.internal. SRV 1 1 8081 node2.node.cluster.internal. +node1.node.cluster.internal. A 10.0.0.1 +node2.node.cluster.internal. A 10.0.0.2
SRV  _web._tcp.cluster.internal.              NOERROR SRV 1 1 8080 node1.node.cluster.internal. SRV 1 1 8081 node2.node.cluster.internal. +node1.node.cluster.internal. A 10.0.0.1 +node2.node.cluster.internal. A 10.0.0.2
A    _web._tcp.cluster.internal.              NOERROR /SOA
SRV  _api._udp.team.ns.cluster.internal.      NOERROR SRV 1 1 9000 node1.node.cluster.internal. +node1.node.cluster.internal. A 10.0.0.1
SRV  _no._tcp.cluster.internal.               NXDOMAIN /SOA
SRV  web._tcp.cluster.internal.               NXDOMAIN /SOA
A    _tcp.cluster.internal.                   NOERROR /SOA
TXT  web.cluster.internal.                    NOERROR /SOA
ANY  web.cluster.internal.                    NOERROR HINFO "RFC8482" ""
ANY  no.cluster.internal.                     NXDOMAIN /SOA
A    web.default.ns.cluster.internal.         NOERROR A 10.0.0.1 A 10.0.0.2
A    api.cluster.internal.                    NXDOMAIN /SOA
A    api.team.ns.cluster.internal.            NOERROR A 10.0.0.1
A    team.ns.cluster.internal.                NOERROR /SOA
A    none.ns.cluster.internal.                NXDOMAIN /SOA
A    ns.cluster.internal.                     NOERROR /SOA
A    v1.tag.web.cluster.internal.             NOERROR A 10.0.0.1
A    v2.tag.web.default.ns.cluster.internal.  NOERROR A 10.0.0.2
A    x.y.tag.web.cluster.internal.            NOERROR A 10.0.0.2
A    v3.tag.web.cluster.internal.             NXDOMAIN /SOA
A    tag.web.cluster.internal.                NOERROR /SOA
A    a.web.cluster.internal.                  NXDOMAIN /SOA
A    ill.cluster.internal.                    NOERROR /SOA
A    no.cluster.internal.                     NXDOMAIN /SOA
A    node2.node.cluster.internal.             NOERROR A 10.0.0.2
AAAA node2.node.cluster.internal.             NOERROR /SOA
A    00024200-0000-0000-0000-000000000000.node.cluster.internal. NOERROR A 10.0.0.2
A    node9.node.cluster.internal.             NXDOMAIN /SOA
A    node.cluster.internal.                   NOERROR /SOA
A    addr.node.cluster.internal.              NOERROR /SOA
A    ac110005.addr.node.cluster.internal.     NOERROR A 172.17.0.5
A    ac110006.addr.node.cluster.internal.     NXDOMAIN /SOA
A    zz.addr.node.cluster.internal.           NXDOMAIN /SOA
A    db.cluster.internal.                     NOERROR A 172.17.0.5
AAAA db.cluster.internal.                     NOERROR AAAA fd00::5
SRV  db.cluster.internal.                     NOERROR SRV 1 1 5432 ac110005.addr.node.cluster.internal. SRV 1 1 5433 fd000000000000000000000000000005.addr.node.cluster.internal. +ac110005.addr.node.cluster.internal. A 172.17.0.5 +fd000000000000000000000000000005.addr.node.cluster.internal. AAAA fd00::5
NS   cluster.internal.                        NOERROR NS 00014200-0000-0000-0000-000000000000.node.cluster.internal. +00014200-0000-0000-0000-000000000000.node.cluster.internal. A 10.0.0.1
SOA  cluster.internal.                        NOERROR SOA
A    cluster.internal.                        NOERROR /SOA
PTR  1.0.0.10.in-addr.arpa.                   NOERROR PTR node1.node.cluster.internal.
PTR  5.0.17.172.in-addr.arpa.                 NOERROR PTR db.cluster.internal.
PTR  5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. NOERROR PTR db.cluster.internal.
A    1.0.0.10.in-addr.arpa.                   NOERROR /SOA
PTR  9.0.0.10.in-addr.arpa.                   REFUSED
A    example.com.                             REFUSED
A    notcluster.internal.                     REFUSED
A    internal.                                REFUSED
AXFR cluster.internal.                        REFUSED
`

func TestNames(t *testing.T) {
	w := start(t, nil, demo()...)
	for line := range strings.Lines(strings.TrimSpace(nameTable)) {
		fields := strings.Fields(line)
		name, want := fields[1], strings.Join(fields[2:], " ")
		for _, network := range []string{"udp", "tcp"} {
			m := w.ask(t, network, name, upstream.StringToType[fields[0]])
			if got := text(m); got != want {
				t.Errorf("%s %s by %s:\n got %s\nwant %s", fields[0], name, network, got, want)
			}
			if m.Question[0].Name != name {
				t.Errorf("asked for %s, told of %s", name, m.Question[0].Name)
			}
			for _, r := range m.Answer {
				if r.Header().Name != name {
					t.Errorf("asked for %s, answered %s", name, r)
				}
			}
			if ours := m.Rcode != upstream.RcodeRefused; m.Authoritative != ours {
				t.Errorf("%s: authoritative is %v", name, m.Authoritative)
			}
		}
	}
}

func TestTimesToLive(t *testing.T) {
	w := start(t, func(c *dns.Config) { c.TTL = 3e9 }, demo()...)
	if got := w.ask(t, "udp", "web.cluster.internal.", upstream.TypeA).Answer[0].Header().Ttl; got != 3 {
		t.Errorf("an address lives for %d s", got)
	}
	for name := range strings.FieldsSeq("no.cluster.internal. ill.cluster.internal.") {
		soa := w.ask(t, "udp", name, upstream.TypeA).Ns[0].(*upstream.SOA)
		if soa.Hdr.Ttl != 1 || soa.Minttl != 1 || soa.Hdr.Name != "cluster.internal." {
			t.Errorf("%s: %v", name, soa)
		}
	}
	none := start(t, func(c *dns.Config) { c.TTL = -1 }, demo()...)
	if got := none.ask(t, "udp", "web.cluster.internal.", upstream.TypeA).Answer[0].Header().Ttl; got != 0 {
		t.Errorf("an address lives for %d s", got)
	}
}

func TestOwnEndpointsComeFirstAndTheOthersTakeTurns(t *testing.T) {
	var members []cluster.Member
	for n := 1; n <= 5; n++ {
		members = append(members, member(n, cluster.Endpoint{Service: "web", Port: 80}))
	}
	w := start(t, nil, members...)
	second := map[string]bool{}
	for range 100 {
		answer := w.ask(t, "udp", "web.cluster.internal.", upstream.TypeA).Answer
		if len(answer) != 5 || answer[0].(*upstream.A).A.String() != "10.0.0.1" {
			t.Fatalf("the first is not ours: %v", answer)
		}
		second[answer[1].(*upstream.A).A.String()] = true
	}
	if len(second) != 4 {
		t.Errorf("only %v take turns", second)
	}
}

func TestANewCatalogIsAnsweredAtOnce(t *testing.T) {
	w := start(t, nil, demo()...)
	for n := range 50 {
		w.catalog.Store(cluster.NewCatalog([]cluster.Member{member(n+1, cluster.Endpoint{Service: "web", Port: 80})}))
		want := "NOERROR A " + netip.AddrFrom4([4]byte{10, 0, 0, byte(n + 1)}).String()
		if got := text(w.ask(t, "udp", "web.cluster.internal.", upstream.TypeA)); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	w.catalog.Store(nil)
	if got := text(w.ask(t, "udp", "web.cluster.internal.", upstream.TypeA)); got != "NXDOMAIN /SOA" {
		t.Errorf("without a catalog: %s", got)
	}
}

func TestAnotherZone(t *testing.T) {
	w := start(t, func(c *dns.Config) { c.Zone = "Corp.Example." }, demo()...)
	if got := text(w.ask(t, "udp", "web.corp.example.", upstream.TypeA)); got != "NOERROR A 10.0.0.1 A 10.0.0.2" {
		t.Error(got)
	}
	if got := text(w.ask(t, "udp", "web.cluster.internal.", upstream.TypeA)); got != "REFUSED" {
		t.Error(got)
	}
	for _, zone := range []string{".", "a..b", strings.Repeat("a", 64)} {
		if _, err := dns.Open(dns.Config{Zone: zone}); zone != "." && err == nil {
			t.Errorf("the zone %q is taken", zone)
		}
	}
}
