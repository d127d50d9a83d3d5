package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// agentConfig lets the machine choose ports and allows programs of the machine as tasks.
const agentConfig = `bind_addr = "127.0.0.1"
ports {
  http = 0
  rpc  = 0
  serf = 0
  dns  = 0
}
plugin "raw_exec" {
  config { enabled = true }
}
`

const (
	// patience bounds every wait.
	patience = 30 * time.Second
	// pause is between two looks at something awaited.
	pause = 500 * time.Microsecond
)

// agent is a running supervisor with its agent, and a way to talk to them.
type agent struct {
	cmd *exec.Cmd
	log *os.File
	api *api.Client
}

// measured is a program under measurement, on the CPUs that BENCH_CPU lists as taskset does, or on all.
func measured(ctx context.Context, path string, args ...string) *exec.Cmd {
	if cpus := os.Getenv("BENCH_CPU"); cpus != "" {
		path, args = "taskset", append([]string{"-c", cpus, path}, args...)
	}
	return exec.CommandContext(ctx, path, args...)
}

// launch starts an agent, whose flags may change the configuration above, and returns when it says where its API is; that is before it can take work.
func (b *bench) launch(ctx context.Context, args ...string) (*agent, error) {
	config := filepath.Join(b.dir, "agent.hcl")
	if err := os.WriteFile(config, []byte(agentConfig), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(b.dir, "agent.log"))
	if err != nil {
		return nil, err
	}
	a := &agent{log: log, cmd: measured(ctx, b.program, append([]string{"agent", "-config", config}, args...)...)}
	a.cmd.Stderr = log
	said, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(said); lines.Scan(); {
		if _, address, ok := strings.Cut(lines.Text(), "API on http"); ok {
			a.api, err = api.New(api.Config{Address: "http" + address})
			return a, err
		}
	}
	a.stop()
	text, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("the agent did not say where its API is; its log:\n%s", text)
}

// stop asks the agent to end, tasks included if it has -dev, and waits for it. One that does not end says where it stands.
func (a *agent) stop() {
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	watchdog := time.AfterFunc(patience, func() { _ = a.cmd.Process.Signal(syscall.SIGQUIT) })
	defer watchdog.Stop()
	_ = a.cmd.Wait()
	a.log.Close()
}

// until calls try until it succeeds.
func until(ctx context.Context, what string, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("gave up waiting until %s: %w", what, err)
		}
		wait(pause)
	}
}

var errNotYet = errors.New("not yet")

// ready waits until the agent's node takes work.
func (a *agent) ready(ctx context.Context) error {
	return until(ctx, "the node is ready", func(ctx context.Context) error {
		nodes, _, err := a.api.Nodes(ctx, api.Query{})
		if err == nil && (len(nodes) != 1 || nodes[0].Status != cluster.NodeStatusReady) {
			err = errNotYet
		}
		return err
	})
}

// task is a small one that runs a program of the machine.
func task(command string, args ...string) map[string]any {
	return map[string]any{
		"Name": "task", "Driver": "raw_exec",
		"Config":    map[string]any{"command": command, "args": args},
		"Resources": map[string]any{"CPU": 1, "MemoryMB": 10},
		"LogConfig": map[string]any{"MaxFiles": 1, "MaxFileSizeMB": 1},
	}
}

// submit registers a job of one raw_exec task per instance.
func (a *agent) submit(ctx context.Context, id, kind string, count int, command string, args ...string) error {
	job := map[string]any{"ID": id, "Type": kind, "TaskGroups": []any{map[string]any{
		"Name": "group", "Count": count, "Tasks": []any{task(command, args...)}, "EphemeralDisk": map[string]any{"SizeMB": 10},
	}}}
	_, err := a.api.Put(ctx, "/v1/jobs", api.Query{}, map[string]any{"Job": job}, nil)
	return err
}

// running waits until so many instances of a job run.
func (a *agent) running(ctx context.Context, id string, count int) error {
	return until(ctx, fmt.Sprintf("%d instances of %s run", count, id), func(ctx context.Context) error {
		allocs, _, err := a.api.JobAllocations(ctx, id, false, api.Query{})
		if err != nil {
			return err
		}
		n := 0
		for _, alloc := range allocs {
			if alloc.ClientStatus == cluster.ClientRunning {
				n++
			}
		}
		if n != count {
			return fmt.Errorf("%d of %d run: %w", n, count, errNotYet)
		}
		wait(20 * pause) // 200 stubs are not free: leave the agent some time
		return nil
	})
}
