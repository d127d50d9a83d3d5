//go:build linux

package rawexec_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
	"github.com/a43e60e4/cluster/driver/rawexec"
)

func TestConformance(t *testing.T) {
	probe := drivertest.Probe(t)
	worlds := map[string]*world{}
	drivertest.Test(t, drivertest.Config{
		Open: func(t *testing.T) driver.Driver {
			w := worlds[t.Name()]
			if w == nil {
				w = newWorld(t)
				worlds[t.Name()] = w
			}
			return w.open(rawexec.Config{Options: rawexec.Options{Enabled: true}})
		},
		Command: func(task *driver.Task, args ...string) {
			list := make([]any, len(args))
			for i := range args {
				list[i] = args[i]
			}
			task.Config = map[string]any{"command": probe, "args": list}
		},
	})
}

// world is a supervisor of real processes, in this process. It finds descendants by a variable of their environment.
type world struct {
	t *testing.T

	mu      sync.Mutex
	drivers []*rawexec.Driver
	tasks   map[string]*process
}

type process struct {
	spec rawexec.Process
	cmd  *exec.Cmd
	exit *driver.Exit
	over chan struct{} // closed when the exit is known
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, tasks: map[string]*process{}}
	t.Cleanup(func() {
		for id, p := range w.tasks {
			w.Kill(context.Background(), id)
			<-p.over
		}
	})
	return w
}

func (w *world) open(c rawexec.Config) *rawexec.Driver {
	c.Processes = w
	d := rawexec.New(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drivers = append(w.drivers, d)
	return d
}

const marker = "TEST_TASK="

func (w *world) Start(_ context.Context, p rawexec.Process) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tasks[p.ID] != nil {
		return nil
	}
	cmd := exec.Command(p.Command, p.Args...)
	cmd.Dir, cmd.Env = p.Dir, append(slices.Clone(p.Env), marker+p.ID)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var copying sync.WaitGroup
	var ends []*os.File
	pipe := func(o rawexec.Output) (*os.File, error) {
		r, end, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		l, err := driver.OpenLog(o.Dir, o.Name, cluster.LogConfig{
			MaxFiles: o.MaxFiles, MaxFileSizeMB: int(o.MaxBytes >> 20), Disabled: o.Name == "",
		})
		if err != nil {
			return nil, err
		}
		copying.Go(func() {
			io.Copy(l, r)
			l.Close()
			r.Close()
		})
		ends = append(ends, end)
		return end, nil
	}
	out, err := pipe(p.Stdout)
	if err != nil {
		return err
	}
	errs, err := pipe(p.Stderr)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, end := range ends {
		end.Close()
	}
	running := &process{spec: p, cmd: cmd, over: make(chan struct{})}
	w.tasks[p.ID] = running
	go func() {
		cmd.Wait()
		w.killMarked(p.ID)
		copying.Wait()
		w.ended(running)
	}()
	return nil
}

func (w *world) ended(p *process) {
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	exit := driver.Exit{At: time.Now()}
	if status.Signaled() {
		exit.Signal = int(status.Signal())
	} else {
		exit.Code = status.ExitStatus()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p.exit = &exit
	close(p.over)
	for _, d := range w.drivers {
		d.Ended(p.spec.ID, exit)
		d.Ended(p.spec.ID, exit)
	}
}

// marked are the processes of a task.
func marked(id string) []int {
	paths, _ := filepath.Glob("/proc/[0-9]*/environ")
	var out []int
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err == nil && slices.Contains(strings.Split(string(content), "\x00"), marker+id) {
			var pid int
			fmt.Sscanf(path, "/proc/%d/", &pid)
			out = append(out, pid)
		}
	}
	return out
}

func (w *world) killMarked(id string) {
	for {
		pids := marked(id)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		for _, pid := range pids { // a process loses its environment before its files
			drivertest.Await(w.t, "a process is dead", func() bool { return dead(pid) })
		}
	}
}

func dead(pid int) bool {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(content), ") ")
	return err != nil || strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

func (w *world) find(id string) (*process, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.tasks[id]; p != nil {
		return p, nil
	}
	return nil, driver.ErrUnknown
}

func (w *world) Signal(_ context.Context, id string, signal syscall.Signal) error {
	p, err := w.find(id)
	if err != nil {
		return err
	}
	if err := p.cmd.Process.Signal(signal); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (w *world) Kill(_ context.Context, id string) error {
	p, err := w.find(id)
	if err != nil {
		return err
	}
	p.cmd.Process.Kill()
	return nil // that it has ended comes to be known later
}

func (w *world) Forget(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.tasks[id]; p != nil && p.exit == nil {
		return fmt.Errorf("forget task %s: it has not ended", id)
	}
	delete(w.tasks, id)
	return nil
}

func (w *world) List(context.Context) ([]rawexec.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []rawexec.Status
	for id, p := range w.tasks {
		out = append(out, rawexec.Status{ID: id, Exit: p.exit})
	}
	return out, nil
}

func (w *world) Stats(_ context.Context, id string) (driver.Stats, error) {
	p, err := w.find(id)
	if err != nil {
		return driver.Stats{}, err
	}
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return driver.Stats{}, driver.ErrUnknown
	}
	fields := strings.Fields(string(content[strings.LastIndexByte(string(content), ')')+1:]))
	var user, system, pages uint64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	fmt.Sscan(fields[21], &pages)
	return driver.Stats{
		CPUTime: time.Duration(user+system) * 10 * time.Millisecond, MemoryBytes: pages * 4096, Pids: len(marked(id)),
	}, nil
}
