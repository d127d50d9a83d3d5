package dns

import (
	"encoding/binary"
	"net/netip"

	"github.com/miekg/dns"
)

// packetSize is how large our answers over UDP are at most, whatever a client offers: what passes every path unbroken.
const packetSize = 1232

// ownSize is the length of an OPT record without options.
const ownSize = 11

// answer is all that we have to say to a question, packed. Records refer to the question's name by a pointer, so that
// it stands in the answer as it was asked. An answer is never modified.
type answer struct {
	rcode     int
	own       int // that many of answers are on this node, and come before the others
	answers   section
	authority section
	extra     section // left out, without a word, where it does not fit
}

// section is packed records one after another.
type section struct {
	data []byte
	ends []int // of the i-th record
}

func (s *section) from(i int) int {
	if i == 0 {
		return 0
	}
	return s.ends[i-1]
}

// record begins a record of the given kind. Its owner is written already; finish ends it.
func (s *section) record(kind uint16, ttl uint32) {
	s.data = binary.BigEndian.AppendUint16(s.data, kind)
	s.data = binary.BigEndian.AppendUint16(s.data, dns.ClassINET)
	s.data = binary.BigEndian.AppendUint32(s.data, ttl)
	s.data = append(s.data, 0, 0)
}

// finish ends the record whose content begins at a position.
func (s *section) finish(content int) {
	binary.BigEndian.PutUint16(s.data[content-2:], uint16(len(s.data)-content))
	s.ends = append(s.ends, len(s.data))
}

// owner appends the pointer to the question's name.
func (s *section) owner() { s.data = append(s.data, 0xc0, headerSize) }

// add appends a record of the question's name.
func (s *section) add(kind uint16, ttl uint32, content ...byte) {
	s.owner()
	s.addOwned(kind, ttl, content)
}

// addOwned appends a record whose owner is written already.
func (s *section) addOwned(kind uint16, ttl uint32, content []byte) {
	s.record(kind, ttl)
	at := len(s.data)
	s.data = append(s.data, content...)
	s.finish(at)
}

// addressKind is the kind of record that holds the address.
func addressKind(a netip.Addr) uint16 {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

// writer is what an answer is written for.
type writer struct {
	limit     int    // of the packet's length
	turn      uint32 // which record comes first
	recursion bool   // the client may ask for foreign names
}

// write appends the packet that answers the query. What does not fit is left out, and the packet says so.
func (a *answer) write(out []byte, q *query, w writer) []byte {
	begin := len(out)
	flags := bitResponse | bitAuthority | q.flags&(bitDesired|bitChecking) | uint16(a.rcode)
	if w.recursion {
		flags |= bitAvailable
	}
	out = appendHeader(out, q, flags)
	end := begin + w.limit
	if q.edns {
		end -= ownSize
	}
	own := min(a.own, len(a.answers.ends))
	out, n := a.answers.appendTurned(out, end, 0, own, w.turn)
	out, m := a.answers.appendTurned(out, end, own, len(a.answers.ends), w.turn)
	count := n + m
	truncated := count < len(a.answers.ends)
	authority, extra := 0, 0
	if !truncated {
		out, authority = a.authority.appendTurned(out, end, 0, len(a.authority.ends), 0)
		truncated = authority < len(a.authority.ends)
		out, extra = a.extra.appendTurned(out, end, 0, len(a.extra.ends), 0)
	}
	if truncated {
		out[begin+2] |= bitTruncated >> 8
	}
	if q.edns {
		out = q.appendOPT(out, 0)
		extra++
	}
	binary.BigEndian.PutUint16(out[begin+6:], uint16(count))
	binary.BigEndian.PutUint16(out[begin+8:], uint16(authority))
	binary.BigEndian.PutUint16(out[begin+10:], uint16(extra))
	return out
}

// appendTurned appends records lo to hi, beginning at the turn-th of them, and not beyond end; it returns how many.
func (s *section) appendTurned(out []byte, end, lo, hi int, turn uint32) ([]byte, int) {
	n := hi - lo
	if n <= 0 {
		return out, 0
	}
	first := lo + int(turn%uint32(n))
	from, middle, to := s.from(lo), s.from(first), s.from(hi)
	if len(out)+to-from <= end {
		out = append(out, s.data[middle:to]...)
		return append(out, s.data[from:middle]...), n
	}
	for i := range n {
		at := lo + (first-lo+i)%n
		record := s.data[s.from(at):s.ends[at]]
		if len(out)+len(record) > end {
			return out, i
		}
		out = append(out, record...)
	}
	return out, n
}

// appendHeader appends the header and the question, if there is one.
func appendHeader(out []byte, q *query, flags uint16) []byte {
	out = binary.BigEndian.AppendUint16(out, q.id)
	out = binary.BigEndian.AppendUint16(out, flags)
	if len(q.name) == 0 {
		return append(out, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	out = append(out, 0, 1, 0, 0, 0, 0, 0, 0)
	out = append(out, q.name...)
	out = binary.BigEndian.AppendUint16(out, q.kind)
	return binary.BigEndian.AppendUint16(out, q.class)
}

// appendOPT appends our OPT record; high are the upper bits of the rcode.
func (q *query) appendOPT(out []byte, high uint8) []byte {
	out = append(out, 0, 0, byte(dns.TypeOPT), packetSize>>8, packetSize&0xff, high, 0)
	if q.dnssec {
		return append(out, 0x80, 0, 0, 0)
	}
	return append(out, 0, 0, 0, 0)
}

// appendError appends a packet that holds nothing but an rcode.
func appendError(out []byte, q *query, rcode int) []byte {
	begin := len(out)
	out = appendHeader(out, q, bitResponse|q.flags&(bitDesired|bitChecking|opcodeMask)|uint16(rcode&0xf))
	if q.edns {
		out = q.appendOPT(out, uint8(rcode>>4))
		out[begin+11] = 1
	}
	return out
}
