//go:build !linux

package agent

import "time"

var born = time.Now()

// Boottime is the time since this process's start: there is no fence here to compare it with.
func Boottime() time.Duration { return time.Since(born) }
