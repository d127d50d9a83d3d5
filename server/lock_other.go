//go:build !unix

package server

import "time"

// whileLocked calls look. Servers do not run on this system.
func whileLocked(_ string, _ time.Duration, look func() error) error { return look() }
