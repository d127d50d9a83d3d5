package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/gossip"
	"github.com/a43e60e4/cluster/server/link"
)

// directory is all nodes as gossip has them: what they said of themselves, decoded. It remembers on disk where they are,
// for starts at which nobody answers yet. It may be used concurrently.
type directory struct {
	file    string
	self    cluster.ID
	teller  bool // it says in the log what is wrong with names: on servers
	logger  *slog.Logger
	gossip  *gossip.Gossip
	newest  atomic.Pointer[edition]
	decoded map[cluster.ID]decodedRecord // of Run alone
	saved   map[cluster.ID]whereabouts   // what the disk holds; of Run alone
	start   map[cluster.ID]whereabouts   // what the disk held at the start; never modified
	mu      sync.Mutex                   // guards servers
	servers map[cluster.ID]bool          // whether the certificate with which a node signs is a server's
}

// edition is the directory at one moment. It is never modified.
type edition struct {
	version uint64
	members []cluster.Member
	places  map[cluster.ID]whereabouts
	catalog *cluster.Catalog
	same    []string      // nodes of one name, in words
	next    chan struct{} // closed when there is a newer one
}

// whereabouts is where a node is, as it is kept on disk.
type whereabouts struct {
	RPC    string `json:"rpc"`
	Gossip string `json:"gossip,omitempty"`
	Server bool   `json:"server,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"` // servers: of its copy of the state
}

type decodedRecord struct {
	registration, edition uint64
	record                cluster.Record
}

// openDirectory reads what is remembered. Nothing else is known before gossip is given and Run runs.
func openDirectory(file string, logger *slog.Logger) (*directory, error) {
	d := &directory{file: file, logger: logger, decoded: map[cluster.ID]decodedRecord{},
		start: map[cluster.ID]whereabouts{}, servers: map[cluster.ID]bool{}}
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read remembered nodes: %w", err)
	default:
		if err := json.Unmarshal(text, &d.start); err != nil { // a copy of what gossip will tell again
			logger.Warn("the remembered nodes cannot be read and are forgotten", "file", file, "err", err)
			d.start = map[cluster.ID]whereabouts{}
		}
	}
	d.saved = maps.Clone(d.start)
	d.newest.Store(&edition{places: d.start, catalog: cluster.NewCatalog(nil), next: make(chan struct{})})
	return d, nil
}

// Members are all nodes that gossip knows.
func (d *directory) Members() []cluster.Member { return d.newest.Load().members }

// Changed is closed when Members and Catalog would answer otherwise than at this call.
func (d *directory) Changed() <-chan struct{} { return d.newest.Load().next }

// Namesakes are the living nodes that have one name, in a line for each name.
func (d *directory) Namesakes() []string { return d.newest.Load().same }

// Catalog is the names that the members stand for.
func (d *directory) Catalog() *cluster.Catalog { return d.newest.Load().catalog }

// Address is where the node's port 4647 is, or was last.
func (d *directory) Address(id cluster.ID) (string, bool) {
	where, ok := d.newest.Load().places[id]
	return where.RPC, ok && where.RPC != ""
}

// certified is told whether a node's certificate is a server's.
func (d *directory) certified(id cluster.ID, server bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.servers[id] = server
}

// NewestEpoch is the newest that a server has announced, now or before the start.
func (d *directory) NewestEpoch() uint64 { return newestEpoch(d.newest.Load().places) }

func newestEpoch(places map[cluster.ID]whereabouts) (newest uint64) {
	for _, p := range places {
		newest = max(newest, p.Epoch)
	}
	return newest
}

// Servers are the nodes that keep the state, those that gossip has alive first, in the order of their IDs. Those alive whose copy is
// of an older epoch than another's are none.
func (d *directory) Servers() []cluster.ID {
	living, others := d.byLife()
	return append(living, others...)
}

// OtherServers are those of Servers that gossip has alive, without this node.
func (d *directory) OtherServers() []cluster.ID {
	living, _ := d.byLife()
	return slices.DeleteFunc(living, func(id cluster.ID) bool { return id == d.self })
}

// byLife are the servers that gossip has alive, and the others.
func (d *directory) byLife() (living, others []cluster.ID) {
	now := d.newest.Load()
	newest := newestEpoch(now.places)
	met := map[cluster.ID]bool{}
	for _, m := range now.members {
		met[m.Node] = true
		switch {
		case !m.Server || m.State == cluster.MemberLeft || m.Left || m.Epoch < newest && m.State == cluster.MemberAlive:
		case m.State == cluster.MemberAlive:
			living = append(living, m.Node)
		default:
			others = append(others, m.Node)
		}
	}
	for id, p := range now.places {
		if p.Server && !met[id] {
			others = append(others, id)
		}
	}
	slices.SortFunc(others, cluster.ID.Compare)
	return living, others
}

// named is what people call the node, and where it is.
func (d *directory) named(id cluster.ID) string {
	name := id.String()
	for _, m := range d.Members() {
		if m.Node == id && m.Name != "" {
			name = m.Name
		}
	}
	if where, known := d.Address(id); known {
		return name + " at " + where
	}
	return name
}

// awaitLoss returns when gossip, which has or had the node alive, says that it is not any more, or when ctx ends.
func (d *directory) awaitLoss(ctx context.Context, id cluster.ID) {
	met := false
	for {
		changed := d.Changed()
		alive := d.lives(id)
		if met = met || alive; met && !alive {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// lives reports whether gossip has the node alive.
func (d *directory) lives(id cluster.ID) bool {
	return slices.ContainsFunc(d.Members(), func(m cluster.Member) bool { return m.Node == id && m.State == cluster.MemberAlive })
}

// Peers are the remembered addresses of gossip.
func (d *directory) Peers() []string {
	var all []string
	for _, p := range d.newest.Load().places {
		if p.Gossip != "" {
			all = append(all, p.Gossip)
		}
	}
	return all
}

// Run follows gossip until ctx ends.
func (d *directory) Run(ctx context.Context) error {
	version := uint64(0)
	for {
		view, err := d.gossip.Wait(ctx, version)
		if err != nil {
			return nil // ctx has ended
		}
		version = view.Version
		d.replace(view)
	}
}

// replace makes the view the newest edition.
func (d *directory) replace(view *gossip.View) {
	before := d.newest.Load()
	next := &edition{version: view.Version, places: maps.Clone(before.places), next: make(chan struct{})}
	known := map[cluster.ID]bool{}
	for i := range view.Members {
		m := &view.Members[i]
		known[m.ID] = true
		record := d.record(m)
		next.members = append(next.members, cluster.Member{Record: record, State: m.State, Since: m.Since})
		gossips := before.places[m.ID].Gossip
		if m.Address.IsValid() { // else this node has only heard of it from others
			gossips = m.Address.String()
		}
		switch {
		case m.State == cluster.MemberLeft || record.Left:
			delete(next.places, m.ID)
		case record.RPC == "" && m.Hint != "": // so that its record can be fetched
			next.places[m.ID] = whereabouts{RPC: m.Hint, Gossip: gossips, Server: next.places[m.ID].Server}
		case record.RPC != "":
			next.places[m.ID] = whereabouts{RPC: record.RPC, Gossip: gossips, Server: record.Server, Epoch: record.Epoch}
		}
	}
	for id := range d.decoded {
		if !known[id] {
			delete(d.decoded, id)
		}
	}
	next.catalog, next.same = cluster.NewCatalog(next.members), memberNamesakes(next.members)
	for _, text := range next.same {
		if d.teller && !slices.Contains(before.same, text) {
			d.logger.Warn(text)
		}
	}
	d.newest.Store(next)
	close(before.next)
	d.save(next.places)
}

// record is what the member said of itself last.
func (d *directory) record(m *gossip.Member) cluster.Record {
	if m.Parts == nil {
		return cluster.Record{Node: m.ID}
	}
	if known, ok := d.decoded[m.ID]; ok && known.registration == m.Registration && known.edition == m.Edition {
		return known.record
	}
	record, err := cluster.DecodeRecord(m.ID, m.Parts)
	if err != nil {
		d.logger.Warn("what a node says of itself cannot be read", "node", m.ID, "err", err)
		record = cluster.Record{Node: m.ID}
	}
	d.mu.Lock()
	server := d.servers[m.ID]
	d.mu.Unlock()
	if !server && m.ID != d.self {
		record.Server, record.Epoch, record.Down = false, 0, nil
	}
	d.decoded[m.ID] = decodedRecord{m.Registration, m.Edition, record}
	return record
}

// save writes the places to disk if they changed. What fails is tried again with the next change.
func (d *directory) save(places map[cluster.ID]whereabouts) {
	if maps.Equal(places, d.saved) {
		return
	}
	text, err := json.Marshal(places)
	if err == nil {
		err = link.WriteFile(d.file, text)
	}
	if err != nil {
		d.logger.Warn("where other nodes are cannot be remembered", "file", d.file, "err", err)
		return
	}
	d.saved = maps.Clone(places)
}
