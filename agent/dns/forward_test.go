package dns_test

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	upstream "github.com/miekg/dns"

	"github.com/a43e60e4/cluster/agent/dns"
)

// resolver is another resolver on loopback, by UDP and TCP.
type resolver struct {
	address string
	asked   atomic.Int64
}

// resolve starts one that answers with what the function makes of a question. Nil is no answer.
func resolve(t testing.TB, answer func(network string, m *upstream.Msg) *upstream.Msg) *resolver {
	t.Helper()
	packets, stream := bothPorts(t)
	r := &resolver{address: packets.LocalAddr().String()}
	var group sync.WaitGroup
	t.Cleanup(group.Wait) // after the servers are shut down
	for _, server := range []*upstream.Server{{PacketConn: packets}, {Listener: stream}} {
		network := "udp"
		if server.Listener != nil {
			network = "tcp"
		}
		server.Handler = upstream.HandlerFunc(func(w upstream.ResponseWriter, m *upstream.Msg) {
			r.asked.Add(1)
			if reply := answer(network, m); reply != nil {
				w.WriteMsg(reply)
			}
		})
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		group.Go(func() { server.ActivateAndServe() })
		<-started
		t.Cleanup(func() { server.Shutdown() })
	}
	return r
}

// bothPorts listens on a port of loopback that is free for UDP and for TCP.
func bothPorts(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		packets, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		stream, err := net.Listen("tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, stream
		}
		packets.Close() // a connection of somebody's has the number
	}
	t.Fatal("no port of 127.0.0.1 is free for both UDP and TCP")
	return nil, nil
}

// says answers each question with the given records, whose owner "@" is the name asked for.
func says(rcode int, records ...string) func(string, *upstream.Msg) *upstream.Msg {
	return func(_ string, m *upstream.Msg) *upstream.Msg {
		reply := (&upstream.Msg{}).SetRcode(m, rcode)
		for _, text := range records {
			if text[0] == '@' {
				text = m.Question[0].Name + text[1:]
			}
			r, err := upstream.NewRR(text)
			if err != nil {
				panic(err)
			}
			if r.Header().Rrtype == upstream.TypeSOA {
				reply.Ns = append(reply.Ns, r)
			} else {
				reply.Answer = append(reply.Answer, r)
			}
		}
		return reply
	}
}

func asking(servers ...*resolver) func(*dns.Config) {
	return func(c *dns.Config) {
		c.Upstreams = func() []string {
			var all []string
			for _, r := range servers {
				all = append(all, r.address)
			}
			return all
		}
	}
}

func TestOtherNamesAreAskedOfOthersOnce(t *testing.T) {
	r := resolve(t, says(upstream.RcodeSuccess, "@ 300 IN A 192.0.2.1"))
	w := start(t, asking(r), demo()...)
	for _, network := range []string{"udp", "tcp", "udp"} {
		m := w.ask(t, network, "wWw.Example.com.", upstream.TypeA)
		if got := text(m); got != "NOERROR A 192.0.2.1" || !m.RecursionAvailable || m.Authoritative || m.Answer[0].Header().Name != "wWw.Example.com." {
			t.Errorf("%s: %v", network, m)
		}
	}
	w.ask(t, "udp", "www.example.com.", upstream.TypeA)
	if n := r.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
	if c := w.server.Counters(); c.Forwarded != 1 || c.Cached != 3 || c.Queries != 4 {
		t.Errorf("%+v", c)
	}
	m := &upstream.Msg{}
	m.SetQuestion("www.example.com.", upstream.TypeA)
	m.RecursionDesired = false
	if got := text(w.exchange(t, "udp", m)); got != "REFUSED" {
		t.Errorf("who does not want others to be asked: %s", got)
	}
}

func TestThatThereIsNothingIsRememberedAsLongAsTheZoneSays(t *testing.T) {
	for _, test := range []struct {
		records []string
		asked   int64
	}{
		{[]string{"example.com. 300 IN SOA a. b. 1 2 3 4 300"}, 1},
		{[]string{"example.com. 300 IN SOA a. b. 1 2 3 4 0"}, 2},
		{nil, 2},
	} {
		r := resolve(t, says(upstream.RcodeNameError, test.records...))
		w := start(t, asking(r))
		for range 2 {
			if m := w.ask(t, "udp", "no.example.com.", upstream.TypeA); m.Rcode != upstream.RcodeNameError {
				t.Errorf("%v", m)
			}
		}
		if n := r.asked.Load(); n != test.asked {
			t.Errorf("%v: asked %d times, want %d", test.records, n, test.asked)
		}
	}
}

func TestAResolverThatFailsIsPassedOver(t *testing.T) {
	good := resolve(t, says(upstream.RcodeSuccess, "@ 0 IN A 192.0.2.1"))
	for name, bad := range map[string]func(string, *upstream.Msg) *upstream.Msg{
		"fails":    says(upstream.RcodeServerFailure),
		"refuses":  says(upstream.RcodeRefused),
		"is quiet": func(string, *upstream.Msg) *upstream.Msg { return nil },
		"answers another question": func(_ string, m *upstream.Msg) *upstream.Msg {
			m.Question[0].Name = "evil.example.com."
			return says(upstream.RcodeSuccess, "@ 300 IN A 203.0.113.1")("", m)
		},
		"answers with another ID": func(_ string, m *upstream.Msg) *upstream.Msg {
			m.Id++
			return says(upstream.RcodeSuccess, "@ 300 IN A 203.0.113.1")("", m)
		},
		"asks": func(_ string, m *upstream.Msg) *upstream.Msg { return m },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := resolve(t, bad)
			w := start(t, asking(first, good))
			for range 2 {
				if got := text(w.ask(t, "udp", "www.example.com.", upstream.TypeA)); got != "NOERROR A 192.0.2.1" {
					t.Error(got)
				}
			}
			if n := first.asked.Load(); name == "is quiet" && n != 1 {
				t.Errorf("who does not answer was asked %d times", n)
			}
		})
	}
}

func TestWithNobodyToAskOrWithoutAnAnswerThereIsAWord(t *testing.T) {
	w := start(t, nil)
	if got := text(w.ask(t, "udp", "example.com.", upstream.TypeA)); got != "REFUSED" {
		t.Errorf("nobody to ask: %s", got)
	}
	failing := start(t, asking(resolve(t, says(upstream.RcodeServerFailure))))
	if got := text(failing.ask(t, "udp", "example.com.", upstream.TypeA)); got != "SERVFAIL" {
		t.Errorf("nobody answers: %s", got)
	}
	if c := failing.server.Counters(); c.Failed != 1 {
		t.Errorf("%+v", c)
	}
}

func TestALongAnswerIsFetchedByTCP(t *testing.T) {
	r := resolve(t, func(network string, m *upstream.Msg) *upstream.Msg {
		var records []string
		for n := range 200 {
			records = append(records, fmt.Sprintf("@ 300 IN A 192.0.2.%d", n))
		}
		reply := says(upstream.RcodeSuccess, records...)(network, m)
		if network == "udp" {
			reply.Truncate(512)
		}
		return reply
	})
	w := start(t, asking(r))
	if m := w.ask(t, "tcp", "long.example.com.", upstream.TypeA); m.Truncated || len(m.Answer) != 200 {
		t.Errorf("by TCP: truncated %v with %d answers", m.Truncated, len(m.Answer))
	}
	if m := w.ask(t, "udp", "long.example.com.", upstream.TypeA); !m.Truncated {
		t.Errorf("by UDP: not truncated with %d answers", len(m.Answer))
	}
}

func TestAResolverWithoutEDNSIsAskedWithout(t *testing.T) {
	r := resolve(t, func(network string, m *upstream.Msg) *upstream.Msg {
		if m.IsEdns0() != nil {
			return (&upstream.Msg{}).SetRcodeFormatError(m)
		}
		return says(upstream.RcodeSuccess, "@ 300 IN A 192.0.2.1")(network, m)
	})
	w := start(t, asking(r))
	if got := text(w.ask(t, "udp", "www.example.com.", upstream.TypeA)); got != "NOERROR A 192.0.2.1" {
		t.Error(got)
	}
}

// TestManyWhoAskTheSameMakeOneQuestion: only one is under way at a time.
func TestManyWhoAskTheSameMakeOneQuestion(t *testing.T) {
	open := make(chan struct{})
	r := resolve(t, func(network string, m *upstream.Msg) *upstream.Msg {
		<-open
		return says(upstream.RcodeSuccess, "@ 300 IN A 192.0.2.1")(network, m)
	})
	w := start(t, asking(r))
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if got := text(w.ask(t, "udp", "www.example.com.", upstream.TypeA)); got != "NOERROR A 192.0.2.1" {
				t.Error(got)
			}
		})
	}
	waitFor(t, "all have asked", func() bool { return w.server.Counters().Queries == 20 })
	close(open)
	group.Wait()
	if n := r.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

// TestWeAreNotAskedByOurselves: a resolver that is this server is passed over; one that asks us back ends in a failure,
// not in a storm.
func TestWeAreNotAskedByOurselves(t *testing.T) {
	var us atomic.Pointer[string]
	w := start(t, func(c *dns.Config) {
		c.Listen = []string{"0.0.0.0:0"}
		c.Upstreams = func() []string {
			return []string{net.JoinHostPort("127.0.0.1", *us.Load()), net.JoinHostPort("127.7.7.7", *us.Load())}
		}
	})
	_, port, _ := net.SplitHostPort(w.address)
	us.Store(&port)
	w.address = net.JoinHostPort("127.0.0.1", port)
	if got := text(w.ask(t, "udp", "example.com.", upstream.TypeA)); got != "REFUSED" {
		t.Errorf("only ourselves to ask: %s", got)
	}

	back := resolve(t, func(_ string, m *upstream.Msg) *upstream.Msg {
		r, _, err := (&upstream.Client{Timeout: 10 * time.Second}).Exchange(m, *us.Load())
		if err != nil {
			return nil
		}
		return r
	})
	loop := start(t, asking(back))
	us.Store(&loop.address)
	if got := text(loop.ask(t, "udp", "example.com.", upstream.TypeA)); got != "SERVFAIL" {
		t.Errorf("a loop: %s", got)
	}
	if n := back.asked.Load(); n > 10 {
		t.Errorf("the loop went round %d times", n)
	}
}

func TestOnlyWhoIsNearMayAskForOtherNames(t *testing.T) {
	r := resolve(t, says(upstream.RcodeSuccess, "@ 300 IN A 192.0.2.1"))
	w := start(t, func(c *dns.Config) {
		asking(r)(c)
		c.Near = func(client netip.Addr) bool { return client != netip.MustParseAddr("127.0.0.1") }
	}, demo()...)
	for _, network := range []string{"udp", "tcp"} {
		m := w.ask(t, network, "www.example.com.", upstream.TypeA)
		if m.Rcode != upstream.RcodeRefused || m.RecursionAvailable {
			t.Errorf("%s: %v", network, m)
		}
		if m := w.ask(t, network, "node1.node.cluster.internal.", upstream.TypeA); len(m.Answer) != 1 || m.RecursionAvailable {
			t.Errorf("%s: %v", network, m)
		}
	}
	if r.asked.Load() != 0 || w.server.Counters().Refused != 2 {
		t.Errorf("asked %d, %+v", r.asked.Load(), w.server.Counters())
	}
}
