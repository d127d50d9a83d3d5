package supervise

import (
	"context"
	"errors"
	"time"
)

// ErrFenced is the cause when a task is not started because its allocation was killed for want of contact with the servers.
var ErrFenced = errors.New("the node was without contact to the servers for too long: the allocation was killed for good")

// Guarded says how an allocation, which owns all tasks whose ID begins with its own and a slash, is guarded.
type Guarded struct {
	After      time.Duration // it is killed when its lease is this old
	Containers bool          `json:",omitempty"` // some of its tasks are containers
}

// guard is what verbGuard carries: allocations whose lease was renewed, and those that need no guard any more.
type guard struct {
	Sent    time.Duration      `json:",omitempty"` // CLOCK_BOOTTIME when the renewal was sent
	Renewed map[string]Guarded `json:",omitempty"`
	Over    []string           `json:",omitempty"`
}

// Guard says that the lease of these allocations was renewed by a request that was sent at that time of CLOCK_BOOTTIME.
// An allocation named for the first time is guarded from now on: when After has passed since, the supervisor kills all
// of it for good, also if no agent lives. Guard returns those that this has happened to, which a renewal does not undo.
func (c *Client) Guard(ctx context.Context, sent time.Duration, allocs map[string]Guarded) (fallen []string, err error) {
	r, err := c.call(ctx, request{Verb: verbGuard, Guard: &guard{Sent: sent, Renewed: allocs}})
	return r.Fallen, err
}

// Unguard ends the guard over allocations of which nothing is left. Others are not harmed.
func (c *Client) Unguard(ctx context.Context, allocs []string) error {
	_, err := c.call(ctx, request{Verb: verbGuard, Guard: &guard{Over: allocs}})
	return err
}
