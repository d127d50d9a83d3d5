package main

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
)

// keyringWait is how long a question about keys waits for news: a new leader learns within it which keys the node has.
const keyringWait = 20 * time.Second

// runTrust keeps the node's certificate and the gossip's keys fresh and, on a server, lets nodes join, until ctx ends.
func (r *running) runTrust(ctx context.Context) error {
	servers, err := api.New(api.Config{HTTP: r.inside.client()})
	if err != nil {
		return err
	}
	defer servers.Close()
	group, ctx := errgroup.WithContext(ctx)
	if r.server != nil {
		group.Go(func() error { return named("join port", r.strangers.Run(ctx)) })
	}
	group.Go(func() error {
		return link.KeepCertificate(ctx, link.Renewal{Identity: r.who, Addresses: r.rpcAddresses, Dial: r.dial, Logger: r.logger,
			Ask: func(ctx context.Context, key []byte) ([]byte, error) { return servers.RenewSelf(ctx, r.id, key) }})
	})
	group.Go(func() error {
		return link.KeepKeyring(ctx, link.KeyringConfig{Dir: r.who.Dir(), Logger: r.logger,
			Ask: func(ctx context.Context, index, held uint64) (link.KeyringNews, error) {
				answer, meta, err := servers.OwnKeyring(ctx, r.id, held, api.Query{Index: index, Wait: keyringWait})
				if err != nil {
					return link.KeyringNews{}, err
				}
				return link.KeyringNews{Keyring: answer.Keyring, Removed: answer.Removed, Index: meta.Index}, nil
			},
			Install: func(ring cluster.Keyring) error { return r.gossip.Rekey(ring.Keys) },
			Removed: func(ids []cluster.ID) {
				r.removed.Store(&ids)
				for _, id := range ids {
					r.gossip.Forget(id)
				}
			}})
	})
	return group.Wait()
}

// isRemoved reports whether the node was removed from the cluster, as far as this node knows.
func (r *running) isRemoved(id cluster.ID) bool {
	if r.server != nil {
		return r.server.Removed(id)
	}
	if removed := r.removed.Load(); removed != nil {
		_, found := slices.BinarySearchFunc(*removed, id, cluster.ID.Compare)
		return found
	}
	return false
}

// openStrangers prepares the port for nodes that want to join.
func (r *running) openStrangers() error {
	if r.server != nil {
		r.strangers = server.NewJoinPort(server.JoinPortConfig{Listener: r.port.Join(), Identity: r.who, API: r.api, Logger: r.logger})
	}
	return nil
}

// rpcAddresses are where servers' port 4647 is, or was last.
func (r *running) rpcAddresses() []string {
	var all []string
	for _, id := range r.directory.Servers() {
		if address, known := r.directory.Address(id); known {
			all = append(all, address)
		}
	}
	remembered, err := link.ReadServers(r.who.Dir())
	if err != nil {
		r.logger.Debug("servers that were remembered cannot be read", "err", err)
	}
	for _, server := range remembered {
		if !slices.Contains(all, server.Address) {
			all = append(all, server.Address)
		}
	}
	return all
}

// gossipKeys are the keys that this node knows. One that knows none begins with a key that nobody else has, and hears the
// right ones from the servers.
func (r *running) gossipKeys() [][]byte {
	ring, err := link.ReadKeyring(r.who.Dir())
	if err == nil {
		return ring.Keys
	}
	key := make([]byte, cluster.KeyringKeySize)
	rand.Read(key)
	return [][]byte{key}
}

// learn adds the servers that an identity's directory remembers, where nothing else is known of them. It comes before Run.
func (d *directory) learn(dir string) error {
	servers, err := link.ReadServers(dir)
	if err != nil {
		return err
	}
	places := maps.Clone(d.start)
	for _, s := range servers {
		if _, known := places[s.ID]; !known {
			places[s.ID] = whereabouts{RPC: s.Address, Gossip: s.Gossip, Server: true}
		}
	}
	d.start = places
	d.newest.Store(&edition{places: places, catalog: cluster.NewCatalog(nil), next: make(chan struct{})})
	return nil
}

// gossipAddress is where the node gossips, "" if that is not known.
func (d *directory) gossipAddress(id cluster.ID) string { return d.newest.Load().places[id].Gossip }
