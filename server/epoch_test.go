package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
	"github.com/a43e60e4/cluster/server/state"
)

// realm is a cluster of real servers on real sockets. Gossip is the realm itself: each server sees those that run, and of those that
// have ended what they said last, unless it is deaf.
type realm struct {
	t         testing.TB
	authority *pki.Authority
	dir       string

	mu      sync.Mutex // guards what follows
	members map[cluster.ID]cluster.Member
	changed chan struct{}
	deaf    map[cluster.ID]bool // hear of nobody by gossip
	moved   map[cluster.ID]bool // their addresses are known to nobody else
}

// seatedServer is one server of a realm.
type seatedServer struct {
	*realm
	*Server
	id    cluster.ID
	log   *logBook
	ended chan error // what Run returned
	stop  func()
}

func newRealm(t testing.TB) *realm {
	return &realm{t: t, dir: t.TempDir(), members: map[cluster.ID]cluster.Member{}, changed: make(chan struct{}),
		deaf: map[cluster.ID]bool{}, moved: map[cluster.ID]bool{}}
}

func serverID(n byte) cluster.ID { return cluster.ID{n, 1, 2, 3, 4, 5, 0x46, 7, 0x88} }

// change edits what gossip knows.
func (r *realm) change(edit func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	edit()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *realm) address(id cluster.ID) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, ok := r.members[id]
	if r.moved[id] {
		return "127.0.0.1:1", true
	}
	return m.RPC, ok
}

// ears are what gossip tells one server.
type ears struct {
	*realm
	of cluster.ID
}

func (e ears) Members() []cluster.Member {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []cluster.Member
	for id, m := range e.members {
		if !e.deaf[e.of] && (!e.deaf[id] || id == e.of) {
			all = append(all, m)
		}
	}
	return all
}

func (e ears) Changed() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.changed
}

// identity is that of the server, made at first use; the first server founds the cluster.
func (r *realm) identity(n byte) *link.Identity {
	r.t.Helper()
	id, dir := serverID(n), r.serverDir(n)
	within := filepath.Join(dir, "identity")
	if link.HasIdentity(within) {
		who, err := link.OpenIdentity(within)
		r.must(err)
		return who
	}
	if n == 1 {
		r.must(Found(dir, within, id, time.Now()))
		who, err := link.OpenIdentity(within)
		r.must(err)
		v := vault{dir: dir, identity: who, sealed: func() []byte { return nil }}
		r.authority, err = v.open()
		r.must(err)
		return who
	}
	key, public, err := pki.NewKey()
	r.must(err)
	certificate, err := r.authority.Issue(id, pki.RoleServer, public, time.Now())
	r.must(err)
	r.must(link.WriteIdentity(within, r.authority.PEM(), key, certificate))
	who, err := link.OpenIdentity(within)
	r.must(err)
	return who
}

func (r *realm) serverDir(n byte) string { return filepath.Join(r.dir, string('a'+rune(n)-1)) }

func (r *realm) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// start opens and runs a server. remembered are those that it knew before.
func (r *realm) start(n byte, remembered ...byte) *seatedServer {
	r.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	who := r.identity(n)
	s := &seatedServer{realm: r, id: who.ID(), log: new(logBook), ended: make(chan error, 1)}
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})).With("server", string('a'+rune(n)-1))
	var known []cluster.ID
	for _, n := range remembered {
		known = append(known, serverID(n))
	}
	port := link.NewPort(link.PortConfig{Listener: listener, Identity: who, Logger: logger,
		MayRaft: func(id cluster.ID) bool { return s.Server.MayRaft(id) }})
	dialer := link.NewDialer(link.DialerConfig{Identity: who, Address: r.address})
	s.Server, err = Open(Config{Dir: r.serverDir(n), Identity: who, Bootstrap: n == 1, Raft: port.Raft(), Advertise: listener.Addr().String(),
		Dialer: dialer, Members: ears{r, s.id}, Remembered: known, Logger: logger,
		Reach: func(id cluster.ID) (Carry, error) { return nil, errors.New("no path") }})
	if err != nil {
		listener.Close()
		r.t.Fatal(err)
	}
	r.change(func() {
		r.members[s.id] = cluster.Member{State: cluster.MemberAlive, Since: time.Now(), Record: cluster.Record{
			Node: s.id, Name: string('a' + rune(n) - 1), RPC: listener.Addr().String(), Server: true, Epoch: s.Epoch()}}
	})
	ctx, cancel := context.WithCancel(context.Background())
	wired, cut := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { port.Run(wired) })
	mux := http.NewServeMux()
	path, progress := s.ProgressHandler()
	mux.Handle(path, progress)
	mux.Handle(s.PassHandler())
	web := HTTPServer(wired, mux, logger)
	web.ConnContext = func(ctx context.Context, conn net.Conn) context.Context { _ = conn.(*tls.Conn); return ctx }
	parts.Go(func() { web.Serve(port.HTTP()) })
	parts.Go(func() {
		err := s.Run(ctx)
		r.change(func() {
			m := r.members[s.id]
			m.State = cluster.MemberDead
			r.members[s.id] = m
		})
		cut()
		web.Close()
		dialer.Close()
		s.ended <- err
	})
	s.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	r.t.Cleanup(func() {
		s.stop()
		if r.t.Failed() {
			r.t.Logf("log of %s:\n%s", string('a'+rune(n)-1), s.log)
		}
	})
	return s
}

// eventually waits until the condition holds.
func (r *realm) eventually(what string, holds func() bool) {
	r.t.Helper()
	for until := time.Now().Add(30 * time.Second); !holds(); {
		if time.Now().After(until) {
			r.t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// voters waits until so many servers vote.
func (r *realm) voters(n int, servers ...*seatedServer) {
	r.t.Helper()
	for _, s := range servers {
		r.eventually("voters", func() bool { return len(s.Progress().Voters) == n })
	}
}

// write stores a fact through whichever of the servers leads.
func write(r *realm, key string, servers ...*seatedServer) {
	r.t.Helper()
	r.eventually("a leader that writes", func() bool {
		return slices.ContainsFunc(servers, func(s *seatedServer) bool {
			if !s.Leadership().Self {
				return false
			}
			_, err := s.Apply(context.Background(), &state.SetMeta{At: 1, Key: key, Value: []byte("here")})
			return err == nil
		})
	})
}

func (s *seatedServer) has(key string) bool { return s.Snapshot().Meta(key) != nil }

// began waits until the server has ended to begin anew.
func (s *seatedServer) began() {
	s.t.Helper()
	select {
	case err := <-s.ended:
		if !errors.Is(err, ErrAnew) {
			s.t.Fatalf("server ended with %v, not to begin anew", err)
		}
	case <-time.After(20 * time.Second):
		s.t.Fatal("the server goes on")
	}
	s.stop()
}

// three are three voting servers.
func three(t testing.TB) (r *realm, a, b, c *seatedServer) {
	r = newRealm(t)
	a = r.start(1)
	r.eventually("a leader", func() bool { return a.Leadership().Self })
	b, c = r.start(2), r.start(3)
	r.voters(3, a, b, c)
	return r, a, b, c
}

// TestQuorumIsRecovered loses two of three servers, goes on with the third, and has the two come back with their old copies at
// once, which would be a majority: neither ever answers from its copy, both follow the new epoch.
func TestQuorumIsRecovered(t *testing.T) {
	r, a, b, c := three(t)
	write(r, "before", a, b, c)
	r.eventually("copies", func() bool { return a.has("before") && b.has("before") && c.has("before") })
	b.stop()
	c.stop()
	r.eventually("no leader", func() bool { return a.Leadership().ID.IsZero() })
	begun, err := a.Recover(t.Context(), false)
	r.must(err)
	if begun.Epoch != 1 {
		t.Fatalf("re-formed as epoch %d", begun.Epoch)
	}
	a.began()
	a = r.start(1, 2, 3)
	write(r, "after", a)
	if !a.has("before") || a.Snapshot().Meta(metaEpoch) == nil {
		t.Fatal("the state before is gone, or the epoch is not in it")
	}
	// They know no address of the other side, and gossip has not met it.
	r.change(func() { r.moved[a.id], r.deaf[b.id], r.deaf[c.id] = true, true, true })
	b, c = r.start(2, 1, 3), r.start(3, 1, 2)
	b.began()
	c.began()
	if strings.Contains(b.log.String()+c.log.String(), "entering leader state") {
		t.Error("an old copy was led")
	}
	b, c = r.start(2, 1, 3), r.start(3, 1, 2)
	for _, s := range []*seatedServer{b, c} {
		if l := s.Leadership(); l.Self || !strings.Contains(l.Refusal, "cluster recover") {
			t.Errorf("an old copy answers: %+v", l)
		}
	}
	r.change(func() { clear(r.deaf); clear(r.moved) })
	b.began()
	c.began()
	b, c = r.start(2, 1, 3), r.start(3, 1, 2)
	r.voters(3, a, b, c)
	r.eventually("the state", func() bool { return b.has("after") && c.has("after") })
	for _, n := range []byte{2, 3} {
		old, _ := filepath.Glob(filepath.Join(r.serverDir(n), oldPrefix+"*", fileLog))
		if len(old) != 1 {
			t.Errorf("old copies of server %d: %q", n, old)
		}
	}
}

// TestTwoRecoveries re-forms a cluster on two servers that are cut off from one another: one of the two copies wins.
func TestTwoRecoveries(t *testing.T) {
	r, a, b, c := three(t)
	c.stop()
	a.stop()
	r.eventually("no leader", func() bool { return b.Leadership().ID.IsZero() })
	_, err := b.Recover(t.Context(), false)
	r.must(err)
	b.began()
	r.change(func() { r.deaf[a.id], r.deaf[b.id], r.moved[a.id], r.moved[b.id] = true, true, true, true })
	b = r.start(2)
	write(r, "b", b)
	a = r.start(1)
	r.eventually("a start", func() bool { return a.Progress().Last > 0 })
	_, err = a.Recover(t.Context(), false)
	r.must(err)
	a.began()
	a = r.start(1)
	write(r, "a", a)
	if a.Epoch() == b.Epoch() || cluster.EpochNumber(a.Epoch()) != 1 || cluster.EpochNumber(b.Epoch()) != 1 {
		t.Fatalf("epochs %x and %x", a.Epoch(), b.Epoch())
	}
	winner, loser, n := a, b, byte(2)
	if b.Epoch() > a.Epoch() {
		winner, loser, n = b, a, 1
	}
	r.change(func() { clear(r.deaf); clear(r.moved) })
	loser.began() // once or twice: by the other's call, and when gossip has it
	if loser = r.start(n); loser.Superseded() != 0 {
		loser.began()
		loser = r.start(n)
	}
	r.voters(2, winner, loser)
}

// TestOldCopyKeepsSilent starts a server whose copy is superseded while nobody of the new epoch answers.
func TestOldCopyKeepsSilent(t *testing.T) {
	r, a, b, c := three(t)
	write(r, "x", a, b, c)
	a.stop()
	b.stop()
	c.hearEpoch(cluster.NextEpoch(0, 7))
	c.began()
	c = r.start(3, 1, 2)
	if !strings.Contains(c.Leadership().Refusal, "epoch 1") {
		t.Errorf("an old copy answers: %+v", c.Leadership())
	}
	begun, err := c.Recover(t.Context(), false) // which is how it goes on
	r.must(err)
	if begun.Epoch != 2 {
		t.Errorf("re-formed as epoch %d, want 2", begun.Epoch)
	}
	c.began()
	c = r.start(3)
	write(r, "y", c)
}

func TestRecoveryIsJudged(t *testing.T) {
	a, b, c := serverID(1), serverID(2), serverID(3)
	one := cluster.NextEpoch(0, 1)
	for _, test := range []struct {
		name   string
		copies []Progress
		older  bool
		want   string // of the error
	}{
		{"alone", []Progress{{Node: a, Last: 10, LogTerm: 2}}, false, ""},
		{"not there", []Progress{{Node: b, Last: 10, LogTerm: 2}}, false, "does not answer"},
		{"empty", []Progress{{Node: a}}, false, "has no copy"},
		{"led", []Progress{{Node: a, Last: 10, LogTerm: 2}, {Node: b, Last: 10, LogTerm: 2, Leader: c}}, false, "leads"},
		{"led by what is old", []Progress{{Node: a, Last: 10, LogTerm: 2, Epoch: one, Known: one}, {Node: b, Last: 99, LogTerm: 9, Leader: c}}, false, ""},
		{"same", []Progress{{Node: a, Last: 10, LogTerm: 2}, {Node: b, Last: 10, LogTerm: 2}}, false, ""},
		{"longer there", []Progress{{Node: a, Last: 10, LogTerm: 2}, {Node: b, Last: 11, LogTerm: 2}}, false, "newer copy"},
		{"older on purpose", []Progress{{Node: a, Last: 10, LogTerm: 2}, {Node: b, Last: 11, LogTerm: 2}}, true, ""},
		{"later term there", []Progress{{Node: a, Last: 10, LogTerm: 2}, {Node: b, Last: 9, LogTerm: 3}}, false, "newer copy"},
		{"later epoch here", []Progress{{Node: a, Last: 10, LogTerm: 2, Epoch: one, Known: one}, {Node: b, Last: 99, LogTerm: 3}}, false, ""},
	} {
		err := judgeRecovery(test.copies, a, test.older)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// TestNewServerJoinsReformedCluster has a server that knows of no epoch follow one.
func TestNewServerJoinsReformedCluster(t *testing.T) {
	r := newRealm(t)
	a := r.start(1)
	write(r, "x", a)
	r.must(a.epochs.decide(&epochPurpose{Epoch: cluster.NextEpoch(0, 3), Reform: true}))
	a.began()
	a = r.start(1)
	b := r.start(2)
	for ; b.Epoch() == 0; b = r.start(2) {
		b.began()
	}
	r.voters(2, a, b)
	r.eventually("the state", func() bool { return b.has("x") })
}

// TestFounderWithoutLogBeginsOnce has the first server put its copy aside: with -bootstrap it must follow, and not begin a log.
func TestFounderWithoutLogBeginsOnce(t *testing.T) {
	r, a, b, c := three(t)
	write(r, "x", a, b, c)
	a.stop()
	c.stop()
	r.eventually("no leader", func() bool { return b.Leadership().ID.IsZero() })
	_, err := b.Recover(t.Context(), true)
	r.must(err)
	b.began()
	b = r.start(2)
	write(r, "y", b)
	for a = r.start(1); a.Epoch() == 0; a = r.start(1) {
		a.began()
	}
	r.voters(2, a, b)
	r.eventually("the state", func() bool { return a.has("y") })
}

// TestLeadershipIsHandedOver ends the leader politely: another leads long before it would be missed.
func TestLeadershipIsHandedOver(t *testing.T) {
	r, a, b, c := three(t)
	a.stop()
	for _, s := range []*seatedServer{b, c} {
		r.eventually("a leader", func() bool { id := s.Leadership().ID; return id == b.id || id == c.id })
	}
	if log := b.log.String() + c.log.String(); strings.Contains(log, "heartbeat timeout reached") {
		t.Error("the leader was missed")
	}
}

func TestSeatsAreTakenByHand(t *testing.T) {
	for _, c := range []struct {
		servers string // as TestServersTakeAndLoseTheirSeats has them; the first leads
		id      byte
		want    string
	}{
		{"VVv", 3, ""},
		{"VVv", 4, "has no seat"},
		{"VVv", 1, "it leads"},
		{"VVv", 2, "it lives"},
		{"VVvv", 3, ""},
		{"Vvv", 3, "no majority"},
		{"VVn", 3, ""},
	} {
		err := mayUnseat(seats(c.servers), serverOf(c.id), serverOf(1))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s, remove %d: %v, want %q", c.servers, c.id, err, c.want)
		}
	}
}

func serverOf(n byte) cluster.ID { return cluster.ID{n} }

// TestPuttingAsideCanBeInterrupted does it half, then again.
func TestPuttingAsideCanBeInterrupted(t *testing.T) {
	dir := t.TempDir()
	purpose := &epochPurpose{Epoch: 1 << 32, Aside: oldPrefix + "0-now"}
	for _, name := range []string{fileLog, snapshots, oldPrefix + "0-before", oldPrefix + "0-now"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, snapshots), filepath.Join(dir, purpose.Aside, snapshots)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := putAside(dir, purpose); err != nil {
			t.Fatal(err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	kept, _ := filepath.Glob(filepath.Join(dir, purpose.Aside, "*"))
	if len(left) != 1 || len(kept) != 2 {
		t.Errorf("left %q, kept %q", left, kept)
	}
}

// TestEpochsDoNotTalk has servers of two epochs greet one another: both refuse, and the older learns of the newer.
func TestEpochsDoNotTalk(t *testing.T) {
	for _, c := range []struct{ ours, theirs uint64 }{{0, 0}, {1 << 32, 1 << 32}, {0, 1 << 32}, {2 << 32, 1 << 32}, {1<<32 | 1, 1<<32 | 2}} {
		one := &epochs{dir: t.TempDir(), news: make(chan struct{}, 1), file: epochFile{Epoch: c.ours}}
		two := &epochs{dir: t.TempDir(), news: make(chan struct{}, 1), file: epochFile{Epoch: c.theirs}}
		here, there := net.Pipe()
		answers := make(chan error, 1)
		go func() { answers <- two.greet(there) }()
		// a pipe has no buffer, so that two who speak at once would wait for each other
		err := one.greet(buffered{here})
		if other := <-answers; (err == nil) != (c.ours == c.theirs) || (other == nil) != (err == nil) {
			t.Errorf("%x meets %x: %v, %v", c.ours, c.theirs, err, other)
		}
		if older := min(c.ours, c.theirs); older != max(c.ours, c.theirs) {
			loser := one
			if c.theirs == older {
				loser = two
			}
			if !loser.now().superseded() {
				t.Errorf("%x meets %x: the older does not know", c.ours, c.theirs)
			}
		}
		here.Close()
		there.Close()
	}
}

// buffered writes without waiting for the reader.
type buffered struct{ net.Conn }

func (b buffered) Write(p []byte) (int, error) {
	text := slices.Clone(p)
	go func() { b.Conn.Write(text) }()
	return len(p), nil
}
