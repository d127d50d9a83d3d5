package gossip

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/a43e60e4/cluster"
)

// Inline is the size up to which a part travels in one packet, signature included. Larger ones are announced and fetched.
const Inline = 1000

// What a record may be at most, ours and those of others.
const (
	maxParts      = 1 << 14
	maxBody       = 64 << 10
	maxRecord     = 4 << 20 // bytes of all parts
	maxSignature  = 160
	maxPacket     = 1200 // a message in a packet of memberlist
	fixedHeader   = 16 + 8 + 8 + 2 + 2 + 1 + 32 + 8 + 1
	goodbyeFlag   = 1
	signingPrefix = "cluster gossip part 1\x00"
)

// version says which of two parts is newer.
type version struct {
	registration uint64
	edition      uint64
}

func (v version) compare(o version) int {
	return cmp.Or(cmp.Compare(v.registration, o.registration), cmp.Compare(v.edition, o.edition))
}

// part is one part of a node's record with its header. It is never modified.
type part struct {
	node        cluster.ID
	version     version
	index       uint16
	count       uint16   // of parts in the record as of this version
	left        bool     // the record is a goodbye
	vector      [32]byte // over the record as of this version: vectorOf
	certificate [8]byte  // the beginning of the hash of the certificate that signature belongs to
	signature   []byte
	hash        [32]byte // of the body
	body        []byte   // nil: not here yet
}

// compare is a total order; parts that differ only in having their body are equal.
// Version and vector come first: they identify the publication.
func (p part) compare(o part) int {
	return cmp.Or(
		p.version.compare(o.version),
		bytes.Compare(p.vector[:], o.vector[:]),
		cmp.Compare(p.count, o.count),
		compareBool(p.left, o.left),
		bytes.Compare(p.certificate[:], o.certificate[:]),
		bytes.Compare(p.hash[:], o.hash[:]),
		bytes.Compare(p.signature, o.signature),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// digest is what the node signs.
func (p part) digest(label string) [32]byte {
	h := sha256.New()
	h.Write([]byte(signingPrefix))
	h.Write(binary.BigEndian.AppendUint16(nil, uint16(len(label))))
	h.Write([]byte(label))
	h.Write(p.appendFacts(nil))
	h.Write(p.hash[:])
	return [32]byte(h.Sum(nil))
}

func (p part) appendFacts(b []byte) []byte {
	b = append(b, p.node[:]...)
	b = binary.BigEndian.AppendUint64(b, p.version.registration)
	b = binary.BigEndian.AppendUint64(b, p.version.edition)
	b = binary.BigEndian.AppendUint16(b, p.index)
	b = binary.BigEndian.AppendUint16(b, p.count)
	flags := byte(0)
	if p.left {
		flags = goodbyeFlag
	}
	b = append(b, flags)
	b = append(b, p.vector[:]...)
	return append(b, p.certificate[:]...)
}

func (p part) appendHeader(b []byte) []byte {
	b = p.appendFacts(b)
	b = append(b, byte(len(p.signature)))
	return append(b, p.signature...)
}

// fingerprint is how headers name a certificate.
func fingerprint(certificate []byte) [8]byte {
	sum := sha256.Sum256(certificate)
	return [8]byte(sum[:])
}

// vectorOf is the hash over the editions and hashes of all parts of a record.
func vectorOf(parts []part) [32]byte {
	h := sha256.New()
	line := make([]byte, 0, 40)
	for _, p := range parts {
		line = binary.BigEndian.AppendUint64(line[:0], p.version.edition)
		h.Write(append(line, p.hash[:]...))
	}
	return [32]byte(h.Sum(nil))
}

// The kinds of messages in packets.
const (
	kindPart     = 1 // header, body
	kindAnnounce = 2 // who has the body, hash of the body, header
)

// message is what travels in a packet: a part, or word of one that teller has.
type message struct {
	part   part
	teller cluster.ID // zero: the body is here
}

func encodePart(p part) []byte {
	b := make([]byte, 0, 1+fixedHeader+len(p.signature)+len(p.body))
	return append(p.appendHeader(append(b, kindPart)), p.body...)
}

func encodeAnnounce(p part, teller cluster.ID) []byte {
	b := make([]byte, 0, 1+16+32+fixedHeader+len(p.signature))
	b = append(b, kindAnnounce)
	b = append(b, teller[:]...)
	b = append(b, p.hash[:]...)
	return p.appendHeader(b)
}

var errMalformed = errors.New("decode gossip: malformed")

// decodeMessage reads a message. What it returns does not share memory with the input.
func decodeMessage(b []byte) (message, error) {
	if len(b) < 1 {
		return message{}, errMalformed
	}
	var m message
	switch kind := b[0]; kind {
	case kindPart:
		p, rest, err := decodeHeader(b[1:])
		if err != nil || len(rest) > maxBody {
			return message{}, errMalformed
		}
		p.body = append([]byte{}, rest...)
		p.hash = sha256.Sum256(p.body)
		m.part = p
	case kindAnnounce:
		if len(b) < 1+16+32 {
			return message{}, errMalformed
		}
		p, rest, err := decodeHeader(b[49:])
		if err != nil || len(rest) != 0 {
			return message{}, errMalformed
		}
		copy(m.teller[:], b[1:17])
		copy(p.hash[:], b[17:49])
		if m.teller.IsZero() {
			return message{}, errMalformed
		}
		m.part = p
	default:
		return message{}, errMalformed
	}
	return m, nil
}

// decodeHeader reads a header that makes sense; hash and body are the caller's.
func decodeHeader(b []byte) (part, []byte, error) {
	if len(b) < fixedHeader {
		return part{}, nil, errMalformed
	}
	var p part
	copy(p.node[:], b)
	p.version.registration = binary.BigEndian.Uint64(b[16:])
	p.version.edition = binary.BigEndian.Uint64(b[24:])
	p.index = binary.BigEndian.Uint16(b[32:])
	p.count = binary.BigEndian.Uint16(b[34:])
	flags := b[36]
	p.left = flags == goodbyeFlag
	copy(p.vector[:], b[37:69])
	copy(p.certificate[:], b[69:77])
	size := int(b[77])
	b = b[fixedHeader:]
	ok := flags <= goodbyeFlag && p.count > 0 && p.count <= maxParts && p.index < p.count && !p.node.IsZero() && p.version.edition > 0
	if !ok || size > maxSignature || len(b) < size {
		return part{}, nil, errMalformed
	}
	p.signature = append([]byte{}, b[:size]...)
	return p, b[size:], nil
}
