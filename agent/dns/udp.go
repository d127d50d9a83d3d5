package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
	"golang.org/x/sync/errgroup"
)

// message is a packet with its peer. OOB says to which of our addresses it came, if the socket has several.
type message = ipv4.Message

// batchConn reads and writes packets, several at once where the system can. Neither may be called concurrently with
// itself, but for writeOne.
type batchConn interface {
	read(ms []message) (int, error)
	write(ms []message) (int, error) // at least one, or an error about the first
	writeOne(m message) error
	close() error
}

// plainConn is a connection about which nothing else is known.
type plainConn struct{ conn net.PacketConn }

func (c plainConn) read(ms []message) (int, error) {
	n, from, err := c.conn.ReadFrom(ms[0].Buffers[0])
	ms[0].N, ms[0].NN, ms[0].Addr = n, 0, from
	if err != nil {
		return 0, err
	}
	return 1, nil
}

func (c plainConn) write(ms []message) (int, error) { return 1, c.writeOne(ms[0]) }

func (c plainConn) writeOne(m message) error {
	_, err := c.conn.WriteTo(m.Buffers[0], m.Addr)
	return err
}

func (c plainConn) close() error { return c.conn.Close() }

const (
	batchSize   = 64
	oobSize     = 64
	maxFailures = 100 // of reads one after another, in some five seconds
)

// batch is the memory of a reader.
type batch struct {
	in, out []message
}

func newBatch() *batch {
	b := &batch{make([]message, batchSize), make([]message, batchSize)}
	for i := range batchSize {
		b.in[i].Buffers = [][]byte{make([]byte, maxQuestion)}
		b.in[i].OOB = make([]byte, oobSize)
		b.out[i].Buffers = [][]byte{make([]byte, 0, packetSize)}
	}
	return b
}

// answerPackets reads and answers until the context ends.
func (s *Server) answerPackets(ctx context.Context, conn *packetConn, forwards *errgroup.Group) error {
	a := newAnswerer(s.zone, &conn.counts, s.near)
	b := newBatch()
	failures := 0
	for {
		n, err := conn.read(b.in)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			// An error may be about a packet sent before, or pass. One that stays is for good.
			if failures++; failures > maxFailures {
				return err
			}
			rest(ctx, time.Duration(failures)*time.Millisecond)
			continue
		}
		failures = 0
		a.use(s.config.Catalog())
		written := 0
		for i := range n {
			if s.answerPacket(ctx, a, conn, &b.in[i], &b.out[written], forwards) {
				written++
			}
		}
		for from := 0; from < written; {
			sent, err := conn.write(b.out[from:written])
			if err != nil || sent <= 0 {
				conn.counts.dropped.Add(1)
				sent = max(sent, 1)
			}
			from += sent
		}
	}
}

// answerPacket reports whether there is something to send. What has to wait is done by a goroutine of the group.
func (s *Server) answerPacket(ctx context.Context, a *answerer, conn *packetConn, in, out *message, forwards *errgroup.Group) bool {
	packet := in.Buffers[0][:in.N]
	client := addressOf(in.Addr)
	reply, q, what := a.reply(out.Buffers[0][:0], packet, client, 0)
	out.Addr, out.OOB = in.Addr, sourceOf(in.OOB[:in.NN])
	switch what {
	case verdictDrop:
		return false
	case verdictForward:
		if !s.near(client) {
			reply = s.refuse(reply, &q, a.counts)
			break
		}
		if s.forwardPacket(ctx, conn, q, message{Addr: in.Addr, OOB: slices.Clone(out.OOB)}, forwards) {
			return false
		}
		a.counts.dropped.Add(1)
		reply = appendError(reply, &q, dns.RcodeServerFailure)
	}
	out.Buffers[0] = reply
	return true
}

// forwardPacket answers later, and reports false if there is no room for that.
func (s *Server) forwardPacket(ctx context.Context, conn *packetConn, q query, out message, forwards *errgroup.Group) bool {
	q.name = slices.Clone(q.name)
	return forwards.TryGo(func() error {
		ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
		defer cancel()
		reply := s.forward.answer(ctx, &q, min(int(q.size), packetSize))
		out.Buffers = [][]byte{reply}
		if ctx.Err() != nil && context.Cause(ctx) != context.DeadlineExceeded {
			return nil // the server ends
		}
		if err := conn.writeOne(out); err != nil {
			s.slow.dropped.Add(1)
		}
		return nil
	})
}

// addressOf is the address of a peer, or none.
func addressOf(peer net.Addr) netip.Addr {
	switch peer := peer.(type) {
	case *net.UDPAddr:
		a, _ := netip.AddrFromSlice(peer.IP)
		return a.Unmap()
	case *net.TCPAddr:
		a, _ := netip.AddrFromSlice(peer.IP)
		return a.Unmap()
	}
	return netip.Addr{}
}

// forwardTimeout is how long a client waits for an answer of others; stub resolvers ask again after five seconds.
const forwardTimeout = 4500 * time.Millisecond
