package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/a43e60e4/cluster/server/api"
)

// unseatPatience is how long the other servers may take to note that one leaves.
const unseatPatience = 20 * time.Second

// leave takes this node out of its cluster for good: others hear that it leaves, a server loses its seat, the data directory
// says that it left, and Run ends. It returns before that, and may be called again if it failed.
func (r *running) leave(ctx context.Context, req api.LeaveRequest) error {
	if r.server != nil && !req.Force && !r.isLeaving() {
		if err := r.server.MayLeave(); err != nil {
			return err
		}
	}
	if req.Check {
		return nil
	}
	r.once.Do(func() { close(r.leaving) })
	if r.server != nil && (!req.Force || r.server.MayLeave() == nil) {
		ctx, cancel := context.WithTimeout(ctx, unseatPatience)
		defer cancel()
		if err := r.server.Leave(ctx); err != nil {
			return err
		}
	}
	if err := r.dir.beginLeaving(r.who.Cluster(), time.Now()); err != nil {
		return err
	}
	r.logger.Info("this node leaves its cluster for good")
	if r.client != nil {
		r.client.EndTasks()
	}
	r.end.Do(func() { close(r.left) })
	return nil
}

func (r *running) isLeaving() bool { return closed(r.leaving) }

// hasLeft reports whether the node left the cluster.
func (r *running) hasLeft() bool { return closed(r.left) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// goodbyeTime bounds how long the others are told.
const goodbyeTime = 5 * time.Second

// sayGoodbye tells the others by gossip, which must still run, that this node is no member any more.
func (r *running) sayGoodbye() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
	defer cancel()
	if err := r.gossip.Leave(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("say goodbye to the other nodes: %w", err)
	}
	return nil
}
