package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/pki"
)

// passPath is where a server tells the leader which nodes it hears that do not reach the leader.
const passPath = "/v1/internal/beats"

const (
	// MostPassed is how many heartbeats are passed on at once.
	MostPassed = 8192
	// passedAtOnce is how many leases the leader renews at a time: those of nodes that were down are written to the log.
	passedAtOnce = 64
	// passWait is how long the leader's answer about all waits for that about one: less than those who ask wait for it.
	passWait = 400 * time.Millisecond
)

// Pass renews the leases of nodes, at most MostPassed of them, with the leader, which they do not reach. It returns what the leader
// thinks of each, in their order; of one whose lease it did not renew, Standing{}.
func (d *Dialer) Pass(ctx context.Context, leader cluster.ID, nodes []cluster.ID) ([]Standing, error) {
	body := make([]byte, 0, len(nodes)*len(cluster.ID{}))
	for _, id := range nodes {
		body = append(body, id[:]...)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, URL(leader)+passPath, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("pass heartbeats on to server %s: %w", leader, err)
	}
	answer, err := d.http.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("pass heartbeats on to server %s: %w", leader, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("pass heartbeats on to server %s: it answered %s", leader, answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, MostPassed))
	if err == nil && len(text) != len(nodes) {
		err = fmt.Errorf("%d answers for %d nodes", len(text), len(nodes))
	}
	if err != nil {
		return nil, fmt.Errorf("pass heartbeats on to server %s: %w", leader, err)
	}
	standings := make([]Standing, len(nodes))
	for i, b := range text {
		standings[i] = decodeStanding(b)
	}
	return standings, nil
}

// PassHandler answers Pass by calling renew, concurrently, for each of the nodes; its error leaves the lease as it is, and so does the
// end of its context: one node that is waited for keeps no other from its lease. The handler is for the nodes of the cluster, and refuses all but servers: these vouch for nodes that they have heard.
func PassHandler(renew func(context.Context, cluster.ID) (Standing, error)) (path string, handler http.Handler) {
	return passPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !fromServer(r) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		nodes, err := readPassed(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), passWait)
		defer cancel()
		answers := make([]byte, len(nodes))
		group := new(errgroup.Group)
		group.SetLimit(passedAtOnce)
		for i, id := range nodes {
			group.Go(func() error {
				if standing, err := renew(ctx, id); err == nil {
					answers[i] = standing.encode()
				}
				return nil
			})
		}
		group.Wait()
		w.Write(answers)
	})
}

func fromServer(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	_, role, ok := pki.Identity(r.TLS.PeerCertificates[0])
	return ok && role == pki.RoleServer
}

func readPassed(r *http.Request) ([]cluster.ID, error) {
	const size = len(cluster.ID{})
	text, err := io.ReadAll(io.LimitReader(r.Body, MostPassed*int64(size)+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read heartbeats: %w", err)
	case r.Method != http.MethodPut || len(text)%size != 0 || len(text) > MostPassed*size:
		return nil, errors.New("read heartbeats: want PUT and the IDs of some nodes")
	}
	nodes := make([]cluster.ID, len(text)/size)
	for i := range nodes {
		nodes[i] = cluster.ID(text[i*size:])
	}
	return nodes, nil
}
