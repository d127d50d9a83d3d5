package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// disk gives a machine a disk of its own for its agent, of so many MiB.
func (s *site) disk(args []string) error {
	size, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return err
	}
	data := s.node(args[0]).Data()
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("cluster", data, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0700", size)); err != nil {
		return fmt.Errorf("mount disk: %w", err)
	}
	s.disks = append(s.disks, data)
	return nil
}

// ballast is what fills a disk.
func (s *site) ballast(name string) string { return filepath.Join(s.node(name).Data(), "ballast") }

// fill leaves not a byte on the machines' disks.
func (s *site) fill(names []string) error {
	for _, name := range names {
		file, err := os.OpenFile(s.ballast(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		for block := make([]byte, 1<<12); err == nil; {
			_, err = file.Write(block)
		}
		if err := errors.Join(ignore(err, syscall.ENOSPC), file.Close()); err != nil {
			return err
		}
	}
	return nil
}

// free gives back what fill took.
func (s *site) free(names []string) error {
	for _, name := range names {
		if err := ignore(os.Remove(s.ballast(name)), fs.ErrNotExist); err != nil {
			return err
		}
	}
	return nil
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}
