package dns

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// receiveBuffer is what the kernel keeps for each socket, at most: some thousand questions, of a fraction of a second.
const receiveBuffer = 2 << 20

// listenPackets opens several sockets of one address, among which the kernel shares the clients.
func listenPackets(address string, readers int) ([]net.PacketConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) {
			inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			// Questions wait here while the machine is too busy for us. Without privilege the system's limit holds.
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
				_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
			}
		})
		if err != nil {
			return err
		}
		return inner
	}}
	var all []net.PacketConn
	for range readers {
		conn, err := config.ListenPacket(context.Background(), "udp", address)
		if err != nil {
			for _, open := range all {
				open.Close()
			}
			return nil, err
		}
		all = append(all, conn)
	}
	return all, nil
}

// batchUDP is a UDP socket, read and written by recvmmsg and sendmmsg.
type batchUDP struct {
	conn  *net.UDPConn
	batch interface {
		ReadBatch(ms []message, flags int) (int, error)
		WriteBatch(ms []message, flags int) (int, error)
	}
}

func (c batchUDP) read(ms []message) (int, error)  { return c.batch.ReadBatch(ms, 0) }
func (c batchUDP) write(ms []message) (int, error) { return c.batch.WriteBatch(ms, 0) }
func (c batchUDP) close() error                    { return c.conn.Close() }

func (c batchUDP) writeOne(m message) error {
	_, _, err := c.conn.WriteMsgUDP(m.Buffers[0], m.OOB, m.Addr.(*net.UDPAddr))
	return err
}

// newBatchConn makes sure that a socket of all addresses says to which one a packet came: the answer has to come from it.
func newBatchConn(conn net.PacketConn) batchConn {
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return plainConn{conn}
	}
	at := udp.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	if at.Unmap().Is4() {
		c := ipv4.NewPacketConn(udp)
		if at.IsUnspecified() {
			_ = c.SetControlMessage(ipv4.FlagDst, true)
		}
		return batchUDP{udp, c}
	}
	c := ipv6.NewPacketConn(udp)
	if at.IsUnspecified() {
		_ = c.SetControlMessage(ipv6.FlagDst, true)
	}
	return batchUDP{udp, c}
}

// sourceOf turns what came with a packet, in place, into what has its answer sent from the address to which it came. The
// way that the answer takes is left to the routes, except between addresses that mean something on one link only.
func sourceOf(oob []byte) []byte {
	data := unix.CmsgLen(0)
	if len(oob) < data {
		return nil
	}
	header, content, _, err := unix.ParseOneSocketControlMessage(oob)
	switch {
	case err != nil:
		return nil
	case header.Level == unix.IPPROTO_IP && header.Type == unix.IP_PKTINFO && len(content) == unix.SizeofInet4Pktinfo:
		clear(content[:4])
		return oob[:data+len(content)]
	case header.Level == unix.IPPROTO_IPV6 && header.Type == unix.IPV6_PKTINFO && len(content) == unix.SizeofInet6Pktinfo:
		if a, _ := netip.AddrFromSlice(content[:16]); !a.IsLinkLocalUnicast() {
			clear(content[16:])
		}
		return oob[:data+len(content)]
	}
	return nil
}
