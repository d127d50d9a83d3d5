package agent

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/shirou/gopsutil/v4/disk"

	"github.com/a43e60e4/cluster"
)

// keepClean looks at the disk from time to time.
func (n *Node) keepClean(ctx context.Context) {
	for rest(ctx, n.config.GCInterval) {
		n.collect(ctx)
	}
}

// collect removes allocations that have ended: those that the servers have forgotten, and of the others the oldest
// while there are too many or the disk is too full. What the servers have not heard the end of stays.
func (n *Node) collect(ctx context.Context) {
	n.collecting.Lock()
	defer n.collecting.Unlock()
	all := n.all()
	var ended []*runner
	for _, r := range all {
		if r.collectable() {
			ended = append(ended, r)
		}
	}
	slices.SortFunc(ended, func(a, b *runner) int {
		return cmp.Or(cmp.Compare(a.record().finishedAt(), b.record().finishedAt()), a.id.Compare(b.id))
	})
	count, full := len(all), len(ended) > 0 && n.diskFull()
	for _, r := range ended {
		if ctx.Err() != nil {
			return
		}
		if !r.forgotten.Load() && count <= n.config.GCMaxAllocs && !full {
			continue
		}
		if err := n.remove(r); err != nil {
			n.log.Warn("an ended allocation cannot be removed", "alloc", r.id.String(), "err", err)
			continue
		}
		count, full = count-1, n.diskFull()
	}
}

// collectable reports whether the allocation has ended and the servers, if they care, know how.
func (r *runner) collectable() bool {
	return r.ended() && r.record().over() && (r.acked.Load() || r.forgotten.Load())
}

func (n *Node) diskFull() bool {
	use, err := disk.Usage(n.config.AllocDir)
	return err == nil && use.UsedPercent >= n.config.GCDiskUsage
}

// remove forgets an allocation that has ended, its files first: as long as they may be there, the journal says so.
func (n *Node) remove(r *runner) error {
	if err := os.RemoveAll(string(n.dirs(r.id))); err != nil {
		return fmt.Errorf("remove allocation directory: %w", err)
	}
	if err := n.journal.remove(r.id); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.runners, r.id)
	n.gone[r.id] = true
	return nil
}

// collectOne removes an allocation because a user asks for it.
func (n *Node) collectOne(id cluster.ID) error {
	n.collecting.Lock()
	defer n.collecting.Unlock()
	r := n.runner(id)
	switch {
	case r == nil:
		return unknownAlloc(id)
	case !r.ended() || !r.record().over():
		return cluster.Errorf(cluster.CodeRejected, "collect allocation %s: its tasks have not ended", id)
	case !r.collectable():
		return cluster.Errorf(cluster.CodeUnavailable, "collect allocation %s: the servers have not heard of its end yet; try again", id)
	}
	return n.remove(r)
}

// collectAll removes all allocations that have ended.
func (n *Node) collectAll() error {
	for _, r := range n.all() {
		if r.collectable() {
			if err := n.collectOne(r.id); err != nil && cluster.CodeOf(err) != cluster.CodeNotFound {
				return err
			}
		}
	}
	return nil
}

// finishedAt is when the last task ended.
func (r record) finishedAt() int64 {
	at := int64(0)
	for _, t := range r.Tasks {
		at = max(at, t.FinishedAt)
	}
	return at
}
