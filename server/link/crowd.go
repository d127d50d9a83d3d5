package link

import (
	"net"
	"net/netip"
	"sync"
)

// Crowd bounds how many there are of something at once, of one host and in all: who keeps many shuts out nobody but himself. It may be
// used concurrently.
type Crowd struct {
	most, mostPerHost int

	mu    sync.Mutex // guards what follows
	hosts map[netip.Addr]int
	total int
}

// NewCrowd makes an empty one.
func NewCrowd(most, mostPerHost int) *Crowd {
	return &Crowd{most: most, mostPerHost: mostPerHost, hosts: map[netip.Addr]int{}}
}

// Enter counts one of the host in, if there is room; it must Leave then.
func (c *Crowd) Enter(host netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= c.most || c.hosts[host] >= c.mostPerHost {
		return false
	}
	c.total++
	c.hosts[host]++
	return true
}

// Leave counts one of the host out.
func (c *Crowd) Leave(host netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.hosts[host]--; c.hosts[host] == 0 {
		delete(c.hosts, host)
	}
}

// HostOf is who connects; the zero Addr if it has no IP address. Of IPv6 addresses it is the network, which is what one host has.
func HostOf(address net.Addr) netip.Addr {
	tcp, ok := address.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	host := tcp.AddrPort().Addr().Unmap()
	if prefix, err := host.WithZone("").Prefix(64); host.Is6() && err == nil {
		return prefix.Addr()
	}
	return host
}
