package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster/agent/supervise"
	"github.com/a43e60e4/cluster/server"
)

// envDevDir carries the temporary directory of `agent -dev` from the supervisor to the agent, also over an upgrade.
const envDevDir = "CLUSTER_DEV_DIR"

// envBootID stands for the machine's start in place of the kernel's word, so that tests can show what a reboot does.
const envBootID = "CLUSTER_BOOT_ID"

// runAgent is `cluster agent`. The process that a person starts is the supervisor; it starts the same command line
// again as the agent proper.
func runAgent(ctx context.Context, start agentStart) error {
	client, err := supervise.Inherited()
	if errors.Is(err, supervise.ErrNoSupervisor) {
		return runSupervisor(ctx, start)
	}
	if err != nil {
		return err
	}
	return runSupervised(ctx, start, client)
}

// runSupervisor lives until it is asked to end. Its exit status is the agent's.
func runSupervisor(ctx context.Context, start agentStart) error {
	logger := newLogger(start.Stderr, &start.Config)
	for _, warning := range start.Warnings {
		fmt.Fprintln(start.Stderr, "Warning:", warning)
	}
	dir, remove, err := agentDir(start.Config)
	if err != nil {
		return err
	}
	defer remove()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	anew, err := keepToken(dir, start.Join, logger)
	if err != nil {
		return err
	}
	if anew {
		return startAnew(self, start.Args)
	}
	status, err := supervise.Run(ctx, supervise.Config{
		Dir:        dir.supervisor(),
		Agent:      append([]string{self}, withoutJoin(start.Args)...),
		Executable: self,
		Version:    []string{"version"},
		StopTasks:  start.Config.Dev,
		BootID:     os.Getenv(envBootID),
		Logger:     logger,
	})
	if err != nil {
		return err
	}
	if status != 0 {
		return &exitStatus{status: status}
	}
	return nil
}

// agentDir is the agent's data directory, made if need be. With -dev it is a temporary one, which remove deletes.
func agentDir(c AgentConfig) (dir dataDir, remove func(), err error) {
	path, remove := c.DataDir, func() {}
	if path == "" {
		path = os.Getenv(envDevDir)
		if path == "" {
			if path, err = os.MkdirTemp("", "cluster-dev-"); err != nil {
				return "", nil, fmt.Errorf("make temporary data directory: %w", err)
			}
			os.Setenv(envDevDir, path)
		}
		remove = func() { os.RemoveAll(path) }
	}
	if dir, err = openDataDir(path); err == nil {
		err = dir.finishLeaving()
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

// runSupervised is the agent proper: it lives until the supervisor asks it to end or is gone.
func runSupervised(ctx context.Context, start agentStart, client *supervise.Client) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// These are the supervisor's affair, or nobody's; by default they would end us.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	dir, _, err := agentDir(start.Config)
	if err != nil {
		return err
	}
	c := machineConfig{agent: start.Config, dir: dir, logger: newLogger(start.Stderr, &start.Config), listen: net.Listen}
	if err := c.openDrivers(client); err != nil {
		return err
	}
	if err := c.join(ctx); err != nil {
		return err
	}
	for began := false; ; began = true {
		r, err := openAgent(ctx, c)
		if err != nil && ctx.Err() != nil {
			return nil // it was asked to end
		}
		if err != nil {
			return err
		}
		if !began {
			r.greet(start.Stdout)
		}
		err = r.Run(ctx)
		if r.hasLeft() {
			return errors.Join(err, dir.finishLeaving(), endSupervisor(ctx, client))
		}
		if !errors.Is(err, server.ErrAnew) && !errors.Is(err, errMoved) || ctx.Err() != nil {
			return err
		}
	}
}

// endSupervisor asks the supervisor to end, with this agent, and waits until it asks the same of us.
func endSupervisor(ctx context.Context, client *supervise.Client) error {
	if err := syscall.Kill(client.PID(), syscall.SIGTERM); err != nil {
		return fmt.Errorf("ask the supervisor to end: %w", err)
	}
	select {
	case <-ctx.Done():
	case <-client.Done():
	case <-time.After(farewell):
	}
	return nil
}

// newLogger writes to w as the configuration says.
func newLogger(w io.Writer, c *AgentConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level()}
	if c.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
