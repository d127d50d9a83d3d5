package gossip

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
)

const (
	fetchers     = 4 // nodes asked at the same time
	fetchTimeout = 5 * time.Second
	fetchRounds  = 64 // continuations of one answer
	maxTellers   = 4
	fewItems     = 8 // so many records may be news to others too
	claimTries   = 8 // of a version that nobody has signed as far as we know
	slowest      = 10 * time.Second
	settleTime   = 300 * time.Millisecond // for the other parts of a publication to arrive by themselves
)

// need is a record that somebody has and this node has not.
type need struct {
	version version
	signed  bool         // its owner's signature says that it exists; others only claim it
	full    bool         // another record under the version that is here: everything must be compared
	relay   bool         // when it is here, tell others that it can be fetched here
	tellers []cluster.ID // who said that they have it, the newest first
	tries   int
	due     time.Time
	busy    bool
}

// needLocked notes that something is missing. Whoever told of it is asked first.
func (g *Gossip) needLocked(id cluster.ID, want need, after time.Duration) {
	if g.config.Fetch == nil || g.closed {
		return
	}
	due := time.Now().Add(after)
	n, ok := g.needs[id]
	if !ok {
		want.due = due
		g.needs[id] = &want
		knock(g.poke)
		return
	}
	if want.version.compare(n.version) > 0 {
		n.version, n.signed, n.tries = want.version, want.signed, 0
	}
	n.signed = n.signed || want.signed && want.version == n.version
	n.full, n.relay = n.full || want.full, n.relay || want.relay
	for _, teller := range want.tellers {
		if !slices.Contains(n.tellers, teller) {
			n.tellers = append([]cluster.ID{teller}, n.tellers[:min(len(n.tellers), maxTellers-1)]...)
			if due.Before(n.due) {
				n.due = due
			}
		}
	}
	knock(g.poke)
}

// hear takes in a packet's message.
func (g *Gossip) hear(b []byte) {
	m, err := decodeMessage(b)
	if err != nil {
		g.count(func(s *Stats) { s.Malformed++ })
		return
	}
	fresh := g.learn([]part{m.part}, m.teller)
	if m.teller.IsZero() {
		for _, p := range fresh {
			g.send(p, false)
		}
	}
}

// summary is what push/pull says: which records are here completely.
func (g *Gossip) summary() summary {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := summary{sender: g.config.ID, digests: make([]digest, 0, len(g.members))}
	for id, e := range g.members {
		if head, ok := e.rec.head(); ok {
			s.digests = append(s.digests, digest{id, head.version, [8]byte(head.vector[:8])})
		}
	}
	return s
}

// compare takes in what another node has, and notes what is missing here.
func (g *Gossip) compare(b []byte) {
	s, err := decodeSummary(b)
	if err != nil {
		g.count(func(s *Stats) { s.Malformed++ })
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range s.digests {
		if d.node.IsZero() || g.buriedLocked(d.node, d.version) {
			continue
		}
		var head part
		if e := g.members[d.node]; e != nil {
			head, _ = e.rec.head()
		} else if len(g.members)+len(g.needs) >= 2*maxMembers {
			g.stats.Dropped++
			continue
		}
		order := d.version.compare(head.version)
		// Of two records under one version the greater one stays; about its own the owner must know in either case.
		disputed := order == 0 && d.vector != [8]byte(head.vector[:8]) &&
			(d.node == g.config.ID || string(d.vector[:]) > string(head.vector[:8]))
		if order > 0 || disputed {
			g.needLocked(d.node, need{version: d.version, full: disputed, tellers: []cluster.ID{s.sender}}, rand.N(50*time.Millisecond))
		}
	}
}

// learn takes in parts from others, and gives those that were new and true. teller is who announced them, zero if they came
// whole. Parts of one node stand together, that with the certificate first.
func (g *Gossip) learn(parts []part, teller cluster.ID) []part {
	var fresh []part
	for len(parts) > 0 {
		id := parts[0].node
		n := slices.IndexFunc(parts, func(p part) bool { return p.node != id })
		if n < 0 {
			n = len(parts)
		}
		fresh = append(fresh, g.learnOf(id, parts[:n], teller)...)
		parts = parts[n:]
	}
	return fresh
}

func (g *Gossip) learnOf(id cluster.ID, parts []part, teller cluster.ID) []part {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	var rec record
	if e := g.members[id]; e != nil {
		rec = e.rec
	}
	parts = slices.DeleteFunc(slices.Clone(parts), func(p part) bool {
		if id == g.config.ID {
			head, ok := rec.head()
			return ok && ownEcho(p, head)
		}
		return g.buriedLocked(id, p.version) || rec.knows(p) && !rec.disputes(p)
	})
	g.mu.Unlock()
	if len(parts) == 0 {
		return nil
	}
	good, unknown := g.verified(rec, parts)
	if id == g.config.ID {
		g.outdated(good, unknown)
		return nil
	}
	return g.take(id, good, unknown, teller)
}

// ownEcho reports whether the part of this node is nothing that it does not remember.
func ownEcho(p, head part) bool {
	order := p.version.compare(head.version)
	return order < 0 || order == 0 && p.vector == head.vector
}

// verified are the parts that their node signed, and those whose certificate is not here.
func (g *Gossip) verified(rec record, parts []part) (good, unknown []part) {
	certificates := map[[8]byte][]byte{}
	for _, p := range parts {
		certificate, ok := certificates[p.certificate]
		if !ok {
			certificate = rec.certificate(p.certificate)
		}
		if p.index == 0 && p.body != nil {
			if fingerprint(p.body) != p.certificate {
				g.refuse(p.node, fmt.Errorf("it names another certificate"))
				continue
			}
			certificate = p.body
		}
		if certificate == nil {
			unknown = append(unknown, p)
			continue
		}
		digest := p.digest(g.config.Cluster)
		if err := g.config.Verify(p.node, certificate, digest[:], p.signature); err != nil {
			g.refuse(p.node, err)
			continue
		}
		certificates[p.certificate] = certificate
		good = append(good, p)
	}
	return good, unknown
}

// refuse counts a part that is not its node's.
func (g *Gossip) refuse(id cluster.ID, why error) {
	g.mu.Lock()
	g.stats.Refused++
	told := g.refused[id] || len(g.refused) >= maxMembers
	if !told {
		g.refused[id] = true
	}
	g.mu.Unlock()
	if !told {
		g.log.Warn("refuse a part of a record that its node did not sign; told once per node", "node", id, "err", why)
	}
}

// outdated looks at what this node signed and does not remember, and goes on above it.
func (g *Gossip) outdated(good, unknown []part) {
	g.mu.Lock()
	for _, p := range unknown {
		g.needLocked(p.node, need{version: p.version, full: true}, 0)
	}
	for _, p := range good {
		switch {
		case p.version.registration > g.config.Registration:
			g.conflictLocked(fmt.Sprintf("node %s registered anew elsewhere (registration %d, here %d): this copy of it is not heard any more", p.node, p.version.registration, g.config.Registration))
		case p.version.registration == g.config.Registration && p.version.edition >= g.edition:
			g.edition = p.version.edition
			knock(g.anew)
		}
	}
	g.mu.Unlock()
	g.tellConflicts()
}

// take merges verified parts into the member's record, and gives those that were new.
func (g *Gossip) take(id cluster.ID, good, unknown []part, teller cluster.ID) []part {
	g.mu.Lock()
	var relay *part
	turned := false
	var state cluster.MemberState
	var fresh []part
	if e := g.takerLocked(id, good); e != nil {
		for _, p := range good {
			if e.rec.disputes(p) {
				g.conflictLocked(fmt.Sprintf("node %s signed two records under version %d.%d: its disk was restored, or two machines use one node's key", id, p.version.registration, p.version.edition))
			}
			if !e.rec.knows(p) {
				fresh = append(fresh, p)
			}
		}
		before, had := e.rec.head()
		next := e.rec.with(good...).settled()
		if next.weight() > 2*maxRecord {
			g.stats.Dropped += uint64(len(next.news))
			next.news = nil
		}
		e.rec = next
		head, has := e.rec.head()
		turned = g.judgeLocked(e)
		state = e.state
		if turned || has != had || head.key() != before.key() {
			g.changeLocked()
		}
		if turned {
			knock(g.dirty)
		}
		relay = g.missingLocked(id, e.rec, teller)
	}
	for _, p := range unknown {
		// Whoever holds the gossip key can make us ask; so nothing is remembered of it but the version.
		g.needLocked(id, need{version: p.version, tellers: told(teller)}, settleTime+rand.N(settleTime))
	}
	g.mu.Unlock()
	if turned {
		g.tellState(id, state)
	}
	g.tellConflicts()
	if relay != nil {
		g.send(*relay, true)
	}
	return fresh
}

// takerLocked is the member that verified parts belong to; nil without such parts or room.
func (g *Gossip) takerLocked(id cluster.ID, good []part) *member {
	if len(good) == 0 || g.closed {
		return nil
	}
	return g.memberLocked(id)
}

func told(teller cluster.ID) []cluster.ID {
	if teller.IsZero() {
		return nil
	}
	return []cluster.ID{teller}
}

// missingLocked notes what the record lacks, or that it lacks nothing any more; then it gives the part that shall be announced,
// nil if none.
func (g *Gossip) missingLocked(id cluster.ID, rec record, teller cluster.ID) *part {
	head, _ := rec.head()
	rumour, _ := rec.rumour()
	if rumour.key().compare(head.key()) > 0 {
		after := settleTime + rand.N(settleTime)
		if !teller.IsZero() {
			after = rand.N(settleTime / 2)
		}
		g.needLocked(id, need{version: rumour.version, signed: true, relay: !teller.IsZero(), tellers: told(teller)}, after)
		return nil
	}
	n := g.needs[id]
	if n == nil || n.full || n.version.compare(head.version) > 0 {
		return nil
	}
	delete(g.needs, id)
	if !n.relay {
		return nil
	}
	return &head
}

// fetch asks for what is missing until it is here.
func (g *Gossip) fetch(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(fetchers)
	for ctx.Err() == nil {
		next := g.dispatch(ctx, &group)
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-g.poke:
		case <-timer.C:
		}
		timer.Stop()
	}
	group.Wait()
}

// dispatch asks for what is due, and says when something else will be.
func (g *Gossip) dispatch(ctx context.Context, group *errgroup.Group) time.Duration {
	now := time.Now()
	next := time.Hour
	asks := map[cluster.ID][]item{}
	g.mu.Lock()
	for id, n := range g.needs {
		if n.busy {
			continue
		}
		if wait := n.due.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		source := g.sourceLocked(id, n)
		if source.IsZero() {
			n.due = now.Add(time.Second)
			next = min(next, time.Second)
			continue
		}
		if len(asks[source]) >= maxItems {
			continue // its turn comes when these are answered
		}
		n.busy = true
		it := item{node: id}
		if e := g.members[id]; e != nil && !n.full && id != g.config.ID {
			head, _ := e.rec.head()
			it.have = head.version
		}
		asks[source] = append(asks[source], it)
	}
	g.mu.Unlock()
	for source, items := range asks {
		g.relay(items)
		if group.TryGo(func() error { g.ask(ctx, source, items); return nil }) {
			continue
		}
		g.mu.Lock()
		for _, it := range items {
			if n := g.needs[it.node]; n != nil {
				n.busy = false
			}
		}
		g.mu.Unlock()
	}
	return next
}

// relay makes what is asked for be announced when it is here, so that news spread in seconds also where a broadcast did not
// reach, after a cut for example. What a node learns that has just come is news to itself alone.
func (g *Gossip) relay(items []item) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, it := range items {
		if n := g.needs[it.node]; n != nil && (len(items) <= fewItems || it.have != (version{})) {
			n.relay = true
		}
	}
}

// sourceLocked is whom to ask: who told of it, then its owner, then anybody alive, in turn. Zero: nobody is alive.
func (g *Gossip) sourceLocked(id cluster.ID, n *need) cluster.ID {
	usable := func(source cluster.ID) bool {
		e := g.members[source]
		return e != nil && e.alive() && source != g.config.ID
	}
	var sources []cluster.ID
	for _, source := range append(slices.Clone(n.tellers), id) {
		if usable(source) && !slices.Contains(sources, source) {
			sources = append(sources, source)
		}
	}
	for other := range g.members { // in random order
		if usable(other) && !slices.Contains(sources, other) {
			sources = append(sources, other)
			break
		}
	}
	if len(sources) == 0 {
		return cluster.ID{}
	}
	return sources[n.tries%len(sources)]
}

// ask fetches records from one node.
func (g *Gossip) ask(ctx context.Context, source cluster.ID, items []item) {
	err := g.askAll(ctx, source, items)
	now := time.Now()
	g.mu.Lock()
	g.stats.Fetches++
	if err != nil {
		g.stats.Unfetched++
	}
	for _, it := range items {
		n := g.needs[it.node]
		if n == nil {
			continue
		}
		var head part
		if e := g.members[it.node]; e != nil {
			head, _ = e.rec.head()
		}
		n.busy = false
		n.tries++
		wait := min(200*time.Millisecond<<min(n.tries, 6), slowest)
		n.due = now.Add(wait + rand.N(wait/2))
		answered := err == nil && (n.full || it.node == g.config.ID)
		if answered || !n.signed && n.tries >= claimTries || !n.full && head.version.compare(n.version) >= 0 {
			delete(g.needs, it.node)
		}
	}
	g.mu.Unlock()
	if err != nil {
		g.log.Debug("fetch records", "peer", source, "err", err)
	}
	knock(g.poke)
}

func (g *Gossip) askAll(ctx context.Context, source cluster.ID, items []item) error {
	for range fetchRounds {
		inner, cancel := context.WithTimeout(ctx, fetchTimeout)
		b, err := g.config.Fetch(inner, source, encodeRequest(items))
		cancel()
		if err != nil {
			return err
		}
		a, err := decodeAnswer(b)
		if err != nil {
			g.count(func(s *Stats) { s.Malformed++ })
			return err
		}
		g.learn(a.parts, cluster.ID{})
		if items = a.remaining(items); items == nil {
			return nil
		}
	}
	return nil
}

// Answer answers a request of another node's Fetch. It answers any node of the cluster; the caller has made sure that it
// is one.
func (g *Gossip) Answer(request []byte) ([]byte, error) {
	items, err := decodeRequest(request)
	if err != nil {
		g.count(func(s *Stats) { s.Malformed++ })
		return nil, cluster.Errorf(cluster.CodeInvalid, "answer gossip request: %w", err)
	}
	a := answerTo(items, func(id cluster.ID) record {
		g.mu.Lock()
		defer g.mu.Unlock()
		if e := g.members[id]; e != nil {
			return e.rec
		}
		return record{}
	})
	return a.encode(), nil
}
