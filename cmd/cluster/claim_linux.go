package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/supervise"
	"github.com/a43e60e4/cluster/server/link"
)

const (
	// claimPath is where a node is asked at which address it knows the node whose ID follows. That node adds who it is, as
	// JSON, as the value of claimQuery. Without an ID a node says who it is itself; it is asked so by those of its own ID.
	claimPath  = "/v1/internal/whereabouts/"
	claimQuery = "claim"
	// claimRound bounds one round of questions of a node whose data directory was moved, and claimPause is between two.
	claimRound = time.Second
	claimPause = 250 * time.Millisecond
	// maxClaimAnswer bounds what is read of an answer.
	maxClaimAnswer = 16 << 10
)

// whereabout is the answer about an ID.
type whereabout struct {
	At        string     // host:port of that node's port 4647, "" if it is not known
	Claimants []claimant `json:",omitempty"` // others that started under this ID a moment ago
}

// claim refuses the start if another machine is at work under this node's ID: one of the two data directories is a copy of the
// other, as of a virtual machine that was cloned. It comes before anybody hears of this node: two that vote under one ID
// could have two leaders elected in one term.
func (r *running) claim(ctx context.Context) error {
	place, err := placeOf(filepath.Join(string(r.dir), "node-id"))
	if err != nil {
		return err
	}
	began := time.Now()
	is, moved := r.dir.residence().at(place, began)
	r.claimant = claimant{At: r.advertise, Moved: is.Moved, Started: began.UnixNano(), Nonce: rand.Uint64()}
	asked := r.directory.known(r.id)
	asked = asked[:min(len(asked), claimAsked)]
	s := search{moved: moved, others: len(asked)}
	if moved && s.others > 0 {
		r.logger.Warn("this data directory was moved or copied: looking for another machine that runs under its node ID before taking part", "node", r.id, "for", movedTime.String())
	}
	for {
		found, rival := r.askForSelf(ctx, asked, moved)
		s.asked, s.found, s.elapsed = true, found, time.Since(began)
		if rival {
			s.rival, s.rivalAt = true, s.elapsed
		}
		switch s.step() {
		case claimTake:
			return r.dir.settle(is)
		case claimYield:
			return r.taken(found)
		}
		select {
		case <-time.After(claimPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// known are the nodes whose addresses are known, but for one, servers first.
func (d *directory) known(but cluster.ID) []cluster.ID {
	all := d.Servers()
	var others []cluster.ID
	for id := range d.newest.Load().places {
		if !slices.Contains(all, id) {
			others = append(others, id)
		}
	}
	slices.SortFunc(others, cluster.ID.Compare)
	return slices.DeleteFunc(append(all, others...), func(id cluster.ID) bool { return id == but })
}

// askForSelf looks, once, wherever another node with this one's ID may be: it returns where one answers, and whether another that
// starts just now goes first.
func (r *running) askForSelf(ctx context.Context, asked []cluster.ID, moved bool) (found string, rival bool) {
	limit := claimTime
	if moved {
		limit = claimRound
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var waiting sync.WaitGroup
	var mu sync.Mutex // guards found, rival and met
	met := map[string]bool{"": true, r.advertise: true}
	meet := func(at string) {
		mu.Lock()
		again := met[at]
		met[at] = true
		mu.Unlock()
		if again {
			return
		}
		if _, err := r.askTwin(ctx, at); err == nil {
			mu.Lock()
			found = at
			mu.Unlock()
			cancel() // the others need not go on
		}
	}
	if own, known := r.directory.Address(r.id); known {
		waiting.Go(func() { meet(own) })
	}
	path := claimPath + r.id.String() + r.claimText()
	for _, id := range asked {
		waiting.Go(func() {
			var answer whereabout
			if r.dialer.Ask(ctx, id, path, &answer) != nil {
				return
			}
			meet(answer.At)
			for _, other := range answer.Claimants[:min(len(answer.Claimants), maxClaimants)] {
				if r.claimant.yields(other) {
					mu.Lock()
					rival = true
					mu.Unlock()
				}
				meet(other.At)
			}
		})
	}
	waiting.Wait()
	return found, rival
}

// claimText is the query that says who this node is.
func (r *running) claimText() string {
	claim, _ := json.Marshal(r.claimant) // numbers and an address
	return "?" + claimQuery + "=" + url.QueryEscape(string(claim))
}

// taken is the error of a node that has to make way.
func (r *running) taken(at string) error {
	return cluster.Errorf(cluster.CodeConflict, "start node %s: another machine, at %s, runs under this ID: %s is a copy of its data directory, or that one of this: "+
		"end that one first if this is to take its place, or move this directory away and join anew with a token", r.id, at, r.dir)
}

// askTwin asks the node at the address, if its ID is this one's, who it is. An error says that there is no such node.
func (r *running) askTwin(ctx context.Context, at string) (claimant, error) {
	conn, err := r.dialer.DialAddress(ctx, at, link.ProtocolHTTP1)
	if err != nil {
		return claimant{}, err
	}
	defer conn.Close()
	if id, _ := conn.Peer(); id != r.id {
		return claimant{}, fmt.Errorf("node %s answers at %s", id, at)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	request, err := http.NewRequest(http.MethodGet, link.URL(r.id)+claimPath+r.claimText(), nil)
	if err != nil {
		return claimant{}, err
	}
	if err := request.Write(conn); err != nil {
		return claimant{}, err
	}
	answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, maxClaimAnswer)), request)
	if err != nil {
		return claimant{}, err
	}
	defer answer.Body.Close()
	var twin claimant
	if err := json.NewDecoder(answer.Body).Decode(&twin); err != nil {
		return claimant{}, fmt.Errorf("ask the node at %s who it is: %w", at, err)
	}
	if twin.Nonce == r.claimant.Nonce { // the machine has several addresses, or had another one
		return claimant{}, fmt.Errorf("this node itself answers at %s", at)
	}
	return twin, nil
}

// serveClaim says where this node knows another to be, and takes note of one that starts; or who it is itself.
func (r *running) serveClaim(w http.ResponseWriter, request *http.Request) {
	var c claimant
	claimed := json.Unmarshal([]byte(request.URL.Query().Get(claimQuery)), &c) == nil && len(c.At) <= maxClaimAddress
	caller, _ := peerOf(request)
	var answer any = r.claimant
	if text := strings.TrimPrefix(request.URL.Path, claimPath); text != "" || request.Method != http.MethodGet {
		id, err := cluster.ParseID(text)
		if err != nil || request.Method != http.MethodGet {
			http.Error(w, errors.Join(err, errors.New("want GET and the ID of a node")).Error(), http.StatusBadRequest)
			return
		}
		about := whereabout{}
		about.At, _ = r.directory.Address(id)
		if caller == id && claimed { // nobody claims another's ID
			about.Claimants = r.claims.hear(id, c, time.Now())
		}
		answer = about
	} else if caller == r.id && c.Nonce != r.claimant.Nonce { // it is told so, and ends
		r.logger.Error("another machine has this node's ID and key: it starts on a copy of this data directory", "node", r.id, "peer", request.RemoteAddr)
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		r.logger.Debug("an answer was not sent", "err", err)
	}
}

// twinPause is between two questions to another that is alive under this node's ID, and twinTime what one may take.
const (
	twinPause = time.Second
	twinTime  = 2 * time.Second
)

// watchTwins ends this agent when another machine turns out to work under its node's ID and this one has to make way: it must
// neither vote nor run what the other runs.
func (r *running) watchTwins(ctx context.Context) error {
	told := map[string]bool{}
	version := uint64(0)
	for ctx.Err() == nil {
		twins := r.gossip.Twins()
		for _, at := range twins {
			limited, cancel := context.WithTimeout(ctx, twinTime)
			other, err := r.askTwin(limited, at)
			cancel()
			switch {
			case err != nil: // as after a change of this node's own address, which gossip forgets by and by
			case r.claimant.yields(other):
				return r.makeWay(at)
			case !told[at]:
				told[at] = true
				r.logger.Error("another machine runs under this node's ID, on a copy of its data directory: it has to end", "node", r.id, "peer", at)
			}
		}
		if len(twins) > 0 {
			select {
			case <-time.After(twinPause):
			case <-ctx.Done():
			}
			continue
		}
		if view, err := r.gossip.Wait(ctx, version); err == nil {
			version = view.Version
		}
	}
	return nil
}

// makeWay is the end of an agent whose ID is another's: that one runs the tasks, so these end.
func (r *running) makeWay(at string) error {
	if r.client != nil {
		r.control.muted.Store(true) // or the end of these would be taken for the end of those
		r.client.EndTasks()
	}
	r.ousted.Store(true)
	err := cluster.Errorf(cluster.CodeConflict, "run node %s: another machine, at %s, runs under this ID, and %s is the copy of its data directory, or the newer of two: "+
		"this agent ends; move this directory away and join anew with a token, or end the other one first if this is to take its place", r.id, at, r.dir)
	r.logger.Error("this agent and its tasks end", "err", err)
	return &exitStatus{status: supervise.StopStatus, cause: err}
}
