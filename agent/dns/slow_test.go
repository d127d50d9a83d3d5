package dns_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	upstream "github.com/miekg/dns"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/dns"
)

// pipes is a listener whose connections are pipes in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// TestSlowClientsAreLeft: one that says nothing, one that stops in the middle of a question, and one that does not read.
func TestSlowClientsAreLeft(t *testing.T) {
	question := &upstream.Msg{}
	question.SetQuestion("web.cluster.internal.", upstream.TypeA)
	packet, err := question.Pack()
	if err != nil {
		t.Fatal(err)
	}
	whole := append([]byte{0, byte(len(packet))}, packet...)
	for _, test := range []struct {
		name  string
		says  []byte
		reads bool
		after time.Duration
	}{
		{"nothing", nil, true, 10 * time.Second},
		{"half a length", whole[:1], true, 10 * time.Second},
		{"half a question", whole[:9], true, 10 * time.Second},
		{"a question, and then nothing", whole, true, 10 * time.Second},
		{"a question, and does not read", whole, false, 5 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			listener := &pipes{make(chan net.Conn), make(chan struct{})}
			catalog := cluster.NewCatalog(demo())
			server, err := dns.Open(dns.Config{Streams: []net.Listener{listener}, Catalog: func() *cluster.Catalog { return catalog }})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- server.Run(ctx) }()
			ours, theirs := net.Pipe()
			listener.conns <- theirs
			begin := time.Now()
			ours.Write(test.says)
			if !test.reads {
				time.Sleep(6 * time.Second)
				begin = begin.Add(time.Second)
			}
			io.Copy(io.Discard, ours)
			if took := time.Since(begin); took != test.after {
				t.Errorf("%s: left after %v, want %v", test.name, took, test.after)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTheEndOfTheServerEndsItsConnections: Run returns while clients hold connections open, and while an answer of
// others is awaited.
func TestTheEndOfTheServerEndsItsConnections(t *testing.T) {
	quiet := resolve(t, func(string, *upstream.Msg) *upstream.Msg { return nil })
	w := start(t, asking(quiet), demo()...)
	conn, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	m := &upstream.Msg{}
	m.SetQuestion("example.com.", upstream.TypeA)
	packet, _ := m.Pack()
	udp, err := net.Dial("udp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close() })
	udp.Write(packet)
	waitFor(t, "the question is under way", func() bool { return quiet.asked.Load() > 0 })
}

func TestIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	} else {
		l.Close()
	}
	r := resolve(t, says(upstream.RcodeSuccess, "@ 300 IN AAAA 2001:db8::1"))
	w := start(t, func(c *dns.Config) {
		c.Listen = []string{"[::1]:0"}
		asking(r)(c)
	}, demo()...)
	for _, network := range []string{"udp", "tcp"} {
		if got := text(w.ask(t, network, "db.cluster.internal.", upstream.TypeAAAA)); got != "NOERROR AAAA fd00::5" {
			t.Errorf("%s: %s", network, got)
		}
		if got := text(w.ask(t, network, "example.com.", upstream.TypeAAAA)); got != "NOERROR AAAA 2001:db8::1" {
			t.Errorf("%s: %s", network, got)
		}
	}
}
