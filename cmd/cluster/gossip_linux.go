package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent"
	"github.com/a43e60e4/cluster/agent/gossip"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
	"github.com/a43e60e4/cluster/server/state"
)

// gossipPath is where a node is asked for what does not fit into packets.
const gossipPath = "/v1/internal/gossip"

// registration is the first half of the versions of what a node says of itself. A node that lost its directory gets a new ID
// when it joins again, so that all are of the first registration.
const registration = 1

// openGossip takes port 4648.
func (r *running) openGossip() error {
	c := r.agent
	if err := os.MkdirAll(r.dir.gossip(), 0o700); err != nil {
		return fmt.Errorf("make gossip directory: %w", err)
	}
	g, err := gossip.Open(gossip.Config{
		ID: r.id, Cluster: r.who.Cluster().String(), Keys: r.gossipKeys(),
		Bind: c.SerfAddress(), Advertise: r.advertiseGossip(), Transport: r.packets,
		Hint: r.advertise, Registration: registration, Sign: r.who.Sign, Certificate: func() []byte { return r.who.Leaf().Raw }, Verify: r.verify,
		Fetch: r.fetch, Peers: r.directory.Peers, Dir: r.dir.gossip(), Logger: r.logger,
	})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listen for gossip on %s: another program has that port: end it, or choose another with `ports { serf = … }`", c.SerfAddress())
	case err != nil:
		return fmt.Errorf("listen for gossip on %s: %w", c.SerfAddress(), err)
	}
	r.gossip, r.directory.gossip = g, g
	r.open = append(r.open, closing(func() {
		ended, end := context.WithCancel(context.Background())
		end()
		g.Run(ended)
	}))
	return nil
}

// advertiseGossip is the address that others gossip with, "" for the one that is bound.
func (r *running) advertiseGossip() string {
	host := r.agent.Advertise.Serf
	if h, _, err := net.SplitHostPort(host); err == nil {
		return net.JoinHostPort(resolved(h), portOf(host))
	}
	if host != "" {
		return resolved(host)
	}
	at, _, _ := net.SplitHostPort(r.agent.SerfAddress())
	if ip := net.ParseIP(at); ip == nil || ip.IsUnspecified() {
		return agent.RouteAddress()
	}
	return ""
}

func portOf(hostPort string) string {
	_, port, _ := net.SplitHostPort(hostPort)
	return port
}

// resolved is the IP address of the host: gossip knows no names.
func resolved(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	if all, err := net.LookupHost(host); err == nil && len(all) > 0 {
		return all[0]
	}
	return host
}

// verify judges what is signed by a node, and takes note of whether that is a server: a client's word about epochs and about
// who is down counts for nothing.
func (r *running) verify(node cluster.ID, certificate, digest, signature []byte) error {
	if err := r.who.Verify(node, certificate, digest, signature); err != nil {
		return err
	}
	if leaf, err := x509.ParseCertificate(certificate); err == nil {
		_, role, _ := pki.Identity(leaf)
		r.directory.certified(node, role == pki.RoleServer)
	}
	return nil
}

// fetch asks another node for what gossip could not carry.
func (r *running) fetch(ctx context.Context, from cluster.ID, request []byte) ([]byte, error) {
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, link.URL(from)+gossipPath, bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	answer, err := r.transport.RoundTrip(post)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, gossip.MaxAnswer+1))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("node %s answered %s", from, answer.Status)
	}
	return text, err
}

// serveGossip answers fetch.
func (r *running) serveGossip(w http.ResponseWriter, request *http.Request) {
	text, err := io.ReadAll(io.LimitReader(request.Body, gossip.MaxRequest+1))
	if err == nil {
		text, err = r.gossip.Answer(text)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Write(text)
}

// announce tells the others what this node is and offers, as often as that changes, until ctx ends.
func (r *running) announce(ctx context.Context) error {
	var parts cluster.RecordParts
	var offers <-chan struct{}
	if r.client != nil {
		offers = r.client.Offers()
	}
	omitted := 0
	for ctx.Err() == nil {
		changed := make(chan struct{})
		limited, cancel := context.WithCancel(ctx)
		record := r.record()
		if err := r.gossip.Publish(parts.Update(record)); err != nil {
			r.logger.Error("others cannot be told what this node offers", "err", err)
		}
		if parts.Omitted() > omitted {
			r.logger.Warn("tags of services are too long for names and left out there", "dropped", parts.Omitted())
		}
		omitted = parts.Omitted()
		go func() {
			defer close(changed)
			if r.server != nil {
				r.server.Store().Wait(limited, record.Index, state.TableKey(state.Nodes))
			} else {
				<-limited.Done()
			}
		}()
		select {
		case <-changed:
		case <-offers:
		case <-r.leaving:
			cancel()
			<-changed
			return r.announceEnd(&parts)
		case <-ctx.Done():
		}
		cancel()
		<-changed
	}
	if r.ousted.Load() {
		return nil // what it said would be taken for the word of the other with its ID
	}
	return r.announceRestart(&parts)
}

// announceEnd says that this node leaves for good, so that it loses its seat and gets no more work.
func (r *running) announceEnd(parts *cluster.RecordParts) error {
	record := r.record()
	record.Left, record.Endpoints = true, nil
	if err := r.gossip.Publish(parts.Update(record)); err != nil {
		r.logger.Warn("others cannot be told that this node leaves", "err", err)
	}
	return nil
}

// spreading is how long the last word of an agent has at most before its gossip ends: three rounds.
const spreading = 300 * time.Millisecond

// announceRestart says that this node will be back soon, so that nobody takes its silence for its end.
func (r *running) announceRestart(parts *cluster.RecordParts) error {
	record := r.record()
	record.Restarting = true
	if err := r.gossip.Publish(parts.Update(record)); err != nil {
		r.logger.Warn("others cannot be told of the restart", "err", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), spreading)
	defer cancel()
	_ = r.gossip.Flush(ctx) // the others pass on what some of them have heard
	return nil
}

// record is what this node says of itself now.
func (r *running) record() cluster.Record {
	record := cluster.Record{
		Node: r.id, Name: r.agent.Name, Datacenter: r.agent.Datacenter, Address: r.nodeAddress(), RPC: r.advertise,
		Server: r.server != nil, Client: r.client != nil, Version: version,
	}
	if r.client != nil {
		record.Endpoints = r.client.Endpoints()
	}
	if r.server != nil {
		snapshot := r.server.Snapshot()
		record.Commands, record.Index, record.Epoch = state.NewestKind, snapshot.TableIndex(state.Nodes), r.server.Epoch()
		for node := range snapshot.Nodes() {
			if !node.Alive() {
				record.Down = append(record.Down, node.ID)
			}
		}
	}
	return record
}

// nodeAddress is the address that this node's name means.
func (r *running) nodeAddress() netip.Addr {
	if r.client != nil {
		if address, err := netip.ParseAddr(r.client.Self().Address()); err == nil {
			return address
		}
	}
	host, _, _ := net.SplitHostPort(r.advertise)
	address, _ := netip.ParseAddr(host)
	return address
}
