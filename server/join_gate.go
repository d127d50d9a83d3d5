package server

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// A host may ask hostBurst times at once, then hostRate times a second; all together totalBurst and totalRate. Many nodes
	// may stand behind one address.
	hostBurst, hostRate   = 32, 4
	totalBurst, totalRate = 128, 32
	// After so many wrong tokens in a row a host waits, each time twice as long.
	freeMistakes = 3
	firstWait    = 250 * time.Millisecond
	longestWait  = 5 * time.Second
	maxHosts     = 4096 // that are remembered
)

// gate limits how often strangers may ask. A token's secret cannot be guessed; what is kept short is the work of a flood.
type gate struct {
	mu    sync.Mutex // guards what follows
	hosts map[netip.Addr]*visitor
	total bucket
}

// visitor is one host.
type visitor struct {
	bucket
	mistakes int
	until    time.Time // it must wait until then
}

// bucket holds the requests that are still free; it fills with time.
type bucket struct {
	free float64
	at   time.Time
}

// take uses one up, or says how long until there is one.
func (b *bucket) take(now time.Time, burst, rate float64) time.Duration {
	if b.at.IsZero() {
		b.free, b.at = burst, now
	}
	if passed := now.Sub(b.at); passed > 0 {
		b.free, b.at = min(burst, b.free+passed.Seconds()*rate), now
	}
	if b.free < 1 {
		return time.Duration((1 - b.free) / rate * float64(time.Second))
	}
	b.free--
	return 0
}

// pass reports how long the host must wait; 0: it may go on.
func (g *gate) pass(host netip.Addr, now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitorLocked(host, now)
	if wait := v.until.Sub(now); wait > 0 {
		return wait
	}
	if wait := v.take(now, hostBurst, hostRate); wait > 0 {
		return wait
	}
	return g.total.take(now, totalBurst, totalRate)
}

// visitorLocked is the host's. When there are too many, those go that would be as if new.
func (g *gate) visitorLocked(host netip.Addr, now time.Time) *visitor {
	if g.hosts == nil {
		g.hosts = map[netip.Addr]*visitor{}
	}
	v := g.hosts[host]
	if v == nil {
		if len(g.hosts) >= maxHosts {
			for other, v := range g.hosts {
				if now.Sub(v.at) > hostBurst/hostRate*time.Second {
					delete(g.hosts, other)
				}
			}
		}
		if len(g.hosts) >= maxHosts {
			clear(g.hosts) // the total still holds
		}
		v = &visitor{}
		g.hosts[host] = v
	}
	return v
}

// wrong notes a wrong token of the host.
func (g *gate) wrong(host netip.Addr, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.visitorLocked(host, now)
	v.mistakes++
	if over := v.mistakes - freeMistakes; over > 0 {
		v.until = now.Add(min(firstWait<<min(over-1, 10), longestWait))
	}
}

// right forgets the host's wrong tokens.
func (g *gate) right(host netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if v := g.hosts[host]; v != nil {
		v.mistakes, v.until = 0, time.Time{}
	}
}

// hostOf is one host: of IPv6 it is the network, which is what one host has.
func hostOf(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if prefix, err := address.Prefix(64); address.Is6() && err == nil {
		return prefix.Addr()
	}
	return address
}
