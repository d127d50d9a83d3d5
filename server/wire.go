package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// The protocols of port 4647. A new version of one gets a new name beside the old.
const (
	protocolRaft  = "raft/1"
	protocolHTTP1 = "http/1.1"
)

const (
	handshakeTimeout = 5 * time.Second
	// maxHandshakes bounds connections that have not yet shown who they are.
	maxHandshakes = 64
)

// wire is port 4647: one listener, split by what the peer asks for in its TLS handshake.
type wire struct {
	listener net.Listener
	tls      func(protocols ...string) *tls.Config
	mayRaft  func(cluster.ID) bool // whether a server of that ID may speak Raft to us
	logger   *slog.Logger
	raft     *queue
	http     *queue
}

func newWire(listener net.Listener, config func(...string) *tls.Config, mayRaft func(cluster.ID) bool, logger *slog.Logger) *wire {
	return &wire{listener: listener, tls: config, mayRaft: mayRaft, logger: logger,
		raft: newQueue(listener.Addr()), http: newQueue(listener.Addr())}
}

// Run accepts until ctx ends, and returns when every handshake going on has ended.
func (w *wire) Run(ctx context.Context) error {
	defer w.raft.Close()
	defer w.http.Close()
	stop := context.AfterFunc(ctx, func() { w.listener.Close() })
	defer stop()
	group := new(errgroup.Group)
	group.SetLimit(maxHandshakes)
	defer group.Wait()
	config := w.tls(protocolRaft, protocolHTTP1)
	for {
		conn, err := w.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("accept on %s: %w", w.listener.Addr(), err)
			}
			w.logger.Warn("connection not accepted", "err", err)
			select { // out of descriptors, most likely: give others time to close some
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		group.Go(func() error {
			w.admit(ctx, tls.Server(conn, config))
			return nil
		})
	}
}

// admit shakes hands and hands the connection to whoever speaks its protocol.
func (w *wire) admit(ctx context.Context, conn *tls.Conn) {
	limited, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(limited); err != nil {
		w.logger.Debug("handshake refused", "peer", conn.RemoteAddr().String(), "err", err)
		conn.Close()
		return
	}
	state := conn.ConnectionState()
	id, role, _ := pki.Identity(state.PeerCertificates[0])
	switch {
	case state.NegotiatedProtocol == protocolHTTP1:
		w.http.put(conn)
	case state.NegotiatedProtocol == protocolRaft && role == pki.RoleServer && w.mayRaft(id):
		w.raft.put(conn)
	default:
		w.logger.Warn("connection refused: not a server of this cluster", "node", id, "protocol", state.NegotiatedProtocol)
		conn.Close()
	}
}

// raftStream is the raft.StreamLayer over the wire.
type raftStream struct {
	*queue
	tls func(protocols ...string) *tls.Config
}

// Dial connects to another server's Raft.
func (s raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: timeout}, Config: s.tls(protocolRaft)}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return dialer.DialContext(ctx, "tcp", string(address))
}

// queue is a net.Listener whose connections are put in by somebody else.
type queue struct {
	address net.Addr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

func newQueue(address net.Addr) *queue {
	return &queue{address: address, conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (q *queue) put(conn net.Conn) {
	select {
	case q.conns <- conn:
	case <-q.closed:
		conn.Close()
	}
}

// Accept waits for the next connection; net.ErrClosed after Close.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case conn := <-q.conns:
		return conn, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. It may be called several times.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr is the address that the connections come in at.
func (q *queue) Addr() net.Addr { return q.address }
