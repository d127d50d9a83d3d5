package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

const (
	handshakeTimeout = 5 * time.Second
	// maxHandshakes and maxHandshakesPerHost bound connections that have not yet shown who they are. What comes
	// beyond them is closed at once: who keeps many open shuts out nobody but himself.
	maxHandshakes        = 1024
	maxHandshakesPerHost = 32
)

// Port is port 4647: one listener, split by what the peer asks for in its TLS handshake.
type Port struct {
	PortConfig
	raft    *queue
	http    *queue
	join    *queue
	beats   *queue
	shaking *Crowd // who has not yet shown who it is
}

// PortConfig is what a Port is made of.
type PortConfig struct {
	Listener net.Listener // closed when Run returns
	Identity *Identity
	// MayRaft says whether a server of that ID may speak Raft to us; nil: we are no server.
	MayRaft func(cluster.ID) bool
	// Removed says whether the node of that ID is none of the cluster any more; nil: nobody was removed.
	Removed func(cluster.ID) bool
	Logger  *slog.Logger
}

// NewPort makes a port that accepts nothing before Run.
func NewPort(c PortConfig) *Port {
	at := c.Listener.Addr()
	return &Port{PortConfig: c, raft: newQueue(at), http: newQueue(at), join: newQueue(at), beats: newQueue(at), shaking: NewCrowd(maxHandshakes, maxHandshakesPerHost)}
}

// Raft hands out connections of servers that are members of the replicated log.
func (w *Port) Raft() net.Listener { return w.raft }

// HTTP hands out connections of nodes that speak HTTP. They are *tls.Conn whose certificates are verified.
func (w *Port) HTTP() net.Listener { return w.http }

// Join hands out connections of those who want to join or to renew a certificate: whoever that is. They are *tls.Conn; a
// certificate that the peer shows has not been verified.
func (w *Port) Join() net.Listener { return w.join }

// Beats hands out connections of nodes that renew their leases, on servers; see ServeBeats.
func (w *Port) Beats() net.Listener { return w.beats }

// Run accepts until ctx ends, and returns when every handshake going on has ended.
func (w *Port) Run(ctx context.Context) error {
	defer w.raft.Close()
	defer w.http.Close()
	defer w.join.Close()
	defer w.beats.Close()
	stop := context.AfterFunc(ctx, func() { w.Listener.Close() })
	defer stop()
	group := new(errgroup.Group)
	defer group.Wait()
	config := w.config()
	for {
		conn, err := w.Listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %s: %w", w.Listener.Addr(), err)
		}
		if err != nil { // out of descriptors, most likely: give others time to close some
			w.Logger.Warn("connection not accepted", "err", err)
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		host := HostOf(conn.RemoteAddr())
		if !w.shaking.Enter(host) {
			w.Logger.Debug("connection refused: too many that have not shown who they are", "peer", host.String())
			conn.Close()
			continue
		}
		group.Go(func() error {
			defer w.shaking.Leave(host)
			w.admit(ctx, tls.Server(conn, config))
			return nil
		})
	}
}

// admit shakes hands and hands the connection to whoever speaks its protocol; one that nobody takes in time (its part of the
// agent does not work now) is closed, or it would count as a handshake for ever. Whatever comes from outside instead of a
// handshake is of no interest to an operator.
func (w *Port) admit(ctx context.Context, conn *tls.Conn) {
	limited, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(limited); err != nil {
		w.Logger.Debug("handshake refused", "peer", conn.RemoteAddr().String(), "err", err)
		conn.Close()
		return
	}
	protocol := conn.ConnectionState().NegotiatedProtocol
	if protocol == ProtocolJoin {
		w.join.put(limited, conn)
		return
	}
	id, role := Conn{conn}.Peer()
	switch {
	case w.Removed != nil && w.Removed(id):
		w.Logger.Debug("connection refused: the node was removed from the cluster", "node", id, "peer", conn.RemoteAddr().String())
		conn.Close()
	case protocol == ProtocolHTTP1:
		w.http.put(limited, conn)
	case protocol == ProtocolBeat && w.MayRaft != nil:
		w.beats.put(limited, conn)
	case protocol == ProtocolRaft && role == pki.RoleServer && w.MayRaft != nil && w.MayRaft(id):
		w.raft.put(limited, conn)
	default:
		w.Logger.Warn("connection refused: not a server of this cluster", "node", id, "protocol", protocol)
		conn.Close()
	}
}

// config asks for a certificate of the cluster, except from those who want to join.
func (w *Port) config() *tls.Config {
	members := w.Identity.TLS(ProtocolRaft, ProtocolHTTP1, ProtocolBeat)
	strangers := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{ProtocolJoin},
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: w.Identity.withAuthority,
	}
	config := members.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, []string{ProtocolJoin}) {
			return strangers, nil
		}
		return members, nil
	}
	return config
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
