package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// Somebody asks the running nodes one after the other until one answers, waiting a second for each.
func (f *Fleet) Somebody(ctx context.Context, ask func(context.Context, *api.Client) error) error {
	err := errors.New("no agent runs")
	for _, n := range f.Nodes() {
		if !n.Running() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		err = ask(ctx, n.API())
		cancel()
		if err == nil || cluster.CodeOf(err) == cluster.CodeNotFound {
			return err
		}
	}
	return err
}

// Placed are the names of the nodes on which the job's instances run and should, by allocation name.
func (f *Fleet) Placed(ctx context.Context, job string) (map[string]string, error) {
	var placed map[string]string
	err := f.Somebody(ctx, func(ctx context.Context, client *api.Client) (err error) {
		placed, err = Placed(ctx, client, job, api.Query{})
		return err
	})
	return placed, err
}

// Placed is Fleet.Placed as one agent says it.
func Placed(ctx context.Context, client *api.Client, job string, q api.Query) (map[string]string, error) {
	allocs, _, err := client.JobAllocations(ctx, job, false, q)
	if err != nil {
		return nil, err
	}
	placed := map[string]string{}
	for _, a := range allocs {
		if a.ClientStatus == cluster.ClientRunning && a.DesiredStatus == cluster.DesiredRun {
			placed[a.Name] = a.NodeName
		}
	}
	return placed, nil
}

// AwaitPlaced waits until so many instances of a job run.
func (f *Fleet) AwaitPlaced(ctx context.Context, job string, count int, patience time.Duration) error {
	return Wait(ctx, patience, fmt.Sprintf("%d instances of %s", count, job), func(ctx context.Context) error {
		placed, err := f.Placed(ctx, job)
		if err == nil && len(placed) != count {
			err = fmt.Errorf("there are %v", placed)
		}
		return err
	})
}
