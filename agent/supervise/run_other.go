//go:build !linux

package supervise

import (
	"context"
	"errors"
)

var errLinux = errors.New("agents run on Linux only")

// Run returns an error: agents run on Linux only.
func Run(context.Context, Config) (int, error) { return 1, errLinux }

// Inherited returns an error: agents run on Linux only.
func Inherited() (*Client, error) { return nil, errLinux }
