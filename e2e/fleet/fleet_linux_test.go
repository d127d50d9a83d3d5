package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster/server/api"
)

// program builds the program under test, unless the environment names it.
func program(t *testing.T) string {
	t.Helper()
	if given := os.Getenv("CLUSTER_BIN"); given != "" {
		return given
	}
	path := filepath.Join(t.TempDir(), "cluster")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/cluster")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	return path
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const job = `
job "sleep" {
  group "sleep" {
    count = 2
    update {
      min_healthy_time = "0s"
    }
    task "sleep" {
      driver = "raw_exec"
      config {
        command = "sleep"
        args    = ["4831"]
      }
      resources {
        cpu    = 10
        memory = 10
      }
    }
  }
}
`

// TestLifeOfANode starts an agent on a machine and does everything to it that a node offers.
func TestLifeOfANode(t *testing.T) {
	f := New(t, Config{Program: program(t)})
	ctx := t.Context()
	n, err := f.Node("a")
	check(t, err)
	check(t, n.Start(Both, "-bootstrap"))
	check(t, n.Ready(ctx))
	file := filepath.Join(n.Dir, "sleep.hcl")
	check(t, os.WriteFile(file, []byte(job), 0o644))
	_, err = n.CLI(ctx, "job", "run", file)
	check(t, err)
	check(t, f.AwaitPlaced(ctx, "sleep", 2, time.Minute))
	leader, err := f.Leader(ctx)
	if err != nil || leader != n {
		t.Errorf("the leader is %v, %v", leader, err)
	}
	if _, err := n.CLI(ctx, "job", "status", "nothing"); err == nil {
		t.Error("a command that fails is said to succeed")
	}
	if n.Tasks("sleep 4831") != 2 {
		t.Errorf("%d tasks run", n.Tasks("sleep 4831"))
	}
	before := fmt.Sprint(n.Processes())
	check(t, n.Crash("agent"))
	check(t, n.Ready(ctx))
	check(t, n.Crash("both"))
	if n.Running() || n.Tasks("sleep 4831") != 2 {
		t.Errorf("after a crash there are %v, before there were %s", n.Processes(), before)
	}
	check(t, n.Start(""))
	check(t, n.Ready(ctx))
	check(t, n.End(ctx))
	check(t, n.Start(""))
	check(t, n.Ready(ctx))

	check(t, n.Off())
	if n.Running() || n.On() {
		t.Error("the machine is off and the agent runs")
	}
	check(t, n.Start(""))
	check(t, n.Ready(ctx))
	check(t, Wait(ctx, time.Minute, "the tasks", func(context.Context) error {
		if count := n.Tasks("sleep 4831"); count != 2 {
			return fmt.Errorf("%d run", count)
		}
		return nil
	}))
	text, err := n.Get(ctx, "http://127.0.0.1:4646/v1/status/leader")
	if err != nil || !strings.Contains(text, n.Address().String()) {
		t.Errorf("HTTP says %q, %v", text, err)
	}
	check(t, f.Somebody(ctx, func(ctx context.Context, client *api.Client) error {
		_, err := client.DeregisterJob(ctx, "sleep", true, api.Query{})
		return err
	}))
}

func TestWaitSaysWhy(t *testing.T) {
	never := errors.New("it is not there")
	err := Wait(t.Context(), 30*time.Millisecond, "it", func(context.Context) error { return never })
	if !errors.Is(err, never) {
		t.Error(err)
	}
}
