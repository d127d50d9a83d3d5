package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
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
	// maxHandshakes and maxHandshakesPerHost bound connections that have not yet shown who they are. What comes
	// beyond them is closed at once: who keeps many open shuts out nobody but himself.
	maxHandshakes        = 1024
	maxHandshakesPerHost = 32
)

// wire is port 4647: one listener, split by what the peer asks for in its TLS handshake.
type wire struct {
	listener net.Listener
	tls      func(protocols ...string) *tls.Config
	mayRaft  func(cluster.ID) bool // whether a server of that ID may speak Raft to us
	logger   *slog.Logger
	raft     *queue
	http     *queue
	shaking  handshakes
}

func newWire(listener net.Listener, config func(...string) *tls.Config, mayRaft func(cluster.ID) bool, logger *slog.Logger) *wire {
	return &wire{listener: listener, tls: config, mayRaft: mayRaft, logger: logger,
		raft: newQueue(listener.Addr()), http: newQueue(listener.Addr()), shaking: handshakes{hosts: map[netip.Addr]int{}}}
}

// Run accepts until ctx ends, and returns when every handshake going on has ended.
func (w *wire) Run(ctx context.Context) error {
	defer w.raft.Close()
	defer w.http.Close()
	stop := context.AfterFunc(ctx, func() { w.listener.Close() })
	defer stop()
	group := new(errgroup.Group)
	defer group.Wait()
	config := w.tls(protocolRaft, protocolHTTP1)
	for {
		conn, err := w.listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", w.listener.Addr(), err)
		}
		if err != nil { // out of descriptors, most likely: give others time to close some
			w.logger.Warn("connection not accepted", "err", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		host := hostOf(conn.RemoteAddr())
		if !w.shaking.begin(host) {
			w.logger.Debug("connection refused: too many that have not shown who they are", "peer", host.String())
			conn.Close()
			continue
		}
		group.Go(func() error {
			defer w.shaking.end(host)
			w.admit(ctx, tls.Server(conn, config))
			return nil
		})
	}
}

// admit shakes hands and hands the connection to whoever speaks its protocol. Whatever comes from outside instead of
// a handshake is of no interest to an operator.
func (w *wire) admit(ctx context.Context, conn *tls.Conn) {
	limited, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(limited); err != nil {
		w.logger.Debug("handshake refused", "peer", conn.RemoteAddr().String(), "err", err)
		conn.Close()
		return
	}
	state := conn.ConnectionState()
	id, role, _ := pki.Identity(state.PeerCertificates[0]) // pki.TLS has verified that there is one
	switch {
	case state.NegotiatedProtocol == protocolHTTP1:
		w.http.put(ctx, conn)
	case state.NegotiatedProtocol == protocolRaft && role == pki.RoleServer && w.mayRaft(id):
		w.raft.put(ctx, conn)
	default:
		w.logger.Warn("connection refused: not a server of this cluster", "node", id, "protocol", state.NegotiatedProtocol)
		conn.Close()
	}
}

// handshakes counts those going on, by host.
type handshakes struct {
	mu    sync.Mutex // guards what follows
	hosts map[netip.Addr]int
	total int
}

// begin counts one in, if there is room.
func (h *handshakes) begin(host netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total >= maxHandshakes || h.hosts[host] >= maxHandshakesPerHost {
		return false
	}
	h.total++
	h.hosts[host]++
	return true
}

func (h *handshakes) end(host netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total--
	if h.hosts[host]--; h.hosts[host] == 0 {
		delete(h.hosts, host)
	}
}

// hostOf is who connects. Of IPv6 addresses it is the network, which is what one host has.
func hostOf(address net.Addr) netip.Addr {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	host := tcp.AddrPort().Addr().Unmap()
	if prefix, err := host.WithZone("").Prefix(64); host.Is6() && err == nil {
		return prefix.Addr()
	}
	return host
}

// raftStream is the raft.StreamLayer over the wire.
type raftStream struct {
	*queue
	tls func(protocols ...string) *tls.Config
}

// Dial connects to another server's Raft. Whoever answers there without being a server learns nothing.
func (s raftStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: timeout}, Config: s.tls(protocolRaft)}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", string(address))
	if err != nil {
		return nil, err
	}
	if id, role, _ := pki.Identity(conn.(*tls.Conn).ConnectionState().PeerCertificates[0]); role != pki.RoleServer {
		conn.Close()
		return nil, fmt.Errorf("connect to server %s: node %s answers there, which is none", address, id)
	}
	return conn, nil
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

// put waits until somebody accepts the connection, or closes it when the queue is closed or ctx ends.
func (q *queue) put(ctx context.Context, conn net.Conn) {
	select {
	case q.conns <- conn:
	case <-q.closed:
		conn.Close()
	case <-ctx.Done():
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
