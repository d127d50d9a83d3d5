package main

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
)

const (
	// claimTime bounds how long a start waits for those who know, or for whoever has its ID.
	claimTime = 600 * time.Millisecond
	// movedTime is how long a node whose data directory was copied or moved looks for another with its ID. The one
	// whose directory is where it was starts at once, and is found.
	movedTime = 5 * time.Second
	// claimAsked is how many others are asked.
	claimAsked = 5
	// claimFresh is for how long it is remembered that a node was starting.
	claimFresh = 3 * time.Second
	// maxClaimants bounds those of one ID that are remembered, and maxClaimAddress an address.
	maxClaimants, maxClaimAddress = 8, 256
)

// claimant is one of those who start or run under one node ID. Only one of them may.
type claimant struct {
	At      string // host:port of its port 4647
	Moved   int64  // when its data directory was found elsewhere than before; 0: never. Unix nanoseconds
	Started int64  // when its program started. Unix nanoseconds
	Nonce   uint64 // drawn at its start
}

// yields reports whether c has to make way for the other: whose directory was moved, or moved later, has the copy; else
// who started later; else chance decides. Of two, one yields, and both find the same one.
func (c claimant) yields(other claimant) bool {
	return cmp.Or(cmp.Compare(c.Moved, other.Moved), cmp.Compare(c.Started, other.Started), cmp.Compare(c.Nonce, other.Nonce)) > 0
}

// search is what a node that starts has found out about others with its ID.
type search struct {
	moved   bool          // its data directory is not where it was
	others  int           // nodes that may know of another
	asked   bool          // all questions of one round have come to an end
	found   string        // where another answers under this ID, "" if none does
	rival   bool          // another that starts just now was heard of, to which this one yields
	rivalAt time.Duration // when that was, since the beginning
	elapsed time.Duration // since the beginning
}

// claimStep is what a node that starts does next.
type claimStep uint8

const (
	claimSearch claimStep = iota // look again
	claimTake                    // the ID is its own: it takes part
	claimYield                   // another has it
)

// step is the rule: a node takes its ID when it has looked for others for as long as it takes to find them.
func (s search) step() claimStep {
	patience := claimTime
	if s.moved && s.others > 0 {
		patience = movedTime
	}
	if s.rival {
		patience = max(patience, s.rivalAt+movedTime)
	}
	switch {
	case s.found != "":
		return claimYield
	case s.elapsed >= patience, s.asked && patience == claimTime:
		return claimTake
	}
	return claimSearch
}

// sightings remembers for a moment who starts under which ID. It may be used concurrently.
type sightings struct {
	mu  sync.Mutex // guards all
	all map[cluster.ID][]sighting
}

type sighting struct {
	claimant
	at time.Time
}

// hear takes in that the claimant starts under the ID, and returns the others that did a moment ago.
func (s *sightings) hear(id cluster.ID, c claimant, now time.Time) (others []claimant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[cluster.ID][]sighting{}
	}
	for id, seen := range s.all {
		seen = slices.DeleteFunc(seen, func(old sighting) bool { return now.Sub(old.at) > claimFresh })
		if s.all[id] = seen; len(seen) == 0 {
			delete(s.all, id)
		}
	}
	seen := slices.DeleteFunc(s.all[id], func(old sighting) bool { return old.At == c.At || old.Nonce == c.Nonce })
	for _, old := range seen {
		others = append(others, old.claimant)
	}
	if len(seen) < maxClaimants {
		seen = append(seen, sighting{c, now})
	}
	s.all[id] = seen
	return others
}
