package gossip

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Transport is what carries packets and streams between nodes: real sockets, or a network in memory.
type Transport = memberlist.Transport

// Packet is one datagram as a Transport hands it over.
type Packet = memberlist.Packet

const (
	maxStreams    = 128     // from others at the same time
	maxStreamRead = 8 << 20 // bytes of one stream: push/pull of some ten thousand nodes
	streamLife    = 10 * time.Second
)

// door stands between memberlist and the transport. It bounds what others can make us hold, and at Shutdown it ends all
// streams and waits for what it started, which memberlist does not.
type door struct {
	inner   Transport
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup

	mu      sync.Mutex
	open    map[*stream]bool
	inbound int
	refused uint64
	closed  bool
}

func newDoor(inner Transport) *door {
	ctx, cancel := context.WithCancel(context.Background())
	d := &door{inner: inner, streams: make(chan net.Conn), ctx: ctx, cancel: cancel, open: map[*stream]bool{}}
	d.wait.Go(d.admit)
	return d
}

// admit hands streams of others to memberlist, or closes them if there are too many.
func (d *door) admit() {
	for {
		select {
		case <-d.ctx.Done():
			return
		case conn := <-d.inner.StreamCh():
			s := d.track(conn, true)
			if s == nil {
				continue
			}
			select {
			case d.streams <- s:
			case <-d.ctx.Done():
				s.Close()
			}
		}
	}
}

// track makes a stream of the connection; nil, with the connection closed, if there may be no other.
func (d *door) track(conn net.Conn, inbound bool) *stream {
	d.mu.Lock()
	if d.closed || inbound && d.inbound >= maxStreams {
		d.refused++
		d.mu.Unlock()
		conn.Close()
		return nil
	}
	s := &stream{Conn: conn, door: d, inbound: inbound, left: maxStreamRead}
	d.open[s] = true
	if inbound {
		d.inbound++
	}
	s.end = time.AfterFunc(streamLife, func() { s.Close() })
	d.mu.Unlock()
	return s
}

// FinalAdvertiseAddr, WriteTo, WriteToAddress and PacketCh are the transport's.
func (d *door) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	return d.inner.FinalAdvertiseAddr(ip, port)
}

func (d *door) WriteTo(b []byte, addr string) (time.Time, error) { return d.inner.WriteTo(b, addr) }

func (d *door) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return d.inner.WriteTo(b, a.Addr)
}

func (d *door) PacketCh() <-chan *Packet { return d.inner.PacketCh() }

func (d *door) StreamCh() <-chan net.Conn { return d.streams }

func (d *door) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	conn, err := d.inner.DialTimeout(addr, timeout)
	if err != nil {
		return nil, err
	}
	s := d.track(conn, false)
	if s == nil {
		return nil, net.ErrClosed
	}
	// memberlist writes its label before it sets a deadline.
	s.SetDeadline(time.Now().Add(timeout))
	return s, nil
}

func (d *door) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return d.DialTimeout(a.Addr, timeout)
}

// Shutdown ends the transport and every stream.
func (d *door) Shutdown() error {
	d.mu.Lock()
	d.closed = true
	open := make([]*stream, 0, len(d.open))
	for s := range d.open {
		open = append(open, s)
	}
	d.mu.Unlock()
	for _, s := range open {
		s.Close()
	}
	err := d.inner.Shutdown()
	d.cancel()
	d.wait.Wait()
	return err
}

// stream is one connection with a bounded life and a bounded amount to read.
type stream struct {
	net.Conn
	door    *door
	inbound bool
	left    int
	end     *time.Timer
}

func (s *stream) Read(b []byte) (int, error) {
	if s.left <= 0 {
		return 0, fmt.Errorf("read stream of %s: over %d bytes", s.RemoteAddr(), maxStreamRead)
	}
	n, err := s.Conn.Read(b[:min(len(b), s.left)])
	s.left -= n
	return n, err
}

func (s *stream) Close() error {
	s.door.mu.Lock()
	if s.door.open[s] {
		delete(s.door.open, s)
		if s.inbound {
			s.door.inbound--
		}
	}
	s.door.mu.Unlock()
	s.end.Stop()
	return s.Conn.Close()
}

// sockets is the transport of a real network: TCP and UDP on one port.
type sockets struct {
	tcp     *net.TCPListener
	udp     *net.UDPConn
	packets chan *Packet
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup
}

const (
	receiveBuffer = 1 << 20
	bindTries     = 10 // for port 0: a port free for TCP may be taken for UDP
)

// listen opens both sockets. Port 0 is one port that is free for both.
func listen(bind string) (*sockets, error) {
	var last error
	for range bindTries {
		tcp, err := net.Listen("tcp", bind)
		if err != nil {
			return nil, fmt.Errorf("listen for gossip: %w", err)
		}
		at := tcp.Addr().(*net.TCPAddr)
		udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: at.IP, Port: at.Port, Zone: at.Zone})
		if err != nil {
			tcp.Close()
			last = err
			continue
		}
		udp.SetReadBuffer(receiveBuffer) // as much as the system allows; less is no error
		s := &sockets{tcp: tcp.(*net.TCPListener), udp: udp, packets: make(chan *Packet, 256), streams: make(chan net.Conn)}
		s.ctx, s.cancel = context.WithCancel(context.Background())
		s.wait.Go(s.accept)
		s.wait.Go(s.receive)
		return s, nil
	}
	return nil, fmt.Errorf("listen for gossip: %w", last)
}

func (s *sockets) accept() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			if s.pause() {
				continue
			}
			return
		}
		select {
		case s.streams <- conn:
		case <-s.ctx.Done():
			conn.Close()
			return
		}
	}
}

func (s *sockets) receive() {
	buffer := make([]byte, 64<<10)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buffer)
		if err != nil {
			if s.pause() {
				continue
			}
			return
		}
		if n == 0 {
			continue
		}
		packet := &Packet{Buf: append([]byte{}, buffer[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: time.Now()}
		select {
		case s.packets <- packet:
		case <-s.ctx.Done():
			return
		}
	}
}

// pause waits a little after an error of a socket, such as too many open files, and reports whether to go on.
func (s *sockets) pause() bool {
	select {
	case <-s.ctx.Done():
		return false
	case <-time.After(50 * time.Millisecond):
		return true
	}
}

// FinalAdvertiseAddr is the given address, else the one that the sockets are bound to. The port 0 is the bound one.
func (s *sockets) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	bound := s.tcp.Addr().(*net.TCPAddr)
	if port == 0 {
		port = bound.Port
	}
	if ip == "" {
		if bound.IP.IsUnspecified() {
			return nil, 0, fmt.Errorf("advertise gossip: bound to all addresses of this machine; set the one that others reach (advertise.serf)")
		}
		return bound.IP, port, nil
	}
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, 0, fmt.Errorf("advertise gossip: %q is no IP address", ip)
	}
	return net.IP(addr.Unmap().AsSlice()), port, nil
}

func (s *sockets) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = s.udp.WriteToUDPAddrPort(b, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	return time.Now(), err
}

func (s *sockets) PacketCh() <-chan *Packet { return s.packets }

func (s *sockets) StreamCh() <-chan net.Conn { return s.streams }

func (s *sockets) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	return dialer.DialContext(s.ctx, "tcp", addr)
}

// Shutdown closes the sockets and waits for their readers.
func (s *sockets) Shutdown() error {
	s.cancel()
	s.tcp.Close()
	s.udp.Close()
	s.wait.Wait()
	return nil
}

// splitHostPort reads IP:port with a port number, or an IP alone; "" is neither.
func splitHostPort(address string) (string, int, error) {
	if address == "" {
		return "", 0, nil
	}
	if _, err := netip.ParseAddr(address); err == nil {
		return address, 0, nil
	}
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	return host, int(port), err
}
