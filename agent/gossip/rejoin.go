package gossip

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
)

const (
	rejoinEvery = 10 * time.Second
	rejoinBatch = 4  // addresses tried in one round, at the same time
	rejoinNodes = 10 // so many nodes of the cluster try in one round; in a larger one, each does not every time
	maxPeers    = 64
)

// rejoin tries for ever to reach who is missing. A node that is alone begins eagerly.
func (g *Gossip) rejoin(ctx context.Context) {
	pause := time.Second
	for ctx.Err() == nil {
		alone := g.othersGone()
		if others := float64(g.alive.Load()); alone || rand.Float64()*others < rejoinNodes {
			g.tryMissing(ctx, g.missing(time.Now()))
		}
		wait := rejoinEvery
		if alone && g.othersGone() {
			wait, pause = pause, min(2*pause, rejoinEvery)
		} else {
			pause = time.Second
		}
		timer := time.NewTimer(wait/2 + rand.N(wait)) // so that nodes do not try in step
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// missing are addresses where somebody may be who is not alive here: those that were not tried for longest.
func (g *Gossip) missing(now time.Time) []netip.AddrPort {
	var peers []string
	if g.config.Peers != nil {
		peers = g.config.Peers()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	candidates := map[netip.AddrPort]bool{}
	for id, at := range g.remembered {
		if e, known := g.members[id]; !known || e.state == cluster.MemberDead && !e.address().IsValid() { // nobody, or somebody whom others told of
			candidates[at] = true
		}
	}
	for _, text := range peers[:min(len(peers), maxPeers)] {
		// Names would make memberlist ask the DNS, which may block for long.
		if at, err := netip.ParseAddrPort(text); err == nil && at.Addr().Zone() == "" && at.Port() != 0 {
			candidates[netip.AddrPortFrom(at.Addr().Unmap(), at.Port())] = true
		}
	}
	for _, e := range g.members {
		if e.state == cluster.MemberDead && e.address().IsValid() {
			candidates[e.address()] = true
		}
	}
	for _, e := range g.members {
		if e.state != cluster.MemberDead {
			for _, p := range e.places {
				delete(candidates, p.at) // alive, or left for good
			}
		}
	}
	delete(candidates, g.at)
	all := make([]netip.AddrPort, 0, len(candidates))
	for at := range candidates { // in random order
		all = append(all, at)
	}
	slices.SortStableFunc(all, func(a, b netip.AddrPort) int { return g.tried[a].Compare(g.tried[b]) })
	all = all[:min(len(all), rejoinBatch)]
	for at := range g.tried {
		if !candidates[at] {
			delete(g.tried, at)
			delete(g.troubles, at)
		}
	}
	for _, at := range all {
		g.tried[at] = now
	}
	return all
}

// tryMissing joins each address. A silent one takes memberlist its timeout.
func (g *Gossip) tryMissing(ctx context.Context, addresses []netip.AddrPort) {
	var group errgroup.Group
	for _, at := range addresses {
		group.Go(func() error {
			_, err := g.ml.Join([]string{"missing/" + at.String()})
			if inner := errors.Unwrap(err); inner != nil {
				err = inner // of the list that memberlist makes, the only one
			}
			if err != nil && ctx.Err() == nil {
				g.unjoined(at, err)
			}
			return nil
		})
	}
	group.Wait()
}

// unjoined tells once that an address does not answer, and again when the reason changes.
func (g *Gossip) unjoined(at netip.AddrPort, err error) {
	text := err.Error()
	g.mu.Lock()
	g.stats.Unjoined++
	old := g.troubles[at]
	g.troubles[at] = text
	g.mu.Unlock()
	if old != text {
		g.log.Info("cannot reach a missing member; trying again for ever", "peer", at, "err", err)
	}
}
