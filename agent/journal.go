package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/a43e60e4/cluster"
)

// journal keeps one file per allocation. Whatever was saved survives the death of this process; what was saved with
// sync survives that of the machine as well.
type journal struct {
	dir string
	// before and after are called around every change of the disk; an error of before stands for it. Tests die there.
	before func(what string) error
	after  func(what string)
	lazy   bool // never sync; for tests in which no machine dies
}

func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &journal{dir: dir, before: func(string) error { return nil }, after: func(string) {}}, nil
}

// load reads all records. Files that cannot be used are set aside under the name with ".bad" added, and returned
// as problems; one that was written by a newer version is an error.
func (j *journal) load() (records []record, problems []error, err error) {
	entries, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read journal: %w", err)
	}
	for _, entry := range entries {
		path := filepath.Join(j.dir, entry.Name())
		switch {
		case strings.HasSuffix(entry.Name(), ".tmp"): // of a write that was cut off
			os.Remove(path)
			continue
		case !strings.HasSuffix(entry.Name(), ".json"):
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, fmt.Errorf("read journal: %w", err)
		}
		r, err := decodeRecord(text)
		if errors.Is(err, errNewer) {
			return nil, nil, fmt.Errorf("read journal %s: %w", path, err)
		}
		if err != nil || r.Alloc.ID.String()+".json" != entry.Name() {
			problems = append(problems, fmt.Errorf("read journal %s: %w; set aside as %s.bad", path, orMisnamed(err), entry.Name()))
			if err := os.Rename(path, path+".bad"); err != nil {
				return nil, nil, fmt.Errorf("set bad journal aside: %w", err)
			}
			continue
		}
		records = append(records, r)
	}
	return records, problems, nil
}

var errNewer = errors.New("it was written by a newer version of this program: use that one")

func orMisnamed(err error) error {
	if err != nil {
		return err
	}
	return errors.New("it does not hold the allocation of its name")
}

// decodeRecord reads what save wrote.
func decodeRecord(text []byte) (record, error) {
	var head struct{ Version int }
	if err := json.Unmarshal(text, &head); err != nil {
		return record{}, err
	}
	if head.Version > recordVersion {
		return record{}, errNewer
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return record{}, err
	}
	if !r.sound() {
		return record{}, errors.New("it does not describe an allocation and its tasks")
	}
	return r, nil
}

// save replaces the allocation's file, whole or not at all.
func (j *journal) save(r record, sync bool) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	path := j.path(r.Alloc.ID)
	if err := j.before("save " + path); err != nil {
		return err
	}
	if err := replaceFile(path, text, sync && !j.lazy); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.after("save " + path)
	return nil
}

// try writes, and removes, a file that is larger than most records.
func (j *journal) try() error {
	path := filepath.Join(j.dir, "try")
	if err := j.before("try " + path); err != nil {
		return err
	}
	if err := replaceFile(path, make([]byte, 64<<10), !j.lazy); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

// remove forgets the allocation. One that is not there is no error.
func (j *journal) remove(id cluster.ID) error {
	if err := j.before("remove " + j.path(id)); err != nil {
		return err
	}
	if err := os.Remove(j.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove journal: %w", err)
	}
	j.after("remove " + j.path(id))
	return nil
}

func (j *journal) path(id cluster.ID) string { return filepath.Join(j.dir, id.String()+".json") }

// replaceFile writes a file of mode 0600 so that readers, and whoever comes after a crash, see the old or the new.
func replaceFile(path string, text []byte, sync bool) error {
	file, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil && sync {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		os.Remove(path + ".tmp")
		return err
	}
	if !sync {
		return nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err // Windows has no such thing and says that it is not permitted
	}
	return nil
}
