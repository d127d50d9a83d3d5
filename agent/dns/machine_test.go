package dns

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestResolversBehindAStubAreAsked(t *testing.T) {
	for _, test := range []struct{ name, conf, stub, want string }{
		{"no file", "", "", ""},
		{"plain", "# a\nsearch b\nnameserver 192.0.2.1\nnameserver\t2001:db8::1 \nnameserver nonsense\nnameserver", "nameserver 192.0.2.9", "192.0.2.1:53 [2001:db8::1]:53"},
		{"systemd", "nameserver 127.0.0.53\noptions edns0", "nameserver 192.0.2.9", "192.0.2.9:53"},
		{"a stub that leads nowhere", "nameserver 127.0.0.53", "nameserver 127.0.0.1", "127.0.0.53:53"},
		{"a resolver of this machine", "nameserver ::1", "", "[::1]:53"},
		{"one of this machine and another", "nameserver 127.0.0.1\nnameserver 192.0.2.1", "nameserver 192.0.2.9", "127.0.0.1:53 192.0.2.1:53"},
		{"a link", "nameserver fe80::1%eth0", "", "[fe80::1%eth0]:53"},
	} {
		dir := t.TempDir()
		conf, stub := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "stub")
		if test.conf != "" {
			write(t, conf, test.conf)
		}
		if test.stub != "" {
			write(t, stub, test.stub)
		}
		r := &resolvConf{path: conf, stubs: []string{filepath.Join(dir, "none"), stub}}
		if got := strings.Join(r.servers(), " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		write(t, conf, "nameserver 198.51.100.1")
		if err := os.Chtimes(conf, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		r.looked = time.Time{}
		if got := strings.Join(r.servers(), " "); got != "198.51.100.1:53" {
			t.Errorf("%s: after a change %s", test.name, got)
		}
	}
}

func FuzzResolvConf(f *testing.F) {
	f.Add("nameserver 1.2.3.4\nnameserver ::1")
	f.Fuzz(func(t *testing.T, text string) {
		for _, server := range parseResolvConf(strings.NewReader(text)) {
			if at, err := netip.ParseAddrPort(server); err != nil || at.Port() != 53 {
				t.Errorf("%q: %v", server, err)
			}
		}
	})
}

func TestThisMachineIsNear(t *testing.T) {
	m := &machine{}
	for address, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "192.0.2.77": false, "2001:db8::7": false} {
		if got := m.near(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s is near: %v", address, got)
		}
	}
	if m.near(netip.Addr{}) {
		t.Error("nobody is near")
	}
	for own := range m.look().own {
		if !m.near(own) || !m.isOwn(own) {
			t.Errorf("our own %s is not near", own)
		}
	}
}

func TestABridgeWithACardLeadsOut(t *testing.T) {
	all := []link{
		{1, 0, ""}, {2, 20, ""}, {3, 21, "vlan"}, {4, 10, "veth"}, {5, 20, "veth"}, {6, 22, "vxlan"}, {7, 11, "tun"}, {8, 23, "bond"}, {9, 0, "veth"},
		{10, 0, "bridge"}, {11, 0, "bridge"}, {12, 0, "bridge"}, {20, 0, "bridge"}, {21, 0, "bridge"}, {22, 0, "bridge"}, {23, 0, "bridge"},
	}
	inside := insideBridges(all)
	for index := range 30 {
		if want := index >= 10 && index <= 12; inside[index] != want {
			t.Errorf("%d is inside: %v", index, inside[index])
		}
	}
}

// reply makes an answer of records.
func reply(kind uint16, answer, authority string) *dns.Msg {
	m := &dns.Msg{}
	m.SetQuestion("a.example.", kind)
	for text := range strings.SplitSeq(answer, ";") {
		if r, _ := dns.NewRR(text); r != nil {
			m.Answer = append(m.Answer, r)
		}
	}
	if r, _ := dns.NewRR(authority); r != nil {
		m.Ns = append(m.Ns, r)
	}
	return m
}

func TestAnswersOfOthersAreKeptAsLongAsTheySay(t *testing.T) {
	soa := "example. 100 IN SOA a. b. 1 2 3 4 50"
	for _, test := range []struct {
		name   string
		answer *dns.Msg
		want   time.Duration
	}{
		{"the shortest", reply(dns.TypeA, "a.example. 60 IN CNAME b.example.;b.example. 20 IN A 192.0.2.1", ""), 20 * time.Second},
		{"not too long", reply(dns.TypeA, "a.example. 604800 IN A 192.0.2.1", ""), time.Hour},
		{"nothing", reply(dns.TypeA, "", soa), 50 * time.Second},
		{"nothing, and nobody says how long", reply(dns.TypeA, "", ""), 0},
		{"an alias of nothing", reply(dns.TypeA, "a.example. 10 IN CNAME b.example.", soa), 10 * time.Second},
		{"at once forgotten", reply(dns.TypeA, "a.example. 0 IN A 192.0.2.1", ""), 0},
	} {
		if got := lifetime(test.answer); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestCacheForgetsWhatIsOldOrTooMuch(t *testing.T) {
	c, now := newCache(), time.Unix(1000, 0)
	m := reply(dns.TypeA, "a.example. 20 IN A 192.0.2.1", "")
	c.add(foreign{name: "a."}, m, now)
	if _, age, ok := c.find(foreign{name: "a."}, now.Add(19*time.Second)); !ok || age != 19 {
		t.Errorf("found %v, %d s old", ok, age)
	}
	if got := aged(m.Answer, "A.Example.", 19); got[0].Header().Ttl != 1 || got[0].Header().Name != "A.Example." || m.Answer[0].Header().Ttl != 20 {
		t.Errorf("%v of %v", got, m.Answer)
	}
	if _, _, ok := c.find(foreign{name: "a."}, now.Add(20*time.Second)); ok || c.bytes != 0 || len(c.entries) != 0 {
		t.Error("what is old is found")
	}
	for n := range 3 * maxCached {
		c.add(foreign{name: "a.", kind: uint16(n)}, m, now)
		c.find(foreign{name: "a.", kind: 0}, now)
	}
	if c.order.Len() > maxCached || len(c.entries) != c.order.Len() || c.bytes > maxCachedBytes {
		t.Errorf("%d entries, %d bytes", c.order.Len(), c.bytes)
	}
	if _, _, ok := c.find(foreign{name: "a.", kind: 0}, now); !ok {
		t.Error("what is used most was forgotten")
	}
	large := reply(dns.TypeTXT, strings.TrimSuffix(strings.Repeat(`a.example. 20 IN TXT "`+strings.Repeat("x", 250)+`";`, 200), ";"), "")
	for n := range 100 {
		c.add(foreign{name: "large.", kind: uint16(n)}, large, now)
	}
	sum := 0
	for at := c.order.Front(); at != nil; at = at.Next() {
		sum += at.Value.(*entry).size
	}
	if c.bytes > maxCachedBytes || c.bytes != sum {
		t.Errorf("%d bytes, counted %d", sum, c.bytes)
	}
}

func TestResolversThatRestAreAskedLast(t *testing.T) {
	f := newForwarder(func() []string { return []string{"192.0.2.1:53", "192.0.2.2:53", "nonsense", "192.0.2.3:53"} },
		func(a netip.AddrPort) bool { return a.String() == "192.0.2.3:53" }, &counts{})
	now := time.Unix(1000, 0)
	f.note("192.0.2.1:53", os.ErrDeadlineExceeded, now)
	if got := f.order(now); !slices.Equal(got, []string{"192.0.2.2:53", "192.0.2.1:53"}) {
		t.Errorf("%v", got)
	}
	if got := f.order(now.Add(restTime)); !slices.Equal(got, []string{"192.0.2.1:53", "192.0.2.2:53"}) {
		t.Errorf("later %v", got)
	}
}
