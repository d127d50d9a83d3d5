//go:build !unix

package rawexec

import "syscall"

// signalNumber knows no signals where agents do not run.
func signalNumber(string) (syscall.Signal, bool) { return 0, false }
