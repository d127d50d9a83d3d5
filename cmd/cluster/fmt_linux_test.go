package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A disk that is full costs nobody a file, and what is there stays the same file for those who have another name for it.
func TestFormattingOnAFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4k"); err != nil {
		t.Skip("needs a tmpfs mount:", err)
	}
	t.Cleanup(func() { syscall.Unmount(disk, syscall.MNT_DETACH) })
	path, other, s := filepath.Join(disk, "a.hcl"), filepath.Join(disk, "b.hcl"), newSession(t)
	full := strings.Repeat("a{}\n", 1024) // the whole disk; laid out it is longer
	if err := os.WriteFile(path, []byte(full), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	if out, status := s.run("fmt", path); status != exitError || !strings.Contains(out, "no space left on device") {
		t.Errorf("status %d, %s", status, out)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != full {
		t.Errorf("there are %d bytes left, %v", len(text), err)
	}
	if err := os.WriteFile(path, []byte("a=1\nb   =     2\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if out, status := s.run("fmt", path); status != exitDone {
		t.Errorf("status %d, %s", status, out)
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "a = 1\nb = 2\n" {
		t.Errorf("by its other name it is %q, %v", text, err)
	}
}
