package server

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
)

// named asks a server's own door under the request's ID.
func (h *house) named(id, method, path, body string, into any) (int, string) {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.desk+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set(api.HeaderRequestID, id)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if answer.StatusCode == http.StatusOK && into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			h.t.Fatal(err)
		}
	}
	return answer.StatusCode, string(text)
}

// enlarge adds servers until there are three, which can all issue.
func (c *town) enlarge(first *house) []*house {
	c.t.Helper()
	token, houses := first.token(api.JoinTokenRequest{Role: "server"}), []*house{first}
	for range 2 {
		dir := c.t.TempDir()
		who, err := join(c.t, token, func(j *link.JoinConfig) { j.Dir = filepath.Join(dir, "identity") })
		if err != nil {
			c.t.Fatal(err)
		}
		houses = append(houses, c.open(dir, who, false))
	}
	for _, h := range houses {
		h.eventually("three voters and the authority's key", func() bool {
			_, err := h.vault.open()
			return err == nil && voters(h) == 3
		})
	}
	return houses
}

// TestTrustIsChangedOnceByARequest repeats requests whose answers were lost, at the same leader and at the next.
func TestTrustIsChangedOnceByARequest(t *testing.T) {
	c := newTown(t)
	houses := c.enlarge(c.found())
	first, second := houses[0], houses[1]
	gone := newID(t)
	who, err := join(t, first.token(api.JoinTokenRequest{Role: "client"}), func(j *link.JoinConfig) { j.Node = gone })
	if err != nil || who.ID() != gone {
		t.Fatal(err)
	}
	type answers struct {
		token  api.JoinToken
		ring   api.KeyringView
		status [3]int
		text   [3]string
	}
	ask := func(h *house) (got answers) {
		got.status[0], got.text[0] = h.named("token", "PUT", api.JoinTokenMake.Path, `{"Role": "client", "Uses": 1, "Rotate": true}`, &got.token)
		got.status[1], got.text[1] = h.named("rotation", "PUT", api.KeyringRotate.Path, "", &got.ring)
		got.status[2], got.text[2] = h.named("removal", "DELETE", api.TrustedRemove.URL(gone.String()), "", nil)
		return got
	}
	before := ask(first)
	if before.status != [3]int{200, 200, 200} || before.token.Rotated != 1 || !before.ring.Rotating {
		t.Fatalf("at first: %+v", before)
	}
	same := func(when string, got answers) {
		t.Helper()
		if got.status != before.status || got.token.Token != before.token.Token || got.token.Rotated != 1 || got.token.Uses != 1 || got.ring.Version != before.ring.Version {
			t.Errorf("%s: %+v, at first %+v", when, got, before)
		}
	}
	same("again", ask(first))
	same("by way of another", ask(second))
	if _, err := first.client.TransferLeadership(t.Context(), second.who.ID().String()); err != nil {
		t.Fatal(err)
	}
	second.eventually("another leader", func() bool { return second.Leadership().Self })
	same("at the next leader", ask(second))
	same("at the one before", ask(first))
	if status, text := first.named("another", "PUT", api.KeyringRotate.Path, "", nil); status == 200 {
		t.Errorf("another rotation meanwhile: %d %s", status, text)
	}
	if status, text := first.named("rotation", "PUT", api.JoinTokenMake.Path, `{"Role": "client"}`, nil); status != 200 {
		t.Errorf("a token under the ID of a rotation: %d %s", status, text)
	}
	secretsStayOut(t, second, before.token.Token)
	token, err := link.ParseToken(before.token.Token)
	if err != nil {
		t.Fatal(err)
	}
	if who, err := join(t, token, nil); err != nil || who.Role() != pki.RoleClient {
		t.Errorf("nobody joins by it: %v", err)
	}
	if _, err := join(t, token, nil); cluster.CodeOf(err) != cluster.CodeForbidden {
		t.Errorf("two join by its one use: %v", err)
	}
}

// secretsStayOut looks for the token's secret in the state.
func secretsStayOut(t *testing.T, h *house, text string) {
	t.Helper()
	token, err := link.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for key, value := range h.Snapshot().Metas("") {
		found = found || key == metaToken+token.Name()
		for _, secret := range []string{string(token.Secret[:]), hex.EncodeToString(token.Secret[:]), base64.StdEncoding.EncodeToString(token.Secret[:])} {
			if bytes.Contains(value, []byte(secret)) {
				t.Errorf("the secret stands in the state under %s", key)
			}
		}
	}
	if !found {
		t.Errorf("the state does not know token %s", token.Name())
	}
}
