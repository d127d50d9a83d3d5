//go:build !linux

package dns

import "net"

func listenPackets(address string, _ int) ([]net.PacketConn, error) {
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	return []net.PacketConn{conn}, nil
}

func newBatchConn(conn net.PacketConn) batchConn { return plainConn{conn} }

func sourceOf([]byte) []byte { return nil }
