package server

import (
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// TestALogTellsWhenItCannotBeWritten: once when that begins, whatever is tried then.
func TestALogTellsWhenItCannotBeWritten(t *testing.T) {
	file, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	log := &keptLog{BoltStore: file, turned: make(chan struct{}, 1)}
	turns := func() int { defer func() { log.turned = make(chan struct{}, 1) }(); return len(log.turned) }
	if err := log.StoreLog(&raft.Log{Index: 1}); err != nil || log.failing() != nil || turns() != 0 {
		t.Errorf("a write that succeeds: %v, %v", err, log.failing())
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := log.StoreLog(&raft.Log{Index: 2}); err == nil || log.failing() == nil || turns() != 1 {
		t.Errorf("the first that fails: %v, %v", err, log.failing())
	}
	if err := log.StoreLog(&raft.Log{Index: 2}); err == nil || log.failing() == nil || turns() != 0 {
		t.Errorf("the next: %v, %v", err, log.failing())
	}
	if log.BoltStore, err = raftboltdb.New(raftboltdb.Options{Path: filepath.Join(t.TempDir(), "log")}); err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.StoreLog(&raft.Log{Index: 2}); err != nil || log.failing() != nil || turns() != 1 {
		t.Errorf("one that succeeds again: %v, %v", err, log.failing())
	}
}

// TestWhoCannotWriteStandsLast: others have two full timeouts, of one to two times theirs each, before it stands.
func TestWhoCannotWriteStandsLast(t *testing.T) {
	for _, c := range []struct {
		stands, shy bool
		want        string
	}{{true, false, "700ms"}, {true, true, "2.8s"}, {false, false, "24h0m0s"}, {false, true, "24h0m0s"}} {
		if got := standAfter(c.stands, c.shy).String(); got != c.want {
			t.Errorf("stands %v, shy %v: %v, want %v", c.stands, c.shy, got, c.want)
		}
	}
	if raftShyTimeout < 4*raftTimeout {
		t.Error("one that cannot write may stand before the others have tried twice")
	}
}
