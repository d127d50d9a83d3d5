package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
	"github.com/a43e60e4/cluster/server/state"
)

// town is a cluster of real servers with real logs and sockets; its list of members plays the gossip.
type town struct {
	t       testing.TB
	mu      sync.Mutex // guards members and changed
	members []cluster.Member
	changed chan struct{}
}

func newTown(t testing.TB) *town { return &town{t: t, changed: make(chan struct{})} }

func (c *town) Members() []cluster.Member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members
}

func (c *town) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *town) add(m cluster.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members = append(slices.DeleteFunc(slices.Clone(c.members), func(old cluster.Member) bool { return old.Node == m.Node }), m)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *town) address(id cluster.ID) (string, bool) {
	for _, m := range c.Members() {
		if m.Node == id {
			return m.RPC, true
		}
	}
	return "", false
}

// house is one server of a town.
type house struct {
	*Server
	t       testing.TB
	who     *link.Identity
	address string
	log     *logBook
	port    *JoinPort
	client  *api.Client // of people on this machine
	desk    string      // where they ask
	stop    func() error
}

func newID(t testing.TB) cluster.ID {
	t.Helper()
	return cluster.IDFrom(dice(), 0)
}

// found begins the town's cluster.
func (c *town) found() *house {
	c.t.Helper()
	dir := c.t.TempDir()
	who, err := identityIn(dir, newID(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	h := c.open(dir, who, true)
	h.eventually("a leader", func() bool { return h.Leadership().Self })
	return h
}

// open runs a server on the directory until the test ends.
func (c *town) open(dir string, who *link.Identity, bootstrap bool) *house {
	c.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	h := &house{t: c.t, who: who, address: listener.Addr().String(), log: new(logBook)}
	logger := slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	wire := link.NewPort(link.PortConfig{Listener: listener, Identity: who, Logger: logger,
		MayRaft: func(id cluster.ID) bool { return h.Server.MayRaft(id) }, Removed: func(id cluster.ID) bool { return h.Server.Removed(id) }})
	dialer := link.NewDialer(link.DialerConfig{Identity: who, Address: c.address})
	h.Server, err = Open(Config{Dir: dir, Identity: who, Name: "n" + who.ID().Short(), Bootstrap: bootstrap, Raft: wire.Raft(), Dialer: dialer,
		Advertise: h.address, Members: c, Logger: logger, Reach: func(id cluster.ID) (Carry, error) {
			return func(w http.ResponseWriter, r *http.Request) error { return dialer.Carry(id, w, r) }, nil
		}})
	if err != nil {
		listener.Close()
		c.t.Fatal(err)
	}
	handler := NewHandler(HTTPConfig{Core: h.Server, Keeper: h.Server, Logger: logger})
	h.port = NewJoinPort(JoinPortConfig{Listener: wire.Join(), Identity: who, API: handler, Logger: logger})
	desk, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	h.desk = "http://" + desk.Addr().String()
	if h.client, err = api.New(api.Config{Address: h.desk}); err != nil {
		c.t.Fatal(err)
	}
	c.add(cluster.Member{Record: cluster.Record{Node: who.ID(), RPC: h.address, Server: true}, State: cluster.MemberAlive})
	h.run(wire, dialer, desk, handler)
	return h
}

func (h *house) run(wire *link.Port, dialer *link.Dialer, desk net.Listener, handler http.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	wired, cut := context.WithCancel(context.Background())
	var web, all sync.WaitGroup
	var failed atomic.Pointer[error]
	fail := func(err error) {
		if err != nil {
			failed.Store(&err)
		}
	}
	inner := http.NewServeMux()
	path, progress := h.ProgressHandler()
	inner.Handle(path, progress)
	inner.Handle("/", handler)
	for listener, handler := range map[net.Listener]http.Handler{wire.HTTP(): inner, desk: handler} {
		s := HTTPServer(ctx, handler, slog.New(slog.DiscardHandler))
		web.Go(func() { s.Serve(listener) })
		context.AfterFunc(ctx, func() { s.Close() })
	}
	all.Go(func() { fail(h.port.Run(ctx)) })
	all.Go(func() { fail(h.Run(ctx)); cut() })
	all.Go(func() { fail(wire.Run(wired)) })
	h.stop = sync.OnceValue(func() error {
		cancel()
		all.Wait()
		web.Wait()
		dialer.Close()
		h.client.Close()
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	})
	h.t.Cleanup(func() {
		if err := h.stop(); err != nil {
			h.t.Errorf("run server: %v", err)
		}
		if h.t.Failed() {
			h.t.Logf("the server's log:\n%s", h.log)
		}
	})
}

func (h *house) eventually(what string, wanted func() bool) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for !wanted() {
		if ctx.Err() != nil {
			h.t.Fatalf("waited in vain for %s", what)
		}
		look, enough := context.WithTimeout(ctx, 20*time.Millisecond)
		h.Store().Wait(look, h.Snapshot().Index(), everything...)
		enough()
	}
}

func (h *house) token(r api.JoinTokenRequest) link.Token {
	h.t.Helper()
	made, err := h.client.MakeJoinToken(context.Background(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	token, err := link.ParseToken(made.Token)
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// join is a node that joins by the token.
func join(t testing.TB, token link.Token, edit func(*link.JoinConfig)) (*link.Identity, error) {
	t.Helper()
	c := link.JoinConfig{Token: token, Node: newID(t), Name: "new", Role: token.Role, Dir: filepath.Join(t.TempDir(), "identity"), Logger: slog.New(slog.DiscardHandler)}
	if edit != nil {
		edit(&c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return link.Join(ctx, c)
}

func TestServersJoinAndIssueAfterTheFounderIsGone(t *testing.T) {
	c := newTown(t)
	first := c.found()
	token := first.token(api.JoinTokenRequest{Role: "server"})
	houses := []*house{first}
	for range 2 {
		dir := t.TempDir()
		who, err := join(t, token, func(j *link.JoinConfig) { j.Dir = filepath.Join(dir, "identity") })
		if err != nil {
			t.Fatal(err)
		}
		if who.Cluster() != first.who.Cluster() || who.Role() != pki.RoleServer {
			t.Errorf("joined cluster %v as %s", who.Cluster(), who.Role())
		}
		houses = append(houses, c.open(dir, who, false))
	}
	for _, h := range houses {
		h.eventually("the authority's key", func() bool { _, err := h.vault.open(); return err == nil })
	}
	for _, h := range houses {
		h.eventually("three voters", func() bool { return len(h.Leadership().Peers) == 3 && voters(h) == 3 })
	}
	servers, err := link.ReadServers(houses[2].who.Dir())
	if err != nil || len(servers) != 2 && len(servers) != 1 || servers[0].Address == "" {
		t.Errorf("the joined server remembers %+v, %v", servers, err)
	}
	last := houses[1].token(api.JoinTokenRequest{Role: "client"}) // forwarded to the leader
	m := c.Members()[0]
	m.State = cluster.MemberDead
	c.add(m)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	who, err := join(t, last, nil) // the first address is dead
	if err != nil {
		t.Fatal(err)
	}
	if who.Role() != pki.RoleClient {
		t.Errorf("joined as %s", who.Role())
	}
}

func voters(h *house) int {
	n := 0
	if future := h.replica.raft.GetConfiguration(); future.Error() == nil {
		for _, s := range future.Configuration().Servers {
			if s.Suffrage == 0 {
				n++
			}
		}
	}
	return n
}

// badJoin is a token of no use: what the node that wants to join does, and what it is told.
type badJoin struct {
	name  string
	token link.Token
	edit  func(*link.JoinConfig)
	code  cluster.Code
	want  string
}

func TestTokensOfNoUseAreRefusedInWords(t *testing.T) {
	first, foreign := newTown(t).found(), newTown(t).found()
	ctx := context.Background()
	server := first.token(api.JoinTokenRequest{Role: "server"})
	first.token(api.JoinTokenRequest{Role: "client"}) // one of the three to be rotated
	once := first.token(api.JoinTokenRequest{Role: "client", Uses: 1})
	if _, err := join(t, once, nil); err != nil {
		t.Fatal(err)
	}
	expired := first.token(api.JoinTokenRequest{Role: "client"})
	first.age(expired)
	rotated := first.token(api.JoinTokenRequest{Role: "client"})
	if made, err := first.client.MakeJoinToken(ctx, api.JoinTokenRequest{Role: "client", Rotate: true}); err != nil || made.Rotated != 3 {
		t.Errorf("rotated %+v, %v", made, err)
	}
	client := first.token(api.JoinTokenRequest{Role: "client"})
	forged := client
	forged.Secret[0]++
	unknown := client
	unknown.ID[0]++
	moved := client
	moved.Addresses = []string{foreign.address}
	lying := client
	lying.Role = pki.RoleServer
	copied, err := join(t, client, nil)
	if err != nil {
		t.Fatal(err)
	}
	again := ": make a new one on a server with `cluster join-token client`"
	for _, test := range []badJoin{
		{"wrong secret", forged, nil, cluster.CodeForbidden, "join cluster: the token's secret is wrong" + again},
		{"unknown", unknown, nil, cluster.CodeForbidden, "join cluster: the token is not known to this cluster (if it was, it expired long ago)" + again},
		{"used up", once, nil, cluster.CodeForbidden, "join cluster: the token was made invalid at TIME" + again},
		{"rotated", rotated, nil, cluster.CodeForbidden, "join cluster: the token was made invalid at TIME" + again},
		{"foreign", moved, nil, cluster.CodeRejected, "join cluster: " + foreign.address + ": a server of another cluster answers there: the token is of a cluster that is no longer " +
			"at that address, or another one took its place: make a token where the cluster is now"},
		{"client's for a server", client, func(c *link.JoinConfig) { c.Role = pki.RoleServer }, cluster.CodeInvalid,
			"join cluster: the token is for a client and this node is to be a server: use one from `cluster join-token server`, or switch the server off with `server { enabled = false }`"},
		{"server's for a client", server, func(c *link.JoinConfig) { c.Role = pki.RoleClient }, cluster.CodeInvalid,
			"join cluster: the token is for a server and this node is to be a client: use one from `cluster join-token client`"},
		{"role altered", lying, nil, cluster.CodeForbidden, "join cluster: the token lets a node join as client, and this one wants to be a server: make a new one on a server with `cluster join-token server`"},
		{"ID claimed twice", client, func(c *link.JoinConfig) { c.Node = copied.ID() }, cluster.CodeConflict, "join cluster: node ID " + copied.ID().String() +
			" is taken: node \"new\" joined with it at TIME, with another key: if this data directory was copied from that node, move it away to begin as a new one; " +
			"if that node is gone for good, run `cluster operator member remove " + copied.ID().String() + "` on a server first"},
		{"no name", client, func(c *link.JoinConfig) { c.Name = "" }, cluster.CodeInvalid,
			"join cluster: join: a node's name has 1 to 128 bytes and no control characters: choose another with -name"},
	} {
		_, err := join(t, test.token, test.edit)
		if err == nil {
			t.Errorf("%s: joined", test.name)
			continue
		}
		if got := withoutTimes(err.Error()); got != test.want || cluster.CodeOf(err) != test.code {
			t.Errorf("%s: %q: %s\nwant %q: %s", test.name, cluster.CodeOf(err), got, test.code, test.want)
		}
		first.port.gate.right(hostOf(addressOf(first.address)))
	}
	if n := first.port.refused.Load(); n < 6 || strings.Count(first.log.String(), "somebody was refused") != 1 {
		t.Errorf("%d refused, the log:\n%s", n, first.log)
	}
	if strings.Contains(first.log.String(), fmt.Sprintf("%x", client.Secret)) {
		t.Error("the log has a secret")
	}
}

func TestExpiredAndUsedUpTokens(t *testing.T) {
	first := newTown(t).found()
	once := first.token(api.JoinTokenRequest{Role: "client", Uses: 1})
	if _, err := join(t, once, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := join(t, once, nil); err == nil || err.Error() != "join cluster: the token has been used as often as it allows: make a new one on a server with `cluster join-token client`" {
		t.Errorf("used up: %v", err)
	}
	old := first.token(api.JoinTokenRequest{Role: "server"})
	first.age(old)
	if _, err := join(t, old, nil); err == nil || withoutTimes(err.Error()) != "join cluster: the token expired at TIME: make a new one on a server with `cluster join-token server`" {
		t.Errorf("expired: %v", err)
	}
	for _, r := range []api.JoinTokenRequest{{Role: "king"}, {Role: "all"}, {Role: "client", TTL: time.Millisecond}, {Role: "client", Uses: -1}} {
		if _, err := first.client.MakeJoinToken(context.Background(), r); cluster.CodeOf(err) != cluster.CodeInvalid {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// age makes a token expire now.
func (h *house) age(token link.Token) {
	h.t.Helper()
	record, text, err := fact[tokenRecord](h.Snapshot(), metaToken+token.Name())
	if err != nil || record == nil {
		h.t.Fatal(record, err)
	}
	record.Expires = time.Now().UnixNano()
	next, _ := json.Marshal(record)
	if _, err := h.Apply(context.Background(), &state.SwapMeta{Swaps: []state.MetaSwap{{Key: metaToken + token.Name(), Old: text, New: next}}}); err != nil {
		h.t.Fatal(err)
	}
}

func TestOneUseLetsOneOfTwoIn(t *testing.T) {
	first := newTown(t).found()
	once := first.token(api.JoinTokenRequest{Role: "client", Uses: 1})
	errs := make(chan error, 8)
	for range cap(errs) {
		go func() {
			_, err := join(t, once, nil)
			errs <- err
		}()
	}
	in := 0
	for range cap(errs) {
		if err := <-errs; err == nil {
			in++
		} else if !strings.Contains(err.Error(), "as often as it allows") && !strings.Contains(err.Error(), "too many requests") {
			t.Error(err)
		}
	}
	if in != 1 {
		t.Errorf("%d joined", in)
	}
}

func TestAJoinWhoseAnswerWasLostIsRepeated(t *testing.T) {
	first := newTown(t).found()
	once := first.token(api.JoinTokenRequest{Role: "client", Uses: 1})
	dir, id := filepath.Join(t.TempDir(), "identity"), newID(t)
	cuts := 0
	edit := func(c *link.JoinConfig) {
		c.Dir, c.Node = dir, id
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			if cuts++; err == nil && cuts == 1 {
				return deafConn{conn, func() bool { return first.Snapshot().Meta(metaMember+id.String()) != nil }}, nil
			}
			return conn, err
		}
	}
	who, err := join(t, once, edit)
	if err != nil || who.ID() != id || cuts < 2 {
		t.Fatalf("after %d dials joined as %v, %v", cuts, who, err)
	}
	ring, err := link.ReadKeyring(dir)
	if err != nil || !ring.Valid() {
		t.Errorf("its keyring is %+v, %v", ring, err)
	}
}

// deafConn loses the answer: it hears nothing more once the server has decided.
type deafConn struct {
	net.Conn
	deaf func() bool
}

func (c deafConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.deaf() {
		return 0, errors.New("cut off")
	}
	return n, err
}

func TestClustersWithReusedAddressesNeverMix(t *testing.T) {
	a, b := newTown(t).found(), newTown(t).found()
	token := a.token(api.JoinTokenRequest{Role: "server"})
	token.Addresses = []string{b.address, a.address} // the first was a's once
	who, err := join(t, token, nil)
	if err != nil || who.Cluster() != a.who.Cluster() {
		t.Fatalf("joined %v, %v", who, err)
	}
	members, _, err := b.client.TrustedNodes(context.Background(), api.Query{})
	if err != nil || len(members) != 1 {
		t.Errorf("the other cluster has the members %+v, %v", members, err)
	}
	// A member of a that dials what is b's now.
	dialer := link.NewDialer(link.DialerConfig{Identity: who, Address: func(cluster.ID) (string, bool) { return b.address, true }})
	if conn, err := dialer.DialAddress(t.Context(), b.address, link.ProtocolHTTP1); err == nil {
		conn.Close()
		t.Error("a node of one cluster talks to the other")
	}
	renewal := link.Renewal{Identity: who, Addresses: func() []string { return []string{b.address} }, Logger: slog.New(slog.DiscardHandler)}
	if err := renewal.RenewIfDue(t.Context(), time.Now().Add(pki.LeafLifetime)); err == nil || !strings.Contains(err.Error(), "a server of another cluster answers there") {
		t.Errorf("renewed by another cluster: %v", err)
	}
}

func TestExpiredCertificatesRenewByTheirKey(t *testing.T) {
	first := newTown(t).found()
	client := first.token(api.JoinTokenRequest{Role: "client"})
	who, err := join(t, client, nil)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := first.vault.open()
	if err != nil {
		t.Fatal(err)
	}
	old, err := authority.Issue(who.ID(), pki.RoleClient, who.Public(), time.Now().Add(-3*pki.LeafLifetime))
	if err != nil {
		t.Fatal(err)
	}
	if err := who.Install(old); err != nil {
		t.Fatal(err)
	}
	renewal := link.Renewal{Identity: who, Addresses: func() []string { return []string{"127.0.0.1:1", first.address} }, Logger: slog.New(slog.DiscardHandler),
		Ask: func(context.Context, []byte) ([]byte, error) { return nil, errors.New("certificate expired") }}
	if err := renewal.RenewIfDue(t.Context(), time.Now()); err != nil || time.Until(who.Leaf().NotAfter) < pki.LeafLifetime-time.Hour {
		t.Fatalf("valid until %v: %v", who.Leaf().NotAfter, err)
	}
	// The node's own route, over a connection of members.
	self, asked := first.asNode(who)
	key, err := who.PublicDER()
	if err != nil {
		t.Fatal(err)
	}
	if certificate, err := self.RenewSelf(t.Context(), who.ID(), key); err != nil || who.Install(certificate) != nil {
		t.Errorf("renewed over the node's own route: %v", err)
	}
	if _, err := self.RenewSelf(t.Context(), first.who.ID(), key); cluster.CodeOf(err) != cluster.CodeForbidden {
		t.Errorf("renewed another node's certificate: %v", err)
	}
	_, other, _ := pki.NewKey()
	strange, err := authority.Issue(who.ID(), pki.RoleClient, other, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := pki.ParseCertificate(strange)
	if _, err := self.RenewSelf(t.Context(), who.ID(), leaf.RawSubjectPublicKeyInfo); cluster.CodeOf(err) != cluster.CodeForbidden {
		t.Errorf("renewed with another key: %v", err)
	}
	for what, err := range map[string]error{
		"made a token":        second(self.MakeJoinToken(t.Context(), api.JoinTokenRequest{Role: "server"})),
		"removed a member":    self.RemoveTrusted(t.Context(), first.who.ID()),
		"rotated the keyring": second(self.RotateKeyring(t.Context())),
		"got the authority":   self.SealFor(t.Context(), who.ID(), make([]byte, 32)),
		"admitted a node":     second(self.Put(t.Context(), api.NodeAdmit.Path, api.Query{}, admission{}, nil)),
	} {
		if cluster.CodeOf(err) != cluster.CodeForbidden {
			t.Errorf("a client %s: %v", what, err)
		}
	}
	if err := first.client.RemoveTrusted(t.Context(), who.ID()); err != nil {
		t.Fatal(err)
	}
	_, _, reads := self.OwnKeyring(t.Context(), who.ID(), 0, api.Query{})
	_, beats := first.Heartbeat(t.Context(), who.ID())
	if cluster.CodeOf(reads) != cluster.CodeForbidden || cluster.CodeOf(beats) != cluster.CodeForbidden {
		t.Errorf("over connections of before a removed node reads the gossip keys (%v) or renews its lease (%v)", reads, beats)
	}
	want := "node " + who.ID().String() + " was removed from the cluster: to come back it joins anew with a token, on an empty data directory"
	if err := renewal.RenewIfDue(t.Context(), time.Now().Add(pki.LeafLifetime)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a removed node renews: %v", err)
	}
	conn, err := asked.DialAddress(t.Context(), first.address, link.ProtocolHTTP1)
	if err == nil { // the server closes after the handshake
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err = conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a removed node is connected: %v", err)
		}
		conn.Close()
	}
	if again, err := join(t, client, func(c *link.JoinConfig) { c.Node = who.ID() }); err != nil || first.Removed(again.ID()) {
		t.Errorf("a removed node does not come back by a token: %v", err)
	}
}

// asNode is the API of this server as a node uses it.
func (h *house) asNode(who *link.Identity) (*api.Client, *link.Dialer) {
	h.t.Helper()
	dialer := link.NewDialer(link.DialerConfig{Identity: who, Address: func(cluster.ID) (string, bool) { return h.address, true }})
	client, err := api.New(api.Config{Address: link.URL(h.who.ID()), HTTP: &http.Client{Transport: dialer.Transport()}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { client.Close(); dialer.Close() })
	return client, dialer
}

func second[T any](_ T, err error) error { return err }

func TestForgedCertificatesAreNotRenewed(t *testing.T) {
	first, foreign := newTown(t).found(), newTown(t).found()
	who, err := join(t, foreign.token(api.JoinTokenRequest{Role: "client"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	// It believes in the first cluster's authority and shows a certificate of its own.
	text, err := json.Marshal(struct{}{})
	if err != nil {
		t.Fatal(err)
	}
	config := who.TLS(link.ProtocolJoin)
	config.VerifyConnection = nil
	conn, err := tls.Dial("tcp", first.address, config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request, _ := http.NewRequest(http.MethodPost, "https://cluster"+link.PathRenew, bytes.NewReader(text))
	request.Write(conn)
	answer, _ := io.ReadAll(conn)
	if !bytes.Contains(answer, []byte("403")) || !bytes.Contains(answer, []byte("not one of this cluster")) {
		t.Errorf("answered %s", answer)
	}
}

func TestGossipKeysAreRotatedWithoutAGap(t *testing.T) {
	c := newTown(t)
	first := c.found()
	ctx, cancel := context.WithCancel(t.Context())
	var nodes sync.WaitGroup
	defer nodes.Wait()
	defer cancel()
	token := first.token(api.JoinTokenRequest{Role: "client"})
	var mu sync.Mutex
	seen := map[cluster.ID][]cluster.Keyring{}
	keep := func(who *link.Identity, ask *api.Client) {
		nodes.Go(func() {
			link.KeepKeyring(ctx, link.KeyringConfig{Dir: who.Dir(), Logger: slog.New(slog.DiscardHandler),
				Ask: func(ctx context.Context, index, held uint64) (link.KeyringNews, error) {
					out, meta, err := ask.OwnKeyring(ctx, who.ID(), held, api.Query{Index: index})
					if err != nil {
						return link.KeyringNews{}, err
					}
					return link.KeyringNews{Keyring: out.Keyring, Removed: out.Removed, Index: meta.Index}, nil
				},
				Install: func(ring cluster.Keyring) error {
					mu.Lock()
					defer mu.Unlock()
					seen[who.ID()] = append(seen[who.ID()], ring)
					return nil
				}})
		})
	}
	for range 2 {
		who, err := join(t, token, nil)
		if err != nil {
			t.Fatal(err)
		}
		ask, _ := first.asNode(who)
		c.add(cluster.Member{Record: cluster.Record{Node: who.ID()}, State: cluster.MemberAlive})
		keep(who, ask)
	}
	dead := cluster.Member{Record: cluster.Record{Node: newID(t)}, State: cluster.MemberDead}
	c.add(dead)
	before, err := first.client.Keyring(t.Context())
	if err != nil || len(before.Keys) != 1 || before.Rotating {
		t.Fatalf("keyring %+v, %v", before, err)
	}
	if _, err := first.client.RotateKeyring(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The founder itself has not said that it holds the new keyring: the rotation waits for it.
	if _, err := first.client.RotateKeyring(t.Context()); cluster.CodeOf(err) != cluster.CodeRejected {
		t.Errorf("a second rotation: %v", err)
	}
	first.eventually("a rotation that waits for the founder alone", func() bool {
		view, err := first.client.Keyring(t.Context())
		return err == nil && slices.Equal(view.Waiting, []cluster.ID{first.who.ID()})
	})
	ask, _ := first.asNode(first.who)
	keep(first.who, ask)
	first.eventually("the end of the rotation", func() bool {
		view, err := first.client.Keyring(t.Context())
		return err == nil && !view.Rotating && view.Version == before.Version+3 && view.Keys[0] != before.Keys[0]
	})
	first.eventually("the last keyring everywhere", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, rings := range seen {
			if len(rings) < 3 {
				return false
			}
		}
		return len(seen) == 3
	})
}

func TestTheGateKeepsAFloodShort(t *testing.T) {
	var g gate
	now := time.Unix(1_800_000_000, 0)
	a, b := addressOf("10.0.0.1:1"), addressOf("10.0.0.2:1")
	for range hostBurst {
		if wait := g.pass(a, now); wait != 0 {
			t.Fatalf("waits %s within the burst", wait)
		}
	}
	if wait := g.pass(a, now); wait != time.Second/hostRate {
		t.Errorf("waits %s after the burst", wait)
	}
	if g.pass(b, now) != 0 || g.pass(a, now.Add(time.Second/hostRate)) != 0 {
		t.Error("others wait too, or the wait does not end")
	}
	for range freeMistakes {
		g.wrong(b, now)
	}
	if g.pass(b, now) != 0 {
		t.Error("the first mistakes are not free")
	}
	for i := range 20 {
		g.wrong(b, now)
		if wait := g.pass(b, now); wait != min(firstWait<<i, longestWait) {
			t.Errorf("after %d mistakes too many waits %s", i+1, wait)
		}
	}
	g.right(b)
	if g.pass(b, now) != 0 {
		t.Error("the right token does not help")
	}
	for i := range 2 * maxHosts {
		g.pass(addressOf(fmt.Sprintf("10.%d.%d.3:1", i/256, i%256)), now)
	}
	if len(g.hosts) > maxHosts {
		t.Errorf("%d hosts are remembered", len(g.hosts))
	}
	if hostOf(addressOf("[2001:db8::1]:1")) != hostOf(addressOf("[2001:db8::2]:1")) {
		t.Error("an IPv6 host is many")
	}
}

// TestStrangersAreFew shows that who keeps connections open after the handshake shuts out himself alone, and only for as long.
func TestStrangersAreFew(t *testing.T) {
	first := newTown(t).found()
	key, _, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	proof, err := pki.SelfSigned(key)
	if err != nil {
		t.Fatal(err)
	}
	dial := func(from string) net.Conn {
		t.Helper()
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		conn, err := tls.DialWithDialer(dialer, "tcp", first.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{link.ProtocolJoin}, Certificates: []tls.Certificate{proof}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	// answered reports whether a request gets an answer, or the connection just ends.
	answered := func(conn net.Conn) bool {
		conn.SetDeadline(time.Now().Add(joinWriteTime))
		io.WriteString(conn, "GET / HTTP/1.1\r\nHost: cluster\r\n\r\n")
		_, err := conn.Read(make([]byte, 1))
		return err == nil
	}
	// Of one more than may be kept, one ends at once; which one is chance.
	var kept []net.Conn
	ended := make(chan struct{}, maxStrangersPerHost+1)
	began := time.Now()
	for range maxStrangersPerHost + 1 {
		conn := dial("127.0.0.1")
		kept = append(kept, conn)
		go func() {
			conn.Read(make([]byte, 1))
			ended <- struct{}{}
		}()
	}
	<-ended
	if took := time.Since(began); took > joinReadTime/2 {
		t.Errorf("one host may keep any number of connections: the first ends after %v", took)
	}
	if !answered(dial("127.0.0.2")) {
		t.Error("one host shuts out another")
	}
	for _, conn := range kept {
		conn.Close()
	}
	for range maxStrangersPerHost {
		<-ended
	}
	first.eventually("room", func() bool { return answered(dial("127.0.0.1")) })
}

func FuzzJoinRequest(f *testing.F) {
	good, _ := json.Marshal(link.JoinRequest{Node: cluster.ID{1}, Name: "n", Role: pki.RoleClient, Token: "0102", Secret: []byte{1}})
	f.Add(good)
	f.Add([]byte(`{"Node": 3}`))
	f.Add([]byte(`{"Secret": "!"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		asked, err := readJoin(bytes.NewReader(text))
		if err != nil {
			return
		}
		hash := sha256.Sum256(asked.Secret)
		a := &admission{Node: asked.Node, Name: asked.Name, Role: asked.Role, Token: asked.Token, Hash: hash[:]}
		if swaps, err := decideJoin(joinFacts{}, a, time.Unix(0, 0)); err == nil || swaps != nil {
			t.Errorf("%q is let in without a token", text)
		}
	})
}

// FuzzJoinPort sends a server's port whatever comes, after a handshake of a stranger.
func FuzzJoinPort(f *testing.F) {
	first := newTown(f).found()
	key, _, err := pki.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	proof, err := pki.SelfSigned(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("POST /join HTTP/1.1\r\nHost: cluster\r\nContent-Length: 2\r\n\r\n{}"))
	f.Add([]byte("POST /renew HTTP/1.1\r\nHost: cluster\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"))
	f.Add([]byte("GET /v1/jobs HTTP/1.1\r\nHost: cluster\r\nX-Cluster-Forwarded: 1\r\n\r\n"))
	f.Add([]byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, text []byte) {
		conn, err := tls.Dial("tcp", first.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{link.ProtocolJoin}, Certificates: []tls.Certificate{proof}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.Write(text)
		conn.CloseWrite()
		conn.SetReadDeadline(time.Now().Add(joinWriteTime))
		answer, _ := io.ReadAll(conn)
		if bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
			t.Errorf("%q is answered %q", text, answer)
		}
	})
}

func addressOf(hostPort string) netip.Addr { return netip.MustParseAddrPort(hostPort).Addr() }

var timeText = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)

func withoutTimes(text string) string { return timeText.ReplaceAllString(text, "TIME") }
