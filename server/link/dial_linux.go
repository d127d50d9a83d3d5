package link

import (
	"syscall"
	"time"
)

// unheard is how long what was sent may stay unconfirmed before the connection counts as dead.
const unheard = 5 * time.Second

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h, which package syscall lacks.
const tcpUserTimeout = 0x12

// impatient makes the kernel give up a connection whose peer confirms nothing, instead of after a quarter of an hour.
func impatient(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unheard.Milliseconds()))
	})
	if err != nil {
		return err
	}
	return failed
}
