//go:build linux

package docker

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
)

func mustStart(t *testing.T, d *Driver, task driver.Task) {
	t.Helper()
	if err := d.Start(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
}

// ready waits until the task, which somebody waits for, says so.
func ready(t *testing.T, task driver.Task) {
	t.Helper()
	drivertest.Await(t, "the task is ready", func() bool {
		return strings.Contains(drivertest.Output(t, task, "stdout"), "ready\n")
	})
}

// freePort is a port of loopback that nobody had a moment ago.
func freePort(t *testing.T) int32 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return int32(l.Addr().(*net.TCPAddr).Port)
}

func TestPorts(t *testing.T) {
	endpoint := sharedEngine(t)
	if slices.Contains(shared.engine.args, "none") {
		skip(t, "there is no network bridge for the Docker engine")
	}
	d := open(t, Config{Options: options(endpoint), Dir: t.TempDir()})
	task := probeTask(t, d, "listen", ":80", ":81")
	task.Ports = []cluster.AllocatedPort{
		{Label: "http", HostIP: "127.0.0.1", Value: freePort(t), To: 80}, {Label: "other", HostIP: "127.0.0.1", Value: freePort(t), To: 81},
	}
	task.Config["ports"] = []any{"http"}
	mustStart(t, d, task)
	waitFor(t, d, task.ID)
	ready(t, task)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", task.Ports[0].Value))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	if text, err := bufio.NewReader(conn).ReadString('\n'); text != "hello\n" {
		t.Errorf("it answers %q, %v", text, err)
	}
	if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", task.Ports[1].Value)); err == nil {
		conn.Close()
		t.Error("a port that the config does not name is published")
	}

	rival := probeTask(t, d, "serve")
	rival.Ports, rival.Config["ports"] = task.Ports, []any{"http"}
	if err := d.Start(t.Context(), rival, nil); err == nil || errors.Is(err, driver.ErrInvalid) {
		t.Errorf("the same port again: %v", err)
	}
	if _, err := d.Wait(t.Context(), rival.ID); !errors.Is(err, driver.ErrUnknown) {
		t.Errorf("a start that failed left something: %v", err)
	}
	left, err := d.engine.api.ContainerList(t.Context(), client.ContainerListOptions{All: true, Filters: client.Filters{}.Add("label", labelTask+"="+rival.ID)})
	if err != nil || len(left.Items) != 0 {
		t.Errorf("it left %v, %v", left.Items, err)
	}
}

func TestLimits(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	task := probeTask(t, d, "eat", "200")
	task.Resources.MemoryMB = 40
	mustStart(t, d, task)
	exit, err := d.Wait(t.Context(), task.ID)
	if !exit.OOMKilled {
		t.Logf("the engine did not notice that memory ran out: %+v", exit) // engines miss it on some kernels
	}
	if err != nil || exit.Code != 137 || strings.Contains(drivertest.Output(t, task, "stdout"), "ate") {
		t.Errorf("it ended with %+v, %v", exit, err)
	}
}

func TestHardLimit(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir(), CoreMHz: 1000})
	task := probeTask(t, d, "work")
	task.Resources.CPU, task.Config["cpu_hard_limit"] = 100, true
	mustStart(t, d, task)
	began := time.Now()
	var stats driver.Stats
	drivertest.Await(t, "the task is throttled", func() bool {
		var err error
		if stats, err = d.Stats(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
		return stats.ThrottledPeriods >= 10 && stats.ThrottledTime > 0
	})
	if lived := time.Since(began); stats.CPUTime > lived/5+200*time.Millisecond {
		t.Errorf("with a tenth of a core it used %v in %v", stats.CPUTime, lived)
	}
}

// TestSecretsStay looks for secrets where they do not belong: in logs, errors, labels and arguments.
func TestSecretsStay(t *testing.T) {
	const secret = "s3cr3t-77"
	var log bytes.Buffer
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir(),
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	clean := func(what, text string) {
		t.Helper()
		if strings.Contains(text, secret) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("joe:"+secret))) {
			t.Errorf("%s shows a secret: %s", what, text)
		}
	}
	auth := map[string]any{"username": "joe", "password": secret}
	task := probeTask(t, d, "serve")
	task.Env["DB_PASSWORD"], task.Config["auth"] = secret, auth
	mustStart(t, d, task)
	waitFor(t, d, task.ID)
	ready(t, task)
	found, err := d.find(t.Context(), task.ID)
	if err != nil {
		t.Fatal(err)
	}
	clean("the list of containers", fmt.Sprintf("%+v", found))
	for _, config := range []map[string]any{
		{"image": "127.0.0.1:1/missing:1", "auth": auth},
		{"image": "127.0.0.1:1/missing:1", "auth": secret},
		{"image": probeImage, "auth": []any{auth, auth}},
		{"image": probeImage, "auth": map[string]any{"password": []any{secret}, "token": secret}},
		{"image": probeImage, "command": "/missing"},
		{"image": probeImage, "cap_add": []any{"NO_SUCH"}},
	} {
		broken := probeTask(t, d)
		broken.Env["DB_PASSWORD"], broken.Config = secret, config
		err := d.Start(t.Context(), broken, func(text string) { clean("a notice", text) })
		if err == nil {
			t.Errorf("%v works", config)
			continue
		}
		clean("an error", err.Error())
	}
	nameless := probeTask(t, d, "serve")
	nameless.Env[""] = secret
	if err := d.Start(t.Context(), nameless, nil); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("a variable without a name: %v", err)
	} else {
		clean("an error", err.Error())
	}
	if err := d.Destroy(t.Context(), task.ID); err != nil {
		t.Fatal(err)
	}
	clean("the log", log.String())
}

func TestDirectories(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	for place, writable := range map[string]bool{
		"/alloc/file": true, "/local/file": true, "/secrets/file": true, "/alloc/logs/file": false, "/data/file": true, "/fixed/file": false,
	} {
		task := probeTask(t, d, "once", place)
		task.Config["volumes"] = []any{"kept:/data", "local:/fixed:ro"}
		mustStart(t, d, task)
		over := waitFor(t, d, task.ID)
		if !writable {
			if o := <-over; o.exit.Code != 99 {
				t.Errorf("%s could be written: %+v", place, o)
			}
			continue
		}
		ready(t, task)
		on := map[string]string{
			"/alloc/file": task.AllocDir + "/file", "/local/file": task.LocalDir + "/file", "/secrets/file": task.SecretsDir + "/file",
			"/data/file": filepath.Join(filepath.Dir(task.LocalDir), "kept/file"),
		}[place]
		if content, err := os.ReadFile(on); string(content) != "x" {
			t.Errorf("%s of the node holds %q, %v", place, content, err)
		}
	}
}

func TestStopSignal(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	task := pulledTask(t, d, newImageServer(t), "1")
	task.Config["command"], task.Config["args"] = "/probe", []any{"serve"}
	mustStart(t, d, task)
	waitFor(t, d, task.ID)
	ready(t, task)
	if err := d.Signal(t.Context(), task.ID, ""); err != nil {
		t.Fatal(err)
	}
	drivertest.Await(t, "the image's signal arrives", func() bool {
		return strings.Contains(drivertest.Output(t, task, "stdout"), "got user defined signal 1\n")
	})
}

func TestCannotWork(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	for config, want := range map[string]string{
		`{"image":"cluster.test/probe:1","command":"/none"}`:                                         "/none",
		`{"image":"cluster.test/probe:1","command":"/probe","args":["serve"],"work_dir":"x"}`:        "x",
		`{"image":"cluster.test/probe:1","command":"/probe","args":["serve"],"network_mode":"gone"}`: "gone",
	} {
		task := probeTask(t, d)
		task.Config = nil
		if err := json.Unmarshal([]byte(config), &task.Config); err != nil {
			t.Fatal(err)
		}
		err := d.Start(t.Context(), task, nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `start task "web"`) {
			t.Errorf("%s: %v", config, err)
		}
		if want == "/none" && !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s: %v may be tried again", config, err)
		}
		if _, err := d.Wait(t.Context(), task.ID); !errors.Is(err, driver.ErrUnknown) {
			t.Errorf("%s: it left something: %v", config, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(d.config.Dir, "*")); len(left) != 0 {
		t.Errorf("files are left: %q", left)
	}
}

// TestNameTaken finds containers that earlier attempts, and others, have left.
func TestNameTaken(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	task := probeTask(t, d, "serve")
	mustStart(t, d, task)
	next := task
	next.ID += "1"
	mustStart(t, d, next)
	t.Cleanup(func() { d.Destroy(t.Context(), next.ID) })
	if _, err := d.Wait(t.Context(), task.ID); !errors.Is(err, driver.ErrUnknown) {
		t.Errorf("the earlier attempt is still there: %v", err)
	}
	if err := d.Destroy(t.Context(), next.ID); err != nil {
		t.Fatal(err)
	}
	foreign, err := d.engine.api.ContainerCreate(t.Context(), client.ContainerCreateOptions{
		Name: containerName(task), Config: &container.Config{Image: probeImage, Cmd: []string{"/probe"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), next, nil); err == nil || !strings.Contains(err.Error(), "not of this allocation: remove it with docker rm") {
		t.Errorf("a foreign container of that name: %v", err)
	}
	if _, err := d.engine.api.ContainerRemove(t.Context(), foreign.ID, client.ContainerRemoveOptions{}); err != nil {
		t.Errorf("it was touched: %v", err)
	}
}

// TestBrokenStart finds a container that an agent created before it was killed.
func TestBrokenStart(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	task := probeTask(t, d, "exit", "3")
	c, err := d.config.Options.decode(task)
	if err != nil {
		t.Fatal(err)
	}
	create, err := d.container(task, c, c.Image)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.create(t.Context(), task, create); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Wait(t.Context(), task.ID); !errors.Is(err, driver.ErrUnknown) {
		t.Errorf("what never started: %v", err)
	}
	mustStart(t, d, task)
	if exit, err := d.Wait(t.Context(), task.ID); err != nil || exit.Code != 3 {
		t.Errorf("%+v, %v", exit, err)
	}
}

// TestDestroyedAgain destroys tasks as an agent does that sees the end of one while it destroys it: once more. None of
// them loses output by that.
func TestDestroyedAgain(t *testing.T) {
	var log bytes.Buffer
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 5 {
		task := probeTask(t, d, "serve")
		mustStart(t, d, task)
		over := waitFor(t, d, task.ID)
		ready(t, task)
		first := make(chan error, 1)
		go func() { first <- d.Destroy(t.Context(), task.ID) }()
		<-over
		if err := errors.Join(d.Destroy(t.Context(), task.ID), <-first); err != nil {
			t.Error(err)
		}
	}
	if log.Len() > 0 {
		t.Errorf("the driver says\n%s", &log)
	}
}

// TestRemovedByOthers removes a container behind the driver's back.
func TestRemovedByOthers(t *testing.T) {
	d := open(t, Config{Options: options(sharedEngine(t)), Dir: t.TempDir()})
	task := probeTask(t, d, "serve")
	mustStart(t, d, task)
	over := waitFor(t, d, task.ID)
	ready(t, task)
	if _, err := d.engine.api.ContainerRemove(t.Context(), containerName(task), client.ContainerRemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	select {
	case o := <-over:
		if o.err == nil && o.exit.Successful() || o.err != nil && !errors.Is(o.err, driver.ErrUnknown) {
			t.Errorf("%+v", o)
		}
	case <-time.After(time.Minute):
		t.Error("the wait goes on")
	}
}
