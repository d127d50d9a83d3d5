package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

func TestPort4647AsksWhoCalls(t *testing.T) {
	authority, err := pki.NewAuthority(cluster.ID{9})
	if err != nil {
		t.Fatal(err)
	}
	request := func(id cluster.ID, role pki.Role) *http.Request {
		_, public, err := pki.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		text, err := authority.Issue(id, role, public, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := pki.ParseCertificate(text)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/v1/client/stats", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		return r
	}
	member, removed := cluster.ID{1}, cluster.ID{2}
	r := &running{}
	r.removed.Store(&[]cluster.ID{removed})
	handler := r.withoutRemoved(serversOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })))
	for _, c := range []struct {
		name    string
		request *http.Request
		want    int
	}{
		{"a server", request(member, pki.RoleServer), http.StatusNoContent},
		{"a client", request(member, pki.RoleClient), http.StatusForbidden},
		{"a server that was removed", request(removed, pki.RoleServer), http.StatusForbidden},
		{"nobody", httptest.NewRequest("GET", "/v1/client/stats", nil), http.StatusForbidden},
	} {
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, c.request)
		if got.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, got.Code, c.want)
		}
	}
}
