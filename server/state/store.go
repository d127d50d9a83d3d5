package state

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Store holds the state of one server. See the package comment.
type Store struct {
	published atomic.Pointer[Snapshot]
	watch     watch

	mu     sync.Mutex // guards what follows; held by Apply and Restore
	w      *writer
	frozen error // the entry that this release cannot read; nothing is applied any more
}

// New is a store that holds nothing but the default namespace.
func New() *Store {
	s := &Store{w: newWriter()}
	s.published.Store(s.w.publish())
	return s
}

// Snapshot is the newest published state. It never blocks.
func (s *Store) Snapshot() *Snapshot { return s.published.Load() }

// Entry is one log entry: the commands that Encode made of it, under the index that Raft gave it.
type Entry struct {
	Index   uint64
	Command []byte
}

// Reply is what became of one entry.
type Reply struct {
	Results []Result // one for each command of the entry, in their order; nil when the entry was applied before
	Err     error    // the entry could not be read: nothing of it was applied
}

// Apply applies one entry and publishes the state after it. An index that has been applied already is ignored.
//
// An error means that the entry could not be read. One that is garbage is skipped, on every server alike. One that a
// newer release wrote (ErrNewer) must never have been written, and skipping it would let this server's state part
// from the others': the store stops at the index before, goes on to answer readers, and returns the same error for every
// later entry until a Restore. The server should then end and tell its operator to upgrade.
func (s *Store) Apply(index uint64, command []byte) ([]Result, error) {
	reply := s.ApplyBatch([]Entry{{index, command}})[0]
	return reply.Results, reply.Err
}

// ApplyBatch is Apply for several entries in ascending order, which become visible together.
func (s *Store) ApplyBatch(entries []Entry) []Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	replies := make([]Reply, len(entries))
	changed := false
	for i, entry := range entries {
		if entry.Index <= s.w.index && s.frozen == nil {
			continue
		}
		replies[i] = s.applyLocked(entry)
		changed = changed || s.frozen == nil
	}
	if changed {
		s.published.Store(s.w.publish())
		s.watch.notify(&s.w.touched)
		s.w.touched.reset()
	}
	return replies
}

func (s *Store) applyLocked(entry Entry) Reply {
	if s.frozen != nil {
		return Reply{Err: s.frozen}
	}
	commands, err := decodeEntry(entry.Command, &s.w.intern)
	if errors.Is(err, ErrNewer) {
		s.frozen = fmt.Errorf("apply entry %d: %w", entry.Index, err)
		return Reply{Err: s.frozen}
	}
	if err != nil {
		err = fmt.Errorf("apply entry %d: %w", entry.Index, err)
	}
	return Reply{Results: s.w.apply(entry.Index, commands), Err: err}
}
