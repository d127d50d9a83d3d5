package gossip

import (
	"encoding/binary"

	"github.com/a43e60e4/cluster"
)

// Bounds of what nodes send one another besides packets.
const (
	maxDigests = 1 << 15
	maxItems   = 256     // nodes asked for in one request
	maxAnswer  = 4 << 20 // bytes, beyond which an answer is continued by another request

	summaryFormat = 1
	requestFormat = 1
	answerFormat  = 1
	digestSize    = 16 + 8 + 8 + 8
	itemSize      = 16 + 8 + 8 + 2
)

// MaxRequest and MaxAnswer are the most bytes that a request and an answer have; who carries them need not accept more.
const (
	MaxRequest = 3 + maxItems*itemSize
	MaxAnswer  = maxAnswer + 2*maxBody
)

// digest is what push/pull says of one record: which publication the sender has completely.
type digest struct {
	node    cluster.ID
	version version
	vector  [8]byte // the beginning of the vector's hash
}

// summary is what one node sends another in push/pull.
type summary struct {
	sender  cluster.ID
	digests []digest
}

func (s summary) encode() []byte {
	b := make([]byte, 0, 1+16+len(s.digests)*digestSize)
	b = append(append(b, summaryFormat), s.sender[:]...)
	for _, d := range s.digests {
		b = append(b, d.node[:]...)
		b = binary.BigEndian.AppendUint64(b, d.version.registration)
		b = binary.BigEndian.AppendUint64(b, d.version.edition)
		b = append(b, d.vector[:]...)
	}
	return b
}

func decodeSummary(b []byte) (summary, error) {
	if len(b) < 17 || b[0] != summaryFormat || (len(b)-17)%digestSize != 0 || (len(b)-17)/digestSize > maxDigests {
		return summary{}, errMalformed
	}
	s := summary{sender: cluster.ID(b[1:17])}
	for b = b[17:]; len(b) > 0; b = b[digestSize:] {
		d := digest{node: cluster.ID(b[:16]), vector: [8]byte(b[32:40])}
		d.version = version{binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])}
		s.digests = append(s.digests, d)
	}
	return s, nil
}

// item asks for the parts of one node's record that are newer than have, from an index on.
type item struct {
	node cluster.ID
	have version
	from uint16
}

func encodeRequest(items []item) []byte {
	b := make([]byte, 0, 3+len(items)*itemSize)
	b = binary.BigEndian.AppendUint16(append(b, requestFormat), uint16(len(items)))
	for _, i := range items {
		b = append(b, i.node[:]...)
		b = binary.BigEndian.AppendUint64(b, i.have.registration)
		b = binary.BigEndian.AppendUint64(b, i.have.edition)
		b = binary.BigEndian.AppendUint16(b, i.from)
	}
	return b
}

func decodeRequest(b []byte) ([]item, error) {
	if len(b) < 3 || b[0] != requestFormat {
		return nil, errMalformed
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if n > maxItems || len(b) != 3+n*itemSize {
		return nil, errMalformed
	}
	items := make([]item, 0, n)
	for b = b[3:]; len(b) > 0; b = b[itemSize:] {
		have := version{binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])}
		items = append(items, item{cluster.ID(b[:16]), have, binary.BigEndian.Uint16(b[32:])})
	}
	return items, nil
}

// answer is parts of the records that were asked for, in the order of the request. If it is not all, items before next were
// answered, and of that one the parts before from.
type answer struct {
	parts []part
	more  bool
	next  uint16
	from  uint16
}

// remaining is what is left to ask after the answer, nil if nothing is.
func (a answer) remaining(items []item) []item {
	if !a.more || int(a.next) >= len(items) {
		return nil
	}
	rest := append([]item{}, items[a.next:]...)
	rest[0].from = a.from
	return rest
}

// answerTo answers a request out of records. It gives at least one part, if there is one.
func answerTo(items []item, lookup func(cluster.ID) record) answer {
	var a answer
	size := 0
	for i, it := range items {
		for _, p := range lookup(it.node).since(it.have) {
			if p.index < it.from {
				continue
			}
			if size > maxAnswer {
				a.more, a.next, a.from = true, uint16(i), p.index
				return a
			}
			a.parts = append(a.parts, p)
			size += 5 + fixedHeader + len(p.signature) + len(p.body)
		}
	}
	return a
}

func (a answer) encode() []byte {
	b := []byte{answerFormat, 0}
	if a.more {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint16(b, a.next)
	b = binary.BigEndian.AppendUint16(b, a.from)
	for _, p := range a.parts {
		at := len(b)
		b = append(b, 0, 0, 0, 0, kindPart)
		b = append(p.appendHeader(b), p.body...)
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	}
	return b
}

func decodeAnswer(b []byte) (answer, error) {
	if len(b) < 6 || len(b) > MaxAnswer || b[0] != answerFormat || b[1] > 1 {
		return answer{}, errMalformed
	}
	a := answer{more: b[1] == 1, next: binary.BigEndian.Uint16(b[2:]), from: binary.BigEndian.Uint16(b[4:])}
	for b = b[6:]; len(b) > 0; {
		if len(b) < 4 {
			return answer{}, errMalformed
		}
		n := binary.BigEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return answer{}, errMalformed
		}
		m, err := decodeMessage(b[4 : 4+n])
		if err != nil || !m.teller.IsZero() {
			return answer{}, errMalformed
		}
		a.parts = append(a.parts, m.part)
		b = b[4+n:]
	}
	return a, nil
}
