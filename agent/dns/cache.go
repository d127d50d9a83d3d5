package dns

import (
	"container/list"
	"time"

	"github.com/miekg/dns"
)

// The limits of what is remembered of the answers of others.
const (
	maxCached      = 4096
	maxCachedBytes = 8 << 20
	maxKept        = time.Hour
	maxKeptNothing = 5 * time.Minute // that there is no such name, or nothing of the kind
)

// cache keeps answers of others as long as they say, those that were asked for last. It is guarded by who has it.
type cache struct {
	entries map[foreign]*list.Element
	order   *list.List // of *entry, the last used first
	bytes   int
}

type entry struct {
	key    foreign
	answer *dns.Msg
	size   int
	since  time.Time
	until  time.Time
}

func newCache() *cache { return &cache{entries: map[foreign]*list.Element{}, order: list.New()} }

// find is the answer and how many seconds it is old.
func (c *cache) find(key foreign, now time.Time) (*dns.Msg, uint32, bool) {
	at, ok := c.entries[key]
	if !ok {
		return nil, 0, false
	}
	e := at.Value.(*entry)
	if !now.Before(e.until) {
		c.remove(at)
		return nil, 0, false
	}
	c.order.MoveToFront(at)
	return e.answer, uint32(max(now.Sub(e.since), 0) / time.Second), true
}

func (c *cache) remove(at *list.Element) {
	e := c.order.Remove(at).(*entry)
	delete(c.entries, e.key)
	c.bytes -= e.size
}

// add keeps the answer, which is not modified any more, unless it does not want to be kept.
func (c *cache) add(key foreign, answer *dns.Msg, now time.Time) {
	keep := lifetime(answer)
	if keep <= 0 {
		return
	}
	if at, ok := c.entries[key]; ok {
		c.remove(at)
	}
	e := &entry{key, answer, 8*answer.Len() + 512, now, now.Add(keep)} // unpacked, records are several times as large
	c.entries[key] = c.order.PushFront(e)
	c.bytes += e.size
	for c.order.Len() > maxCached || c.bytes > maxCachedBytes && c.order.Len() > 1 {
		c.remove(c.order.Back())
	}
}

// lifetime is how long an answer may be kept. That there is nothing is kept as long as the zone says (RFC 2308), and not
// at all if it does not say.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated {
		return 0
	}
	if m.Rcode == dns.RcodeNameError || len(m.Answer) == 0 || !answersKind(m) {
		for _, r := range m.Ns {
			if soa, ok := r.(*dns.SOA); ok {
				return min(time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second, shortest(m.Answer, maxKeptNothing))
			}
		}
		return 0
	}
	return shortest(m.Ns, shortest(m.Answer, maxKept))
}

// answersKind reports whether the answer holds what was asked for, and not only where to look next.
func answersKind(m *dns.Msg) bool {
	kind := m.Question[0].Qtype
	for _, r := range m.Answer {
		if r.Header().Rrtype == kind || kind == dns.TypeANY {
			return true
		}
	}
	return false
}

// shortest is the shortest time of the records, but no more than a limit.
func shortest(records []dns.RR, limit time.Duration) time.Duration {
	for _, r := range records {
		limit = min(limit, time.Duration(r.Header().Ttl)*time.Second)
	}
	return limit
}
