package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/a43e60e4/cluster/agent"
)

// errMoved says that the agent must begin anew, because this machine has another address than the one it told the others.
var errMoved = errors.New("this machine's address has changed")

// addressInterval is between two looks at the machine's addresses. Two in a row must agree.
const addressInterval = 2 * time.Second

// watchAddress ends with errMoved when the address at which others reach this node, found out by itself at the start, is gone and
// there is another. It returns when ctx ends.
func (r *running) watchAddress(ctx context.Context) error {
	host, _, err := net.SplitHostPort(r.advertise)
	told, parsed := netip.ParseAddr(host)
	if err != nil || parsed != nil || !r.routed {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(addressInterval)
	defer tick.Stop()
	last := told
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		route, _ := netip.ParseAddr(agent.RouteAddress())
		if moved(told, route, ownAddresses()) && route == last {
			r.logger.Warn("the agent begins anew, tasks go on", "why", "this machine's address changed from "+told.String()+" to "+route.String())
			return errMoved
		}
		last = route
	}
}

// moved reports whether the node is better reached at the address of its route than at the one it told: that is no own one any more, or
// was none but a makeshift before there was a network.
func moved(told, route netip.Addr, own []netip.Addr) bool {
	if route == told || !route.IsValid() || route.IsLoopback() {
		return false
	}
	if told.IsLoopback() {
		return true
	}
	for _, address := range own {
		if address == told {
			return false
		}
	}
	return len(own) > 0
}

// ownAddresses are those of this machine's interfaces.
func ownAddresses() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var own []netip.Addr
	for _, a := range all {
		if prefix, ok := a.(*net.IPNet); ok {
			if address, ok := netip.AddrFromSlice(prefix.IP); ok {
				own = append(own, address.Unmap())
			}
		}
	}
	return own
}

// routes reports whether the address that others are told is found out by the machine's route.
func routes(configured string, bound net.Addr) bool {
	host, _, _ := net.SplitHostPort(bound.String())
	ip := net.ParseIP(host)
	return configured == "" && (ip == nil || ip.IsUnspecified())
}
