package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const recordVersion = 1

var errNewer = errors.New("it was written by a newer version of this program: start that one")

// record is what the journal holds of one task. Its stages: starting (no PID), started, ended (Exit
// is set: the main process is gone), final (nothing of it is left, its output is in the files).
type record struct {
	Version   int
	Spec      Spec   // without the environment
	Boot      string // the kernel's boot ID
	Cgroup    string `json:",omitempty"` // name below our parent cgroup; empty: process group
	Unified   string `json:",omitempty"` // that parent in the unified hierarchy, if there is one
	Unborn    bool   `json:",omitempty"` // nothing was forked yet; said only where no cgroup of the unified hierarchy tells
	PID       int    `json:",omitempty"`
	Start     uint64 `json:",omitempty"` // start time of the main process, in ticks since boot
	Inode     uint64 `json:",omitempty"` // of its pidfds; 0 on older kernels
	StartedAt time.Time
	Exit      *Exit `json:",omitempty"`
	Final     bool  `json:",omitempty"`
}

func (r *record) status() Status {
	s := Status{ID: r.Spec.ID, PID: r.PID, StartedAt: r.StartedAt}
	if r.Final {
		s.Exit = r.Exit
	}
	return s
}

// journal is a directory with one file per task. It survives the supervisor; only final records
// must survive the machine too, as a reboot ends all tasks anyway.
type journal struct{ dir string }

func (j journal) path(id string) string { return filepath.Join(j.dir, fileName(id)+".json") }

// write replaces the task's record. The old one or the new one is there at any moment.
func (j journal) write(r *record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("record task %q: %w", r.Spec.ID, err)
	}
	path := j.path(r.Spec.ID)
	if err := writeFile(path+".tmp", b, r.Final); err != nil {
		os.Remove(path + ".tmp")
		return fmt.Errorf("record task %q: %w", r.Spec.ID, err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return fmt.Errorf("record task %q: %w", r.Spec.ID, err)
	}
	if r.Final {
		return syncDir(j.dir)
	}
	return nil
}

func (j journal) remove(id string) error {
	if err := os.Remove(j.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget task %q: %w", id, err)
	}
	return nil
}

// read returns all records. What is not one (half a file after a power cut) is removed, and said.
func (j journal) read(log *slog.Logger) ([]*record, error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var all []*record
	for _, e := range entries {
		path := filepath.Join(j.dir, e.Name())
		if strings.HasSuffix(path, ".tmp") {
			os.Remove(path)
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		r, err := decodeRecord(b)
		if errors.Is(err, errNewer) {
			return nil, fmt.Errorf("read journal: %s: %w", path, err)
		}
		if err == nil && j.path(r.Spec.ID) != path {
			err = fmt.Errorf("it is about task %q", r.Spec.ID)
		}
		if err != nil {
			log.Warn("journal record is damaged, removing it", "file", path, "err", err)
			os.Remove(path)
			continue
		}
		all = append(all, r)
	}
	return all, nil
}

func decodeRecord(b []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	switch {
	case r.Version > recordVersion:
		return nil, errNewer
	case r.Version < 1:
		return nil, errors.New("decode record: it has no version")
	case r.PID < 0 || r.PID == 1 || strings.ContainsAny(r.Cgroup, "/") || strings.HasPrefix(r.Cgroup, "."):
		return nil, errors.New("decode record: process or cgroup cannot be a task's")
	case r.Unified != "" && (filepath.Clean(r.Unified) != r.Unified || !strings.HasPrefix(filepath.Base(r.Unified), "cluster-")):
		return nil, errors.New("decode record: cgroup cannot be ours")
	case r.Final && r.Exit == nil:
		return nil, errors.New("decode record: final without an exit")
	}
	if err := r.Spec.validate(); err != nil {
		return nil, fmt.Errorf("decode record: %w", err)
	}
	return r, nil
}

func writeFile(path string, b []byte, sync bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
