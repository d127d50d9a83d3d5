//go:build linux

package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
)

// outcome is what a Wait returned.
type outcome struct {
	exit driver.Exit
	err  error
}

// waitFor waits for the task, but not longer than anything here may take.
func waitFor(t *testing.T, d *Driver, id string) <-chan outcome {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("the test has waited for too long"))
	c := make(chan outcome, 1)
	var group sync.WaitGroup
	t.Cleanup(group.Wait)
	group.Go(func() {
		defer cancel()
		exit, err := d.Wait(ctx, id)
		c <- outcome{exit, err}
	})
	return c
}

// TestEngineRestartLive stops an engine whose containers live on: nothing of the task is lost.
func TestEngineRestartLive(t *testing.T) {
	engine := newDockerd(t, true)
	t.Cleanup(func() {
		if err := engine.end(); err != nil {
			t.Error(err)
		}
	})
	d := open(t, Config{Options: options(engine.endpoint()), Dir: t.TempDir()})
	task := probeTask(t, d)
	clock, err := os.Create(filepath.Join(task.AllocDir, "data/ticks"))
	if err != nil {
		t.Fatal(err)
	}
	defer clock.Close()
	command(&task, "ticks", "60", "/alloc/data/ticks")
	if err := d.Start(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
	over := waitFor(t, d, task.ID)
	tick := func(to int) {
		t.Helper()
		clock.WriteString(strings.Repeat(".", 20))
		drivertest.Await(t, fmt.Sprintf("there are %d lines", to), func() bool {
			return strings.Count(drivertest.Output(t, task, "stdout"), "\n") == to
		})
	}
	tick(20)
	engine.mustStop(t)
	state := d.Fingerprint(t.Context())
	if state.Healthy || !strings.Contains(state.HealthDescription, engine.endpoint()) {
		t.Errorf("without its engine the driver is %+v", state)
	}
	if _, err := d.Stats(t.Context(), task.ID); err == nil {
		t.Error("statistics without an engine")
	}
	select {
	case o := <-over:
		t.Fatalf("the wait returned %+v while nobody can know", o)
	default:
	}
	engine.start(t)
	tick(40)
	tick(60)
	if o := <-over; o.err != nil || o.exit.Code != 9 {
		t.Errorf("it ended with %+v", o)
	}
	if state := d.Fingerprint(t.Context()); !state.Healthy {
		t.Errorf("with its engine back the driver is %+v", state)
	}
}

// TestEngineRestartDead stops an engine that ends its containers: the end is known when it is back.
func TestEngineRestartDead(t *testing.T) {
	engine := newDockerd(t, false)
	t.Cleanup(func() {
		if err := engine.end(); err != nil {
			t.Error(err)
		}
	})
	d := open(t, Config{Options: options(engine.endpoint()), Dir: t.TempDir()})
	task := probeTask(t, d, "serve")
	if err := d.Start(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
	drivertest.Await(t, "the task serves", func() bool {
		exit := waitFor(t, d, task.ID)
		select {
		case o := <-exit:
			t.Fatalf("it ended with %+v", o)
		case <-time.After(50 * time.Millisecond):
		}
		return drivertest.Output(t, task, "stdout") == "ready\n"
	})
	over := waitFor(t, d, task.ID)
	engine.mustStop(t)
	engine.start(t)
	if o := <-over; o.err != nil || o.exit.Code != 7 {
		t.Errorf("it ended with %+v", o)
	}
	if got, want := drivertest.Output(t, task, "stdout"), "ready\ngot terminated\n"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
}
