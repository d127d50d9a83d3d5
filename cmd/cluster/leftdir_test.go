package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

// TestDirectoryOfANodeThatLeft leaves, interrupted in the middle, and leaves again after joining anew.
func TestDirectoryOfANodeThatLeft(t *testing.T) {
	dir := dataDir(t.TempDir())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	live := func(word string) cluster.ID {
		for _, folder := range []string{dir.identity(), dir.server(), dir.client()} {
			must(os.MkdirAll(folder, 0o700))
			must(os.WriteFile(filepath.Join(folder, "file"), []byte(word), 0o600))
		}
		id, err := dir.nodeID()
		must(err)
		return id
	}
	first := live("one")
	must(dir.finishLeaving()) // it does not leave
	must(dir.leftWords())
	must(dir.beginLeaving(cluster.ID{7}, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)))
	must(os.MkdirAll(dir.left(), 0o700)) // interrupted here
	must(os.Rename(dir.server(), filepath.Join(dir.left(), "server")))
	must(dir.finishLeaving())
	must(dir.finishLeaving())
	if err := dir.leftWords(); err == nil || !strings.Contains(err.Error(), "left its cluster") || !strings.Contains(err.Error(), "2026-03-01 12:00:00") {
		t.Errorf("words: %v", err)
	}
	if _, err := os.Stat(dir.identity()); err == nil {
		t.Error("the key is kept")
	}
	second := live("two")
	if first == second {
		t.Error("the node that joins anew has the old ID")
	}
	must(dir.beginLeaving(cluster.ID{8}, time.Now()))
	must(dir.finishLeaving())
	for _, folder := range []string{"server", "client"} {
		text, err := os.ReadFile(filepath.Join(dir.left(), folder, "file"))
		if err != nil || string(text) != "two" {
			t.Errorf("kept of %s: %q, %v", folder, text, err)
		}
	}
}
