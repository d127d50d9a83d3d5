package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
)

// raftStream is the raft.StreamLayer over port 4647. Both sides of a connection begin with their epoch, eight bytes, and go on
// only if it is the same: what is said in one epoch means nothing in another.
type raftStream struct {
	net.Listener
	dialer *link.Dialer
	epochs *epochs

	mu       sync.Mutex // guards what follows
	accepted map[*greeted]bool
	closed   bool
}

// greeting is how long the other side may take to say its epoch.
const greeting = 2 * time.Second

// Dial connects to another server's Raft; its address is its ID, which the dialer knows the way to.
func (s *raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, err := cluster.ParseID(string(address))
	if err != nil {
		return nil, fmt.Errorf("connect to server %s: %w", address, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := s.dialer.DialNode(ctx, id, link.ProtocolRaft)
	if err != nil {
		return nil, err
	}
	if err := s.epochs.greet(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to server %s: %w", id, err)
	}
	return conn, nil
}

// Accept takes the next connection. Its epoch is looked at by the first read, so that nobody holds up the others.
func (s *raftStream) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	hello := &greeted{Conn: conn, stream: s, greet: sync.OnceValue(func() error { return s.epochs.greet(conn) })}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	if s.accepted == nil {
		s.accepted = map[*greeted]bool{}
	}
	s.accepted[hello] = true
	return hello, nil
}

// Close ends Accept, and the connections that it returned: Raft leaves them to those who dialed.
func (s *raftStream) Close() error {
	err := s.Listener.Close()
	s.mu.Lock()
	s.closed = true
	accepted := slices.Collect(maps.Keys(s.accepted))
	s.mu.Unlock()
	for _, conn := range accepted {
		conn.Close()
	}
	return err
}

// greeted is a connection whose first read looks at the other side's epoch.
type greeted struct {
	net.Conn
	stream *raftStream
	greet  func() error
}

// Close ends the connection.
func (c *greeted) Close() error {
	c.stream.mu.Lock()
	delete(c.stream.accepted, c)
	c.stream.mu.Unlock()
	return c.Conn.Close()
}

// Read reads what follows the epoch.
func (c *greeted) Read(p []byte) (int, error) {
	if err := c.greet(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// greet tells the other side this server's epoch and hears its own.
func (e *epochs) greet(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(greeting)); err != nil {
		return err
	}
	file := e.now()
	ours := file.Epoch
	if _, err := conn.Write(binary.BigEndian.AppendUint64(nil, ours)); err != nil {
		return fmt.Errorf("say epoch: %w", err)
	}
	var text [8]byte
	if _, err := io.ReadFull(conn, text[:]); err != nil {
		return fmt.Errorf("hear epoch: %w", err)
	}
	theirs := binary.BigEndian.Uint64(text[:])
	if err := e.hear(theirs); err != nil {
		return err
	}
	if theirs != ours {
		return fmt.Errorf("it is of epoch %d, this server of epoch %d", cluster.EpochNumber(theirs), cluster.EpochNumber(ours))
	}
	if file.superseded() {
		return fmt.Errorf("this server's copy of epoch %d is superseded", cluster.EpochNumber(ours))
	}
	return conn.SetDeadline(time.Time{})
}
