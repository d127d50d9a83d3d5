package dns

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

const (
	headerSize = 12
	maxName    = 255 // of a name on the wire (RFC 1035)
	maxLabel   = 63

	bitResponse  = 1 << 15
	bitAuthority = 1 << 10
	bitTruncated = 1 << 9
	bitDesired   = 1 << 8 // recursion
	bitAvailable = 1 << 7 // recursion
	bitChecking  = 1 << 4 // disabled
	opcodeMask   = 0xf << 11

	bitDNSSEC = 1 << 15 // in the TTL of an OPT record

	// maxRecords is how many records after the question are looked at.
	maxRecords = 8
)

// query is a packet that asks one question.
type query struct {
	id      uint16
	flags   uint16 // as they came
	name    []byte // as it was asked, with the zero at its end; part of the packet
	kind    uint16 // of the records asked for
	class   uint16
	edns    bool
	dnssec  bool
	version uint8  // of EDNS
	size    uint16 // of the packets that the client takes; 512 without EDNS
}

// parse reads a packet. If rcode is not 0, the packet is answered with it alone; ok is false if it is not answered at
// all: it is no query, and whoever sent it might answer the answer.
func parse(packet []byte) (q query, rcode int, ok bool) {
	if len(packet) < headerSize {
		return q, 0, false
	}
	q.id = binary.BigEndian.Uint16(packet)
	q.flags = binary.BigEndian.Uint16(packet[2:])
	q.size = dns.MinMsgSize
	if q.flags&bitResponse != 0 {
		return q, 0, false
	}
	if q.flags&opcodeMask != 0 {
		return q, dns.RcodeNotImplemented, true
	}
	answers, authority, extra := binary.BigEndian.Uint16(packet[6:]), binary.BigEndian.Uint16(packet[8:]), binary.BigEndian.Uint16(packet[10:])
	if binary.BigEndian.Uint16(packet[4:]) != 1 || answers != 0 || authority != 0 || extra > maxRecords {
		return q, dns.RcodeFormatError, true
	}
	end := plainName(packet, headerSize)
	if end < 0 || len(packet) < end+4 {
		return q, dns.RcodeFormatError, true
	}
	q.name = packet[headerSize:end]
	q.kind = binary.BigEndian.Uint16(packet[end:])
	q.class = binary.BigEndian.Uint16(packet[end+2:])
	rest := packet[end+4:]
	for range extra {
		if rest = q.record(rest); rest == nil {
			return q, dns.RcodeFormatError, true
		}
	}
	return q, 0, true
}

// plainName is where the name that begins at a position ends, negative if it is none. Questions have no pointers.
func plainName(packet []byte, at int) int {
	from := at
	for at < len(packet) && at-from < maxName {
		n := int(packet[at])
		at++
		if n == 0 {
			return at
		}
		if n > maxLabel {
			return -1
		}
		at += n
	}
	return -1
}

// record reads one additional record and returns what follows, nil if it is none or a second OPT.
func (q *query) record(data []byte) []byte {
	at := 0
	if len(data) > 1 && data[0]&0xc0 == 0xc0 {
		at = 2
	} else if at = plainName(data, 0); at < 0 {
		return nil
	}
	if len(data) < at+10 {
		return nil
	}
	end := at + 10 + int(binary.BigEndian.Uint16(data[at+8:]))
	if len(data) < end {
		return nil
	}
	if binary.BigEndian.Uint16(data[at:]) == dns.TypeOPT {
		if q.edns || at != 1 {
			return nil
		}
		q.edns = true
		q.size = max(dns.MinMsgSize, binary.BigEndian.Uint16(data[at+2:]))
		q.version = data[at+5]
		q.dnssec = binary.BigEndian.Uint16(data[at+6:])&bitDNSSEC != 0
	}
	return data[end:len(data):len(data)]
}

// appendLower appends the name with its ASCII letters in lower case. Lengths of labels are below 'A'.
func appendLower(to, name []byte) []byte {
	for _, c := range name {
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		to = append(to, c)
	}
	return to
}

// labels cuts a name in wire form, which is valid, into its labels.
func labels(name []byte) []string {
	var all []string
	for len(name) > 0 && name[0] != 0 {
		n := int(name[0])
		all = append(all, string(name[1:1+n]))
		name = name[1+n:]
	}
	return all
}

// appendName appends the wire form of the labels without the zero at the end, or reports false if they are no name.
func appendName(to []byte, all ...string) ([]byte, bool) {
	size := 1
	for _, label := range all {
		size += 1 + len(label)
		if len(label) == 0 || len(label) > maxLabel || size > maxName {
			return to, false
		}
	}
	for _, label := range all {
		to = append(to, byte(len(label)))
		to = append(to, label...)
	}
	return to, true
}
