package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
)

// dataFormat is the version of the data directory's layout that this program writes and reads.
const dataFormat = 1

// dataDir is an agent's place on disk. Its folders are the agent's own, mode 0700, but for the allocations': tasks of
// other users must reach theirs by path, so that alone may be passed through, and the directory itself (mode 0711).
type dataDir string

func (d dataDir) server() string     { return filepath.Join(string(d), "server") }
func (d dataDir) identity() string   { return filepath.Join(string(d), "identity") }
func (d dataDir) gossip() string     { return filepath.Join(string(d), "gossip") }
func (d dataDir) nodes() string      { return filepath.Join(string(d), "nodes.json") }
func (d dataDir) client() string     { return filepath.Join(string(d), "client") }
func (d dataDir) allocs() string     { return filepath.Join(string(d), "alloc") }
func (d dataDir) supervisor() string { return filepath.Join(string(d), "supervisor") }
func (d dataDir) docker() string     { return filepath.Join(string(d), "docker") }
func (d dataDir) joinToken() string  { return filepath.Join(string(d), "join-token") }
func (d dataDir) socket() string     { return filepath.Join(string(d), "api.sock") }

// openDataDir makes the directory if it is not there, and refuses one that a newer program wrote.
func openDataDir(path string) (dataDir, error) {
	if err := os.MkdirAll(path, 0o711); err != nil {
		return "", fmt.Errorf("make data directory: %w: choose another with -data-dir", err)
	}
	if err := os.Chmod(path, 0o711); err != nil {
		return "", fmt.Errorf("open data directory: %w: choose another with -data-dir", err)
	}
	file := filepath.Join(path, "format")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return dataDir(path), writeOnce(file, fmt.Sprintf("%d\n", dataFormat))
	}
	if err != nil {
		return "", fmt.Errorf("open data directory: %w: choose another with -data-dir", err)
	}
	format, err := strconv.Atoi(strings.TrimSpace(string(text)))
	switch {
	case err != nil || format < 1:
		return "", fmt.Errorf("open data directory: %s holds %.20q, which is no format: restore it, or choose another with -data-dir", file, text)
	case format > dataFormat:
		return "", fmt.Errorf("open data directory %s: its format is %d and this program knows %d: use the newer program that wrote it", path, format, dataFormat)
	}
	return dataDir(path), nil
}

// nodeID is the identity of the node that lives in the directory, drawn at its first start.
func (d dataDir) nodeID() (cluster.ID, error) {
	file := filepath.Join(string(d), "node-id")
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		var seed [16]byte
		rand.Read(seed[:])
		id := cluster.IDFrom(seed, 0)
		return id, writeOnce(file, id.String()+"\n")
	}
	if err != nil {
		return cluster.ID{}, fmt.Errorf("read node ID: %w", err)
	}
	id, err := cluster.ParseID(strings.TrimSpace(string(text)))
	if err != nil || id.IsZero() {
		return cluster.ID{}, fmt.Errorf("read node ID: %s is damaged: restore it, or remove the directory to begin as a new node", file)
	}
	return id, nil
}

// writeOnce makes a file that is either whole or not there.
func writeOnce(path, text string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write data directory: %w: %s", err, adviceWrite)
	}
	defer os.Remove(temporary.Name()) // fails once it has its name
	_, err = temporary.WriteString(text)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write data directory: %w: %s", err, adviceWrite)
	}
	return nil
}

// adviceWrite ends messages about a data directory that cannot be written.
const adviceWrite = "make it writable and give it space, or choose another with -data-dir"
