//go:build unix

package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
)

// fakeEngine is an engine with one container, and bad manners.
type fakeEngine struct {
	path   string // of its socket
	server *httptest.Server
	leave  context.CancelFunc // ends what the server is doing
	hangs  atomic.Bool        // it takes calls and never answers
	refuse atomic.Bool        // it answers every call with an error of its own
	mute   atomic.Bool        // it takes calls for the container's end and output, and never answers
	unsaid atomic.Int32       // how many such calls it has taken

	mu     sync.Mutex
	task   driver.Task
	output outputLabel
	ended  bool
	log    func(http.ResponseWriter) // writes the container's log
	gone   chan struct{}             // closed when the container ends
}

func newFakeEngine(t *testing.T) *fakeEngine {
	t.Helper()
	dir, err := os.MkdirTemp("", "fake") // paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fakeEngine{path: filepath.Join(dir, "sock"), gone: make(chan struct{}), task: drivertest.Task(t, "web")}
	f.output = outputLabel{Dir: f.task.AllocDir, Name: "web", LogConfig: f.task.LogConfig}
	f.serve(t)
	t.Cleanup(f.vanish)
	return f
}

func (f *fakeEngine) serve(t *testing.T) {
	t.Helper()
	os.Remove(f.path)
	listener, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, leave := context.WithCancel(context.Background())
	f.leave = leave
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.BaseContext = func(net.Listener) context.Context { return ctx }
	f.server.Listener.Close()
	f.server.Listener = listener
	f.server.Start()
}

// vanish ends the engine, and cuts off everything it was doing also for those who come at this moment: closing the server
// waits for each call that was begun.
func (f *fakeEngine) vanish() {
	f.leave()
	f.server.Close()
}

// end ends the container, which has left this log.
func (f *fakeEngine) end(log func(http.ResponseWriter)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.log = true, log
	close(f.gone)
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	switch {
	case f.hangs.Load():
		cutOff(q)
	case f.refuse.Load():
		http.Error(w, `{"message":"the graph driver is broken"}`, http.StatusInternalServerError)
		return
	}
	f.mu.Lock()
	ended, log := f.ended, f.log
	f.mu.Unlock()
	output, _ := json.Marshal(f.output)
	labels := map[string]string{labelTask: f.task.ID, labelOutput: string(output)}
	state := map[string]any{"Status": "running", "Running": true}
	if ended {
		state = map[string]any{"Status": "exited", "ExitCode": 4, "FinishedAt": "2026-01-02T03:04:05.6Z"}
	}
	_, verb, _ := strings.Cut(q.URL.Path, "/v1.41")
	switch verb {
	case "": // ping
		w.Header().Set("Api-Version", "1.41")
	case "/info":
		fmt.Fprint(w, `{"ServerVersion":"fake"}`)
	case "/containers/json":
		json.NewEncoder(w).Encode([]any{map[string]any{"Id": "c1", "Labels": labels, "State": state["Status"]}})
	case "/containers/c1/json":
		json.NewEncoder(w).Encode(map[string]any{"Id": "c1", "State": state, "Config": map[string]any{"Labels": labels}})
	case "/containers/c1/wait":
		if f.mute.Load() {
			f.unsaid.Add(1)
			cutOff(q)
		}
		w.(http.Flusher).Flush()
		select {
		case <-f.gone:
			fmt.Fprint(w, `{"StatusCode":4}`)
		case <-q.Context().Done():
			cutOff(q)
		}
	case "/containers/c1/logs":
		if !ended && f.mute.Load() {
			f.unsaid.Add(1)
			cutOff(q)
		}
		w.(http.Flusher).Flush()
		if !ended {
			select {
			case <-f.gone:
			case <-q.Context().Done():
				cutOff(q)
			}
			return
		}
		log(w)
	default:
		http.Error(w, `{"message":"no such thing"}`, http.StatusNotFound)
	}
}

// cutOff breaks a call without an answer, once the caller or the engine leaves.
func cutOff(q *http.Request) {
	<-q.Context().Done()
	panic(http.ErrAbortHandler)
}

func (f *fakeEngine) driver(t *testing.T, limit time.Duration) *Driver {
	t.Helper()
	return open(t, Config{Options: options("unix://" + f.path), Dir: t.TempDir(), CallTimeout: limit})
}

func TestNoEngine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none")
	d := open(t, Config{Options: options("unix://" + path), Dir: t.TempDir()})
	state := d.Fingerprint(t.Context())
	if state.Detected || state.Healthy || !strings.Contains(state.HealthDescription, "there is none at unix://"+path+"; is Docker installed") {
		t.Errorf("%+v", state)
	}
	task := drivertest.Task(t, "web")
	command(&task, "serve")
	if err := d.Start(t.Context(), task, nil); !errors.Is(err, errAway) || errors.Is(err, driver.ErrInvalid) {
		t.Errorf("start: %v", err)
	}
}

// TestEngineHangs calls everything of an engine that takes calls and answers none.
func TestEngineHangs(t *testing.T) {
	f := newFakeEngine(t)
	for _, before := range []string{"from the beginning", "later"} {
		f.hangs.Store(false)
		d := f.driver(t, 300*time.Millisecond)
		if before == "later" {
			if state := d.Fingerprint(t.Context()); !state.Healthy {
				t.Fatalf("%+v", state)
			}
		}
		f.hangs.Store(true)
		waiting, giveUp := context.WithCancel(t.Context())
		var waits, calls sync.WaitGroup
		for range 5 {
			waits.Go(func() {
				if _, err := d.Wait(waiting, f.task.ID); !errors.Is(err, context.Canceled) {
					t.Errorf("%s: the wait returned %v", before, err)
				}
			})
		}
		task := f.task
		command(&task, "serve")
		begin := time.Now()
		for name, call := range map[string]func() error{
			"start":   func() error { return d.Start(t.Context(), task, nil) },
			"signal":  func() error { return d.Signal(t.Context(), task.ID, "SIGHUP") },
			"destroy": func() error { return d.Destroy(t.Context(), task.ID) },
			"stats":   func() error { _, err := d.Stats(t.Context(), task.ID); return err },
		} {
			calls.Go(func() {
				err := call()
				if !errors.Is(err, errAway) || !strings.Contains(err.Error(), "did not answer within 300ms; see whether dockerd hangs") {
					t.Errorf("%s: %s: %v", before, name, err)
				}
			})
		}
		calls.Wait()
		if state := d.Fingerprint(t.Context()); !state.Detected || state.Healthy || !strings.Contains(state.HealthDescription, "hangs") {
			t.Errorf("%s: %+v", before, state)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%s: that took %v", before, took)
		}
		giveUp()
		waits.Wait()
	}
}

// TestEngineVanishesAmongCallers takes the engine away while many come to wait for the task.
func TestEngineVanishesAmongCallers(t *testing.T) {
	const many = 8
	f := newFakeEngine(t)
	f.mute.Store(true)
	d := f.driver(t, 5*time.Second)
	ctx, giveUp := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for range many {
		callers.Go(func() {
			for ctx.Err() == nil {
				if err := d.awaitEnd(ctx, "c1"); err == nil {
					t.Error("the container has ended")
				}
			}
		})
	}
	for range 5 {
		drivertest.Await(t, "all are there", func() bool { return f.unsaid.Load() >= many })
		f.vanish()
		f.unsaid.Store(0)
		f.serve(t)
	}
	giveUp()
	callers.Wait()
}

// TestEngineSaysNothing ends a task whose end and output the engine does not tell of.
func TestEngineSaysNothing(t *testing.T) {
	for disabled, calls := range map[bool]int32{false: 2, true: 1} {
		f := newFakeEngine(t)
		f.mute.Store(true)
		f.output.Disabled = disabled
		d := f.driver(t, 5*time.Second)
		d.lookEvery = 20 * time.Millisecond
		over := waitFor(t, d, f.task.ID)
		drivertest.Await(t, "the driver waits", func() bool { return f.unsaid.Load() == calls })
		f.end(func(w http.ResponseWriter) { w.Write(frame(1, "2026-01-02T03:04:05.1Z last words\n")) })
		o := <-over
		if o.err != nil || o.exit.Code != 4 {
			t.Errorf("it ended with %+v", o)
		}
		if got := drivertest.Output(t, f.task, "stdout"); !disabled && got != "last words\n" {
			t.Errorf("output %q", got)
		}
	}
}

// TestEngineVanishes takes the engine away while a task is waited for; it ends meanwhile.
func TestEngineVanishes(t *testing.T) {
	f := newFakeEngine(t)
	d := f.driver(t, 5*time.Second)
	if state := d.Fingerprint(t.Context()); !state.Healthy || state.Attributes["driver.docker.version"] != "fake" {
		t.Fatalf("%+v", state)
	}
	over := waitFor(t, d, f.task.ID)
	f.vanish()
	if state := d.Fingerprint(t.Context()); !state.Detected || state.Healthy {
		t.Errorf("without its engine it is %+v", state)
	}
	f.refuse.Store(true)
	f.serve(t)
	if state := d.Fingerprint(t.Context()); !state.Detected || state.Healthy || !strings.Contains(state.HealthDescription, "graph driver") {
		t.Errorf("with a sick engine it is %+v", state)
	}
	f.end(func(w http.ResponseWriter) { w.Write(frame(1, "2026-01-02T03:04:05.1Z last words\n")) })
	f.refuse.Store(false)
	o := <-over
	if o.err != nil || o.exit.Code != 4 || o.exit.At.Year() != 2026 {
		t.Errorf("it ended with %+v", o)
	}
	if got := drivertest.Output(t, f.task, "stdout"); got != "last words\n" {
		t.Errorf("output %q", got)
	}
}

// TestEngineTalksNonsense ends a task whose log the engine cannot read any more.
func TestEngineTalksNonsense(t *testing.T) {
	for _, nonsense := range []string{"garbage that is no frame", string(frame(3, "invalid character in log file")), string(frame(1, "no time"))} {
		f := newFakeEngine(t)
		d := f.driver(t, 5*time.Second)
		over := waitFor(t, d, f.task.ID)
		f.end(func(w http.ResponseWriter) {
			w.Write(frame(1, "2026-01-02T03:04:05.1Z fine\n"))
			w.Write([]byte(nonsense))
		})
		o := <-over
		if o.err != nil || o.exit.Code != 4 || !strings.Contains(o.exit.Message, "the end of its output is lost") {
			t.Errorf("it ended with %+v", o)
		}
		if got := drivertest.Output(t, f.task, "stdout"); got != "fine\n" {
			t.Errorf("output %q", got)
		}
	}
}
