package dns

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/a43e60e4/cluster"
)

// Counters says what a server has done since it was opened.
type Counters struct {
	Queries   uint64 // packets that asked something, of any name
	Malformed uint64 // packets that were no question, answered or not
	Refused   uint64 // names that are not ours, asked for by clients that may not, or with nobody to ask
	Forwarded uint64 // questions put to other resolvers
	Cached    uint64 // questions of others answered from memory
	Failed    uint64 // questions that no other resolver has answered
	Truncated uint64 // answers over UDP that did not fit
	Dropped   uint64 // questions, connections and answers given up for want of room, or because sending failed
}

// counts are Counters of one goroutine, or of some that are in no hurry.
type counts struct {
	queries, malformed, refused, forwarded, cached, failed, truncated, dropped atomic.Uint64

	_ [64]byte // others count in other cache lines
}

func (c *counts) addTo(sum *Counters) {
	sum.Queries += c.queries.Load()
	sum.Malformed += c.malformed.Load()
	sum.Refused += c.refused.Load()
	sum.Forwarded += c.forwarded.Load()
	sum.Cached += c.cached.Load()
	sum.Failed += c.failed.Load()
	sum.Truncated += c.truncated.Load()
	sum.Dropped += c.dropped.Load()
}

// answerer answers packets one after another, for one goroutine. It keeps what it has packed until the catalog changes.
type answerer struct {
	zone    *zone
	catalog *cluster.Catalog
	answers map[string]*answer // by name in lower case, and kind
	serial  uint32
	turn    uint32
	counts  *counts
	key     []byte
	near    func(netip.Addr) bool
}

func newAnswerer(z *zone, c *counts, near func(netip.Addr) bool) *answerer {
	return &answerer{zone: z, answers: map[string]*answer{}, counts: c, near: near, key: make([]byte, 0, maxName+2), turn: uint32(time.Now().UnixNano())}
}

// use makes the catalog the one that is answered from.
func (a *answerer) use(c *cluster.Catalog) {
	if c == nil {
		c = nothing
	}
	if a.catalog != c {
		a.catalog = c
		a.serial = uint32(time.Now().Unix())
		clear(a.answers)
	}
}

// nothing is the catalog of a node that knows nobody yet.
var nothing = cluster.NewCatalog(nil)

// verdict is what becomes of a packet.
type verdict uint8

const (
	verdictDrop    verdict = iota
	verdictReply           // the answer is written
	verdictForward         // it asks for a name that is not ours
)

// reply appends the answer to a packet to out. Answers have up to limit bytes, 0 is what the client says that it takes.
// The query refers to the packet.
func (a *answerer) reply(out, packet []byte, client netip.Addr, limit int) ([]byte, query, verdict) {
	q, rcode, ok := parse(packet)
	if !ok {
		a.counts.malformed.Add(1)
		return out, q, verdictDrop
	}
	a.counts.queries.Add(1)
	switch {
	case rcode != 0:
		a.counts.malformed.Add(1)
	case q.edns && q.version != 0:
		rcode = dns.RcodeBadVers
	case q.class != dns.ClassINET, q.kind == dns.TypeAXFR, q.kind == dns.TypeIXFR:
		rcode = dns.RcodeRefused
	}
	if rcode != 0 {
		return appendError(out, &q, rcode), q, verdictReply
	}
	found := a.find(&q)
	if found == nil {
		return out, q, verdictForward
	}
	if limit == 0 {
		limit = min(int(q.size), packetSize)
	}
	a.turn++
	at := len(out)
	out = found.write(out, &q, writer{limit, a.turn, false})
	if out[at+2]&(bitTruncated>>8) != 0 {
		a.counts.truncated.Add(1)
	}
	if q.flags&bitDesired != 0 && a.near(client) {
		out[at+3] |= bitAvailable
	}
	return out, q, verdictReply
}

// find is the packed answer to the question, nil if the name is not ours.
func (a *answerer) find(q *query) *answer {
	a.key = appendLower(a.key[:0], q.name)
	name := len(a.key)
	a.key = binary.BigEndian.AppendUint16(a.key, q.kind)
	if found, ok := a.answers[string(a.key)]; ok {
		return found
	}
	found := a.zone.answer(a.catalog, question{a.key[:name], q.kind, a.serial})
	if found != nil && found.rcode == 0 { // there is no end to names that do not exist
		if len(a.answers) >= maxAnswers {
			clear(a.answers)
		}
		a.answers[string(a.key)] = found
	}
	return found
}
