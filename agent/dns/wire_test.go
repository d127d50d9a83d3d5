package dns_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	upstream "github.com/miekg/dns"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/dns"
)

// crowd is a service on so many nodes.
func crowd(n int) []cluster.Member {
	var members []cluster.Member
	for i := range n {
		members = append(members, member(i+1, cluster.Endpoint{Service: "web", Port: 80}))
	}
	return members
}

func TestWhatDoesNotFitIsCutAndAskedForByTCP(t *testing.T) {
	w := start(t, nil, crowd(300)...)
	for _, test := range []struct {
		kind uint16
		size uint16 // 0 is no EDNS
		most int
	}{{upstream.TypeA, 0, 512}, {upstream.TypeA, 100, 512}, {upstream.TypeA, 800, 800}, {upstream.TypeA, 4096, 1232}, {upstream.TypeSRV, 1232, 1232}} {
		m := &upstream.Msg{}
		m.SetQuestion("web.cluster.internal.", test.kind)
		if test.size > 0 {
			m.SetEdns0(test.size, true)
		}
		r := w.exchange(t, "udp", m)
		r.Compress = true
		if !r.Truncated || len(r.Answer) == 0 || r.Len() > test.most {
			t.Errorf("size %d: truncated %v with %d answers", test.size, r.Truncated, len(r.Answer))
		}
		if opt := r.IsEdns0(); (opt != nil) != (test.size > 0) || opt != nil && !opt.Do() {
			t.Errorf("size %d: EDNS is %v", test.size, opt)
		}
		if r := w.exchange(t, "tcp", m); r.Truncated || len(r.Answer) != 300 {
			t.Errorf("by TCP: truncated %v with %d answers", r.Truncated, len(r.Answer))
		}
	}
	if got := w.server.Counters().Truncated; got != 5 {
		t.Errorf("%d answers are counted as cut", got)
	}
}

func TestAFewEndpointsFitWithoutEDNS(t *testing.T) {
	w := start(t, nil, crowd(20)...)
	m := w.ask(t, "udp", "web.cluster.internal.", upstream.TypeA)
	if m.Truncated || len(m.Answer) != 20 {
		t.Errorf("truncated %v with %d answers", m.Truncated, len(m.Answer))
	}
}

// raw sends bytes and gives what comes back, nil if nothing does before the answer to a question that is sent after it.
func (w *world) raw(t testing.TB, packet []byte) []byte {
	t.Helper()
	conn, err := net.Dial("udp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	last := &upstream.Msg{}
	last.SetQuestion("last.cluster.internal.", upstream.TypeA)
	last.Id = 0xbeef
	question, _ := last.Pack()
	conn.Write(packet)
	conn.Write(question)
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatal(err)
	}
	if binary.BigEndian.Uint16(answer) == 0xbeef {
		return nil
	}
	return answer[:n]
}

func TestPacketsThatAreNoQuestions(t *testing.T) {
	w := start(t, nil, demo()...)
	question := func(change func(*upstream.Msg)) []byte {
		m := &upstream.Msg{}
		m.SetQuestion("web.cluster.internal.", upstream.TypeA)
		change(m)
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return packet
	}
	none := -1
	for _, test := range []struct {
		name   string
		packet []byte
		rcode  int
	}{
		{"nothing", []byte{}, none},
		{"half a header", make([]byte, 11), none},
		{"an answer", question(func(m *upstream.Msg) { m.Response = true }), none},
		{"an update", question(func(m *upstream.Msg) { m.Opcode = upstream.OpcodeUpdate }), upstream.RcodeNotImplemented},
		{"no question", question(func(m *upstream.Msg) { m.Question = nil }), upstream.RcodeFormatError},
		{"two questions", question(func(m *upstream.Msg) { m.Question = slices.Repeat(m.Question, 2) }), upstream.RcodeFormatError},
		{"half a question", question(func(*upstream.Msg) {})[:20], upstream.RcodeFormatError},
		{"a pointer as name", append(make([]byte, 5), 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1), upstream.RcodeFormatError},
		{"another class", question(func(m *upstream.Msg) { m.Question[0].Qclass = upstream.ClassCHAOS }), upstream.RcodeRefused},
		{"two OPT", question(func(m *upstream.Msg) { m.SetEdns0(1232, false); m.Extra = slices.Repeat(m.Extra, 2) }), upstream.RcodeFormatError},
		{"garbage behind a question", append(question(func(*upstream.Msg) {}), 1, 2, 3), upstream.RcodeSuccess},
		{"another EDNS", question(func(m *upstream.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }), upstream.RcodeBadVers},
	} {
		answer := w.raw(t, test.packet)
		if answer == nil {
			if test.rcode != none {
				t.Errorf("%s: no answer", test.name)
			}
			continue
		}
		m := &upstream.Msg{}
		if err := m.Unpack(answer); err != nil || m.Rcode != test.rcode || !m.Response {
			t.Errorf("%s: %v, %v", test.name, m, err)
		}
	}
}

func TestOneConnectionAsksOften(t *testing.T) {
	w := start(t, nil, demo()...)
	conn, err := upstream.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	for n := range 20 { // all at once
		m := &upstream.Msg{}
		m.SetQuestion(fmt.Sprintf("node%d.node.cluster.internal.", n%5), upstream.TypeA)
		m.Id = uint16(n)
		if err := conn.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 20 {
		m, err := conn.ReadMsg()
		if err != nil || m.Id != uint16(n) {
			t.Fatalf("answer %d: %v, %v", n, m, err)
		}
	}
}

func TestTooManyConnectionsOfOneClientAreClosed(t *testing.T) {
	w := start(t, nil, demo()...)
	var open []net.Conn
	for range 100 {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		open = append(open, conn)
	}
	waitFor(t, "some are closed", func() bool { return w.server.Counters().Dropped == 36 })
	for _, conn := range open {
		conn.Close()
	}
	waitFor(t, "there is room again", func() bool {
		m := &upstream.Msg{}
		m.SetQuestion("web.cluster.internal.", upstream.TypeA)
		r, _, err := (&upstream.Client{Net: "tcp"}).Exchange(m, w.address)
		return err == nil && len(r.Answer) == 2
	})
}

func TestGarbageOnAConnectionEndsIt(t *testing.T) {
	w := start(t, nil, demo()...)
	for _, garbage := range []string{"\xff\xff", "\x00\x00", "\x00\x05hello", "GET / HTTP/1.1\r\n\r\n"} {
		conn, err := net.Dial("tcp", w.address)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, garbage)
		if n, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") || n != 0 {
			t.Errorf("%q: %d bytes, %v", garbage, n, err)
		}
		conn.Close()
	}
}

// TestAllAddressesAnswerFromTheOneAsked: a client that asked one address takes no answer from another.
func TestAllAddressesAnswerFromTheOneAsked(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "[::]:0"} {
		w := start(t, func(c *dns.Config) { c.Listen = []string{listen} }, demo()...)
		_, port, _ := net.SplitHostPort(w.address)
		hosts := []string{"127.0.0.1", "127.0.0.9"}
		if listen == "[::]:0" {
			hosts = append(hosts, "::1")
		}
		for _, host := range hosts {
			w.address = net.JoinHostPort(host, port)
			if got := text(w.ask(t, "udp", "node1.node.cluster.internal.", upstream.TypeA)); got != "NOERROR A 10.0.0.1" {
				t.Errorf("%s: %s", w.address, got)
			}
		}
	}
}

func TestAPortInUseIsSaid(t *testing.T) {
	w := start(t, nil, demo()...)
	if _, err := dns.Open(dns.Config{Listen: []string{w.address}, Catalog: w.catalog.Load}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("a second server: %v", err)
	}
}

// TestFurtherAddresses listens before and while the server runs, and not any more when it has ended.
func TestFurtherAddresses(t *testing.T) {
	w := start(t, nil, demo()...)
	server, err := dns.Open(dns.Config{Listen: []string{"127.0.0.1:0"}, Catalog: w.catalog.Load})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Listen("127.0.0.2:0"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	var many sync.WaitGroup
	for n := range 20 {
		many.Go(func() {
			if err := server.Listen(fmt.Sprintf("127.0.0.%d:0", 3+n)); err != nil {
				t.Error(err)
			}
		})
	}
	many.Wait()
	if err := server.Listen(w.address); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("an address that others have: %v", err)
	}
	all := server.Addresses()
	if len(all) != 22 {
		t.Errorf("it listens on %v", all)
	}
	for _, at := range all {
		w.address = at.String()
		for _, network := range []string{"udp", "tcp"} {
			if got := text(w.ask(t, network, "node1.node.cluster.internal.", upstream.TypeA)); got != "NOERROR A 10.0.0.1" {
				t.Errorf("%s on %s: %s", at, network, got)
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := server.Listen("127.0.0.1:0"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("at its end: %v", err)
	}
}

func TestGivenSocketsAreAnswered(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// Hidden behind another type it is read packet by packet, as what is no socket would be.
	w := start(t, func(c *dns.Config) { c.Listen, c.Packets = nil, []net.PacketConn{struct{ net.PacketConn }{conn}} }, demo()...)
	w.address = conn.LocalAddr().String()
	if got := text(w.ask(t, "udp", "node1.node.cluster.internal.", upstream.TypeA)); got != "NOERROR A 10.0.0.1" {
		t.Error(got)
	}
}

// FuzzPacket sends packets to a server. It must live, and answer only what other implementations understand.
func FuzzPacket(f *testing.F) {
	w := start(f, func(c *dns.Config) { c.Near = func(netip.Addr) bool { return false } }, demo()...)
	for name := range strings.FieldsSeq("web.cluster.internal. _web._tcp.cluster.internal. v1.tag.web.team.ns.cluster.internal. 1.0.0.10.in-addr.arpa. . example.com.") {
		m := &upstream.Msg{}
		m.SetQuestion(name, upstream.TypeSRV)
		packet, _ := m.Pack()
		f.Add(packet)
		m.SetEdns0(1232, true)
		packet, _ = m.Pack()
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) > 1<<15 || len(packet) > 1 && packet[0] == 0xbe && packet[1] == 0xef {
			return
		}
		answer := w.raw(t, packet)
		if answer == nil {
			return
		}
		m := &upstream.Msg{}
		if err := m.Unpack(answer); err != nil {
			t.Fatalf("%x is answered by %x: %v", packet, answer, err)
		}
		if !m.Response || m.Id != binary.BigEndian.Uint16(packet) || len(answer) > 1232 {
			t.Fatalf("%x is answered by %v", packet, m)
		}
	})
}
