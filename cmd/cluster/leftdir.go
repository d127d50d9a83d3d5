package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/a43e60e4/cluster"
)

// departure is what the data directory of a node that left says.
type departure struct {
	Cluster cluster.ID
	At      time.Time
}

func (d dataDir) leaving() string { return filepath.Join(string(d), "leaving") }
func (d dataDir) left() string    { return filepath.Join(string(d), "left") }

// leftRecord is the departure's place in the folder of what the node had before it left.
func (d dataDir) leftRecord() string { return filepath.Join(d.left(), "left.json") }

// beginLeaving writes down that the node has left.
func (d dataDir) beginLeaving(from cluster.ID, now time.Time) error {
	text, err := json.Marshal(departure{from, now.UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	return writeOnce(d.leaving(), string(text)+"\n")
}

// finishLeaving makes the directory that of a new node, if its node has left: what the old one had is moved to one folder,
// without its key. It may be interrupted and done again.
func (d dataDir) finishLeaving() error {
	if _, err := os.Stat(d.leaving()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(d.leftRecord()); err == nil { // of an earlier departure
		if err := os.RemoveAll(d.left()); err != nil {
			return fmt.Errorf("leave the cluster: %w", err)
		}
	}
	if err := os.MkdirAll(d.left(), 0o700); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	if err := os.RemoveAll(d.identity()); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	for _, path := range []string{d.server(), d.gossip(), d.nodes(), d.client(), d.allocs(), filepath.Join(string(d), "node-id")} {
		err := os.Rename(path, filepath.Join(d.left(), filepath.Base(path)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("leave the cluster: %w", err)
		}
	}
	if err := os.Rename(d.leaving(), d.leftRecord()); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	return nil
}

// leftWords is the error for a node that left its cluster and joined none since; nil if it did not.
func (d dataDir) leftWords() error {
	text, err := os.ReadFile(d.leftRecord())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var from departure
	if err == nil {
		err = json.Unmarshal(text, &from)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", d.leftRecord(), err)
	}
	return cluster.Errorf(cluster.CodeInvalid, "open data directory %s: this node left its cluster (%s) on %s: join again with a token (-join, see `cluster join-token -h`), "+
		"or remove %s to begin a new cluster", d, from.Cluster, from.At.Format(time.DateTime), d.left())
}
