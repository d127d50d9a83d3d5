package gossip

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
)

// Member is a node as gossip knows it. It is never modified.
type Member struct {
	ID      cluster.ID
	Address netip.AddrPort // of its gossip, now or last; invalid if never heard of
	State   cluster.MemberState
	Since   time.Time // when State became so; Sub of it does not care whether the machine's clock was set meanwhile
	// Registration and Edition are the version of Parts.
	Registration uint64
	Edition      uint64
	Hint         string // of the node, see Config; "" if it gave none
	// Parts are the node's newest complete and verified record; nil if there is none, or it left.
	Parts [][]byte
}

// View is all members at one moment, this node among them, in the order of their IDs. It is never modified.
type View struct {
	Version uint64 // grows with each change, within one Gossip
	Members []Member
}

const (
	leftFor      = 24 * time.Hour // how long a goodbye is kept for those who missed it
	tombFor      = 24 * time.Hour // how long what was forgotten is not learned again
	maxTombs     = 4096
	conflictTime = 15 * time.Second // for two addresses of one ID to be alive; a dead one is found earlier
	maxConflicts = 64
)

// member is what is known of one node. It is modified, under Gossip.mu.
type member struct {
	id     cluster.ID
	rec    record
	places []place // where it is or was, by what memberlist says; the best first
	state  cluster.MemberState
	since  time.Time
}

// place is one name in memberlist: a node at an address.
type place struct {
	at    netip.AddrPort
	run   version // the registration and start that it says it is
	hint  string
	alive bool
	since time.Time
}

func (e *member) address() netip.AddrPort {
	if len(e.places) == 0 {
		return netip.AddrPort{}
	}
	return e.places[0].at
}

func (e *member) alive() bool { return len(e.places) > 0 && e.places[0].alive }

// move takes in what memberlist says of a place: the alive ones come first, of these the one of the newest run, then the
// newest. Of dead places only one is kept, if none is alive.
func (e *member) move(p place) {
	e.places = slices.DeleteFunc(e.places, func(old place) bool { return old.at == p.at })
	e.places = append(e.places, p)
	slices.SortStableFunc(e.places, func(a, b place) int {
		if order := compareBool(b.alive, a.alive); order != 0 {
			return order
		}
		if order := b.run.compare(a.run); order != 0 {
			return order
		}
		return b.since.Compare(a.since)
	})
	keep := 1
	for keep < len(e.places) && e.places[keep].alive {
		keep++
	}
	e.places = e.places[:keep]
}

// nameOf is the name in memberlist of a node at an address. Each probe carries two of them, so it is short: the bytes of
// the ID, of the IP address and of the port, in base64.
func nameOf(id cluster.ID, at netip.AddrPort) string {
	bytes := append(id[:], at.Addr().AsSlice()...)
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint16(bytes, at.Port()))
}

func parseName(name string) (cluster.ID, netip.AddrPort, error) {
	bytes, err := base64.RawURLEncoding.DecodeString(name)
	size := len(cluster.ID{})
	if err != nil || len(bytes) < size+2 {
		return cluster.ID{}, netip.AddrPort{}, fmt.Errorf("parse member name %.80q: want an ID, an address and a port", name)
	}
	id := cluster.ID(bytes[:size])
	addr, ok := netip.AddrFromSlice(bytes[size : len(bytes)-2])
	at := netip.AddrPortFrom(addr, binary.BigEndian.Uint16(bytes[len(bytes)-2:]))
	if !ok || id.IsZero() || nameOf(id, at) != name {
		return cluster.ID{}, netip.AddrPort{}, fmt.Errorf("parse member name %.80q: want an ID, an address and a port", name)
	}
	return id, at, nil
}

// A run travels with memberlist's word that a node is alive, and so does its hint.
func (v version) meta(hint string) []byte {
	return append(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, v.registration), v.edition), hint...)
}

// maxHint is the longest hint that is taken.
const maxHint = 256

func parseMeta(b []byte) (run version, hint string) {
	if len(b) < 16 || len(b) > 16+maxHint {
		return version{}, ""
	}
	return version{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, string(b[16:])
}

// View is the newest view.
func (g *Gossip) View() *View {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.viewLocked()
}

// Wait returns a view newer than the version as soon as there is one, or the context's error.
func (g *Gossip) Wait(ctx context.Context, than uint64) (*View, error) {
	for {
		g.mu.Lock()
		if g.version > than {
			defer g.mu.Unlock()
			return g.viewLocked(), nil
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (g *Gossip) viewLocked() *View {
	if g.view != nil {
		return g.view
	}
	v := &View{Version: g.version, Members: make([]Member, 0, len(g.members))}
	for _, e := range g.members {
		m := Member{ID: e.id, Address: e.address(), State: e.state, Since: e.since}
		if len(e.places) > 0 {
			m.Hint = e.places[0].hint
		}
		if head, ok := e.rec.head(); ok {
			m.Registration, m.Edition, m.Parts = head.version.registration, head.version.edition, e.rec.bodies()
		}
		v.Members = append(v.Members, m)
	}
	slices.SortFunc(v.Members, func(a, b Member) int { return a.ID.Compare(b.ID) })
	g.view = v
	return v
}

// changeLocked makes waiters look again.
func (g *Gossip) changeLocked() {
	g.version++
	g.view = nil
	close(g.changed)
	g.changed = make(chan struct{})
}

// memberLocked is the member, a new one if need be; nil if there are too many, none of them dead.
func (g *Gossip) memberLocked(id cluster.ID) *member {
	if e, ok := g.members[id]; ok {
		return e
	}
	if len(g.members) >= maxMembers {
		var oldest *member
		for _, e := range g.members {
			if e.state != cluster.MemberAlive && (oldest == nil || e.since.Before(oldest.since)) {
				oldest = e
			}
		}
		g.stats.Dropped++
		if oldest == nil {
			return nil
		}
		g.dropLocked(oldest)
	}
	e := &member{id: id}
	g.members[id] = e
	return e
}

// judgeLocked updates the member's state, and reports whether it is another.
func (g *Gossip) judgeLocked(e *member) bool {
	state := cluster.MemberDead
	if head, ok := e.rec.head(); ok && head.left {
		state = cluster.MemberLeft
	} else if e.alive() {
		state = cluster.MemberAlive
	}
	if state == e.state {
		return false
	}
	if e.state == cluster.MemberAlive {
		g.alive.Add(-1)
	}
	if state == cluster.MemberAlive {
		g.alive.Add(1)
	}
	e.state, e.since = state, time.Now()
	return true
}

// tellState writes a change of state into the log.
func (g *Gossip) tellState(id cluster.ID, state cluster.MemberState) {
	if id == g.config.ID {
		return
	}
	switch state {
	case cluster.MemberAlive:
		g.log.Info("member is alive", "node", id)
	case cluster.MemberDead:
		g.log.Info("member is dead", "node", id)
	case cluster.MemberLeft:
		g.log.Info("member left", "node", id)
	}
}

// moved takes in that memberlist sees a node at an address, or does not any more.
func (g *Gossip) moved(name string, meta []byte, alive bool) {
	id, at, err := parseName(name)
	if err != nil {
		return // heard allows no such name
	}
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return
	}
	e := g.memberLocked(id)
	if e == nil {
		g.mu.Unlock()
		return
	}
	if alive {
		delete(g.tombs, id)
		delete(g.troubles, at)
	}
	before := e.address()
	since := time.Now()
	if i := slices.IndexFunc(e.places, func(p place) bool { return p.at == at && p.alive == alive }); i >= 0 {
		since = e.places[i].since
	}
	run, hint := parseMeta(meta)
	e.move(place{at, run, hint, alive, since})
	turned := g.judgeLocked(e)
	twin := id == g.config.ID && at != g.at // Twins may be others now
	if turned || twin || e.address() != before {
		g.changeLocked()
		knock(g.dirty)
	}
	state := e.state
	g.mu.Unlock()
	if turned {
		g.tellState(id, state)
	}
	knock(g.poke) // somebody to ask, or one fewer
}

// Twins are the hints of nodes that gossip sees alive under this node's own ID, at other addresses than this one's: those of
// another machine, or of this one until lately.
func (g *Gossip) Twins() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var hints []string
	if e := g.members[g.config.ID]; e != nil {
		for _, p := range e.places {
			if p.alive && p.at != g.at && p.hint != "" && p.hint != g.config.Hint {
				hints = append(hints, p.hint)
			}
		}
	}
	return hints
}

// tomb is what was forgotten: nothing up to the version is learned again.
type tomb struct {
	version version
	until   time.Time
}

// Forget drops a member that is dead or left, with all that it said; for a day, others who still know it cannot bring it
// back, only itself can. It reports whether there is no such member now: one that is alive is not forgotten.
func (g *Gossip) Forget(id cluster.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.members[id]
	if ok && (e.alive() && e.state == cluster.MemberAlive || id == g.config.ID) {
		return false
	}
	delete(g.remembered, id)
	if ok {
		g.dropLocked(e)
		g.changeLocked()
	}
	knock(g.dirty)
	return true
}

func (g *Gossip) dropLocked(e *member) {
	if head, ok := e.rec.rumour(); ok {
		if len(g.tombs) >= maxTombs {
			for id := range g.tombs {
				delete(g.tombs, id) // any one
				break
			}
		}
		g.tombs[e.id] = tomb{head.version, time.Now().Add(tombFor)}
	}
	if e.state == cluster.MemberAlive {
		g.alive.Add(-1)
	}
	delete(g.members, e.id)
	delete(g.needs, e.id)
}

// buriedLocked reports whether this was forgotten.
func (g *Gossip) buriedLocked(id cluster.ID, v version) bool {
	t, ok := g.tombs[id]
	return ok && v.compare(t.version) <= 0 && time.Now().Before(t.until)
}

// tend looks after what changes with time alone: the certificate, claims of one ID by two, and goodbyes that all have heard.
func (g *Gossip) tend(ctx context.Context) {
	tick := time.NewTicker(rejoinEvery)
	defer tick.Stop()
	again := false
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.anew:
			again = true
		case <-tick.C:
		}
		// Two machines with one ID outdo one another for ever: not faster than this.
		if now := time.Now(); !again || now.Sub(last) >= rejoinEvery {
			if again {
				last = now
			}
			if err := g.renew(again); err != nil {
				g.log.Warn("publish again: trying again in 10 s", "err", err)
			} else {
				again = false
			}
		}
		g.age(time.Now())
		g.tellConflicts()
	}
}

// age forgets those who left long ago, and finds IDs with two addresses.
func (g *Gossip) age(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.tombs, func(_ cluster.ID, t tomb) bool { return now.After(t.until) })
	for id, e := range g.members {
		if e.state == cluster.MemberLeft && now.Sub(e.since) > leftFor && id != g.config.ID {
			g.dropLocked(e)
			g.changeLocked()
			knock(g.dirty)
			continue
		}
		if len(e.places) > 1 && e.places[1].alive && now.Sub(e.places[0].since) > conflictTime && now.Sub(e.places[1].since) > conflictTime {
			a, b := e.places[0].at.String(), e.places[1].at.String()
			g.conflictLocked(fmt.Sprintf("node %s is alive at two addresses, %s and %s: two machines use one node's data directory, or a copy of it", id, min(a, b), max(a, b)))
		}
	}
}

// conflictLocked counts a conflict, and tells of it if it is new.
func (g *Gossip) conflictLocked(text string) {
	if g.conflicts[text] {
		return
	}
	g.stats.Conflicts++
	if len(g.conflicts) >= maxConflicts {
		for old := range g.conflicts {
			delete(g.conflicts, old) // any one
			break
		}
	}
	g.conflicts[text] = true
	g.untold = append(g.untold, text)
}

// tellConflicts writes new conflicts into the log.
func (g *Gossip) tellConflicts() {
	g.mu.Lock()
	untold := g.untold
	g.untold = nil
	g.mu.Unlock()
	for _, text := range untold {
		g.log.Error(text)
	}
}

// Ping asks a member afresh whether it is there, up to three times, and reports how long the answer took. It takes at
// most 0.4 s. The error says that there was no answer.
func (g *Gossip) Ping(id cluster.ID) (time.Duration, error) {
	g.mu.Lock()
	e, ok := g.members[id]
	var at netip.AddrPort
	if ok {
		at = e.address()
	}
	g.mu.Unlock()
	if !at.IsValid() {
		return 0, fmt.Errorf("ping node %s: no address known", id)
	}
	g.ending.RLock()
	defer g.ending.RUnlock()
	if g.over {
		return 0, fmt.Errorf("ping node %s: gossip has ended", id)
	}
	var last error
	for range 3 {
		began := time.Now()
		_, err := g.ml.Ping(nameOf(id, at), udpAddress(at))
		if err == nil {
			return time.Since(began), nil
		}
		last = err
	}
	return 0, fmt.Errorf("ping node %s: %w", id, last)
}
