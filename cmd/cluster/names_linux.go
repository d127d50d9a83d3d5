package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/a43e60e4/cluster/agent/dns"
)

// openNames takes port 8600, and lets containers ask on port 53.
func (r *running) openNames() (err error) {
	if r.nameless {
		return nil
	}
	r.names, err = dns.Open(dns.Config{
		Listen: []string{r.agent.DNSAddress()}, Node: r.id, Catalog: r.directory.Catalog, Upstreams: dns.Upstreams("/etc/resolv.conf"),
	})
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen for DNS on %s: another program has that port: end it, or choose another with `ports { dns = … }`", r.agent.DNSAddress())
	}
	if err != nil {
		return err
	}
	r.open = append(r.open, closing(func() { r.names.Close() }))
	if r.resolver != nil && r.agent.Ports.DNS != 0 {
		r.resolver.serve(r.nodeAddress, r.names.Listen)
	}
	return nil
}

// resolver decides where containers of this node ask for names, and has them answered there once they do: they know no
// other port than 53, which the node takes only if it has containers. The zero value answers none.
type resolver struct {
	mu     sync.Mutex
	node   func() netip.Addr
	listen func(address string) error // nil before serve
	at     map[netip.Addr]bool        // listened on
}

// serve makes answers possible. node is this node's address, listen is the name server's.
func (r *resolver) serve(node func() netip.Addr, listen func(address string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.node, r.listen, r.at = node, listen, map[netip.Addr]bool{}
}

// answer gives the addresses for docker.Config.Resolvers. That is the node's own, which every network of containers can
// reach. Where it cannot be had, or is loopback, which is another in each container, it is a gateway of the engine's
// default network; and also where it is of IPv6, since most such networks have IPv4 alone.
func (r *resolver) answer(gateways []netip.Addr) ([]netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listen == nil {
		return nil, errors.New("this agent answers no names on a port of its choice: set `ports { dns = 8600 }`")
	}
	var found []netip.Addr
	var why []string
	take := func(a netip.Addr) {
		if err := r.takeLocked(a); err != nil {
			why = append(why, err.Error())
		} else {
			found = append(found, a)
		}
	}
	if node := r.node(); reachable(node) {
		take(node)
	} else {
		why = append(why, fmt.Sprintf("they cannot reach this node's address %s: choose another with -bind", node))
	}
	for _, is4 := range []bool{true, false} {
		for _, gateway := range gateways {
			served := slices.ContainsFunc(found, func(a netip.Addr) bool { return a.Is4() || !is4 })
			if !served && gateway.Is4() == is4 && reachable(gateway) {
				take(gateway)
			}
		}
	}
	if len(found) == 0 {
		return nil, errors.New(strings.Join(why, "; "))
	}
	// A resolver that cannot be reached costs nothing at the end of the list.
	slices.SortStableFunc(found, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return found, nil
}

// reachable reports whether the address means this machine in another network namespace too.
func reachable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}

// takeLocked listens on port 53 of the address, unless that is done.
func (r *resolver) takeLocked(a netip.Addr) error {
	if r.at[a] {
		return nil
	}
	address := net.JoinHostPort(a.String(), "53")
	err := r.listen(address)
	switch {
	case err == nil:
		r.at[a] = true
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen for DNS on %s: another program has that port: let it leave this address free, or set dns_servers in the tasks", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listen for DNS on %s: this user may not take that port: run the agent as root or with the capability CAP_NET_BIND_SERVICE", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listen for DNS on %s: this machine does not have that address", address)
	}
	return err
}
