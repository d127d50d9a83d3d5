//go:build unix

package agent

import "syscall"

// nonBlocking keeps the opening of a pipe from waiting for somebody who writes to it.
const nonBlocking = syscall.O_NONBLOCK
