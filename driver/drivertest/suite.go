//go:build unix

package drivertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// Config is a driver to test.
type Config struct {
	// Open returns the driver. Called again in the same test it is the driver of an agent that was started anew: a
	// new value, which finds the tasks of the first.
	Open func(t *testing.T) driver.Driver
	// Command gives the task the config that makes it run the program of Probe with these arguments.
	Command func(task *driver.Task, args ...string)
}

// Test runs the suite.
func Test(t *testing.T, c Config) {
	for _, test := range []struct {
		name string
		run  func(*world)
	}{
		{"Fingerprint", testFingerprint},
		{"ExitCodes", testExitCodes},
		{"Exact", testExact},
		{"Output", testOutput},
		{"NoOutput", testNoOutput},
		{"Rotation", testRotation},
		{"StartTwice", testStartTwice},
		{"WaitAgain", testWaitAgain},
		{"Restart", testRestart},
		{"RestartAfterEnd", testRestartAfterEnd},
		{"Signal", testSignal},
		{"Destroy", testDestroy},
		{"DestroyEnded", testDestroyEnded},
		{"Descendants", testDescendants},
		{"Attempts", testAttempts},
		{"Unknown", testUnknown},
		{"Invalid", testInvalid},
		{"Secrets", testSecrets},
		{"Stats", testStats},
		{"Concurrent", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(newWorld(t, c)) })
	}
}

func testFingerprint(w *world) {
	state := w.driver.Fingerprint(w.ctx)
	if !state.Detected || !state.Healthy {
		w.Errorf("it is %+v", state)
	}
	for name := range state.Attributes {
		if !strings.HasPrefix(name, "driver.") {
			w.Errorf("attribute %q does not begin with driver.", name)
		}
	}
}

func testExitCodes(w *world) {
	for _, code := range []int{0, 1, 3, 255} {
		before := time.Now().Add(-time.Second)
		task, exit := w.run("exit", fmt.Sprint(code), "bye")
		if exit.Code != code || exit.Signal != 0 || exit.Unknown || exit.OOMKilled || exit.Successful() != (code == 0) {
			w.Errorf("exit %d was %+v", code, exit)
		}
		if exit.At.Before(before) || exit.At.After(time.Now().Add(time.Second)) {
			w.Errorf("it ended at %v", exit.At)
		}
		if out := Output(w, task, "stdout"); out != "bye\n" {
			w.Errorf("stdout is %q", out)
		}
		if out := Output(w, task, "stderr"); out != "err:bye\n" {
			w.Errorf("stderr is %q", out)
		}
	}
}

func testExact(w *world) {
	args := []string{"show", "a b", `"quoted"`, "'single'", "", "line\nbreak", "größe ☃", "$HOME `id` \\", "--flag=x", "*"}
	task := w.task(args...)
	want := map[string]string{
		"PLAIN": "1", "EMPTY": "", "SPACES": " a  b ", "QUOTES": `"x" 'y'`, "LINES": "one\ntwo\n", "UNICODE": "größe ☃",
		"EQUALS": "a=b=c", "DOLLAR": "$HOME ${NOMAD_TASK_DIR}", "lower.case-name": "yes",
	}
	maps.Copy(task.Env, want)
	if exit := w.start(task).exit(); !exit.Successful() {
		w.Fatalf("it ended with %+v: %s", exit, Output(w, task, "stderr"))
	}
	var got struct {
		Args []string
		Env  []string
	}
	if err := json.Unmarshal([]byte(Output(w, task, "stdout")), &got); err != nil {
		w.Fatal(err)
	}
	if !slices.Equal(got.Args, args[1:]) {
		w.Errorf("arguments\n%q, want\n%q", got.Args, args[1:])
	}
	for name, value := range want {
		if !slices.Contains(got.Env, name+"="+value) {
			w.Errorf("environment without %q", name+"="+value)
		}
	}
	seen := map[string]bool{}
	for _, variable := range got.Env {
		name, _, _ := strings.Cut(variable, "=")
		if seen[name] {
			w.Errorf("variable %q is there twice", name)
		}
		seen[name] = true
	}
}

// numbered is lines of the probe, from and to a number.
func numbered(word string, from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%s %08d\n", word, i)
	}
	return b.String()
}

func testOutput(w *world) {
	const n = 20000
	task, exit := w.run("lines", fmt.Sprint(n))
	if !exit.Successful() {
		w.Errorf("it ended with %+v", exit)
	}
	for stream, word := range map[string]string{"stdout": "out", "stderr": "err"} {
		if got, want := Output(w, task, stream), numbered(word, 0, n); got != want {
			w.Errorf("%s has %d bytes, want %d: lines are missing or there twice", stream, len(got), len(want))
		}
	}
}

func testNoOutput(w *world) {
	task := w.task("exit", "4", "unheard")
	task.LogConfig.Disabled = true
	if exit := w.start(task).exit(); exit.Code != 4 {
		w.Errorf("it ended with %+v", exit)
	}
	if files := logFiles(w, task, "stdout"); len(files) != 0 {
		w.Errorf("there are %q", files)
	}
}

func testRotation(w *world) {
	const n, size = 200000, 1 << 20 // 13 bytes a line
	task := w.task("lines", fmt.Sprint(n))
	task.LogConfig = cluster.LogConfig{MaxFiles: 2, MaxFileSizeMB: 1}
	if exit := w.start(task).exit(); !exit.Successful() {
		w.Errorf("it ended with %+v", exit)
	}
	for stream, word := range map[string]string{"stdout": "out", "stderr": "err"} {
		files := logFiles(w, task, stream)
		if len(files) != 2 {
			w.Errorf("%d files of %s are kept, want 2: %q", len(files), stream, files)
		}
		for _, path := range files {
			if info, err := os.Stat(path); err != nil || info.Size() > size {
				w.Errorf("%s: %v, %d bytes", path, err, info.Size())
			}
		}
		got, want := Output(w, task, stream), numbered(word, 0, n)
		if len(got) < size || !strings.HasSuffix(want, got) {
			w.Errorf("%s keeps %d bytes that are not the end of what was written", stream, len(got))
		}
	}
}

func testStartTwice(w *world) {
	task := w.task("serve")
	w.config.Command(&task, "once", w.seen(task, "data/starts"))
	waiting := w.start(task)
	w.says(task, "ready")
	again := w.config.Open(w.T)
	for _, d := range []driver.Driver{w.driver, again} {
		if err := d.Start(w.ctx, task, nil); err != nil {
			w.Errorf("start while it runs: %v", err)
		}
	}
	if err := w.driver.Signal(w.ctx, task.ID, "SIGTERM"); err != nil {
		w.Fatal(err)
	}
	first := waiting.exit()
	for _, d := range []driver.Driver{w.driver, again} {
		if err := d.Start(w.ctx, task, nil); err != nil {
			w.Errorf("start after it ended: %v", err)
		}
		if exit, err := d.Wait(w.ctx, task.ID); err != nil || exit.Code != first.Code {
			w.Errorf("wait after that: %+v, %v, want %+v", exit, err, first)
		}
	}
	if starts, err := os.ReadFile(filepath.Join(task.AllocDir, "data/starts")); string(starts) != "x" {
		w.Errorf("it was started %d times: %v", len(starts), err)
	}
}

func testWaitAgain(w *world) {
	task := w.task("serve")
	first := w.start(task)
	second := w.wait(w.ctx, w.driver, task.ID)
	given, cancel := context.WithCancel(w.ctx)
	third := w.wait(given, w.driver, task.ID)
	w.says(task, "ready")
	cancel()
	<-third.done
	if !errors.Is(third.err, context.Canceled) {
		w.Errorf("a wait given up returned %+v, %v", third.result, third.err)
	}
	if first.over() || second.over() {
		w.Error("a wait is over while the task runs")
	}
	if err := w.driver.Signal(w.ctx, task.ID, "SIGTERM"); err != nil {
		w.Fatal(err)
	}
	for _, p := range []*waiting{first, second, w.wait(w.ctx, w.driver, task.ID)} {
		if exit := p.exit(); exit.Code != 7 {
			w.Errorf("it ended with %+v", exit)
		}
	}
}

// testRestart kills the agent several times while a task writes.
func testRestart(w *world) {
	const n = 400
	task := w.task("serve")
	file := filepath.Join(task.AllocDir, "data/ticks")
	clock, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		w.Fatal(err)
	}
	defer clock.Close()
	w.config.Command(&task, "ticks", fmt.Sprint(n), w.seen(task, "data/ticks"))
	agent, kill := w.agent()
	w.destroyAtEnd(task)
	if err := w.driver.Start(agent, task, nil); err != nil {
		w.Fatal(err)
	}
	waiting := w.wait(agent, w.driver, task.ID)
	for i := range n {
		if _, err := clock.WriteString("."); err != nil {
			w.Fatal(err)
		}
		if i%50 == 49 && i < n-50 {
			w.says(task, fmt.Sprintf("tick %08d", i-20))
			kill()
			<-waiting.done
			agent, kill = w.agent()
			w.driver = w.config.Open(w.T)
			waiting = w.wait(agent, w.driver, task.ID)
		}
	}
	if exit := waiting.exit(); exit.Code != 9 {
		w.Errorf("it ended with %+v", exit)
	}
	if got, want := Output(w, task, "stdout"), numbered("tick", 0, n); got != want {
		w.Errorf("%d bytes of output, want %d: lines are missing or there twice\n%s", len(got), len(want), got)
	}
}

func testRestartAfterEnd(w *world) {
	task := w.task("exit", "7", "bye")
	w.destroyAtEnd(task)
	if err := w.driver.Start(w.ctx, task, nil); err != nil {
		w.Fatal(err)
	}
	w.driver = w.config.Open(w.T)
	exit, err := w.driver.Wait(w.ctx, task.ID)
	if err != nil || exit.Code != 7 {
		w.Errorf("after the restart it ended with %+v, %v", exit, err)
	}
	if got, want := Output(w, task, "stdout"), "bye\n"; got != want {
		w.Errorf("output %q, want %q", got, want)
	}
}

func testSignal(w *world) {
	task := w.task("serve")
	waiting := w.start(task)
	w.says(task, "ready")
	for _, signal := range []struct{ name, text string }{{"SIGHUP", "hangup"}, {"SIGUSR1", "user defined signal 1"}} {
		if err := w.driver.Signal(w.ctx, task.ID, signal.name); err != nil {
			w.Fatal(err)
		}
		w.says(task, "got "+signal.text)
	}
	if err := w.driver.Signal(w.ctx, task.ID, "SIGNOTHING"); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "SIGNOTHING") {
		w.Errorf("an unknown signal: %v", err)
	}
	if err := w.driver.Signal(w.ctx, task.ID, ""); err != nil {
		w.Fatal(err)
	}
	if exit := waiting.exit(); exit.Code != 7 || exit.Signal != 0 {
		w.Errorf("asked to end, it did with %+v", exit)
	}
	for _, name := range []string{"", "SIGTERM"} {
		if err := w.driver.Signal(w.ctx, task.ID, name); err != nil {
			w.Errorf("signal %q after the end: %v", name, err)
		}
	}
}

// free checks whether somebody holds a lock on the file.
func (w *world) free(file string, want bool) {
	w.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if free := err == nil; free != want {
		w.Errorf("no process of the task lives: %v, want %v (%v)", free, want, err)
	}
}

func testDestroy(w *world) {
	task := w.task("serve")
	file := filepath.Join(task.AllocDir, "data/lock")
	w.config.Command(&task, "stubborn", w.seen(task, "data/lock"))
	waiting := w.start(task)
	w.says(task, "ready")
	if err := w.driver.Signal(w.ctx, task.ID, "SIGTERM"); err != nil {
		w.Fatal(err)
	}
	w.free(file, false)
	if err := w.driver.Destroy(w.ctx, task.ID); err != nil {
		w.Fatal(err)
	}
	w.free(file, true)
	<-waiting.done
	if waiting.err == nil && waiting.result.Successful() || waiting.err != nil && !errors.Is(waiting.err, driver.ErrUnknown) {
		w.Errorf("the wait returned %+v, %v", waiting.result, waiting.err)
	}
	if _, err := w.driver.Wait(w.ctx, task.ID); !errors.Is(err, driver.ErrUnknown) {
		w.Errorf("wait for what was destroyed: %v", err)
	}
	if got := Output(w, task, "stdout"); got != "ready\n" {
		w.Errorf("its output is %q", got)
	}
}

func testDestroyEnded(w *world) {
	task, _ := w.run("exit", "0", "left")
	for range 2 {
		if err := w.driver.Destroy(w.ctx, task.ID); err != nil {
			w.Error(err)
		}
	}
	if _, err := w.driver.Wait(w.ctx, task.ID); !errors.Is(err, driver.ErrUnknown) {
		w.Errorf("wait for what was destroyed: %v", err)
	}
	if got := Output(w, task, "stdout"); got != "left\n" {
		w.Errorf("its output is %q", got)
	}
}

func testDescendants(w *world) {
	task := w.task("serve")
	w.config.Command(&task, "orphan", w.seen(task, "data/lock"))
	if exit := w.start(task).exit(); exit.Code != 5 {
		w.Errorf("it ended with %+v", exit)
	}
	w.free(filepath.Join(task.AllocDir, "data/lock"), true)
}

// testAttempts starts a task anew, as a restart policy does.
func testAttempts(w *world) {
	task := w.task("exit", "1", "attempt")
	base := strings.TrimSuffix(task.ID, "0")
	for attempt := range 3 {
		task.ID = fmt.Sprint(base, attempt)
		if exit := w.start(task).exit(); exit.Code != 1 {
			w.Errorf("attempt %d ended with %+v", attempt, exit)
		}
		if err := w.driver.Destroy(w.ctx, task.ID); err != nil {
			w.Fatal(err)
		}
	}
	if got, want := Output(w, task, "stdout"), strings.Repeat("attempt\n", 3); got != want {
		w.Errorf("output %q, want %q", got, want)
	}
}

func testUnknown(w *world) {
	const id = "0b5f1e0e-0000-4000-8000-000000000000/web/0"
	if _, err := w.driver.Wait(w.ctx, id); !errors.Is(err, driver.ErrUnknown) {
		w.Errorf("wait: %v", err)
	}
	if err := w.driver.Signal(w.ctx, id, "SIGHUP"); !errors.Is(err, driver.ErrUnknown) {
		w.Errorf("signal: %v", err)
	}
	if err := w.driver.Signal(w.ctx, id, ""); !errors.Is(err, driver.ErrUnknown) {
		w.Errorf("stop: %v", err)
	}
	if _, err := w.driver.Stats(w.ctx, id); !errors.Is(err, driver.ErrUnknown) {
		w.Errorf("stats: %v", err)
	}
	if err := w.driver.Destroy(w.ctx, id); err != nil {
		w.Errorf("destroy: %v", err)
	}
}

func testInvalid(w *world) {
	for name, value := range map[string]any{"cammand": "x", "args": 7.0, "work_dir": []any{"x"}} {
		task := w.task("exit", "0")
		task.Config = maps.Clone(task.Config)
		task.Config[name] = value
		err := w.driver.Start(w.ctx, task, nil)
		if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), `"`+name+`"`) || !strings.Contains(err.Error(), `"web"`) {
			w.Errorf("option %q = %v: %v", name, value, err)
		}
		if _, err := w.driver.Wait(w.ctx, task.ID); !errors.Is(err, driver.ErrUnknown) {
			w.Errorf("after a failed start wait returns %v", err)
		}
	}
	task := w.task("exit", "0")
	task.Config = nil
	if err := w.driver.Start(w.ctx, task, nil); !errors.Is(err, driver.ErrInvalid) {
		w.Errorf("no config: %v", err)
	}
}

func testSecrets(w *world) {
	const secret = "s3cr3t-e9a1c7"
	task := w.task("serve")
	task.Env["DB_PASSWORD"] = secret
	w.start(task)
	w.says(task, "ready")
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		w.Fatal(err)
	}
	for _, path := range lines {
		if content, err := os.ReadFile(path); err == nil && strings.Contains(string(content), secret) {
			w.Errorf("%s shows the secret", path)
		}
	}
}

func testStats(w *world) {
	task := w.task("work")
	waiting := w.start(task)
	w.says(task, "ready")
	Await(w, "the statistics show work", func() bool {
		stats, err := w.driver.Stats(w.ctx, task.ID)
		if err != nil {
			w.Fatal(err)
		}
		return stats.CPUTime > 50*time.Millisecond && stats.MemoryBytes > 16<<20 && stats.Pids >= 1
	})
	if err := w.driver.Signal(w.ctx, task.ID, "SIGTERM"); err != nil {
		w.Fatal(err)
	}
	waiting.exit()
	if stats, err := w.driver.Stats(w.ctx, task.ID); !errors.Is(err, driver.ErrUnknown) {
		w.Errorf("statistics after the end: %+v, %v", stats, err)
	}
}

func testConcurrent(w *world) {
	var group sync.WaitGroup
	for i := range 6 {
		task := w.task("lines", fmt.Sprint(100+i))
		for range 3 { // whoever comes first
			group.Go(func() {
				if err := w.driver.Start(w.ctx, task, nil); err != nil {
					w.Errorf("task %d: start: %v", i, err)
					return
				}
				exit, err := w.driver.Wait(w.ctx, task.ID)
				if err != nil || !exit.Successful() {
					w.Errorf("task %d: %+v, %v", i, exit, err)
				}
				if got, want := Output(w, task, "stdout"), numbered("out", 0, 100+i); got != want {
					w.Errorf("task %d: %d bytes of output, want %d", i, len(got), len(want))
				}
			})
		}
		w.destroyAtEnd(task)
	}
	group.Wait()
}
