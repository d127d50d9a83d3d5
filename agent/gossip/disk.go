package gossip

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/a43e60e4/cluster"
)

const (
	fileName     = "gossip.json"
	maxFile      = 4 << 20
	maxAddresses = 4096 // remembered
)

// memory is what a node remembers on disk.
type memory struct {
	Starts  uint64                        // how often gossip was opened here
	Members map[cluster.ID]netip.AddrPort // where members were last
}

// disk keeps the memory in one file, which is written only when it changes.
type disk struct {
	path string // "": nothing is remembered
	last []byte // as on disk
}

// load is what the file says. A file that is not there is an empty memory; one that cannot be understood is too, with an
// error that says so.
func (d *disk) load() (memory, error) {
	m := memory{Members: map[cluster.ID]netip.AddrPort{}}
	if d.path == "" {
		return m, nil
	}
	text, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	if len(text) > maxFile {
		return m, errors.New("it is too long")
	}
	d.last = text
	var read memory
	if err := json.Unmarshal(text, &read); err != nil {
		return m, err
	}
	m.Starts = read.Starts
	for id, at := range read.Members {
		if at.IsValid() && len(m.Members) < maxAddresses {
			m.Members[id] = at
		}
	}
	return m, nil
}

// save writes the memory if the file says something else. The file is whole at any time.
func (d *disk) save(m memory) error {
	if d.path == "" {
		return nil
	}
	text, err := json.Marshal(m)
	if err != nil || bytes.Equal(text, d.last) {
		return err
	}
	temporary := d.path + ".new"
	if err := writeSynced(temporary, text); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, d.path); err != nil {
		return err
	}
	d.last = text
	dir, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func writeSynced(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
