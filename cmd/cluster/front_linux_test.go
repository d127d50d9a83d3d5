package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
)

// wiredNode is a node's port 4647 on a real socket, with a handler of the test's.
type wiredNode struct {
	who    *link.Identity
	dialer *link.Dialer
	at     string
}

// wire is nodes that know one another.
type wire struct {
	t         *testing.T
	authority *pki.Authority
	mu        sync.Mutex // guards nodes
	nodes     map[cluster.ID]*wiredNode
}

func newWire(t *testing.T) *wire {
	authority, err := pki.NewAuthority(cluster.ID{9})
	if err != nil {
		t.Fatal(err)
	}
	return &wire{t: t, authority: authority, nodes: map[cluster.ID]*wiredNode{}}
}

func (w *wire) address(id cluster.ID) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.nodes[id]
	return n.at, n != nil
}

func (w *wire) add(id cluster.ID, role pki.Role, handler http.HandlerFunc) *wiredNode {
	w.t.Helper()
	key, public, err := pki.NewKey()
	if err != nil {
		w.t.Fatal(err)
	}
	certificate, err := w.authority.Issue(id, role, public, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	dir := w.t.TempDir()
	if err := link.WriteIdentity(dir, w.authority.PEM(), key, certificate); err != nil {
		w.t.Fatal(err)
	}
	n := &wiredNode{}
	if n.who, err = link.OpenIdentity(dir); err != nil {
		w.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	n.at, n.dialer = listener.Addr().String(), link.NewDialer(link.DialerConfig{Identity: n.who, Address: w.address})
	port := link.NewPort(link.PortConfig{Listener: listener, Identity: n.who, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	web := &http.Server{Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	running.Go(func() { port.Run(ctx) })
	running.Go(func() { web.Serve(port.HTTP()) })
	w.t.Cleanup(func() {
		cancel()
		web.Close()
		running.Wait()
		n.dialer.Close()
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nodes[id] = n
	return n
}

// TestAnotherServerRepeatsWhatOneDiedOver has a server die after it has carried a restart to its node: the next carries the same
// request, by which the node knows it; and nothing of what the person forged.
func TestAnotherServerRepeatsWhatOneDiedOver(t *testing.T) {
	w := newWire(t)
	first, next, node, self := cluster.ID{1}, cluster.ID{2}, cluster.ID{3}, cluster.ID{4}
	var mu sync.Mutex
	var names []string // of the requests that came to the node
	w.add(node, pki.RoleClient, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, r.Header.Get(api.HeaderRequestID))
	})
	var own []string // of the headers that came to the servers
	died := false    // one of the servers did
	relay := func(id cluster.ID) {
		var server *wiredNode
		server = w.add(id, pki.RoleServer, func(rw http.ResponseWriter, r *http.Request) {
			mu.Lock()
			for name := range r.Header {
				if strings.HasPrefix(name, "X-Cluster-") {
					own = append(own, name)
				}
			}
			mu.Unlock()
			answer := httptest.NewRecorder()
			if err := server.dialer.Carry(node, answer, r); err != nil {
				t.Error(err)
			}
			mu.Lock()
			dies := !died
			died = true
			mu.Unlock()
			if dies {
				panic(http.ErrAbortHandler)
			}
			rw.WriteHeader(answer.Code)
		})
	}
	relay(first)
	relay(next)
	places := map[cluster.ID]whereabouts{}
	for _, id := range []cluster.ID{first, next} {
		at, _ := w.address(id)
		places[id] = whereabouts{RPC: at, Server: true}
	}
	text, err := json.Marshal(places)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "nodes.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	directory, err := openDirectory(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client := w.add(self, pki.RoleClient, func(http.ResponseWriter, *http.Request) {})
	f := &front{r: &running{machineConfig: machineConfig{logger: slog.New(slog.DiscardHandler)}, id: self, directory: directory, dialer: client.dialer},
		nearest: &nearest{directory: directory, dialer: client.dialer}}
	r := httptest.NewRequest("PUT", api.AllocRestart.URL(cluster.ID{7}.String()), strings.NewReader("{}"))
	r.Header.Set("X-Cluster-Forwarded", "1")
	r.Header.Set("X-Cluster-Caller", first.String())
	got := httptest.NewRecorder()
	f.ServeHTTP(got, r)
	mu.Lock()
	defer mu.Unlock()
	if got.Code != http.StatusOK || len(names) != 2 || names[0] == "" || names[0] != names[1] {
		t.Errorf("%d %q, the node was asked as %q", got.Code, got.Body, names)
	}
	if slices.Sort(own); !slices.Equal(own, []string{"X-Cluster-Person", "X-Cluster-Person"}) {
		t.Errorf("the servers got %q", own)
	}
}
