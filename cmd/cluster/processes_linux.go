package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/a43e60e4/cluster/agent/supervise"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/rawexec"
)

// processes is the supervisor as the raw_exec driver sees it.
type processes struct{ client *supervise.Client }

var _ rawexec.Processes = processes{}

// Start runs a process. When the supervisor is gone it waits for the end of ctx, which is near: whether the process runs
// is not known then, and the next agent finds out.
func (p processes) Start(ctx context.Context, process rawexec.Process) error {
	_, err := p.client.Start(ctx, supervise.Spec{
		ID: process.ID, Command: process.Command, Args: process.Args, Env: process.Env, Dir: process.Dir, User: process.User,
		CPUShares: int64(process.CPUShares), CPUHardLimit: int64(process.CPUHardLimit), MemoryLimit: process.MemoryLimit,
		OOMScoreAdj: process.OOMScoreAdj, Stdout: supervise.Output(process.Stdout), Stderr: supervise.Output(process.Stderr),
	})
	if errors.Is(err, supervise.ErrGone) {
		<-ctx.Done()
	}
	return err
}

// Signal signals the main process.
func (p processes) Signal(ctx context.Context, id string, signal syscall.Signal) error {
	err := p.client.Signal(ctx, id, signal)
	if errors.Is(err, supervise.ErrEnded) {
		return nil
	}
	return known(err)
}

// Kill ends the process and everything it started.
func (p processes) Kill(ctx context.Context, id string) error { return known(p.client.Kill(ctx, id)) }

// Forget drops what is known of an ended process.
func (p processes) Forget(ctx context.Context, id string) error {
	err := p.client.Forget(ctx, id)
	if errors.Is(err, supervise.ErrUnknownTask) {
		return nil
	}
	return err
}

// List returns all that is not forgotten.
func (p processes) List(ctx context.Context) ([]rawexec.Status, error) {
	all, err := p.client.List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]rawexec.Status, len(all))
	for i, status := range all {
		list[i] = rawexec.Status{ID: status.ID, Exit: exitOf(status)}
	}
	return list, nil
}

// Stats measures a running process and its descendants.
func (p processes) Stats(ctx context.Context, id string) (driver.Stats, error) {
	s, err := p.client.Stats(ctx, id)
	if errors.Is(err, supervise.ErrEnded) {
		return driver.Stats{}, fmt.Errorf("%w: %w", driver.ErrUnknown, err)
	}
	return driver.Stats{CPUTime: s.CPU, MemoryBytes: uint64(s.Memory), Pids: int(s.Pids),
		ThrottledPeriods: uint64(s.ThrottledN), ThrottledTime: s.Throttled}, known(err)
}

// known translates the supervisor's word for what it does not know.
func known(err error) error {
	if errors.Is(err, supervise.ErrUnknownTask) {
		return fmt.Errorf("%w: %w", driver.ErrUnknown, err)
	}
	return err
}

// exitOf is how a process ended, nil if it has not.
func exitOf(status supervise.Status) *driver.Exit {
	e := status.Exit
	if e == nil {
		return nil
	}
	return &driver.Exit{Code: e.Code, Signal: e.Signal, OOMKilled: e.OOMKilled, Unknown: e.Unknown, Message: e.Message, At: e.At}
}

// hear tells the driver of exits until ctx ends or the supervisor is gone.
func hear(ctx context.Context, client *supervise.Client, raw *rawexec.Driver) error {
	for {
		select {
		case status := <-client.Exits():
			if exit := exitOf(status); exit != nil {
				raw.Ended(status.ID, *exit)
			}
		case <-client.Done():
			return errors.New("the supervisor is gone: ending, so that the next one can start another agent")
		case <-ctx.Done():
			return nil
		}
	}
}
