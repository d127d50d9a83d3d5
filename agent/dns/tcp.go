package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// accept answers connections until the context ends, and waits for them.
func (s *Server) accept(ctx context.Context, listener net.Listener) error {
	var group errgroup.Group
	defer group.Wait() // each connection ends with the context
	for failures := 0; ; {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // too many open files: it passes
			if failures++; failures > maxFailures {
				return err
			}
			rest(ctx, time.Duration(failures)*10*time.Millisecond)
			continue
		}
		failures = 0
		client := addressOf(conn.RemoteAddr())
		if !s.enter(client) {
			s.slow.dropped.Add(1)
			conn.Close()
			continue
		}
		group.Go(func() error {
			defer s.leave(client)
			s.serve(ctx, conn, client)
			return nil
		})
	}
}

// rest waits for a while, or for the end of the context.
func rest(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// enter counts a connection of the client, unless there are enough.
func (s *Server) enter(client netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxConns || s.conns[client] >= maxPerHost {
		return false
	}
	s.total++
	s.conns[client]++
	return true
}

func (s *Server) leave(client netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.conns[client]--; s.conns[client] == 0 {
		delete(s.conns, client)
	}
}

// serve answers the questions of a connection one after another. A client that is slow to ask or to read is left.
func (s *Server) serve(ctx context.Context, conn net.Conn, client netip.Addr) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	a := newAnswerer(s.zone, &s.slow, s.near)
	in := bufio.NewReader(conn)
	var packet, out []byte
	for {
		if err := conn.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n > maxQuestion {
			s.slow.malformed.Add(1)
			return
		}
		packet = append(packet[:0], make([]byte, n)...)
		if _, err := io.ReadFull(in, packet); err != nil {
			return
		}
		a.use(s.config.Catalog())
		out = append(out[:0], 0, 0)
		reply, q, what := a.reply(out, packet, client, dns.MaxMsgSize)
		switch {
		case what == verdictDrop:
			return
		case what == verdictForward && s.near(client):
			reply = append(out, s.forwardNow(ctx, &q)...)
		case what == verdictForward:
			reply = s.refuse(out, &q, a.counts)
		}
		out = reply
		binary.BigEndian.PutUint16(out, uint16(len(out)-2))
		if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

func (s *Server) forwardNow(ctx context.Context, q *query) []byte {
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	return s.forward.answer(ctx, q, dns.MaxMsgSize)
}
