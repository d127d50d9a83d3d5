package gossip

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/memberlist"
	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
)

// Config is what a node needs to take part. All functions may be called concurrently, and none while a lock is held.
type Config struct {
	ID      cluster.ID
	Cluster string   // the cluster's ID: nodes with another one are never heard
	Keys    [][]byte // 32 bytes each: the first encrypts, all decrypt

	Bind      string    // host:port for TCP and UDP; port 0 is a free one
	Advertise string    // IP:port that others reach; "" is where Bind is, without a port Bind's
	Transport Transport // nil: real sockets. It belongs to the Gossip from Open on

	// Hint is a short text (at most 256 bytes) that others know of the node as soon as they know that it is alive, before its
	// record has come: where Fetch reaches it. Nothing proves it.
	Hint string
	// Registration grows each time that the node registers anew with the cluster; it is the first half of a version.
	Registration uint64
	// Sign signs with the key of the node's certificate.
	Sign func(digest []byte) ([]byte, error)
	// Certificate is the node's, in DER. It is asked for at each publication and every 10 s.
	Certificate func() []byte
	// Verify judges whether the certificate is this node's in this cluster and the signature is of its key. It does not judge
	// the time: what a node said is still what it said when its certificate has ended.
	Verify func(node cluster.ID, certificate, digest, signature []byte) error

	// Fetch carries a request (MaxRequest bytes at most) to a node's Answer and its answer (MaxAnswer bytes) back. It returns
	// when ctx ends. nil: only what fits into packets is ever received.
	Fetch func(ctx context.Context, from cluster.ID, request []byte) ([]byte, error)
	// Peers are addresses (IP:port) of nodes that are known elsewhere. nil: none.
	Peers func() []string
	// Dir is where addresses of members are remembered; "": nowhere.
	Dir string
	// Logger is nil for silence.
	Logger *slog.Logger
}

// Settings of memberlist, measured: a crash is dead everywhere after 2 s, as soon as a lease lapses. Probes are most of what an
// idle node sends: every 300 ms, with a suspicion as long, cost half as much again and found a crash no sooner, since fewer
// words of others are waited for below suspicionMult 3.
const (
	probeInterval  = 500 * time.Millisecond
	probeTimeout   = 150 * time.Millisecond
	gossipInterval = 100 * time.Millisecond
	pushPull       = 30 * time.Second
	streamTimeout  = 2 * time.Second
	retransmit     = 8 // with gossipNodes, what lets refutations through loss
	gossipNodes    = 4
	// A failed probe makes a node doubt itself and probe more slowly, up to so many times. With two or three nodes nobody can tell
	// it that the other one is at fault, so it doubts itself after each crash and finds the next one late: 8 allows 3.5 s
	// and more, 2 bounds it at a second per probe. It can be set at creation only, when nobody knows how many members there
	// will be; larger clusters showed no more false alarms with 2 or 3.
	awareness = 2
	// Suspicion lasts suspicionMult × probeInterval × log10(nodes), at least 1: a second, and 2 s in a cluster of 100.
	suspicionMult    = 2
	suspicionMaxMult = 4
	packetSize       = 1300 // fits tunnels (WireGuard: 1420) with the headers of UDP and IPv6
	maxQueued        = 512  // broadcasts that wait; what is dropped beyond is found by push/pull
	maxMembers       = 8192
)

// Gossip is a node's part in the gossip. Its methods may be called concurrently, before, during and after Run.
type Gossip struct {
	config Config
	log    *slog.Logger
	name   string // in memberlist
	at     netip.AddrPort
	door   *door
	ml     *memberlist.Memberlist
	ring   *memberlist.Keyring
	rekey  sync.Mutex // serialises Rekey
	queue  *memberlist.TransmitLimitedQueue
	start  uint64        // how many times this node was opened before
	alive  atomic.Int64  // members alive, for the queue
	poke   chan struct{} // somebody is missing or something is needed: for fetching
	dirty  chan struct{} // addresses changed: for the disk
	disk   disk
	ending sync.RWMutex // held to read while memberlist must not be shut down
	over   bool         // under ending: memberlist was or is being shut down

	anew chan struct{} // everything must be published again

	publish sync.Mutex // serialises publications; taken before mu
	left    bool       // under publish: the goodbye was said

	mu         sync.Mutex   // taken after memberlist's own: never call it with mu held
	closed     bool         // delegates do nothing any more
	edition    uint64       // of the newest publication of this node, or one that was heard of
	unsent     []*broadcast // of the newest publication
	members    map[cluster.ID]*member
	tombs      map[cluster.ID]tomb
	remembered map[cluster.ID]netip.AddrPort // from the disk
	needs      map[cluster.ID]*need
	tried      map[netip.AddrPort]time.Time // when it was last tried to join there
	troubles   map[netip.AddrPort]string    // why it did not work
	conflicts  map[string]bool              // in words
	untold     []string                     // of these, what the log does not say yet
	refused    map[cluster.ID]bool          // in whose name forged parts came
	stats      Stats
	version    uint64 // of the view
	view       *View  // nil: must be made
	changed    chan struct{}
}

// Stats counts what went wrong and was not simply ignored.
type Stats struct {
	Refused    uint64 // parts whose signature is not their node's
	Malformed  uint64 // packets, summaries and answers that nobody could read
	Conflicts  uint64 // claims of one ID by two, and different parts under one version
	Fetches    uint64
	Unfetched  uint64 // fetches that failed
	Dropped    uint64 // members or parts beyond the bounds
	Streams    uint64 // closed because too many were open
	Unjoined   uint64 // attempts to reach a missing member that failed
	Unsaved    uint64 // writes of the remembered addresses that failed
	Queued     int    // broadcasts waiting now
	Needed     int    // records that are known of but not complete yet
	HealthLoss int    // 0 is healthy; up to 2: this node is too slow for others' probes, or cut off
}

// Open takes the sockets and joins memberlist; nobody is contacted before Run. Run must follow, if only with a context that
// has ended, to release them.
func Open(config Config) (*Gossip, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	g := &Gossip{
		config: config, log: cmp.Or(config.Logger, slog.New(slog.DiscardHandler)),
		poke: make(chan struct{}, 1), dirty: make(chan struct{}, 1), anew: make(chan struct{}, 1), changed: make(chan struct{}),
		members: map[cluster.ID]*member{}, tombs: map[cluster.ID]tomb{}, needs: map[cluster.ID]*need{},
		tried: map[netip.AddrPort]time.Time{}, troubles: map[netip.AddrPort]string{},
		conflicts: map[string]bool{}, refused: map[cluster.ID]bool{},
	}
	if err := g.remember(); err != nil {
		return nil, err
	}
	ring, err := memberlist.NewKeyring(nil, config.Keys[0])
	if err != nil {
		return nil, err
	}
	g.ring = ring
	if err := setKeys(ring, config.Keys); err != nil {
		return nil, err
	}
	inner := config.Transport
	if inner == nil {
		if inner, err = listen(config.Bind); err != nil {
			return nil, err
		}
	}
	g.queue = &memberlist.TransmitLimitedQueue{NumNodes: func() int { return int(g.alive.Load()) }, RetransmitMult: retransmit}
	g.door = newDoor(inner)
	if err := g.create(); err != nil {
		return nil, errors.Join(err, g.door.Shutdown())
	}
	return g, nil
}

func (c Config) check() error {
	switch {
	case c.ID.IsZero():
		return errors.New("open gossip: no node ID")
	case c.Cluster == "" || len(c.Cluster) > 64:
		return errors.New("open gossip: the cluster's label must have 1 to 64 bytes")
	case c.Sign == nil || c.Certificate == nil || c.Verify == nil:
		return errors.New("open gossip: Sign, Certificate and Verify are needed")
	}
	if len(c.Hint) > maxHint {
		return fmt.Errorf("open gossip: the hint has %d bytes and may have %d", len(c.Hint), maxHint)
	}
	return checkKeys(c.Keys)
}

// remember reads the disk, and writes there that the node has started once more.
func (g *Gossip) remember() error {
	if g.config.Dir != "" {
		g.disk.path = filepath.Join(g.config.Dir, fileName)
	}
	m, err := g.disk.load()
	if err != nil {
		g.log.Warn("forget where members were: cannot read the file", "file", g.disk.path, "err", err)
	}
	g.start, g.remembered = m.Starts&0x7fffffff, m.Members
	delete(g.remembered, g.config.ID)
	g.edition = g.start << 32
	if err := g.disk.save(memory{Starts: g.start + 1, Members: g.remembered}); errors.Is(err, syscall.ENOSPC) {
		// The next start has the same number. It begins below what this one says, and goes above that when it hears of it.
		g.edition += 1 << 31
		g.log.Warn("the disk is full: make room on it", "file", g.disk.path, "err", err)
	} else if err != nil {
		return fmt.Errorf("open gossip: %w", err)
	}
	return nil
}

// create makes memberlist under a name of ID and address.
func (g *Gossip) create() error {
	host, port, err := splitHostPort(g.config.Advertise)
	if err != nil {
		return fmt.Errorf("advertise gossip: %q is not IP:port: %w", g.config.Advertise, err)
	}
	ip, port, err := g.door.FinalAdvertiseAddr(host, port)
	if err != nil {
		return err
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || port <= 0 || port > 0xffff {
		return fmt.Errorf("advertise gossip: %v:%d is no address", ip, port)
	}
	g.at = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	g.name = nameOf(g.config.ID, g.at)

	c := memberlist.DefaultLANConfig()
	c.Name, c.Label, c.Keyring = g.name, labelOf(g.config.Cluster), g.ring
	c.AdvertiseAddr, c.AdvertisePort = g.at.Addr().String(), port
	c.BindAddr, c.BindPort = c.AdvertiseAddr, port
	c.ProbeInterval, c.ProbeTimeout, c.GossipInterval, c.PushPullInterval = probeInterval, probeTimeout, gossipInterval, pushPull
	c.IndirectChecks, c.RetransmitMult, c.GossipNodes = 3, retransmit, gossipNodes
	c.SuspicionMult, c.SuspicionMaxTimeoutMult, c.AwarenessMaxMultiplier = suspicionMult, suspicionMaxMult, awareness
	c.TCPTimeout, c.UDPBufferSize, c.EnableCompression = streamTimeout, packetSize, false
	c.LogOutput, c.Logger = nil, libraryLogger(g.log)
	c.Transport = g.door
	c.Delegate, c.Events, c.Alive = delegate{g}, delegate{g}, delegate{g}
	g.ml, err = memberlist.Create(c)
	return err
}

// labelOf is what tells clusters apart in every packet: a short digest of the cluster's ID.
func labelOf(cluster string) string {
	digest := sha256.Sum256([]byte(cluster))
	return base64.RawURLEncoding.EncodeToString(digest[:6])
}

// Address is where others reach this node.
func (g *Gossip) Address() netip.AddrPort { return g.at }

// Run takes part until ctx ends, and returns when nothing of it is running any more.
func (g *Gossip) Run(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	group.Go(func() error { g.rejoin(inner); return nil })
	group.Go(func() error { g.fetch(inner); return nil })
	group.Go(func() error { g.keep(inner); return nil })
	group.Go(func() error { g.tend(inner); return nil })
	group.Go(func() error {
		<-inner.Done()
		return g.shutdown() // while others may still dial: it ends that
	})
	return group.Wait()
}

// shutdown ends memberlist and waits for it. Its own Shutdown does not wait for a probe under way, which lasts for the probe
// interval times its doubt of itself, at most; streams and dialling have ended with the door.
func (g *Gossip) shutdown() error {
	g.ending.Lock()
	defer g.ending.Unlock()
	g.over = true
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	rest := probeInterval*time.Duration(min(g.ml.GetHealthScore()+2, awareness)) + probeTimeout/2
	err := g.ml.Shutdown()
	<-time.After(rest)
	return err
}

// keep writes the addresses of members to disk when they change, at most every other second.
func (g *Gossip) keep(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-g.dirty:
			select {
			case <-ctx.Done(): // the last change is written too
			case <-time.After(2 * time.Second):
			}
			if err := g.disk.save(g.memory()); err != nil {
				g.count(func(s *Stats) { s.Unsaved++ })
				g.log.Warn("remember where members are: cannot write the file; trying again at the next change", "file", g.disk.path, "err", err)
			}
		}
	}
}

// memory is what the disk should say now: every member that has not left.
func (g *Gossip) memory() memory {
	g.mu.Lock()
	defer g.mu.Unlock()
	m := memory{Starts: g.start + 1, Members: map[cluster.ID]netip.AddrPort{}}
	for id, at := range g.remembered {
		if e, known := g.members[id]; !known || e.state != cluster.MemberLeft && !e.address().IsValid() {
			m.Members[id] = at
		}
	}
	for id, e := range g.members {
		if at := e.address(); id != g.config.ID && e.state != cluster.MemberLeft && at.IsValid() && len(m.Members) < maxAddresses {
			m.Members[id] = at
		}
	}
	return m
}

// Stats are the counters now.
func (g *Gossip) Stats() Stats {
	health := g.ml.GetHealthScore()
	queued := g.queue.NumQueued()
	g.door.mu.Lock()
	streams := g.door.refused
	g.door.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Streams, s.Queued, s.Needed, s.HealthLoss = streams, queued, len(g.needs), health
	return s
}

// Conflicts are the claims of one ID by two nodes that were seen, in words. The newest 64 or so.
func (g *Gossip) Conflicts() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := make([]string, 0, len(g.conflicts))
	for text := range g.conflicts {
		all = append(all, text)
	}
	slices.Sort(all)
	return all
}

func (g *Gossip) count(add func(*Stats)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	add(&g.stats)
}

// knock wakes whoever waits on the channel, which has room for one knock.
func knock(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
