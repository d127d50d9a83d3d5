package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	attemptTimeout = 1500 * time.Millisecond // of one question to one resolver
	restTime       = 10 * time.Second        // for which a resolver that does not answer is asked last
	maxUpstreams   = 4
)

// forwarder asks other resolvers, each question once at a time, and remembers their answers.
type forwarder struct {
	upstreams func() []string
	isOurs    func(netip.AddrPort) bool
	counts    *counts

	mu      sync.Mutex
	cache   *cache
	flights map[foreign]*flight
	resting map[string]time.Time // until when, of resolvers that did not answer
}

// foreign is what an answer of others depends on.
type foreign struct {
	name     string // in lower case, as text
	kind     uint16
	dnssec   bool
	checking bool // disabled
}

// flight is a question under way. The answer is there when done is closed, nil if there is none.
type flight struct {
	done   chan struct{}
	answer *dns.Msg
}

func newForwarder(upstreams func() []string, isOurs func(netip.AddrPort) bool, c *counts) *forwarder {
	return &forwarder{upstreams: upstreams, isOurs: isOurs, counts: c, cache: newCache(), flights: map[foreign]*flight{}, resting: map[string]time.Time{}}
}

// answer is the packet that answers the question, of at most limit bytes. It says what went wrong, if it did.
func (f *forwarder) answer(ctx context.Context, q *query, limit int) []byte {
	name, _, err := dns.UnpackDomainName(q.name, 0)
	if err != nil {
		return appendError(nil, q, dns.RcodeFormatError)
	}
	if q.flags&bitDesired == 0 { // who does not want us to ask others gets nothing from our memory either
		f.counts.refused.Add(1)
		return appendError(nil, q, dns.RcodeRefused)
	}
	key := foreign{dns.CanonicalName(name), q.kind, q.dnssec, q.flags&bitChecking != 0}
	found, age, err := f.find(ctx, key)
	switch {
	case errors.Is(err, errNobody):
		f.counts.refused.Add(1)
		return appendError(nil, q, dns.RcodeRefused)
	case err != nil:
		f.counts.failed.Add(1)
		return appendError(nil, q, dns.RcodeServerFailure)
	}
	packet, err := q.pack(found, name, age, limit)
	if err != nil {
		f.counts.failed.Add(1)
		return appendError(nil, q, dns.RcodeServerFailure)
	}
	return packet
}

// pack is the answer of others as the answer to this question, grown older by some seconds.
func (q *query) pack(found *dns.Msg, name string, age uint32, limit int) ([]byte, error) {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{
		Id: q.id, Response: true, RecursionDesired: true, RecursionAvailable: true, Rcode: found.Rcode,
		AuthenticatedData: found.AuthenticatedData, CheckingDisabled: q.flags&bitChecking != 0,
	}}
	m.Question = []dns.Question{{Name: name, Qtype: q.kind, Qclass: q.class}}
	m.Answer, m.Ns, m.Extra = aged(found.Answer, name, age), aged(found.Ns, name, age), aged(found.Extra, name, age)
	if q.edns {
		m.SetEdns0(packetSize, q.dnssec)
	}
	m.Compress = true
	m.Truncate(limit)
	return m.Pack()
}

// aged copies the records, but for OPT, with what is left of their time. The name asked for is written as it was asked.
func aged(records []dns.RR, name string, age uint32) []dns.RR {
	var all []dns.RR
	for _, r := range records {
		header := r.Header()
		if header.Rrtype == dns.TypeOPT {
			continue
		}
		r = dns.Copy(r)
		header = r.Header()
		header.Ttl -= min(age, header.Ttl)
		if strings.EqualFold(header.Name, name) {
			header.Name = name
		}
		all = append(all, r)
	}
	return all
}

// errNobody says that there is no resolver to ask.
var errNobody = errors.New("ask for a foreign name: this machine has no resolver")

// find gives the answer from memory, or from whoever is asked, and how many seconds it is old.
func (f *forwarder) find(ctx context.Context, key foreign) (*dns.Msg, uint32, error) {
	f.mu.Lock()
	if found, age, ok := f.cache.find(key, time.Now()); ok {
		f.mu.Unlock()
		f.counts.cached.Add(1)
		return found, age, nil
	}
	under, ok := f.flights[key]
	if !ok {
		under = &flight{done: make(chan struct{})}
		f.flights[key] = under
	}
	f.mu.Unlock()
	if ok {
		select {
		case <-under.done:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		if under.answer == nil {
			return nil, 0, errors.New("ask for a foreign name: the same question has just failed")
		}
		return under.answer, 0, nil
	}
	answer, err := f.ask(ctx, key)
	f.mu.Lock()
	defer f.mu.Unlock()
	under.answer = answer
	delete(f.flights, key)
	close(under.done)
	if err == nil {
		f.cache.add(key, answer, time.Now())
	}
	return answer, 0, err
}

// ask puts the question to one resolver after another, twice, until one has an answer.
func (f *forwarder) ask(ctx context.Context, key foreign) (*dns.Msg, error) {
	all := f.order(time.Now())
	if len(all) == 0 {
		return nil, errNobody
	}
	f.counts.forwarded.Add(1)
	var last error
	for range 2 {
		for _, upstream := range all {
			m, err := exchange(ctx, key, upstream)
			f.note(upstream, err, time.Now())
			if err == nil {
				return m, nil
			}
			if last = err; ctx.Err() != nil {
				return nil, last
			}
		}
	}
	return nil, last
}

// order lists the resolvers to ask: never ourselves, and those that did not answer lately at the end.
func (f *forwarder) order(now time.Time) []string {
	var ready, resting []string
	configured := f.upstreams()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, upstream := range configured {
		at, err := netip.ParseAddrPort(upstream)
		switch {
		case err != nil || f.isOurs(at):
		case now.Before(f.resting[upstream]):
			resting = append(resting, upstream)
		default:
			ready = append(ready, upstream)
		}
	}
	all := append(ready, resting...)
	return all[:min(len(all), maxUpstreams)]
}

// note remembers whether a resolver answers.
func (f *forwarder) note(upstream string, err error, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var timeout net.Error
	if errors.As(err, &timeout) { // it did not answer; a refusal is about the name
		f.resting[upstream] = now.Add(restTime)
		for other, until := range f.resting {
			if now.After(until) {
				delete(f.resting, other)
			}
		}
	} else {
		delete(f.resting, upstream)
	}
}

// exchange asks one resolver: by UDP from a port that nobody knows and with an ID that nobody knows, again by TCP if the
// answer is cut short, and again without EDNS if that is what the resolver does not understand.
func exchange(ctx context.Context, key foreign, upstream string) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	m := &dns.Msg{}
	m.SetQuestion(key.name, key.kind)
	m.CheckingDisabled = key.checking
	m.SetEdns0(packetSize, key.dnssec)
	r, err := send(ctx, m, "udp", upstream)
	if err == nil && (r.Rcode == dns.RcodeFormatError || r.Rcode == dns.RcodeBadVers) {
		m.Extra = nil
		m.Id = dns.Id()
		r, err = send(ctx, m, "udp", upstream)
	}
	if err == nil && r.Truncated {
		r, err = send(ctx, m, "tcp", upstream)
	}
	if err != nil {
		return nil, err
	}
	if r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError {
		return nil, fmt.Errorf("ask %s for %s: it answers %s", upstream, key.name, dns.RcodeToString[r.Rcode])
	}
	return r, nil
}

// send sends the question once. An answer with another ID is waited past, one to another question is none.
func send(ctx context.Context, m *dns.Msg, network, upstream string) (*dns.Msg, error) {
	client := dns.Client{Net: network, UDPSize: packetSize, Timeout: attemptTimeout}
	r, _, err := client.ExchangeContext(ctx, m, upstream)
	if err != nil && !(r != nil && r.Truncated && network == "udp") { // a record may be cut in its middle
		return nil, fmt.Errorf("ask %s for %s: %w", upstream, m.Question[0].Name, err)
	}
	if !r.Response || r.Id != m.Id {
		return nil, fmt.Errorf("ask %s for %s: what came is no answer", upstream, m.Question[0].Name)
	}
	refused := len(r.Question) == 0 && r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError
	if !refused && (len(r.Question) != 1 || !strings.EqualFold(r.Question[0].Name, m.Question[0].Name) || r.Question[0].Qtype != m.Question[0].Qtype) {
		return nil, fmt.Errorf("ask %s for %s: it answers another question", upstream, m.Question[0].Name)
	}
	return r, nil
}
