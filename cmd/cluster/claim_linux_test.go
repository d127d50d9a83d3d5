package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// registrar is a node that is asked for others, and what a node's certificate looks like to it.
func registrar(t testing.TB) (r *running, shows func(cluster.ID) *tls.ConnectionState) {
	t.Helper()
	directory, err := openDirectory(filepath.Join(t.TempDir(), "nodes.json"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	directory.newest.Store(&edition{places: map[cluster.ID]whereabouts{{1}: {RPC: "10.0.0.1:4647"}}})
	authority, err := pki.NewAuthority(cluster.ID{9})
	if err != nil {
		t.Fatal(err)
	}
	_, public, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	r = &running{directory: directory, claimant: claimant{At: "10.0.0.7:4647", Nonce: 7}}
	r.logger = slog.New(slog.DiscardHandler)
	return r, func(id cluster.ID) *tls.ConnectionState {
		text, err := authority.Issue(id, pki.RoleServer, public, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := pki.ParseCertificate(text)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	}
}

func TestNobodyClaimsTheIDOfAnother(t *testing.T) {
	r, shows := registrar(t)
	ask := func(caller, about cluster.ID, c claimant) (answer whereabout) {
		t.Helper()
		claim, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequest(http.MethodGet, claimPath+about.String()+"?"+claimQuery+"="+url.QueryEscape(string(claim)), nil)
		request.TLS = shows(caller)
		recorder := httptest.NewRecorder()
		r.serveClaim(recorder, request)
		if err := json.Unmarshal(recorder.Body.Bytes(), &answer); recorder.Code != http.StatusOK || err != nil {
			t.Fatalf("answered %d %q: %v", recorder.Code, recorder.Body, err)
		}
		return answer
	}
	one, two := cluster.ID{1}, cluster.ID{2}
	first, second := claimant{At: "10.0.0.1:4647", Nonce: 1}, claimant{At: "10.0.0.3:4647", Nonce: 2}
	if answer := ask(one, one, first); answer.At != "10.0.0.1:4647" || len(answer.Claimants) > 0 {
		t.Errorf("the first to start hears %+v", answer)
	}
	if answer := ask(two, one, claimant{At: "10.0.0.2:4647", Nonce: 3}); len(answer.Claimants) > 0 {
		t.Errorf("another node hears who starts: %+v", answer)
	}
	ask(one, one, claimant{At: strings.Repeat("x", maxClaimAddress+1), Nonce: 4})
	if answer := ask(one, one, second); !slices.Equal(answer.Claimants, []claimant{first}) {
		t.Errorf("the second to start hears %+v", answer)
	}
	if answer := ask(two, two, claimant{At: "10.0.0.2:4647", Nonce: 3}); answer.At != "" || len(answer.Claimants) > 0 {
		t.Errorf("a node that nobody knows hears %+v", answer)
	}

	recorder := httptest.NewRecorder()
	r.serveClaim(recorder, httptest.NewRequest(http.MethodGet, claimPath, nil))
	var self claimant
	if err := json.Unmarshal(recorder.Body.Bytes(), &self); err != nil || self != r.claimant {
		t.Errorf("a node says that it is %q: %v", recorder.Body, err)
	}
}

// FuzzClaim asks a node for others with whatever comes, as a node of the cluster may.
func FuzzClaim(f *testing.F) {
	r, shows := registrar(f)
	state := shows(cluster.ID{1})
	f.Add(cluster.ID{1}.String(), `{"At":"10.0.0.1:4647","Moved":1,"Started":2,"Nonce":3}`)
	f.Add("", `{}`)
	f.Add("../..", `{"At":3}`)
	f.Fuzz(func(t *testing.T, id, claim string) {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.URL = &url.URL{Path: claimPath + id, RawQuery: claimQuery + "=" + url.QueryEscape(claim)}
		request.TLS = state
		recorder := httptest.NewRecorder()
		r.serveClaim(recorder, request)
		if recorder.Code != http.StatusOK && recorder.Code != http.StatusBadRequest {
			t.Errorf("answered %d", recorder.Code)
		}
		r.claims.mu.Lock()
		defer r.claims.mu.Unlock()
		if len(r.claims.all) > 1 || len(r.claims.all[cluster.ID{1}]) > maxClaimants {
			t.Errorf("%d IDs are remembered", len(r.claims.all))
		}
	})
}
