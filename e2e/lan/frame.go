package lan

import "encoding/binary"

// packet is what the switch wants to know of an Ethernet frame.
type packet struct {
	neighbour bool // ARP or IPv6 neighbour discovery
	protocol  uint8
	hasPorts  bool // TCP or UDP, and not a later fragment
	from, to  uint16
}

const (
	headerLength = 14 // of Ethernet
	typeIPv4     = 0x0800
	typeIPv6     = 0x86dd
	typeARP      = 0x0806

	protocolTCP      = 6
	protocolUDP      = 17
	protocolFragment = 44
	protocolICMPv6   = 58
)

// parse reads an Ethernet frame. What it cannot read it leaves zero.
func parse(frame []byte) packet {
	if len(frame) < headerLength {
		return packet{}
	}
	body := frame[headerLength:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case typeARP:
		return packet{neighbour: true}
	case typeIPv4:
		return parse4(body)
	case typeIPv6:
		return parse6(body)
	}
	return packet{}
}

func parse4(b []byte) packet {
	if len(b) < 20 {
		return packet{}
	}
	length := int(b[0]&15) * 4
	if length < 20 || len(b) < length {
		return packet{}
	}
	later := binary.BigEndian.Uint16(b[6:])&0x1fff != 0
	return transport(b[9], b[length:], later)
}

func parse6(b []byte) packet {
	if len(b) < 40 {
		return packet{}
	}
	next, b, later := b[6], b[40:], false
	if next == protocolFragment && len(b) >= 8 {
		next, later = b[0], binary.BigEndian.Uint16(b[2:])&0xfff8 != 0
		b = b[8:]
	}
	return transport(next, b, later)
}

func transport(protocol uint8, b []byte, later bool) packet {
	p := packet{protocol: protocol}
	if later {
		return p
	}
	switch {
	case protocol == protocolICMPv6 && len(b) > 0:
		p.neighbour = b[0] >= 133 && b[0] <= 137
	case (protocol == protocolTCP || protocol == protocolUDP) && len(b) >= 4:
		p.hasPorts, p.from, p.to = true, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	return p
}
