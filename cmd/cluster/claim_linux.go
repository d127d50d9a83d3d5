package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
)

const (
	// claimPath is where a node is asked at which address it knows the node whose ID follows.
	claimPath = "/v1/internal/whereabouts/"
	// claimTime bounds how long a start waits for those who know, or for whoever has its ID.
	claimTime = 600 * time.Millisecond
	// claimAsked is how many others are asked.
	claimAsked = 5
)

// claim refuses the start if another machine is at work under this node's ID: one of the two data directories is a copy of the
// other, as of a virtual machine that was cloned. It comes before anybody hears of this node: two that vote under one ID
// could have two leaders elected in one term.
func (r *running) claim() error {
	ctx, cancel := context.WithTimeout(context.Background(), claimTime)
	defer cancel()
	var waiting sync.WaitGroup
	found := make(chan string, claimAsked+1)
	if own, known := r.directory.Address(r.id); known {
		waiting.Go(func() { r.meetSelf(ctx, own, found) })
	}
	others := slices.DeleteFunc(r.directory.Servers(), func(id cluster.ID) bool { return id == r.id })
	for _, id := range others[:min(len(others), claimAsked)] {
		waiting.Go(func() {
			var at string
			if r.dialer.Ask(ctx, id, claimPath+r.id.String(), &at) == nil {
				r.meetSelf(ctx, at, found)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		waiting.Wait()
	}()
	defer func() { <-done }()
	defer cancel()
	select {
	case at := <-found:
		return taken(r, at)
	case <-done:
	}
	select {
	case at := <-found:
		return taken(r, at)
	default:
		return nil
	}
}

func taken(r *running, at string) error {
	return cluster.Errorf(cluster.CodeConflict, "start node %s: another machine, at %s, runs under this ID: %s is a copy of its data directory, or that one of this: "+
		"end that one first if this is to take its place, or move this directory away and join anew with a token", r.id, at, r.dir)
}

// meetSelf sends the address if a node of this node's ID answers there. This one does not answer yet.
func (r *running) meetSelf(ctx context.Context, at string, found chan<- string) {
	if at == "" || at == r.advertise {
		return
	}
	conn, err := r.dialer.DialAddress(ctx, at, link.ProtocolHTTP1)
	if err != nil {
		return
	}
	defer conn.Close()
	if id, _ := conn.Peer(); id == r.id {
		found <- at
	}
}

// serveClaim says where this node knows another to be.
func (r *running) serveClaim(w http.ResponseWriter, request *http.Request) {
	id, err := cluster.ParseID(strings.TrimPrefix(request.URL.Path, claimPath))
	if err != nil || request.Method != http.MethodGet {
		http.Error(w, errors.Join(err, errors.New("want GET and the ID of a node")).Error(), http.StatusBadRequest)
		return
	}
	at, _ := r.directory.Address(id)
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(at); err != nil {
		r.logger.Debug("an answer was not sent", "err", err)
	}
}
