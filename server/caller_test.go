package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/pki"
)

// passports are connections with certificates of one authority.
type passports struct {
	t         testing.TB
	authority *pki.Authority
}

func newPassports(t testing.TB) passports {
	t.Helper()
	authority, err := pki.NewAuthority(cluster.ID{9})
	if err != nil {
		t.Fatal(err)
	}
	return passports{t, authority}
}

func (p passports) of(id cluster.ID, role pki.Role) *tls.ConnectionState {
	p.t.Helper()
	_, public, err := pki.NewKey()
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := p.authority.Issue(id, role, public, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	leaf, err := pki.ParseCertificate(text)
	if err != nil {
		p.t.Fatal(err)
	}
	return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
}

// claims are what a caller says by headers.
type claims struct{ forwarded, caller, person string }

// privileges is what a caller may use.
type privileges struct {
	people bool       // what is for people
	trust  bool       // what says who belongs to the cluster
	self   cluster.ID // whose own routes
	server bool       // what is for servers
}

// TestEveryRouteAsksWhoCalls goes through the table of routes with every kind of caller.
func TestEveryRouteAsksWhoCalls(t *testing.T) {
	client, server, other := cluster.ID{1}, cluster.ID{2}, cluster.ID{3}
	p := newPassports(t)
	clients, servers := p.of(client, pki.RoleClient), p.of(server, pki.RoleServer)
	everything := claims{"1", other.String(), "1"}
	for _, c := range []struct {
		name string
		tls  *tls.ConnectionState
		says claims
		want Caller
		may  privileges
	}{
		{"a person", nil, claims{}, Caller{}, privileges{people: true, trust: true}},
		{"a person with forged headers", nil, everything, Caller{}, privileges{people: true, trust: true}},
		{"a person who claims to be a server", nil, claims{"1", server.String(), ""}, Caller{}, privileges{people: true, trust: true}},
		{"a client", clients, claims{}, Caller{Node: client}, privileges{self: client}},
		{"a client for a person", clients, claims{person: "1"}, Caller{Via: client}, privileges{people: true}},
		{"a client that claims to forward", clients, claims{forwarded: "1"}, Caller{Node: client}, privileges{self: client}},
		{"a client that claims to forward for another", clients, claims{"1", other.String(), ""}, Caller{Node: client}, privileges{self: client}},
		{"a client that claims to forward for a server", clients, claims{"1", server.String(), ""}, Caller{Node: client}, privileges{self: client}},
		{"a client for a person with forged headers", clients, everything, Caller{Via: client}, privileges{people: true}},
		{"a server", servers, claims{}, Caller{Node: server, Server: true}, privileges{self: server, server: true}},
		{"a server that names another without forwarding", servers, claims{caller: other.String()}, Caller{Node: server, Server: true}, privileges{self: server, server: true}},
		{"a server for itself by way of another", servers, claims{"1", server.String(), ""}, Caller{Node: server, Server: true, By: server}, privileges{self: server, server: true}},
		{"a server for a client", servers, claims{"1", client.String(), ""}, Caller{Node: client, By: server}, privileges{self: client}},
		{"a server for a person", servers, claims{"1", "", "1"}, Caller{By: server}, privileges{people: true, trust: true}},
		{"an older server for a person", servers, claims{"1", "", ""}, Caller{By: server}, privileges{people: true, trust: true}},
		{"a server for a person at a client", servers, claims{"1", client.String(), "1"}, Caller{Via: client, By: server}, privileges{people: true}},
	} {
		for _, route := range api.Routes() {
			for _, arg := range []cluster.ID{client, server, other} {
				w := httptest.NewRequest("GET", route.URL(arg.String()), nil)
				w.TLS = c.tls
				for name, value := range map[string]string{headerForwarded: c.says.forwarded, headerCaller: c.says.caller, headerPerson: c.says.person} {
					if value != "" {
						w.Header.Set(name, value)
					}
				}
				got := callerOf(w)
				if got != c.want {
					t.Fatalf("%s: %+v, want %+v", c.name, got, c.want)
				}
				want := c.may.people
				switch route.Needs {
				case api.ActAsNode:
					want = c.may.self == arg
				case api.ActAsServer:
					want = c.may.server
				case api.Trust:
					want = c.may.trust
				}
				err := authorise(allowAll, got, route, arg.String(), cluster.DefaultNamespace)
				if want != (err == nil) || err != nil && (cluster.CodeOf(err) != cluster.CodeForbidden || !strings.HasPrefix(err.Error(), "Permission denied: ")) {
					t.Errorf("%s, %s %s of %s: %v", c.name, route.Method, route.Path, arg, err)
				}
			}
		}
	}
}

// TestCallersAreForwardedAsTheyAre shows that a request means to the server that it is forwarded to what it meant to the one before,
// whatever its header said.
func TestCallersAreForwardedAsTheyAre(t *testing.T) {
	server := cluster.ID{2}
	passport := newPassports(t).of(server, pki.RoleServer)
	for _, c := range []Caller{{}, {Token: "secret"}, {Node: nodeID}, {Node: server, Server: true}, {Via: nodeID}, {Via: nodeID, Token: "secret"}} {
		r := httptest.NewRequest("GET", "/v1/jobs", nil)
		for _, name := range []string{headerForwarded, headerCaller, headerPerson, "X-Cluster-Later"} {
			r.Header.Set(name, otherID.String())
		}
		if c.Token != "" {
			r.Header.Set("Authorization", "Bearer "+c.Token)
		}
		c.forward(r.Header)
		r.TLS = passport
		want := c
		want.By = server
		if got := callerOf(r); got != want || r.Header.Get("X-Cluster-Later") != "" {
			t.Errorf("%+v is forwarded as %+v, with %v", c, got, r.Header)
		}
	}
}

func TestPeopleHaveNoForgedHeadersPassedOn(t *testing.T) {
	ask := func(ctx context.Context, method, path string) (*http.Request, error) {
		r := httptest.NewRequestWithContext(ctx, method, path, nil)
		for _, name := range []string{headerForwarded, headerCaller, headerPerson, "X-Cluster-Later"} {
			r.Header.Set(name, otherID.String())
		}
		return PassOn(r)
	}
	out, err := ask(t.Context(), "PUT", api.JobsRegister.Path)
	if err != nil {
		t.Fatal(err)
	}
	if own := ownHeaders(out.Header); !slices.Equal(own, []string{headerPerson + ": 1"}) || out.Header.Get(api.HeaderRequestID) == "" {
		t.Errorf("a person's request has %v", out.Header)
	}
	out, err = ask(AsNode(t.Context(), nodeID), "GET", api.SelfKeyring.URL(nodeID.String()))
	if err != nil || len(ownHeaders(out.Header)) != 0 {
		t.Errorf("the agent's own request has %v, %v", out.Header, err)
	}
	// Not all of the agent's own is in the table of routes: what another node answers by its certificate alone is behind this prefix.
	if _, err = ask(t.Context(), "GET", api.SelfKeyring.URL(nodeID.String())); cluster.CodeOf(err) != cluster.CodeForbidden {
		t.Errorf("somebody on the machine gets the gossip keys: %v", err)
	}
	for _, route := range api.Routes() {
		if own := route.Needs == api.ActAsNode || route.Needs == api.ActAsServer; own != strings.HasPrefix(route.Path, internalPrefix) {
			t.Errorf("%s needs %s", route.Path, route.Needs)
		}
	}
}

func ownHeaders(header http.Header) (own []string) {
	for name, values := range header {
		if strings.HasPrefix(name, headerOwn) {
			own = append(own, fmt.Sprintf("%s: %s", name, strings.Join(values, ",")))
		}
	}
	return own
}

func TestTokensComeInEitherHeader(t *testing.T) {
	r := httptest.NewRequest("GET", "/v1/jobs", nil)
	r.Header.Set("Authorization", "Bearer one")
	if got := callerOf(r).Token; got != "one" {
		t.Errorf("token %q", got)
	}
	r.Header.Set(api.HeaderToken, "two")
	if got := callerOf(r).Token; got != "two" {
		t.Errorf("token %q", got)
	}
}

// TestANodesCertificateIsNoPersons asks a real server over port 4647 with a client's certificate.
func TestANodesCertificateIsNoPersons(t *testing.T) {
	first := newTown(t).found()
	who, err := join(t, first.token(api.JoinTokenRequest{Role: "client"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, dialer := first.asNode(who)
	transport := dialer.Transport()
	defer transport.CloseIdleConnections()
	ask := func(method, path, body string, says claims) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "https://"+first.who.ID().String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{headerForwarded: says.forwarded, headerCaller: says.caller, headerPerson: says.person} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(text)
	}
	job := `{"Job": ` + jobText("web") + `}`
	for _, c := range []struct {
		method, path, body string
		says               claims
		status             int
	}{
		{"PUT", "/v1/jobs", job, claims{}, 403},
		{"GET", "/v1/jobs", "", claims{}, 403},
		{"GET", "/v1/status/leader", "", claims{}, 403},
		{"PUT", "/v1/jobs", job, claims{forwarded: "1"}, 403},
		{"PUT", "/v1/jobs", job, claims{"1", first.who.ID().String(), ""}, 403},
		{"PUT", "/v1/node/" + first.who.ID().String() + "/drain", "{}", claims{}, 403},
		{"PUT", "/v1/jobs", job, claims{person: "1"}, 200},
		{"GET", "/v1/jobs", "", claims{person: "1"}, 200},
		{"PUT", api.JoinTokenMake.Path, `{"Role": "server"}`, claims{}, 403},
		{"PUT", api.JoinTokenMake.Path, `{"Role": "server"}`, claims{person: "1"}, 403},
		{"PUT", api.JoinTokenMake.Path, `{"Role": "server"}`, claims{"1", "", "1"}, 403},
		{"GET", api.SelfKeyring.URL(who.ID().String()), "", claims{}, 200},
		{"GET", api.SelfKeyring.URL(who.ID().String()), "", claims{person: "1"}, 403},
		{"GET", api.SelfKeyring.URL(first.who.ID().String()), "", claims{"1", first.who.ID().String(), ""}, 403},
	} {
		if status, text := ask(c.method, c.path, c.body, c.says); status != c.status || status == 403 && !strings.HasPrefix(text, "Permission denied: ") {
			t.Errorf("%s %s, %+v: %d %s", c.method, c.path, c.says, status, text)
		}
	}
	if log := first.log.String(); strings.Count(log, "a node was refused") != 1 || !strings.Contains(log, "node="+who.ID().String()) {
		t.Errorf("an operator is told of it %d times", strings.Count(log, "a node was refused"))
	}
}
