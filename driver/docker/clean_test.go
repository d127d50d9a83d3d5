//go:build linux

package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
)

func someID() (id cluster.ID) {
	rand.Read(id[:])
	return id
}

// clean runs the driver's cleaning until the condition holds.
func clean(t *testing.T, d *Driver, known func(cluster.ID) bool, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		d.Run(ctx, known)
	}()
	defer func() {
		cancel()
		<-over
	}()
	drivertest.Await(t, what, holds)
}

func TestLostContainers(t *testing.T) {
	mine, other := someID(), someID()
	o := options(sharedEngine(t))
	o.GC.Dangling = danglingOptions{Enabled: true, Period: "20ms", CreationGrace: "1s"}
	d := open(t, Config{Options: o, Dir: t.TempDir(), NodeID: mine})
	if !d.Fingerprint(t.Context()).Healthy {
		t.Fatal("the engine is not healthy")
	}
	tasks := map[string]driver.Task{}
	for name, node := range map[string]cluster.ID{"known": mine, "lost": mine, "foreign": other} {
		task := probeTask(t, d, "serve")
		task.NodeID = node
		mustStart(t, d, task)
		tasks[name] = task
	}
	known := func(id cluster.ID) bool { return id == tasks["known"].AllocID }
	there := func(name string) bool {
		_, err := d.find(t.Context(), tasks[name].ID)
		if err != nil && !errors.Is(err, driver.ErrUnknown) {
			t.Fatal(err)
		}
		return err == nil
	}
	dry := open(t, Config{Options: o, Dir: t.TempDir(), NodeID: mine})
	dry.config.Options.GC.Dangling.DryRun = true
	dry.config.Options.GC.Dangling.CreationGrace = "1ns"
	if err := dry.removeLost(t.Context(), known); err != nil || !there("lost") {
		t.Errorf("with dry_run the lost container is there: %v, %v", there("lost"), err)
	}
	d.config.Options.GC.Dangling.CreationGrace = "1h"
	if err := d.removeLost(t.Context(), known); err != nil || !there("lost") {
		t.Errorf("a young container is there: %v, %v", there("lost"), err)
	}
	d.config.Options.GC.Dangling.CreationGrace = "1s"
	clean(t, d, known, "the lost container is gone", func() bool { return !there("lost") })
	if !there("known") || !there("foreign") {
		t.Errorf("left are the known one: %v, that of another node: %v", there("known"), there("foreign"))
	}
}

// TestDamagedRecord opens a driver whose record of images was lost with the machine's power: nothing is its own any more.
func TestDamagedRecord(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "images"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, Config{Options: DefaultOptions(), Dir: dir})
	if err := d.pulled.change("sha256:1", "web", time.Now()); err != nil {
		t.Fatal(err)
	}
	again := open(t, Config{Options: DefaultOptions(), Dir: dir})
	if got := again.pulled.unused(time.Now()); len(got) != 1 || got["sha256:1"] != "web" {
		t.Errorf("it knows %v", got)
	}
}

func TestUnusedImages(t *testing.T) {
	o := options(sharedEngine(t))
	o.GC.ImageDelay = "100ms"
	dir := t.TempDir()
	d := open(t, Config{Options: o, Dir: dir})
	if !d.Fingerprint(t.Context()).Healthy {
		t.Fatal("the engine is not healthy")
	}
	r := newImageServer(t)
	task := pulledTask(t, d, r, "1")
	image := r.host() + "/team/app:1"
	there := func(name string) bool {
		_, err := d.engine.api.ImageInspect(t.Context(), name)
		if err != nil && !isMissing(err) {
			t.Fatal(err)
		}
		return err == nil
	}
	runs(t, d, task, nil)
	if err := d.removeImages(t.Context(), time.Now().Add(time.Hour), time.Minute); err != nil || !there(image) {
		t.Fatalf("the image of a container is there: %v, %v", there(image), err)
	}
	if err := d.Destroy(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	if err := d.removeImages(t.Context(), time.Now(), time.Hour); err != nil || !there(image) {
		t.Fatalf("before the delay the image is there: %v, %v", there(image), err)
	}
	again := open(t, Config{Options: o, Dir: dir}) // the agent was started anew
	again.Fingerprint(t.Context())
	clean(t, again, nil, "the image is gone", func() bool {
		return !there(image) && len(again.pulled.unused(time.Now().Add(time.Hour))) == 0
	})
	if !there(probeImage) {
		t.Error("an image is gone that the driver did not pull")
	}

	// One that was there before belongs to somebody else.
	given := newImageServer(t)
	foreign := pulledTask(t, d, given, "1")
	stream, err := d.engine.api.ImagePull(t.Context(), given.host()+"/team/app:1", client.ImagePullOptions{})
	if err == nil {
		err = stream.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	foreign.Config["force_pull"] = true
	runs(t, d, foreign, nil)
	if err := d.Destroy(t.Context(), foreign.ID); err != nil {
		t.Fatal(err)
	}
	if err := d.removeImages(t.Context(), time.Now().Add(time.Hour), time.Minute); err != nil || !there(given.host()+"/team/app:1") {
		t.Errorf("an image that was there before is there: %v, %v", there(given.host()+"/team/app:1"), err)
	}
}
