package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster/agent/gossip/gossiptest"
)

// fleetNetwork is a network in memory for whole machines: connections like TCP's, and gossip. What is cut is cut for both.
// A connection that is cut loses nothing: what was sent arrives when the cut ends, unless one end gave up meanwhile.
type fleetNetwork struct {
	gossip *gossiptest.Network

	mu    sync.Mutex // guards what follows and all ends
	dice  *rand.Rand
	doors map[netip.AddrPort]*fleetDoor
	ends  map[*fleetEnd]bool // open ones
	cut   map[fleetLine]bool
	loss  float64
	delay time.Duration
	ports uint16
}

// fleetLine is one direction between two machines.
type fleetLine struct{ from, to netip.Addr }

const (
	fleetUnheard     = 5 * time.Second        // TCP_USER_TIMEOUT of who dials
	fleetSilence     = 11 * time.Second       // until who dials finds out about a silent peer
	fleetLongSilence = 150 * time.Second      // until who was dialed does
	fleetPatience    = 15 * time.Minute       // until who was dialed gives up what nobody confirms
	fleetRetransmit  = 200 * time.Millisecond // until the first repetition, doubling
	fleetLongestRest = 2 * time.Minute        // between two repetitions
	fleetWindow      = 256 << 10              // bytes that fit between a writer and its reader
)

func newFleetNetwork(seed uint64) *fleetNetwork {
	return &fleetNetwork{gossip: gossiptest.New(seed), dice: rand.New(rand.NewPCG(seed, 2)), doors: map[netip.AddrPort]*fleetDoor{},
		ends: map[*fleetEnd]bool{}, cut: map[fleetLine]bool{}, ports: 30000}
}

// gossipAt is where the machine's gossip is.
func gossipAt(host netip.Addr) netip.AddrPort { return netip.AddrPortFrom(host, 4648) }

// sever makes nothing come from one machine to the other any more.
func (n *fleetNetwork) sever(from, to netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[fleetLine{from, to}] = true
	n.gossip.CutOneWay(gossipAt(from), gossipAt(to))
	for e := range n.ends {
		if (fleetLine{e.host, e.peer.host}) != (fleetLine{from, to}) && (fleetLine{e.peer.host, e.host}) != (fleetLine{from, to}) {
			continue
		}
		silence := fleetLongSilence
		if e.dialed {
			silence = fleetSilence
		}
		n.later(silence, func() {
			if !n.both(e.host, e.peer.host) {
				e.breakLocked(syscall.ETIMEDOUT)
			}
		})
	}
}

// later calls f with the network's lock.
func (n *fleetNetwork) later(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		f()
	})
}

// both reports whether the two machines hear one another.
func (n *fleetNetwork) both(a, b netip.Addr) bool {
	return !n.cut[fleetLine{a, b}] && !n.cut[fleetLine{b, a}]
}

// heal ends the cuts that keep does not want, and has connections repeat what was lost after a while.
func (n *fleetNetwork) heal(keep func(fleetLine) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for line := range n.cut {
		if !keep(line) {
			delete(n.cut, line)
		}
	}
	n.gossip.Heal()
	for line := range n.cut {
		n.gossip.CutOneWay(gossipAt(line.from), gossipAt(line.to))
	}
	for e := range n.ends {
		if !n.both(e.host, e.peer.host) {
			continue
		}
		e.unacked = false
		if len(e.outbox) > 0 || e.closing {
			rest := min(time.Since(e.since)/2+fleetRetransmit, fleetLongestRest)
			n.later(time.Duration(n.dice.Int64N(int64(rest))), e.flushLocked)
		} else if e.peer.failure != nil && e.failure == nil {
			n.later(fleetUnheard, func() { e.breakLocked(syscall.ECONNRESET) })
		}
	}
}

// lose makes so much of all packets be lost: gossip's for ever, those of connections until they are repeated.
func (n *fleetNetwork) lose(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
	n.gossip.Lose(share)
}

// slow makes everything take so long.
func (n *fleetNetwork) slow(delay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay = delay
	n.gossip.Delay(delay, delay/2)
}

// lateLocked is how long the next packet takes that connections send, with its repetitions.
func (n *fleetNetwork) lateLocked() time.Duration {
	late := n.delay
	for again := fleetRetransmit; n.loss > 0 && n.dice.Float64() < n.loss && again < fleetLongestRest; again *= 2 {
		late += again
	}
	return late
}

// fleetDoor is a listener.
type fleetDoor struct {
	network *fleetNetwork
	at      netip.AddrPort
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// listen opens a door of the machine.
func (n *fleetNetwork) listen(at netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.doors[at] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EADDRINUSE}
	}
	n.doors[at] = &fleetDoor{network: n, at: at, conns: make(chan net.Conn, 64), closed: make(chan struct{})}
	return n.doors[at], nil
}

// Accept waits for the next connection.
func (d *fleetDoor) Accept() (net.Conn, error) {
	select {
	case conn := <-d.conns:
		return conn, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; who waits to be accepted is refused.
func (d *fleetDoor) Close() error {
	d.once.Do(func() {
		close(d.closed)
		d.network.mu.Lock()
		defer d.network.mu.Unlock()
		delete(d.network.doors, d.at)
		for {
			select {
			case conn := <-d.conns:
				conn.(*fleetEnd).breakLocked(net.ErrClosed)
				conn.(*fleetEnd).peer.breakLocked(syscall.ECONNRESET)
			default:
				return
			}
		}
	})
	return nil
}

// Addr is where the door is.
func (d *fleetDoor) Addr() net.Addr { return net.TCPAddrFromAddrPort(d.at) }

// dial connects the machine to a door, for as long as ctx lets it.
func (n *fleetNetwork) dial(ctx context.Context, from netip.Addr, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second) // as of link's dialer
	defer cancel()
	for rest := time.Second; ; rest *= 2 {
		n.mu.Lock()
		late, heard := n.lateLocked()+n.lateLocked(), n.both(from, to.Addr())
		n.mu.Unlock()
		if heard {
			rest = late
		}
		if rest > 0 {
			select {
			case <-time.After(rest):
			case <-ctx.Done():
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.Cause(ctx)}
			}
		}
		if heard {
			return n.connect(from, to)
		}
	}
}

func (n *fleetNetwork) connect(from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	door := n.doors[to]
	n.ports++
	here := &fleetEnd{network: n, host: from, at: netip.AddrPortFrom(from, n.ports), dialed: true, change: make(chan struct{})}
	there := &fleetEnd{network: n, host: to.Addr(), at: to, peer: here, change: make(chan struct{})}
	here.peer = there
	if door == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	select {
	case door.conns <- there:
		n.ends[here], n.ends[there] = true, true
		return here, nil
	default:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("the queue is full")}
	}
}

// fleetEnd is one end of a connection. All of it is under network.mu.
type fleetEnd struct {
	network  *fleetNetwork
	host     netip.Addr
	at       netip.AddrPort
	peer     *fleetEnd
	dialed   bool
	inbox    []byte    // has arrived
	outbox   []byte    // was sent and has not arrived
	unacked  bool      // what arrived was not confirmed
	since    time.Time // what is sent is not confirmed since then
	last     bool      // the peer has sent all it had
	closing  bool      // this end has written all it had, which has not arrived yet
	failure  error     // what reads and writes answer; nil while the end is open
	readBy   time.Time
	writeBy  time.Time
	change   chan struct{}
	underway bool // a flush is due
}

// stirLocked wakes who waits.
func (e *fleetEnd) stirLocked() {
	close(e.change)
	e.change = make(chan struct{})
}

// breakLocked ends this end alone.
func (e *fleetEnd) breakLocked(why error) {
	if e.failure == nil {
		e.failure = why
		delete(e.network.ends, e)
		e.stirLocked()
	}
}

// flushLocked lets arrive what was sent, if it can.
func (e *fleetEnd) flushLocked() {
	e.underway = false
	n := e.network
	if n.cut[fleetLine{e.host, e.peer.host}] || e.failure != nil && !e.closing {
		return
	}
	e.unacked = n.cut[fleetLine{e.peer.host, e.host}]
	if e.closing {
		delete(n.ends, e)
	}
	if e.peer.failure != nil {
		if len(e.outbox) > 0 {
			e.breakLocked(syscall.ECONNRESET)
		}
		return
	}
	e.peer.inbox = append(e.peer.inbox, e.outbox...)
	e.outbox = nil
	e.peer.last = e.peer.last || e.closing
	e.peer.stirLocked()
	e.stirLocked()
}

// sendLocked brings what was written on its way.
func (e *fleetEnd) sendLocked() {
	n := e.network
	if !n.both(e.host, e.peer.host) {
		patience := fleetPatience
		if e.dialed {
			patience = fleetUnheard
		}
		since := e.since
		n.later(patience, func() {
			if (len(e.outbox) > 0 || e.unacked) && e.since.Equal(since) && !n.both(e.host, e.peer.host) {
				e.breakLocked(syscall.ETIMEDOUT)
				delete(n.ends, e)
			}
		})
	}
	if e.underway {
		return
	}
	if late := n.lateLocked(); late > 0 {
		e.underway = true
		n.later(late, e.flushLocked)
		return
	}
	e.flushLocked()
}

// Write puts b on its way; it waits while too much is.
func (e *fleetEnd) Write(b []byte) (int, error) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case e.failure != nil:
			return 0, &net.OpError{Op: "write", Net: "tcp", Err: e.failure}
		case !e.writeBy.IsZero() && !time.Now().Before(e.writeBy):
			return 0, os.ErrDeadlineExceeded
		case len(e.outbox)+len(e.peer.inbox) < fleetWindow:
			if len(e.outbox) == 0 && !e.unacked {
				e.since = time.Now()
			}
			e.outbox = append(e.outbox, b...)
			e.sendLocked()
			return len(b), nil
		}
		e.waitLocked(e.writeBy, e.peer)
	}
}

// Read waits for what the other end wrote.
func (e *fleetEnd) Read(b []byte) (int, error) {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	for {
		switch {
		case e.failure != nil:
			return 0, &net.OpError{Op: "read", Net: "tcp", Err: e.failure}
		case !e.readBy.IsZero() && !time.Now().Before(e.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(e.inbox) > 0:
			count := copy(b, e.inbox)
			e.inbox = e.inbox[count:]
			e.stirLocked()
			return count, nil
		case e.last:
			return 0, io.EOF
		}
		e.waitLocked(e.readBy, e)
	}
}

// waitLocked waits, without the lock, until one of the ends changes or the time has come.
func (e *fleetEnd) waitLocked(until time.Time, other *fleetEnd) {
	mine, theirs := e.change, other.change
	e.network.mu.Unlock()
	defer e.network.mu.Lock()
	var due <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-mine:
	case <-theirs:
	case <-due:
	}
}

// Close ends the connection; what was written still arrives.
func (e *fleetEnd) Close() error {
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if e.failure == nil {
		e.closing = true
		e.breakLocked(net.ErrClosed)
		n.ends[e] = true // until the other end knows
		e.sendLocked()
	}
	return nil
}

// LocalAddr is of this end.
func (e *fleetEnd) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(e.at) }

// RemoteAddr is of the other end.
func (e *fleetEnd) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(e.peer.at) }

// SetDeadline is for reads and writes, those that wait too.
func (e *fleetEnd) SetDeadline(at time.Time) error { return e.setDeadlines(&at, &at) }

// SetReadDeadline is for reads, those that wait too.
func (e *fleetEnd) SetReadDeadline(at time.Time) error { return e.setDeadlines(&at, nil) }

// SetWriteDeadline is for writes, those that wait too.
func (e *fleetEnd) SetWriteDeadline(at time.Time) error { return e.setDeadlines(nil, &at) }

func (e *fleetEnd) setDeadlines(read, write *time.Time) error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if read != nil {
		e.readBy = *read
	}
	if write != nil {
		e.writeBy = *write
	}
	e.stirLocked()
	return nil
}

// fail ends all connections and doors of a machine, as the end of its program or of itself does. The others hear of the
// end if the machine still speaks for the program.
func (n *fleetNetwork) fail(host netip.Addr, told bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for e := range n.ends {
		if e.host != host {
			continue
		}
		e.breakLocked(syscall.ECONNABORTED)
		if told && n.both(host, e.peer.host) {
			e.peer.breakLocked(syscall.ECONNRESET)
		}
	}
}
