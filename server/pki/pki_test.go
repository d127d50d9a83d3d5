package pki

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

func leaf(t *testing.T, a *Authority, node cluster.ID, role Role, now time.Time) func() *tls.Certificate {
	t.Helper()
	key, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := a.Issue(node, role, public, now)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	return func() *tls.Certificate { return &pair }
}

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := NewAuthority(cluster.ID{1})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// handshake is what each side says of a connection between the two.
func handshake(server, client *tls.Config) (serverErr, clientErr error) {
	a, b := net.Pipe()
	s, c := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err != nil {
			a.Close()
		}
		done <- err
	}()
	clientErr = c.Handshake()
	if clientErr == nil {
		go c.Read(make([]byte, 1)) // lets the server's last message through the unbuffered pipe
	} else {
		b.Close()
	}
	serverErr = <-done
	a.Close()
	b.Close()
	return serverErr, clientErr
}

func TestOnlyOurOwnCertificatesShakeHands(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	ours, theirs := authority(t), authority(t)
	server := TLS(ours.Certificate, leaf(t, ours, cluster.ID{1}, RoleServer, now), clock, "raft/1")
	for _, test := range []struct {
		name   string
		client *tls.Config
		ok     bool
	}{
		{"our own", TLS(ours.Certificate, leaf(t, ours, cluster.ID{2}, RoleServer, now), clock, "raft/1"), true},
		{"foreign authority", TLS(ours.Certificate, leaf(t, theirs, cluster.ID{2}, RoleServer, now), clock, "raft/1"), false},
		{"expired", TLS(ours.Certificate, leaf(t, ours, cluster.ID{2}, RoleServer, now.Add(-2*LeafLifetime)), clock, "raft/1"), false},
		{"other protocol version", TLS(ours.Certificate, leaf(t, ours, cluster.ID{2}, RoleServer, now), clock, "raft/2"), false},
		{"no certificate", &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"raft/1"}}, false},
	} {
		serverErr, clientErr := handshake(server, test.client)
		if ok := serverErr == nil && clientErr == nil; ok != test.ok {
			t.Errorf("%s: server says %v, client says %v", test.name, serverErr, clientErr)
		}
	}
}

func TestTheAuthorityKnowsNoTime(t *testing.T) {
	ours := authority(t)
	for _, year := range []int{1970, 2026, 9998} {
		now := time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC)
		clock := func() time.Time { return now }
		server := TLS(ours.Certificate, leaf(t, ours, cluster.ID{1}, RoleServer, now), clock, "raft/1")
		client := TLS(ours.Certificate, leaf(t, ours, cluster.ID{2}, RoleServer, now), clock, "raft/1")
		if serverErr, clientErr := handshake(server, client); serverErr != nil || clientErr != nil {
			t.Errorf("in %d: server says %v, client says %v", year, serverErr, clientErr)
		}
	}
}

func TestSealedKeyOpensWithItsKeyAlone(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	a := authority(t)
	key, other := make([]byte, 32), append(make([]byte, 31), 1)
	sealed, err := a.Seal(key)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Unseal(a.PEM(), sealed, key)
	if err != nil {
		t.Fatal(err)
	}
	if !back.Certificate.Equal(a.Certificate) {
		t.Error("another authority came back")
	}
	leaf(t, back, cluster.ID{3}, RoleClient, now)
	if _, err := Unseal(a.PEM(), sealed, other); err == nil {
		t.Error("a foreign key opens the seal")
	}
	if _, err := Unseal(a.PEM(), sealed[:5], key); err == nil {
		t.Error("a cut seal opens")
	}
}

func TestWhatIsDerivedFollowsFromKeyAndPurpose(t *testing.T) {
	a, b := authority(t), authority(t)
	derive := func(a *Authority, purpose string) string {
		t.Helper()
		secret, err := a.Derive(purpose, 16)
		if err != nil || len(secret) != 16 {
			t.Fatalf("%x, %v", secret, err)
		}
		return string(secret)
	}
	seal := make([]byte, 32)
	sealed, err := a.Seal(seal)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Unseal(a.PEM(), sealed, seal)
	if err != nil {
		t.Fatal(err)
	}
	if one := derive(a, "one"); one != derive(back, "one") || one == derive(a, "two") || one == derive(b, "one") {
		t.Error("it does not follow from both and nothing else")
	}
}

func TestIdentityIsReadBack(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	pair := leaf(t, authority(t), cluster.ID{7, 15: 1}, RoleClient, now)
	node, role, ok := Identity(pair().Leaf)
	if !ok || node != (cluster.ID{7, 15: 1}) || role != RoleClient {
		t.Errorf("Identity = %v, %v, %v", node, role, ok)
	}
}
