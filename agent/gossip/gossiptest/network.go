// Package gossiptest is a network in memory for tests of the gossip between nodes, in testing/synctest or outside: packets
// and streams that can be lost, late, cut off and held back. In synctest, under the race detector, use Bubble.
package gossiptest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Network connects the transports that were opened on it. Its methods may be called at any time, concurrently. Without
// faults everything arrives, at once.
type Network struct {
	mu     sync.Mutex
	random *rand.Rand
	loss   float64
	delay  time.Duration
	jitter time.Duration
	nodes  map[netip.AddrPort]*Transport
	cut    map[pair]bool
	held   map[netip.AddrPort]bool
	sent   uint64
	bytes  uint64
}

type pair struct{ from, to netip.AddrPort }

const (
	packetBuffer = 1024
	streamBuffer = 64
	synTimeout   = time.Second // until a lost dial is repeated, doubling
)

// New is a network without faults. The seed decides which packets are lost.
func New(seed uint64) *Network {
	return &Network{
		random: rand.New(rand.NewPCG(seed, 1)),
		nodes:  map[netip.AddrPort]*Transport{}, cut: map[pair]bool{}, held: map[netip.AddrPort]bool{},
	}
}

// Lose makes so much of all packets be lost from now on (0 to 1), each way; dialling is repeated as TCP does, streams that
// stand lose nothing.
func (n *Network) Lose(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// Delay makes packets and dialling take so long, and up to jitter more, so that packets overtake one another.
func (n *Network) Delay(delay, jitter time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay, n.jitter = delay, jitter
}

// Cut makes the two addresses silent to one another, like a cable that was pulled: dialling times out.
func (n *Network) Cut(a, b netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[pair{a, b}], n.cut[pair{b, a}] = true, true
}

// CutOneWay makes nothing come from one address to the other any more; what the other sends still arrives.
func (n *Network) CutOneWay(from, to netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[pair{from, to}] = true
}

// Isolate cuts the address off from everybody who is there now.
func (n *Network) Isolate(a netip.AddrPort) {
	n.mu.Lock()
	all := make([]netip.AddrPort, 0, len(n.nodes))
	for b := range n.nodes {
		all = append(all, b)
	}
	n.mu.Unlock()
	for _, b := range all {
		if b != a {
			n.Cut(a, b)
		}
	}
}

// Split cuts each of one side off from each of the other.
func (n *Network) Split(one, other []netip.AddrPort) {
	for _, a := range one {
		for _, b := range other {
			n.Cut(a, b)
		}
	}
}

// Heal ends all cuts.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// Suspend makes the address neither send nor hear, like a process that was stopped: what others send waits, as far as
// sockets have room; what it sends itself is lost.
func (n *Network) Suspend(a netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held[a] = true
}

// Resume ends Suspend; what waited arrives.
func (n *Network) Resume(a netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.held, a)
	if t := n.nodes[a]; t != nil {
		for _, p := range t.waiting {
			t.deliver(p)
		}
		t.waiting = nil
	}
}

// Sent is how many packets were given to the network, and their bytes.
func (n *Network) Sent() (packets, bytes uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent, n.bytes
}

// Connected reports whether a packet from one address would reach the other, losses aside. Tests ask it for what does not
// travel on this network but should fail with it.
func (n *Network) Connected(a, b netip.AddrPort) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.cut[pair{a, b}] && !n.held[a] && !n.held[b] && n.nodes[a] != nil && n.nodes[b] != nil
}

// Open is a new transport at the address, in place of one that is there.
func (n *Network) Open(at netip.AddrPort) *Transport {
	t := &Transport{network: n, at: at, packets: make(chan *memberlist.Packet, packetBuffer), streams: make(chan net.Conn, streamBuffer)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.nodes[at] = t
	return t
}

// Transport is one node's end; memberlist's Transport.
type Transport struct {
	network *Network
	at      netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	waiting []*memberlist.Packet // under network.mu
}

var _ memberlist.Transport = (*Transport)(nil)

// FinalAdvertiseAddr is the address that the transport was opened at.
func (t *Transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.at.Addr().AsSlice(), int(t.at.Port()), nil
}

// WriteTo sends a packet. As with UDP, an error is no news of whether it arrives.
func (t *Transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	n := t.network
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	n.bytes += uint64(len(b))
	if n.nodes[t.at] != t {
		return now, net.ErrClosed
	}
	if n.cut[pair{t.at, to}] || n.held[t.at] || n.random.Float64() < n.loss {
		return now, nil
	}
	packet := &memberlist.Packet{Buf: append([]byte{}, b...), From: net.UDPAddrFromAddrPort(t.at)}
	late := n.latencyLocked()
	if late == 0 {
		n.arriveLocked(packet, to)
		return now, nil
	}
	time.AfterFunc(late, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.arriveLocked(packet, to)
	})
	return now, nil
}

func (n *Network) latencyLocked() time.Duration {
	if n.jitter == 0 {
		return n.delay
	}
	return n.delay + time.Duration(n.random.Int64N(int64(n.jitter)))
}

func (n *Network) arriveLocked(p *memberlist.Packet, to netip.AddrPort) {
	t := n.nodes[to]
	switch {
	case t == nil:
	case n.held[to]:
		if len(t.waiting) < packetBuffer {
			t.waiting = append(t.waiting, p)
		}
	default:
		t.deliver(p)
	}
}

// deliver drops the packet if the receiver's buffer is full.
func (t *Transport) deliver(p *memberlist.Packet) {
	p.Timestamp = time.Now()
	select {
	case t.packets <- p:
	default:
	}
}

// PacketCh is where packets arrive.
func (t *Transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh is where streams arrive.
func (t *Transport) StreamCh() <-chan net.Conn { return t.streams }

// DialTimeout makes a stream. Nobody there is an error at once, a cut one after the timeout.
func (t *Transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	n := t.network
	n.mu.Lock()
	late := 2 * n.latencyLocked()
	for again := synTimeout; n.random.Float64() < n.loss*(2-n.loss) && late < timeout; again *= 2 {
		late += again
	}
	silent := n.cut[pair{t.at, to}] || n.cut[pair{to, t.at}] || n.held[t.at] || n.held[to]
	n.mu.Unlock()
	if silent || late >= timeout {
		<-time.After(timeout)
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	if late > 0 {
		<-time.After(late)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	other := n.nodes[to]
	if other == nil || n.nodes[t.at] != t {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errRefused}
	}
	here, there := net.Pipe()
	line := pair{t.at, to}
	select {
	case other.streams <- &stream{there, n, line}:
		return &stream{here, n, line}, nil
	default:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("the queue of %s is full", to)}
	}
}

var errRefused = errors.New("connection refused")

// Shutdown takes the transport off the network.
func (t *Transport) Shutdown() error {
	t.network.mu.Lock()
	defer t.network.mu.Unlock()
	if t.network.nodes[t.at] == t {
		delete(t.network.nodes, t.at)
	}
	for {
		select {
		case conn := <-t.streams:
			conn.Close()
		default:
			return nil
		}
	}
}

// stream is a pipe that breaks when it is cut.
type stream struct {
	net.Conn
	network *Network
	line    pair
}

func (s *stream) Write(b []byte) (int, error) {
	s.network.mu.Lock()
	broken := s.network.cut[s.line] || s.network.held[s.line.from] || s.network.held[s.line.to]
	s.network.mu.Unlock()
	if broken {
		s.Close()
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: os.ErrDeadlineExceeded}
	}
	return s.Conn.Write(b)
}
