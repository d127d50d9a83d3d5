package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// Server answers on some addresses. Open makes one, Run answers, and both ends of its life are in the hands of who has
// opened it.
type Server struct {
	config  Config
	zone    *zone
	forward *forwarder
	near    func(netip.Addr) bool
	slow    counts // of all but the goroutines that read packets

	open    sync.Mutex // guards what is listened on
	packets []*packetConn
	streams []net.Listener
	answer  func([]*packetConn, []net.Listener) // has them answered, while Run does; else nil
	closed  bool

	mu    sync.Mutex
	conns map[netip.Addr]int // TCP connections of each client
	total int                // of them
}

// packetConn is a UDP socket and what its reader counts.
type packetConn struct {
	batchConn
	local  net.Addr
	counts counts
}

// Open listens. The server must be run, or closed.
func Open(config Config) (*Server, error) {
	config.setDefaults()
	zone, err := newZone(config.Zone, config.Node, uint32(config.TTL.Seconds()))
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, zone: zone, conns: map[netip.Addr]int{}}
	machine := &machine{}
	if s.near = config.Near; s.near == nil {
		s.near = machine.near
	}
	for _, conn := range config.Packets {
		s.packets = append(s.packets, &packetConn{batchConn: newBatchConn(conn), local: conn.LocalAddr()})
	}
	s.streams = append(s.streams, config.Streams...)
	for _, address := range config.Listen {
		if err := s.Listen(address); err != nil {
			s.Close()
			return nil, err
		}
	}
	s.forward = newForwarder(config.Upstreams, s.isOurs(machine), &s.slow)
	return s, nil
}

// readersPerAddress is how many sockets share an address, so that several cores answer.
func readersPerAddress() int { return min(runtime.GOMAXPROCS(0), 4) }

// Listen answers on a further address (host:port), by UDP and TCP, at once or when the server is run. It may be called by
// several goroutines, also while the server runs.
func (s *Server) Listen(address string) error {
	s.open.Lock()
	defer s.open.Unlock()
	packets, streams := len(s.packets), len(s.streams)
	err := net.ErrClosed
	if !s.closed {
		err = s.listenLocked(address)
	}
	if err != nil {
		return fmt.Errorf("listen for DNS on %s: %w", address, err)
	}
	if s.answer != nil {
		s.answer(s.packets[packets:], s.streams[streams:])
	}
	return nil
}

// listenLocked opens TCP first: two servers may share a UDP port, and would share the questions, but never a TCP port.
func (s *Server) listenLocked(address string) error {
	stream, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	address = stream.Addr().String() // with the port, should any do
	packets, err := listenPackets(address, readersPerAddress())
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	s.streams = append(s.streams, stream)
	for _, conn := range packets {
		s.packets = append(s.packets, &packetConn{batchConn: newBatchConn(conn), local: conn.LocalAddr()})
	}
	return nil
}

// isOurs reports whether a resolver's address is one that we answer on ourselves.
func (s *Server) isOurs(machine *machine) func(netip.AddrPort) bool {
	return func(upstream netip.AddrPort) bool {
		to := upstream.Addr().Unmap()
		for _, at := range s.listening() {
			if at.Port() == upstream.Port() && (at.Addr() == to || at.Addr().IsUnspecified() && (to.IsUnspecified() || machine.isOwn(to))) {
				return true
			}
		}
		return false
	}
}

// listening are the addresses of all sockets.
func (s *Server) listening() []netip.AddrPort {
	s.open.Lock()
	defer s.open.Unlock()
	var ours []netip.AddrPort
	for _, stream := range s.streams {
		if at, ok := stream.Addr().(*net.TCPAddr); ok {
			ours = append(ours, netip.AddrPortFrom(at.AddrPort().Addr().Unmap(), uint16(at.Port)))
		}
	}
	for _, conn := range s.packets {
		if at, ok := conn.local.(*net.UDPAddr); ok {
			ours = append(ours, netip.AddrPortFrom(at.AddrPort().Addr().Unmap(), uint16(at.Port)))
		}
	}
	return ours
}

// Addresses are those that are listened on by TCP, UDP being the same, in the order of the configuration.
func (s *Server) Addresses() []net.Addr {
	s.open.Lock()
	defer s.open.Unlock()
	all := make([]net.Addr, len(s.streams))
	for i, stream := range s.streams {
		all[i] = stream.Addr()
	}
	return all
}

// Counters says what was done so far.
func (s *Server) Counters() Counters {
	var sum Counters
	s.slow.addTo(&sum)
	s.open.Lock()
	defer s.open.Unlock()
	for _, conn := range s.packets {
		conn.counts.addTo(&sum)
	}
	return sum
}

// Close ends a server that is not run.
func (s *Server) Close() error {
	s.open.Lock()
	defer s.open.Unlock()
	s.closed = true
	var errs []error
	for _, conn := range s.packets {
		errs = append(errs, conn.close())
	}
	for _, stream := range s.streams {
		errs = append(errs, stream.Close())
	}
	return errors.Join(errs...)
}

// Run answers until the context ends, which is no error. When it returns all goroutines have ended and all addresses
// are free again.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	var forwards errgroup.Group
	forwards.SetLimit(maxForwards)
	answer := func(packets []*packetConn, streams []net.Listener) {
		for _, conn := range packets {
			group.Go(func() error {
				if err := s.answerPackets(ctx, conn, &forwards); err != nil {
					return fmt.Errorf("answer DNS on %s: %w", conn.local, err)
				}
				return nil
			})
		}
		for _, stream := range streams {
			group.Go(func() error {
				if err := s.accept(ctx, stream); err != nil {
					return fmt.Errorf("answer DNS on %s: %w", stream.Addr(), err)
				}
				return nil
			})
		}
	}
	s.open.Lock()
	s.answer = answer
	answer(s.packets, s.streams)
	s.open.Unlock()
	group.Go(func() error { // as long as others may be added, so that nobody adds to a group that has ended
		<-ctx.Done()
		s.open.Lock()
		defer s.open.Unlock()
		s.answer = nil
		return nil
	})
	stop := context.AfterFunc(ctx, func() { s.Close() })
	err := group.Wait()
	if stop() {
		s.Close()
	}
	return errors.Join(err, forwards.Wait())
}

// refuse appends the answer to a question for a name that is not ours, from a client that may not ask it here.
func (s *Server) refuse(out []byte, q *query, c *counts) []byte {
	c.refused.Add(1)
	return appendError(out, q, dns.RcodeRefused)
}
