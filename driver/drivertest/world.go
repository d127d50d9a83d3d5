//go:build unix

package drivertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// patience is how long anything may take before a test fails; it is generous, since machines that test are busy.
const patience = 90 * time.Second

// Probe builds the program that the suite's tasks run, a static one, and returns its path.
func Probe(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "build", "-o", path, "github.com/a43e60e4/cluster/driver/drivertest/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, out)
	}
	return path
}

// Task is a complete task of an allocation of its own, with directories that the test's end removes. It has no Config.
func Task(t testing.TB, name string) driver.Task {
	t.Helper()
	var alloc, node cluster.ID
	rand.Read(alloc[:])
	rand.Read(node[:])
	root := t.TempDir()
	dirs := map[string]string{}
	for _, dir := range []string{"alloc", "alloc/logs", "alloc/data", name + "/local", name + "/secrets"} {
		dirs[dir] = filepath.Join(root, dir)
		if err := os.MkdirAll(dirs[dir], 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return driver.Task{
		ID:        fmt.Sprintf("%s/%s/0", alloc, name),
		AllocID:   alloc,
		Namespace: "default",
		JobID:     "suite",
		Group:     "group",
		Name:      name,
		NodeID:    node,
		NodeName:  "node",
		Env:       map[string]string{"PATH": os.Getenv("PATH")},
		Resources: cluster.Resources{CPU: 500, MemoryMB: 128},
		AllocDir:  dirs["alloc"], LocalDir: dirs[name+"/local"], SecretsDir: dirs[name+"/secrets"],
		LogConfig: cluster.LogConfig{MaxFiles: 10, MaxFileSizeMB: 10},
	}
}

// Output is all that is kept of a stream ("stdout" or "stderr") of the task's output, oldest first.
func Output(t testing.TB, task driver.Task, stream string) string {
	t.Helper()
	var all strings.Builder
	for _, path := range logFiles(t, task, stream) {
		content, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}

// logFiles are the paths of a stream's files, oldest first.
func logFiles(t testing.TB, task driver.Task, stream string) []string {
	t.Helper()
	prefix := filepath.Join(task.AllocDir, "logs", task.Name+"."+stream+".")
	paths, err := filepath.Glob(prefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	number := func(path string) int {
		n, err := strconv.Atoi(strings.TrimPrefix(path, prefix))
		if err != nil {
			t.Fatalf("log file %s is not numbered", path)
		}
		return n
	}
	sort.Slice(paths, func(i, j int) bool { return number(paths[i]) < number(paths[j]) })
	return paths
}

// Await waits until the condition holds, and fails the test if it does not for too long.
func Await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// world is a driver under test and what a test knows of its tasks.
type world struct {
	*testing.T
	config Config
	driver driver.Driver
	ctx    context.Context
}

func newWorld(t *testing.T, c Config) *world {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &world{T: t, config: c, driver: c.Open(t), ctx: ctx}
}

// task is one that runs the probe; it is destroyed when the test ends.
func (w *world) task(args ...string) driver.Task {
	w.Helper()
	task := Task(w, "web")
	w.config.Command(&task, args...)
	return task
}

// start starts the task and begins to wait for it, as agents do.
func (w *world) start(task driver.Task) *waiting {
	w.Helper()
	w.destroyAtEnd(task)
	if err := w.driver.Start(w.ctx, task, nil); err != nil {
		w.Fatalf("start: %v", err)
	}
	return w.wait(w.ctx, w.driver, task.ID)
}

// destroyAtEnd destroys the task when the test ends.
func (w *world) destroyAtEnd(task driver.Task) {
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := w.driver.Destroy(ctx, task.ID); err != nil {
			w.Errorf("destroy at the end: %v", err)
		}
	})
}

// run starts the probe and waits for its end.
func (w *world) run(args ...string) (driver.Task, driver.Exit) {
	w.Helper()
	task := w.task(args...)
	return task, w.start(task).exit()
}

// says waits until the task has written the line to stdout.
func (w *world) says(task driver.Task, line string) {
	w.Helper()
	Await(w, "the task says "+strconv.Quote(line), func() bool {
		return strings.Contains("\n"+Output(w, task, "stdout"), "\n"+line+"\n")
	})
}

// seen is the path at which the task sees a file of its alloc directory.
func (w *world) seen(task driver.Task, name string) string {
	dir := task.AllocDir
	if m, ok := w.driver.(driver.Mounter); ok {
		dir = m.Mounts().AllocDir
	}
	return filepath.Join(dir, name)
}

// agent is the life of an agent that can be killed.
func (w *world) agent() (context.Context, context.CancelFunc) {
	ctx, kill := context.WithCancel(w.ctx)
	w.Cleanup(kill)
	return ctx, kill
}

// waiting is a Wait that goes on.
type waiting struct {
	t      *testing.T
	done   chan struct{}
	result driver.Exit
	err    error
}

func (w *world) wait(ctx context.Context, d driver.Driver, id string) *waiting {
	p := &waiting{t: w.T, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.result, p.err = d.Wait(ctx, id)
	}()
	w.Cleanup(func() { <-p.done })
	return p
}

func (p *waiting) exit() driver.Exit {
	p.t.Helper()
	<-p.done
	if p.err != nil {
		p.t.Fatalf("wait: %v", p.err)
	}
	return p.result
}

func (p *waiting) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
