package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
)

const (
	// beatTimeout is how long a heartbeat may take before it is sent anew over a new connection: on a bad line TCP waits
	// longer and longer.
	beatTimeout = 1500 * time.Millisecond
	// beatIdle is how long a server keeps a connection on which nothing comes.
	beatIdle = 30 * time.Second
)

// Standing is what a server thinks of a node that renewed its lease with it. It travels as one byte.
type Standing struct {
	Status  string // cluster.NodeStatus…, "" if the server does not know the node (yet)
	Leader  bool   // it is the opinion of the leader, which alone counts
	Unknown bool   // the leader does not know the node: it must register
	Passed  bool   // the leader was told by the server that was asked, and has renewed the lease for that
}

// standings are the statuses as they travel. A number, once released, keeps its meaning.
var standings = []string{"", cluster.NodeStatusInitializing, cluster.NodeStatusReady, cluster.NodeStatusDown, cluster.NodeStatusDisconnected}

const (
	beatAsk     = 1 // renew my lease with you
	beatPass    = 2 // and with the leader, which I do not reach. Servers of older releases end the connection
	beatLeader  = 0x80
	beatUnknown = 0x40
	beatPassed  = 0x20
	beatStatus  = 0x1f
)

func (s Standing) encode() byte {
	var b byte
	for i, status := range standings {
		if status == s.Status {
			b = byte(i)
		}
	}
	if s.Leader {
		b |= beatLeader
	}
	if s.Unknown {
		b |= beatUnknown
	}
	if s.Passed {
		b |= beatPassed
	}
	return b
}

func decodeStanding(b byte) Standing {
	s := Standing{Leader: b&beatLeader != 0, Unknown: b&beatUnknown != 0, Passed: b&beatPassed != 0}
	if i := int(b & beatStatus); i < len(standings) {
		s.Status = standings[i]
	}
	return s
}

// Renew renews a node's lease with this server; with pass, which a node asks for that does not reach the leader, with the leader
// too. It is called concurrently for different nodes. An error ends the connection, and the node tries again.
type Renew func(ctx context.Context, node cluster.ID, pass bool) (Standing, error)

// ServeBeats answers heartbeats on the connections of the listener until ctx ends, and closes it.
func ServeBeats(ctx context.Context, listener net.Listener, renew Renew) error {
	var hosts beatHosts
	group := new(errgroup.Group)
	defer group.Wait()
	defer hosts.closeAll()
	defer context.AfterFunc(ctx, func() {
		listener.Close()
		hosts.closeAll()
	})()
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept heartbeats: %w", err)
		}
		id, _ := Conn{conn.(*tls.Conn)}.Peer() // Port puts in nothing else
		if !hosts.replace(id, conn) {
			conn.Close()
			continue
		}
		group.Go(func() error {
			defer hosts.end(id, conn)
			answerBeats(ctx, conn, id, renew)
			return nil
		})
	}
}

func answerBeats(ctx context.Context, conn net.Conn, id cluster.ID, renew Renew) {
	one := make([]byte, 1)
	for ctx.Err() == nil {
		conn.SetDeadline(time.Now().Add(beatIdle))
		if _, err := conn.Read(one); err != nil || one[0] != beatAsk && one[0] != beatPass {
			return
		}
		standing, err := renew(ctx, id, one[0] == beatPass)
		if err != nil {
			return
		}
		one[0] = standing.encode()
		if _, err := conn.Write(one); err != nil {
			return
		}
	}
}

// beatHosts are the connections for heartbeats, one of each node: a new one replaces the last.
type beatHosts struct {
	mu     sync.Mutex // guards what follows
	conns  map[cluster.ID]net.Conn
	closed bool
}

func (h *beatHosts) replace(id cluster.ID, conn net.Conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	if h.conns == nil {
		h.conns = map[cluster.ID]net.Conn{}
	}
	if last := h.conns[id]; last != nil {
		last.Close()
	}
	h.conns[id] = conn
	return true
}

func (h *beatHosts) end(id cluster.ID, conn net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	conn.Close()
	if h.conns[id] == conn {
		delete(h.conns, id)
	}
}

func (h *beatHosts) closeAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, conn := range h.conns {
		conn.Close()
	}
}

// Beater renews a node's lease with one server, over a connection of its own that it keeps. It is for one caller at a time.
type Beater struct {
	dialer *Dialer
	server cluster.ID
	conn   net.Conn // nil: to be dialed
}

// Beater makes one for the server; it does not connect.
func (d *Dialer) Beater(server cluster.ID) *Beater { return &Beater{dialer: d, server: server} }

// Beat renews the lease; with pass also with the leader if that is another server, which the node does not reach. A connection on
// which nothing came back in time is not used again.
func (b *Beater) Beat(ctx context.Context, pass bool) (Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	ask := byte(beatAsk)
	if pass {
		ask = beatPass
	}
	standing, err := b.beat(ctx, ask)
	if pass && errors.Is(err, io.EOF) { // a server of an older release, most likely
		b.Close()
		standing, err = b.beat(ctx, beatAsk)
	}
	if err != nil {
		b.Close()
		return Standing{}, cluster.Errorf(cluster.CodeUnavailable, "renew lease with server %s: %w", b.server, err)
	}
	return standing, nil
}

func (b *Beater) beat(ctx context.Context, ask byte) (Standing, error) {
	if b.conn == nil {
		conn, err := b.dialer.DialNode(ctx, b.server, ProtocolBeat)
		if err != nil {
			return Standing{}, err
		}
		b.conn = conn
	}
	deadline, _ := ctx.Deadline()
	b.conn.SetDeadline(deadline)
	one := []byte{ask}
	if _, err := b.conn.Write(one); err != nil {
		return Standing{}, err
	}
	if _, err := b.conn.Read(one); err != nil {
		return Standing{}, err
	}
	return decodeStanding(one[0]), nil
}

// Close ends the connection; the next Beat makes a new one.
func (b *Beater) Close() {
	if b.conn != nil {
		b.conn.Close()
		b.conn = nil
	}
}
