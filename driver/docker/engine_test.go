//go:build linux

package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
)

// probeImage is the image that test tasks run; every dockerd of the tests has it.
const probeImage = "cluster.test/probe:1"

// dockerd is an engine of the test's own, with its own directory and bridge.
type dockerd struct {
	dir    string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
}

// shared is the engine that most tests use; the last of them ends it.
var shared struct {
	sync.Mutex
	engine *dockerd
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.engine != nil {
		if err := shared.engine.end(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience is how long anything may take before a test fails.
const patience = 90 * time.Second

// skip ends a test that the machine cannot run.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CLUSTER_FORBID_SKIP") == "1" {
		t.Fatal("this must not be skipped: " + why)
	}
	t.Skip(why)
}

// sharedEngine is the endpoint of a running engine with the probe's image.
func sharedEngine(t *testing.T) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.engine == nil && shared.err == nil {
		shared.engine = newDockerd(t, false)
	}
	return shared.engine.endpoint()
}

// newDockerd starts an engine. With liveRestore containers live on while it is away.
func newDockerd(t *testing.T, liveRestore bool) *dockerd {
	t.Helper()
	if os.Getuid() != 0 {
		skip(t, "a Docker engine needs root")
	}
	if _, err := exec.LookPath("dockerd"); err != nil {
		skip(t, "dockerd is not installed")
	}
	dir, err := os.MkdirTemp("", "dockerd")
	if err != nil {
		t.Fatal(err)
	}
	d := &dockerd{dir: dir}
	d.args = []string{
		"--data-root", d.path("data"), "--exec-root", d.path("exec"), "--pidfile", d.path("pid"), "--host", d.endpoint(),
		"--iptables=false", "--ip6tables=false", "--bridge", d.bridge(t),
	}
	if liveRestore {
		d.args = append(d.args, "--live-restore")
	}
	d.start(t)
	d.load(t)
	return d
}

func (d *dockerd) path(name string) string { return filepath.Join(d.dir, name) }
func (d *dockerd) endpoint() string        { return "unix://" + d.path("sock") }

// bridge makes a network bridge with an address that nobody else here has; "none" where that cannot be done. Others may look
// for one at the same time, so it looks again at what it has chosen: two bridges with one network lead nowhere.
func (d *dockerd) bridge(t *testing.T) string {
	name := "ct" + d.dir[max(0, len(d.dir)-8):]
	if out, err := exec.Command("ip", "link", "add", name, "type", "bridge").CombinedOutput(); err != nil {
		t.Logf("no bridge: %s", out)
		return "none"
	}
	for range 20 {
		address := fmt.Sprintf("172.%d.%d.1/24", 18+rand.IntN(14), rand.IntN(256))
		if exec.Command("ip", "addr", "add", address, "dev", name).Run() != nil {
			continue
		}
		if exec.Command("ip", "link", "set", name, "up").Run() == nil && alone(t, address) {
			return name
		}
		exec.Command("ip", "addr", "del", address, "dev", name).Run()
	}
	return "none"
}

// alone reports whether one interface only has an address in the network of this one.
func alone(t *testing.T, address string) bool {
	t.Helper()
	_, network, err := net.ParseCIDR(address)
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var there int
	for _, a := range taken {
		if other, ok := a.(*net.IPNet); ok && network.Contains(other.IP) {
			there++
		}
	}
	return there == 1
}

// start runs dockerd and waits until it answers.
func (d *dockerd) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd = exec.Command("dockerd", d.args...)
	d.cmd.Stdout, d.cmd.Stderr = log, log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	d.exited = exited
	go func(cmd *exec.Cmd) {
		cmd.Wait()
		close(exited)
	}(d.cmd)
	api := d.api(t)
	drivertest.Await(t, "dockerd answers", func() bool {
		select {
		case <-exited:
			content, _ := os.ReadFile(d.path("log"))
			t.Fatalf("dockerd ended:\n%s", content[max(0, len(content)-4000):])
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // it listens before it answers
		defer cancel()
		_, err := api.Ping(ctx, client.PingOptions{})
		return err == nil
	})
}

// stop asks dockerd to end and waits until it has. One that does not is killed, which is an error.
func (d *dockerd) stop() error {
	syscall.Kill(d.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-d.exited:
		return nil
	case <-time.After(patience):
	}
	syscall.Kill(d.cmd.Process.Pid, syscall.SIGKILL)
	<-d.exited
	content, _ := os.ReadFile(d.path("log"))
	return fmt.Errorf("dockerd did not end in %v:\n%s", patience, content[max(0, len(content)-4000):])
}

func (d *dockerd) mustStop(t *testing.T) {
	t.Helper()
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
}

// end ends dockerd, the containerd it started and all containers, and removes its files.
func (d *dockerd) end() error {
	err := d.stop()
	pids, _ := filepath.Glob(d.path("exec/containerd/containerd.pid"))
	for _, path := range pids {
		content, _ := os.ReadFile(path)
		var pid int
		if fmt.Sscan(string(content), &pid); pid > 1 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	shims, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range shims {
		var pid int
		content, _ := os.ReadFile(path)
		fmt.Sscanf(path, "/proc/%d/", &pid)
		if pid > 1 && bytes.Contains(content, []byte("containerd-shim")) && bytes.Contains(content, []byte(d.dir+"/")) {
			syscall.Kill(pid, syscall.SIGKILL) // of a container that a failed test left
		}
	}
	exec.Command("sh", "-c", `awk -v d="$1" 'index($2, d) == 1 {print $2}' /proc/mounts | sort -r | xargs -r umount -l`, "sh", d.dir).Run()
	exec.Command("ip", "link", "del", "ct"+d.dir[max(0, len(d.dir)-8):]).Run()
	os.RemoveAll(d.dir)
	return err
}

func (d *dockerd) api(t testing.TB) *client.Client {
	t.Helper()
	api, err := client.New(client.WithHost(d.endpoint()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	return api
}

// load makes the probe's image.
func (d *dockerd) load(t *testing.T) {
	t.Helper()
	importImage(t, d.api(t), probeImage)
}

func importImage(t testing.TB, api *client.Client, name string) {
	t.Helper()
	content, err := os.ReadFile(drivertest.Probe(t))
	if err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	w.WriteHeader(&tar.Header{Name: "probe", Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg})
	w.Write(content)
	w.WriteHeader(&tar.Header{Name: "tmp", Mode: 0o1777, Typeflag: tar.TypeDir})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := api.ImageImport(ctx, client.ImageImportSource{Source: &image, SourceName: "-"}, name, client.ImageImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	if _, err := io.Copy(io.Discard, result); err != nil {
		t.Fatal(err)
	}
}

// open makes a driver for an engine.
func open(t *testing.T, c Config) *Driver {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.engine.api.Close() })
	return d
}

// options are the defaults for an endpoint.
func options(endpoint string) Options {
	o := DefaultOptions()
	o.Endpoint = endpoint
	return o
}

// command makes the task run the probe.
func command(task *driver.Task, args ...string) {
	list := make([]any, len(args))
	for i := range args {
		list[i] = args[i]
	}
	task.Config = map[string]any{"image": probeImage, "command": "/probe", "args": list}
}

// probeTask is a task that runs the probe, destroyed when the test ends.
func probeTask(t *testing.T, d *Driver, args ...string) driver.Task {
	t.Helper()
	task := drivertest.Task(t, "web")
	command(&task, args...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := d.Destroy(ctx, task.ID); err != nil {
			t.Errorf("destroy at the end: %v", err)
		}
	})
	return task
}

func TestConformance(t *testing.T) {
	endpoint := sharedEngine(t)
	dirs := map[string]string{}
	drivertest.Test(t, drivertest.Config{
		Open: func(t *testing.T) driver.Driver {
			if dirs[t.Name()] == "" {
				dirs[t.Name()] = t.TempDir()
			}
			return open(t, Config{Options: options(endpoint), Dir: dirs[t.Name()]})
		},
		Command: command,
	})
}
