package dns

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
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
	seen = lookAt("/sys/class/net")
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

// lookAt reads the interfaces; sys is where the system says what they are.
func lookAt(sys string) *addresses {
	seen := &addresses{at: time.Now(), own: map[netip.Addr]bool{}}
	interfaces, err := net.Interfaces()
	if err != nil {
		return seen
	}
	for _, i := range interfaces {
		inside := isInside(sys, i.Name)
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
			if inside && !prefix.Addr().IsLinkLocalUnicast() {
				seen.networks = append(seen.networks, prefix.Masked())
			}
		}
	}
	return seen
}

// isInside reports whether the interface is a bridge that joins only what is on this machine: containers and virtual
// machines. A bridge with a network card, or with what rests on one, is a part of the network outside.
func isInside(sys, name string) bool {
	if _, err := os.Stat(filepath.Join(sys, name, "bridge")); err != nil {
		return false
	}
	ports, err := os.ReadDir(filepath.Join(sys, name, "brif"))
	if err != nil {
		return false
	}
	for _, port := range ports {
		if leadsOut(filepath.Join(sys, port.Name())) {
			return false
		}
	}
	return true
}

// leadsOut reports whether what is described in the folder is a card, rests on another interface, or is a tunnel.
func leadsOut(folder string) bool {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return true
	}
	for _, entry := range entries {
		if entry.Name() == "device" || strings.HasPrefix(entry.Name(), "lower_") {
			return true
		}
	}
	kind, err := os.ReadFile(filepath.Join(folder, "uevent"))
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(kind)) {
		if what, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVTYPE="); ok && what != "bridge" {
			return true // vlan, bond, vxlan, geneve, wlan
		}
	}
	return false
}
