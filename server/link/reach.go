package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
)

// reachPath is where a node is asked whether it reaches another; the other's ID follows.
const reachPath = "/v1/internal/reach/"

// reachTimeout is how long a fresh attempt to reach a node may take.
const reachTimeout = 800 * time.Millisecond

// Reached reports whether a fresh connection to the node's port 4647 comes about.
func (d *Dialer) Reached(ctx context.Context, id cluster.ID) bool {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	conn, err := d.DialNode(ctx, id, ProtocolHTTP1)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

const (
	// headStart is how much sooner than the next node one is tried.
	headStart = 150 * time.Millisecond
	// firstTimeout is how long First tries in all.
	firstTimeout = 2500 * time.Millisecond
)

// First is the first of the nodes to which a new connection comes about. They are tried in their order, each a moment after the one
// before, or at once if all before have failed. Without one it is zero; failures says why of each that was tried in vain.
func (d *Dialer) First(ctx context.Context, nodes []cluster.ID) (first cluster.ID, failures map[cluster.ID]error) {
	type outcome struct {
		node cluster.ID
		err  error
	}
	outcomes := make(chan outcome, len(nodes))
	var trying sync.WaitGroup
	defer trying.Wait()
	ctx, cancel := context.WithTimeout(ctx, firstTimeout)
	defer cancel()
	turn := time.NewTicker(headStart)
	defer turn.Stop()
	failures = map[cluster.ID]error{}
	for tried := 0; len(failures) < len(nodes); {
		if tried < len(nodes) {
			node := nodes[tried]
			tried++
			trying.Go(func() {
				conn, err := d.DialNode(ctx, node, ProtocolHTTP1)
				if err == nil {
					conn.Close()
				}
				outcomes <- outcome{node, err}
			})
		}
		for waiting := true; waiting && len(failures) < len(nodes); {
			select {
			case <-turn.C:
				waiting = tried == len(nodes)
			case out := <-outcomes:
				if out.err == nil {
					return out.node, failures
				}
				failures[out.node] = out.err
				waiting = len(failures) < tried
			}
		}
	}
	return cluster.ID{}, failures
}

// Reaches asks the node via whether it reaches the node about. An error says that it could not be asked.
func (d *Dialer) Reaches(ctx context.Context, via, about cluster.ID) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*reachTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, URL(via)+reachPath+about.String(), nil)
	if err != nil {
		return false, fmt.Errorf("ask node %s for node %s: %w", via, about, err)
	}
	answer, err := d.http.RoundTrip(request)
	if err != nil {
		return false, fmt.Errorf("ask node %s for node %s: %w", via, about, err)
	}
	answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusNoContent:
		return true, nil
	case http.StatusGone:
		return false, nil
	}
	return false, fmt.Errorf("ask node %s for node %s: it answered %s", via, about, answer.Status)
}

// ReachHandler answers Reaches. It is for nodes of the cluster alone: it connects to where the caller says.
func (d *Dialer) ReachHandler() (path string, handler http.Handler) {
	return reachPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := cluster.ParseID(strings.TrimPrefix(r.URL.Path, reachPath))
		switch {
		case err != nil || r.Method != http.MethodGet:
			http.Error(w, errors.Join(err, errors.New("want GET and the ID of a node")).Error(), http.StatusBadRequest)
		case d.Reached(r.Context(), id):
			w.WriteHeader(http.StatusNoContent)
		default:
			w.WriteHeader(http.StatusGone)
		}
	})
}
