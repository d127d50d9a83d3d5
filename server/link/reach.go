package link

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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
