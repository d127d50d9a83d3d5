package dns

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// machine knows the addresses of this machine and the networks on it. The zero value looks when it is asked.
type machine struct {
	mu   sync.Mutex // of who looks
	seen atomic.Pointer[addresses]
}

// addresses are what the machine had at a time.
type addresses struct {
	at       time.Time
	own      map[netip.Addr]bool
	networks []netip.Prefix // that exist only inside the machine
}

// lookAgain is how often interfaces are looked at, as long as somebody asks.
const lookAgain = 5 * time.Second

func (m *machine) look() *addresses {
	seen := m.seen.Load()
	if seen != nil && time.Since(seen.at) < lookAgain {
		return seen
	}
	if !m.mu.TryLock() {
		if seen != nil {
			return seen // somebody else is looking
		}
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	seen = lookAt()
	m.seen.Store(seen)
	return seen
}

// isOwn reports whether the address is one of this machine.
func (m *machine) isOwn(a netip.Addr) bool { return a.IsLoopback() || m.look().own[a.WithZone("")] }

// near reports whether a packet from the address comes from this machine or a container on it.
func (m *machine) near(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	if !a.IsValid() {
		return false
	}
	a = a.WithZone("")
	seen := m.look()
	if seen.own[a] {
		return true
	}
	for _, network := range seen.networks {
		if network.Contains(a) {
			return true
		}
	}
	return false
}

// lookAt reads the interfaces.
func lookAt() *addresses {
	seen := &addresses{at: time.Now(), own: map[netip.Addr]bool{}}
	interfaces, err := net.Interfaces()
	if err != nil {
		return seen
	}
	all, _ := links() // without them nobody but ourselves is near
	inside := insideBridges(all)
	for _, i := range interfaces {
		all, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, one := range all {
			prefix, err := netip.ParsePrefix(one.String())
			if err != nil {
				continue
			}
			seen.own[prefix.Addr().Unmap()] = true
			if inside[i.Index] && !prefix.Addr().IsLinkLocalUnicast() {
				seen.networks = append(seen.networks, prefix.Masked())
			}
		}
	}
	return seen
}

// link is an interface. The kind is "" for a card, and for loopback.
type link struct {
	index, master int
	kind          string
}

// insideBridges are the bridges, by index, that join only what is on this machine: containers and virtual machines. A
// bridge with a network card, or with what rests on one or is a tunnel, is a part of the network outside.
func insideBridges(all []link) map[int]bool {
	inside := map[int]bool{}
	for _, l := range all {
		if l.kind == "bridge" {
			inside[l.index] = true
		}
	}
	for _, l := range all {
		switch l.kind {
		case "veth", "tun", "dummy":
		default:
			delete(inside, l.master)
		}
	}
	return inside
}
