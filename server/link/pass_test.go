package link

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// slowID is of a node about which the leader says nothing for long.
var slowID = cluster.ID{0xcc}

// servePasses is a leader of whom one node is known, one not, and of the others nothing can be said.
func servePasses(t *testing.T, us clusterOf) (address string) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(PassHandler(func(ctx context.Context, id cluster.ID) (Standing, error) {
		switch id {
		case slowID:
			<-ctx.Done()
			return Standing{}, ctx.Err()
		case nodeID:
			return Standing{Status: cluster.NodeStatusReady, Leader: true}, nil
		case otherID:
			return Standing{Leader: true, Unknown: true}, nil
		}
		return Standing{Status: cluster.NodeStatusReady, Leader: true}, errors.New("not now")
	}))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", us.config(otherID, pki.RoleServer, ProtocolHTTP1))
	if err != nil {
		t.Fatal(err)
	}
	server, done := &http.Server{Handler: mux, ErrorLog: log.New(io.Discard, "", 0)}, make(chan struct{})
	go func() { defer close(done); server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return listener.Addr().String()
}

func TestServersPassHeartbeatsOn(t *testing.T) {
	us := newCluster(t)
	address := servePasses(t, us)
	dialer := func(role pki.Role) *Dialer {
		d := NewDialer(DialerConfig{Identity: us.identity(nodeID, role), Address: func(cluster.ID) (string, bool) { return address, true }})
		t.Cleanup(d.Close)
		return d
	}
	server := dialer(pki.RoleServer)
	got, err := server.Pass(t.Context(), otherID, []cluster.ID{nodeID, {1}, otherID, nodeID})
	ready := Standing{Status: cluster.NodeStatusReady, Leader: true}
	want := []Standing{ready, {}, {Leader: true, Unknown: true}, ready}
	if err != nil || len(got) != len(want) {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("of node %d the leader says %+v, want %+v", i, got[i], want[i])
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if got, err := server.Pass(ctx, otherID, []cluster.ID{slowID, nodeID}); err != nil || got[0] != (Standing{}) || got[1] != ready {
		t.Errorf("with one that takes long: %+v, %v", got, err)
	}
	if got, err := server.Pass(t.Context(), otherID, make([]cluster.ID, MostPassed)); err != nil || len(got) != MostPassed {
		t.Errorf("as many as may be: %d, %v", len(got), err)
	}
	if _, err := server.Pass(t.Context(), otherID, make([]cluster.ID, MostPassed+1)); err == nil {
		t.Error("more than may be are taken")
	}
	if _, err := dialer(pki.RoleClient).Pass(t.Context(), otherID, []cluster.ID{nodeID}); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("a node that is no server speaks for nodes: %v", err)
	}
}

func FuzzPassedHeartbeats(f *testing.F) {
	f.Add("PUT", []byte{})
	f.Add("PUT", nodeID[:])
	f.Add("GET", append(nodeID[:], 1))
	f.Fuzz(func(t *testing.T, method string, body []byte) {
		r, err := http.NewRequest(method, passPath, strings.NewReader(string(body)))
		if err != nil {
			return
		}
		nodes, err := readPassed(r)
		if whole := method == "PUT" && len(body)%16 == 0; (err == nil) != whole || err == nil && len(nodes) != len(body)/16 {
			t.Errorf("%s of %d bytes: %d nodes, %v", method, len(body), len(nodes), err)
		}
	})
}

// TestServersOfOlderReleasesPassNothingOn has a server that ends the connection at what it does not know.
func TestServersOfOlderReleasesPassNothingOn(t *testing.T) {
	us := newCluster(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", us.config(otherID, pki.RoleServer, ProtocolBeat))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			one := make([]byte, 1)
			for {
				if _, err := conn.Read(one); err != nil || one[0] != beatAsk {
					break
				}
				conn.Write([]byte{Standing{Status: cluster.NodeStatusReady}.encode()})
			}
			conn.Close()
		}
	}()
	dialer := NewDialer(DialerConfig{Identity: us.identity(nodeID, pki.RoleClient),
		Address: func(cluster.ID) (string, bool) { return listener.Addr().String(), true }})
	beater := dialer.Beater(otherID)
	for _, pass := range []bool{true, false, true} {
		if got, err := beater.Beat(t.Context(), pass); err != nil || got != (Standing{Status: cluster.NodeStatusReady}) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	beater.Close()
	listener.Close()
	<-done
}

func TestTheFirstThatAnswersIsFound(t *testing.T) {
	us := newCluster(t)
	living := servePasses(t, us)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	places := map[cluster.ID]string{otherID: living, {1}: silent.Addr().String(), {2}: gone.Addr().String(), {3}: silent.Addr().String()}
	dialer := NewDialer(DialerConfig{Identity: us.identity(nodeID, pki.RoleClient),
		Address: func(id cluster.ID) (string, bool) { place, ok := places[id]; return place, ok }})
	for _, c := range []struct {
		name   string
		nodes  []cluster.ID
		first  cluster.ID
		failed int
	}{
		{"at once", []cluster.ID{otherID, {1}}, otherID, 0},
		{"after one that refuses", []cluster.ID{{2}, otherID}, otherID, 1},
		{"after some that say nothing", []cluster.ID{{1}, {3}, otherID}, otherID, 0},
		{"after one that nobody knows", []cluster.ID{{4}, otherID}, otherID, 1},
		{"none", []cluster.ID{{1}, {2}, {3}, {4}}, cluster.ID{}, 4},
		{"of none", nil, cluster.ID{}, 0},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if c.name == "none" {
			cancel() // else it takes its time
		}
		first, failures := dialer.First(ctx, c.nodes)
		cancel()
		if first != c.first || len(failures) != c.failed {
			t.Errorf("%s: %s, in vain %v", c.name, first, failures)
		}
	}
}
