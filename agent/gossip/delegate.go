package gossip

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls. Some methods are called under memberlist's lock, so none calls it back, and none
// does anything after the end: memberlist's timers outlive its Shutdown.
type delegate struct{ g *Gossip }

func (d delegate) NodeMeta(int) []byte {
	return version{d.g.config.Registration, d.g.start}.meta(d.g.config.Hint)
}

func (d delegate) NotifyMsg(b []byte) { d.g.hear(b) }

func (d delegate) GetBroadcasts(overhead, limit int) [][]byte {
	return d.g.queue.GetBroadcasts(overhead, limit)
}

func (d delegate) LocalState(bool) []byte { return d.g.summary().encode() }

func (d delegate) MergeRemoteState(b []byte, _ bool) { d.g.compare(b) }

func (d delegate) NotifyJoin(n *memberlist.Node) { d.g.moved(n.Name, n.Meta, true) }

func (d delegate) NotifyLeave(n *memberlist.Node) { d.g.moved(n.Name, n.Meta, false) }

func (d delegate) NotifyUpdate(n *memberlist.Node) { d.g.moved(n.Name, n.Meta, true) }

// NotifyAlive refuses names that are not an ID and the very address that is said to be alive, and too many of them.
func (d delegate) NotifyAlive(n *memberlist.Node) error {
	id, at, err := parseName(n.Name)
	if err != nil {
		return err
	}
	addr, ok := netip.AddrFromSlice(n.Addr)
	if !ok || netip.AddrPortFrom(addr.Unmap(), n.Port) != at {
		return fmt.Errorf("member %s is said to be at %v:%d", n.Name, n.Addr, n.Port)
	}
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	if e, known := d.g.members[id]; known && len(e.places) > maxPlaces || !known && d.g.alive.Load() >= maxMembers {
		d.g.stats.Dropped++
		return fmt.Errorf("too many members")
	}
	return nil
}

// maxPlaces bounds the addresses at which one ID is said to be alive.
const maxPlaces = 16

func udpAddress(at netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(at) }
