//go:build unix

package rawexec

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// signalNumber is the signal of a name such as "SIGHUP".
func signalNumber(name string) (syscall.Signal, bool) {
	n := unix.SignalNum(name)
	return n, n != 0
}
