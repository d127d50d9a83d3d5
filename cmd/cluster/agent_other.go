//go:build !linux

package main

import (
	"context"
	"errors"
)

// runAgent refuses: supervising tasks is built on what Linux offers.
func runAgent(context.Context, agentStart) error {
	return errors.New("run agent: it runs on Linux alone; this program can talk to an agent elsewhere: set CLUSTER_ADDR")
}
