package main

import (
	"context"
	"fmt"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent"
	"github.com/a43e60e4/cluster/agent/supervise"
)

// fence is the supervisor as the guard over allocations.
type fence struct{ client *supervise.Client }

// fenceOf is the fence of a node with that supervisor, nil if it has none.
func fenceOf(s supervisor) agent.Fence {
	if p, ok := s.(parent); ok {
		return fence{p.Client}
	}
	return nil
}

// Guard passes on that a lease was renewed.
func (f fence) Guard(ctx context.Context, sent time.Duration, allocs map[cluster.ID]agent.Guarded) ([]cluster.ID, error) {
	texts := make(map[string]supervise.Guarded, len(allocs))
	for id, how := range allocs {
		texts[id.String()] = supervise.Guarded{After: how.After, Containers: how.Containers}
	}
	fallen, err := f.client.Guard(ctx, sent, texts)
	ids := make([]cluster.ID, 0, len(fallen))
	for _, text := range fallen {
		id, wrong := cluster.ParseID(text)
		if wrong != nil {
			return ids, fmt.Errorf("read fallen allocations: %w", wrong)
		}
		ids = append(ids, id)
	}
	return ids, err
}

// Unguard passes on that allocations are over.
func (f fence) Unguard(ctx context.Context, allocs []cluster.ID) error {
	texts := make([]string, len(allocs))
	for i, id := range allocs {
		texts[i] = id.String()
	}
	return f.client.Unguard(ctx, texts)
}
