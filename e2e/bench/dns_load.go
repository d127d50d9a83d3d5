package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
)

// dnsLoad is a load of questions for addresses on one server.
type dnsLoad struct {
	address string
	names   []string
	sockets int
	window  int           // questions under way on each socket, 0 if rate decides
	rate    int           // questions each second on all sockets, 0 for as many as are answered
	length  time.Duration // of the load
}

// dnsResult is what came of it.
type dnsResult struct {
	asked, answered, wrong int
	length                 time.Duration
	latency                []time.Duration
}

func (r *dnsResult) perSecond() float64 { return float64(r.answered) / r.length.Seconds() }

// lost is the time after which a question counts as lost.
const lost = time.Second

// run asks until the time is over. Sockets are read and written in batches: the generator shares the machine with what
// it measures, and is to need little of it.
func (l *dnsLoad) run(ctx context.Context) (*dnsResult, error) {
	ctx, cancel := context.WithTimeout(ctx, l.length)
	defer cancel()
	results := make([]*dnsResult, l.sockets)
	errs := make([]error, l.sockets)
	var group sync.WaitGroup
	begin := time.Now()
	for i := range l.sockets {
		group.Go(func() { results[i], errs[i] = l.socket(ctx, i) })
	}
	group.Wait()
	sum := &dnsResult{length: time.Since(begin)}
	for i, r := range results {
		if errs[i] != nil {
			return nil, errs[i]
		}
		sum.asked, sum.answered, sum.wrong = sum.asked+r.asked, sum.answered+r.answered, sum.wrong+r.wrong
		sum.latency = append(sum.latency, r.latency...)
	}
	slices.Sort(sum.latency)
	return sum, nil
}

// at is a quantile of the latency.
func (r *dnsResult) at(q float64) time.Duration {
	if len(r.latency) == 0 {
		return 0
	}
	return r.latency[int(q*float64(len(r.latency)-1))]
}

// dnsSocket is one socket and the questions under way on it; a question's ID is its place.
type dnsSocket struct {
	load    *dnsLoad
	conn    *ipv4.PacketConn
	packets [][]byte
	sent    [batchOfQuestions * 64]time.Time // zero when nothing is under way
	next    int
	out, in []ipv4.Message
	result  dnsResult
}

const batchOfQuestions = 32

func (l *dnsLoad) socket(ctx context.Context, number int) (*dnsResult, error) {
	udp, err := net.Dial("udp4", l.address)
	if err != nil {
		return nil, err
	}
	defer udp.Close()
	s := &dnsSocket{load: l, conn: ipv4.NewPacketConn(udp.(net.PacketConn)), next: number}
	for _, name := range l.names {
		s.packets = append(s.packets, questionFor(name))
	}
	for range batchOfQuestions {
		s.out = append(s.out, ipv4.Message{Buffers: [][]byte{make([]byte, 0, 512)}})
		s.in = append(s.in, ipv4.Message{Buffers: [][]byte{make([]byte, 2048)}})
	}
	if l.rate > 0 {
		return &s.result, s.pace(ctx)
	}
	return &s.result, s.flood(ctx)
}

// questionFor is a packet that asks for the addresses of a name.
func questionFor(name string) []byte {
	packet := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range strings.SplitSeq(name, ".") {
		packet = append(append(packet, byte(len(label))), label...)
	}
	return append(packet, 0, 0, 1, 0, 1)
}

// flood keeps a window of questions under way.
func (s *dnsSocket) flood(ctx context.Context) error {
	if err := s.ask(s.load.window); err != nil {
		return err
	}
	for ctx.Err() == nil {
		n, err := s.hear(lost)
		if err != nil {
			return err
		}
		if n == 0 { // all are lost
			n = s.load.window
		}
		if err := s.ask(n); err != nil {
			return err
		}
	}
	return nil
}

// pace asks at an even rate, whatever comes back.
func (s *dnsSocket) pace(ctx context.Context) error {
	every := time.Second * time.Duration(s.load.sockets) / time.Duration(s.load.rate)
	due := time.Now()
	for ctx.Err() == nil {
		n := 0
		for now := time.Now(); !due.After(now) && n < batchOfQuestions; due = due.Add(every) {
			n++
		}
		if err := s.ask(n); err != nil {
			return err
		}
		if _, err := s.hear(max(time.Until(due), 0)); err != nil {
			return err
		}
	}
	_, err := s.hear(100 * time.Millisecond)
	return err
}

// ask sends n questions.
func (s *dnsSocket) ask(n int) error {
	for n > 0 {
		batch := s.out[:min(n, batchOfQuestions)]
		now := time.Now()
		for i := range batch {
			place := s.result.asked % len(s.sent)
			s.sent[place] = now
			packet := append(batch[i].Buffers[0][:0], s.packets[s.next%len(s.packets)]...)
			binary.BigEndian.PutUint16(packet, uint16(place))
			batch[i].Buffers[0] = packet
			s.next++
			s.result.asked++
		}
		for from := 0; from < len(batch); {
			sent, err := s.conn.WriteBatch(batch[from:], 0)
			if err != nil {
				return fmt.Errorf("ask %s: %w", s.load.address, err)
			}
			from += sent
		}
		n -= len(batch)
	}
	return nil
}

// hear takes the answers that come within a time; it returns with the first.
func (s *dnsSocket) hear(within time.Duration) (int, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(max(within, 10*time.Microsecond))); err != nil {
		return 0, err
	}
	n, err := s.conn.ReadBatch(s.in, 0)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("hear %s: %w", s.load.address, err)
	}
	now := time.Now()
	for _, m := range s.in[:n] {
		packet := m.Buffers[0][:m.N]
		if m.N < 12 || packet[3]&0xf != 0 || binary.BigEndian.Uint16(packet[6:]) == 0 {
			s.result.wrong++
			continue
		}
		place := int(binary.BigEndian.Uint16(packet)) % len(s.sent)
		if at := s.sent[place]; !at.IsZero() {
			s.result.answered++
			s.result.latency = append(s.result.latency, now.Sub(at))
			s.sent[place] = time.Time{}
		}
	}
	return n, nil
}
