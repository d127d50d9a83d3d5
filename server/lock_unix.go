//go:build unix

package server

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
)

// whileLocked calls look while nobody has the log's file open, as bbolt's lock has it, and waits for that as bbolt
// does: bolterrors.ErrTimeout when it takes longer than patience. A file that is not there is nobody's.
func whileLocked(path string, patience time.Duration, look func() error) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return look()
	}
	if err != nil {
		return err
	}
	defer file.Close() // which unlocks it
	const rest = 10 * time.Millisecond
	for until := time.Now().Add(patience); ; time.Sleep(rest) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return look()
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return err
		case time.Now().After(until):
			return bolterrors.ErrTimeout
		}
	}
}
