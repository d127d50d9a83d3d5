package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/a43e60e4/cluster"
)

// What a node remembers beside its identity, so that a restart needs no server.
const (
	fileKeyring = "gossip.keys"  // cluster.Keyring
	fileServers = "servers.json" // []ServerAddress
)

// ServerAddress is where a server's port 4647 is.
type ServerAddress struct {
	ID      cluster.ID
	Address string
	Gossip  string // host:port of its gossip, "" if that is not known
}

// ReadKeyring is the keyring in an identity's directory; fs.ErrNotExist is in the chain of the error if there is none yet.
func ReadKeyring(dir string) (cluster.Keyring, error) {
	var ring cluster.Keyring
	if err := readJSON(filepath.Join(dir, fileKeyring), &ring); err != nil {
		return cluster.Keyring{}, fmt.Errorf("read gossip keys: %w", err)
	}
	if !ring.Valid() {
		return cluster.Keyring{}, fmt.Errorf("read gossip keys: %s is damaged: remove it, the servers give it anew", filepath.Join(dir, fileKeyring))
	}
	return ring, nil
}

// WriteKeyring stores the keyring in an identity's directory.
func WriteKeyring(dir string, ring cluster.Keyring) error {
	if err := writeJSON(filepath.Join(dir, fileKeyring), ring); err != nil {
		return fmt.Errorf("write gossip keys: %w", err)
	}
	return nil
}

// ReadServers are the servers that were remembered in an identity's directory, none if there are none.
func ReadServers(dir string) ([]ServerAddress, error) {
	var servers []ServerAddress
	err := readJSON(filepath.Join(dir, fileServers), &servers)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read servers: %w", err)
	}
	return servers, nil
}

// WriteServers remembers servers in an identity's directory.
func WriteServers(dir string, servers []ServerAddress) error {
	if err := writeJSON(filepath.Join(dir, fileServers), servers); err != nil {
		return fmt.Errorf("write servers: %w", err)
	}
	return nil
}

func readJSON(path string, value any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, value); err != nil {
		return fmt.Errorf("%s is damaged: %w", path, err)
	}
	return nil
}

func writeJSON(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return WriteFile(path, text)
}

// KeyringNews is what the servers tell a node about keys and about nodes that are none any more.
type KeyringNews struct {
	Keyring cluster.Keyring
	Removed []cluster.ID // ascending
	Index   uint64       // of the state
}

// KeyringConfig is what KeepKeyring needs.
type KeyringConfig struct {
	Dir string // the identity's
	// Ask waits until the servers have news after the index, and tells them which version the node holds.
	Ask func(ctx context.Context, index, held uint64) (KeyringNews, error)
	// Install puts a keyring to use; it has been stored before.
	Install func(cluster.Keyring) error
	// Removed is told all nodes that were removed from the cluster; nil: nobody asks.
	Removed func([]cluster.ID)
	Logger  *slog.Logger
}

// keyringPause is between two questions of which the first failed.
const keyringPause = time.Second

// keyringNotable is how many questions fail in a row before it is said; fewer belong to every change of leaders.
const keyringNotable = 3

// KeepKeyring keeps the node's keyring the one that the servers have, until ctx ends. A keyring that was in the directory
// when it began is taken to be in use.
func KeepKeyring(ctx context.Context, c KeyringConfig) error {
	ring, err := ReadKeyring(c.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Logger.Warn("the gossip keys on disk cannot be read, asking the servers for them", "err", err)
	}
	index, failures := uint64(0), 0
	for ctx.Err() == nil {
		news, err := c.Ask(ctx, index, ring.Version)
		if err == nil {
			ring, err = c.install(ring, news.Keyring)
		}
		if err != nil {
			if failures++; failures == keyringNotable && ctx.Err() == nil {
				c.Logger.Warn("gossip keys cannot be had, trying again", "err", err)
			}
			pause(ctx, keyringPause)
			continue
		}
		index, failures = news.Index, 0
		if c.Removed != nil {
			c.Removed(news.Removed)
		}
	}
	return nil
}

// install puts the next keyring to use if it is another one.
func (c *KeyringConfig) install(held, next cluster.Keyring) (cluster.Keyring, error) {
	if next.Version == held.Version {
		return held, nil
	}
	if !next.Valid() {
		return held, errors.New("install gossip keys: the servers sent none that can be used")
	}
	if err := WriteKeyring(c.Dir, next); err != nil {
		return held, err
	}
	if err := c.Install(next); err != nil {
		return held, fmt.Errorf("install gossip keys: %w", err)
	}
	return next, nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
