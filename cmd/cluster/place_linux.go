package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// placeFile says where the data directory was when its node ran last.
func (d dataDir) placeFile() string { return filepath.Join(string(d), "place.json") }

// residence is what a data directory remembers of where it is.
type residence struct {
	Place string // what placeOf said
	Moved int64  `json:",omitempty"` // when it was found elsewhere than before; 0: never. Unix nanoseconds
}

// at is the residence of a directory that is at the place now, if this is what it remembers. The zero residence is of a
// directory that remembers nothing; another one was moved or copied if it is not where it was.
func (was residence) at(place string, now time.Time) (is residence, moved bool) {
	if was.Place == "" || was.Place == place {
		return residence{place, was.Moved}, false
	}
	return residence{place, max(now.UnixNano(), was.Moved+1)}, true // later than of the one that this is a copy of, whatever the clocks
}

// residence is what the directory remembers. What cannot be read counts as nothing: it is written anew.
func (d dataDir) residence() residence {
	var was residence
	text, err := readShort(d.placeFile(), 4096)
	if err == nil {
		err = json.Unmarshal(text, &was)
	}
	if err != nil {
		return residence{}
	}
	return was
}

// settle has the directory remember where it is.
func (d dataDir) settle(is residence) error {
	if d.residence() == is {
		return nil
	}
	text, err := json.Marshal(is)
	if err == nil {
		err = writeOnce(d.placeFile(), string(text)+"\n")
	}
	if err != nil && !errors.Is(err, syscall.ENOSPC) { // a full disk keeps no node from starting
		return fmt.Errorf("remember the place of the data directory: %w", err)
	}
	return nil
}

// What tells machines apart, where it can be read.
var machineFiles = []string{"/etc/machine-id", "/sys/class/dmi/id/product_uuid"}

// placeOf is a digest of where a file is: its inode, its disk, and the machine. A copy of the file, on this machine or
// another, has another place; the file itself has the same one after a reboot.
func placeOf(file string) (string, error) {
	var node unix.Stat_t
	if err := unix.Stat(file, &node); err != nil {
		return "", fmt.Errorf("find place of %s: %w", file, err)
	}
	disk := fmt.Sprintf("device %d:%d", unix.Major(node.Dev), unix.Minor(node.Dev))
	if unix.Major(node.Dev) == 0 { // numbered as they are mounted: the file system has a better name for itself
		var system unix.Statfs_t
		if err := unix.Statfs(file, &system); err != nil {
			return "", fmt.Errorf("find place of %s: %w", file, err)
		}
		disk = fmt.Sprintf("file system %x", system.Fsid.Val)
	}
	digest := sha256.New()
	fmt.Fprintf(digest, "inode %d\n%s\n", node.Ino, disk)
	for _, name := range machineFiles {
		text, err := readShort(name, 256)
		if err != nil {
			text = nil // as on machines that have none, or tell only the privileged
		}
		fmt.Fprintf(digest, "%s %q\n", name, strings.TrimSpace(string(text)))
	}
	return fmt.Sprintf("%x", digest.Sum(nil)[:16]), nil
}

// readShort reads a regular file's beginning; it never waits for a writer.
func readShort(path string, most int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if about, err := file.Stat(); err != nil || !about.Mode().IsRegular() {
		return nil, errors.Join(err, fs.ErrInvalid)
	}
	return io.ReadAll(io.LimitReader(file, most))
}
