package server

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/state"
)

const (
	// applyPatience is how long a command may wait to be taken by Raft before its caller is told to try again.
	applyPatience = 10 * time.Second
	// maxInFlight bounds the commands that Raft has taken and not yet answered.
	maxInFlight = 256
)

// committer stands between callers, who may leave at any time, and Raft, whose answers must be waited for. Its
// goroutines are those of run; a caller that leaves leaves nothing behind.
type committer struct {
	raft     *raft.Raft
	commands chan command
	asks     chan chan<- error // for confirmations that this server leads
	ended    chan struct{}     // closed when run has returned
}

// command is one entry on its way into the log.
type command struct {
	text []byte
	done chan<- committed // has room for one
}

type committed struct {
	reply state.Reply
	err   error
}

// flight is a command that Raft has taken.
type flight struct {
	future raft.ApplyFuture
	done   chan<- committed
}

func newCommitter(r *raft.Raft) *committer {
	return &committer{raft: r, commands: make(chan command), asks: make(chan chan<- error), ended: make(chan struct{})}
}

// run serves callers until ctx ends and Raft has answered for all it was given. It may be called once.
func (c *committer) run(ctx context.Context) error {
	defer close(c.ended)
	group := new(errgroup.Group)
	flights := make(chan flight, maxInFlight)
	group.Go(func() error { defer close(flights); c.submit(ctx, flights); return nil })
	group.Go(func() error { land(flights); return nil })
	group.Go(func() error { c.confirm(ctx); return nil })
	return group.Wait()
}

// submit hands commands to Raft in the order in which they come. Raft itself writes what waits there with one sync.
func (c *committer) submit(ctx context.Context, flights chan<- flight) {
	for {
		select {
		case next := <-c.commands:
			flights <- flight{c.raft.Apply(next.text, applyPatience), next.done}
		case <-ctx.Done():
			return
		}
	}
}

// land waits for Raft's answers, which come in order, and passes them on.
func land(flights <-chan flight) {
	for f := range flights {
		if err := f.future.Error(); err != nil {
			f.done <- committed{err: explain(err)}
			continue
		}
		f.done <- committed{reply: f.future.Response().(state.Reply)}
	}
}

// confirm asks the other servers whether this one still leads, once for all callers who have come by then.
func (c *committer) confirm(ctx context.Context) {
	for {
		var waiting []chan<- error
		select {
		case ask := <-c.asks:
			waiting = append(waiting, ask)
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case ask := <-c.asks:
				waiting = append(waiting, ask)
			default:
				more = false
			}
		}
		err := explain(c.raft.VerifyLeader().Error())
		for _, ask := range waiting {
			ask <- err
		}
	}
}

var (
	errBusy  = cluster.Errorf(cluster.CodeUnavailable, "commit command: the leader is too busy, try again")
	errEnded = cluster.Errorf(cluster.CodeUnavailable, "commit command: this server is shutting down")
)

// apply commits one entry. See Server.Apply.
func (c *committer) apply(ctx context.Context, text []byte) (state.Reply, error) {
	done := make(chan committed, 1)
	timer := time.NewTimer(applyPatience)
	defer timer.Stop()
	select {
	case c.commands <- command{text, done}:
	case <-timer.C:
		return state.Reply{}, errBusy
	case <-c.ended:
		return state.Reply{}, errEnded
	case <-ctx.Done():
		return state.Reply{}, context.Cause(ctx)
	}
	select {
	case result := <-done:
		return result.reply, result.err
	case <-ctx.Done():
		return state.Reply{}, context.Cause(ctx)
	}
}

// verify returns when the other servers have confirmed, after the call, that this one leads.
func (c *committer) verify(ctx context.Context) error {
	done := make(chan error, 1)
	select {
	case c.asks <- done:
	case <-c.ended:
		return errEnded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// explain gives Raft's errors the cluster's codes and words.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return cluster.Errorf(cluster.CodeUnavailable, "No cluster leader")
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return errBusy
	case errors.Is(err, raft.ErrRaftShutdown):
		return errEnded
	case errors.Is(err, syscall.ENOSPC):
		return cluster.Errorf(cluster.CodeUnavailable, "commit command: %w: make room there and try again; what was accepted is safe", err)
	}
	return fmt.Errorf("commit command: %w", err)
}
