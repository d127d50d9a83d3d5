package link

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

var (
	nodeID  = cluster.ID{0xaa, 1, 2, 3, 4, 5, 0x46, 7, 0x88}
	otherID = cluster.ID{0xbb, 1, 2, 3, 4, 5, 0x46, 7, 0x88}
)

// logBook collects what is logged.
type logBook struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// clusterOf makes identities of one authority.
type clusterOf struct {
	t         testing.TB
	authority *pki.Authority
}

func newCluster(t testing.TB) clusterOf {
	t.Helper()
	a, err := pki.NewAuthority(cluster.ID{1})
	if err != nil {
		t.Fatal(err)
	}
	return clusterOf{t, a}
}

// config is how the node of that ID and role speaks.
func (i clusterOf) config(id cluster.ID, role pki.Role, protocols ...string) *tls.Config {
	i.t.Helper()
	return i.identity(id, role).TLS(protocols...)
}

// identity is one of a node, on disk.
func (i clusterOf) identity(id cluster.ID, role pki.Role) *Identity {
	i.t.Helper()
	key, public, err := pki.NewKey()
	if err != nil {
		i.t.Fatal(err)
	}
	certificate, err := i.authority.Issue(id, role, public, time.Now())
	if err != nil {
		i.t.Fatal(err)
	}
	dir := i.t.TempDir()
	if err := WriteIdentity(dir, i.authority.PEM(), key, certificate); err != nil {
		i.t.Fatal(err)
	}
	identity, err := OpenIdentity(dir)
	if err != nil {
		i.t.Fatal(err)
	}
	return identity
}

// servePort runs a port on a real socket, whose Raft is for nodeID alone, and accepts what gets through.
func servePort(t *testing.T, us clusterOf) (address string, raft, http <-chan net.Conn, log *logBook) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log = new(logBook)
	w := NewPort(PortConfig{Listener: listener, Identity: us.identity(otherID, pki.RoleServer),
		MayRaft: func(id cluster.ID) bool { return id == nodeID }, Logger: slog.New(slog.NewTextHandler(log, nil))})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	accept := func(q *queue) <-chan net.Conn {
		conns := make(chan net.Conn, 10)
		go func() {
			defer close(conns)
			for {
				conn, err := q.Accept()
				if err != nil {
					return
				}
				conns <- conn
			}
		}()
		return conns
	}
	raft, http = accept(w.raft), accept(w.http)
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run wire: %v", err)
		}
		for conn := range raft {
			conn.Close()
		}
		for conn := range http {
			conn.Close()
		}
	})
	return listener.Addr().String(), raft, http, log
}

// refused reports whether the connection comes to nothing.
func refused(address string, config *tls.Config) bool {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return true
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = conn.Read(make([]byte, 1)) // with TLS 1.3 the server's verdict comes after the client's handshake
	return err != nil && !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "timeout")
}

func TestTheWireLetsInWhoBelongs(t *testing.T) {
	us, them := newCluster(t), newCluster(t)
	address, raft, http, _ := servePort(t, us)
	for _, c := range []struct {
		name   string
		config *tls.Config
		to     <-chan net.Conn // nil: refused
	}{
		{"a member's Raft", us.config(nodeID, pki.RoleServer, ProtocolRaft), raft},
		{"a server's requests", us.config(nodeID, pki.RoleServer, ProtocolHTTP1), http},
		{"a client's requests", us.config(nodeID, pki.RoleClient, ProtocolHTTP1), http},
		{"a client's Raft", us.config(nodeID, pki.RoleClient, ProtocolRaft), nil},
		{"Raft of a server that is no member", us.config(otherID, pki.RoleServer, ProtocolRaft), nil},
		{"another cluster's server", trusting(them.config(nodeID, pki.RoleServer, ProtocolRaft)), nil},
		{"another cluster's client", trusting(them.config(nodeID, pki.RoleClient, ProtocolHTTP1)), nil},
		{"a protocol of another version", trusting(us.config(nodeID, pki.RoleServer, "raft/2")), nil},
		{"no protocol", trusting(us.config(nodeID, pki.RoleServer)), nil},
		{"no certificate", &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ProtocolHTTP1}}, nil},
		{"old TLS", old(us.config(nodeID, pki.RoleServer, ProtocolHTTP1)), nil},
	} {
		if c.to == nil {
			if !refused(address, c.config) {
				t.Errorf("%s: let in", c.name)
			}
			continue
		}
		conn, err := tls.Dial("tcp", address, c.config)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		(<-c.to).Close()
		conn.Close()
	}
	if len(raft)+len(http) != 0 {
		t.Error("somebody got through who was refused")
	}
}

// trusting takes whatever certificate the other side shows.
func trusting(c *tls.Config) *tls.Config {
	c.VerifyConnection = nil
	return c
}

func old(c *tls.Config) *tls.Config {
	c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	return trusting(c)
}

func TestGarbageOnTheWireIsIgnored(t *testing.T) {
	us := newCluster(t)
	address, _, http, log := servePort(t, us)
	for _, text := range []string{"", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\xff\xff" + strings.Repeat("A", 70000),
		"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", strings.Repeat("\x00", 1<<16), "SSH-2.0-x\r\n", "\x80\x2e\x01\x03\x01"} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(conn, bytes.NewReader([]byte(text))) // which may be cut off
		conn.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	conn, err := tls.Dial("tcp", address, us.config(nodeID, pki.RoleClient, ProtocolHTTP1))
	if err != nil {
		t.Fatal(err)
	}
	(<-http).Close()
	conn.Close()
	if log.String() != "" {
		t.Errorf("garbage is worth a line to operators:\n%s", log)
	}
}

func TestSlowHandshakesShutNobodyElseOut(t *testing.T) {
	h := NewCrowd(maxHandshakes, maxHandshakesPerHost)
	flooder := netip.MustParseAddr("192.0.2.1")
	for range maxHandshakesPerHost {
		if !h.Enter(flooder) {
			t.Fatal("refused below the limit")
		}
	}
	if h.Enter(flooder) {
		t.Error("no limit per host")
	}
	if other := netip.MustParseAddr("192.0.2.2"); !h.Enter(other) {
		t.Error("one host shuts out another")
	} else {
		h.Leave(other)
	}
	h.Leave(flooder)
	if !h.Enter(flooder) || h.Enter(flooder) {
		t.Error("an ended handshake makes room for one")
	}
	for i := range 2 * maxHandshakes {
		h.Enter(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	if h.total != maxHandshakes {
		t.Errorf("%d handshakes at once, want %d", h.total, maxHandshakes)
	}

	// The connection beyond the limit is closed at once, long before a handshake times out.
	us := newCluster(t)
	address, _, _, _ := servePort(t, us)
	var slow []net.Conn
	defer func() {
		for _, conn := range slow {
			conn.Close()
		}
	}()
	for range maxHandshakesPerHost {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	began := time.Now()
	if !refused(address, us.config(nodeID, pki.RoleClient, ProtocolHTTP1)) {
		t.Error("let in beyond the limit")
	}
	if waited := time.Since(began); waited > handshakeTimeout/2 {
		t.Errorf("refused after %v only", waited)
	}
}

// TestWhatNobodyTakesIsClosed shows that connections for a part of the agent that does not work now shut their host out of no
// other part: they are closed in the end.
func TestWhatNobodyTakesIsClosed(t *testing.T) {
	us := newCluster(t)
	address, _, _, _ := servePort(t, us) // where nobody accepts heartbeats
	conn, err := tls.Dial("tcp", address, us.config(nodeID, pki.RoleClient, ProtocolBeat))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(2 * handshakeTimeout))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is kept: %v", err)
	}
}

func TestHostsAreCountedByNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.7:1":           "192.0.2.7",
		"[::ffff:192.0.2.7]:1":  "192.0.2.7",
		"[2001:db8:1:2:3::4]:1": "2001:db8:1:2::",
		"[fe80::1%lo]:1":        "fe80::",
	} {
		got := HostOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)))
		if got.String() != want {
			t.Errorf("host of %s is %s, want %s", text, got, want)
		}
	}
	if got := HostOf(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("host of a unix socket is %s", got)
	}
}
