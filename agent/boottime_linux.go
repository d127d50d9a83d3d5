package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// Boottime is the time since the machine's start, sleep included.
func Boottime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}
