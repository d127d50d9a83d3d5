package supervise

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// slack is how much later than its deadline something may die on a busy machine.
const slack = 3 * time.Second

// guard renews the lease of one allocation now.
func (h *house) guard(alloc string, after time.Duration) (sent time.Duration, fallen []string) {
	h.t.Helper()
	sent = boottime()
	fallen, err := h.c.Guard(h.ctx(), sent, map[string]Guarded{alloc: {After: after}})
	if err != nil {
		h.t.Fatal(err)
	}
	return sent, fallen
}

// attempt is a shell script without output whose ID is an allocation's.
func (h *house) attempt(id, script string) Spec {
	s := h.sh(id, script)
	s.Stdout, s.Stderr = Output{}, Output{}
	return s
}

// diesAt waits for a process to be gone and checks that it was there until that time of CLOCK_BOOTTIME (or at most so much
// earlier), and not much longer.
func (h *house) diesAt(pid int, at, early time.Duration) {
	h.t.Helper()
	h.eventually("the end of a fenced task", func() bool { return !alive(pid) })
	if now := boottime(); now < at-early || now > at+slack {
		h.t.Errorf("it ended %v after its deadline", now-at)
	}
}

// What is guarded dies at its deadline whatever becomes of the agent, and not while the lease is renewed.
func TestAFencedTaskDiesWithoutTheAgent(t *testing.T) {
	for _, row := range []struct {
		name string
		what func(h *house)
	}{
		{"agent alive", func(h *house) {}},
		{"agent stopped", func(h *house) {
			agent := h.agentPID()
			syscall.Kill(agent, syscall.SIGSTOP)
			h.t.Cleanup(func() { syscall.Kill(agent, syscall.SIGCONT) })
		}},
		{"agent killed", func(h *house) { syscall.Kill(h.agentPID(), syscall.SIGKILL) }},
		{"supervisor and agent killed", func(h *house) {
			h.crash()
			h.launch()
		}},
		{"upgrade by exec", func(h *house) { h.cmd.Process.Signal(syscall.SIGHUP) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t).begin()
			const after = 1500 * time.Millisecond
			h.guard("a1", after)
			st := h.start(h.attempt("a1/main/1", "sleep 1000 & sleep 1000"))
			free := h.start(h.attempt("a2/main/1", "sleep 1000"))
			var sent time.Duration
			for begun := boottime(); boottime()-begun < after+after/2; {
				sent, _ = h.guard("a1", after)
			}
			if !alive(st.PID) {
				t.Fatal("it died although its lease was renewed")
			}
			row.what(h)
			h.diesAt(st.PID, sent+after, after/10) // what is on disk may be that much older
			if !alive(free.PID) {
				t.Error("what is not guarded died, too")
			}
		})
	}
}

func TestAFallenAllocationStaysDown(t *testing.T) {
	h := newHouse(t).begin()
	sent, _ := h.guard("a1", 200*time.Millisecond)
	st := h.start(h.attempt("a1/main/1", "sleep 1000"))
	h.diesAt(st.PID, sent+200*time.Millisecond, 0)
	if _, fallen := h.guard("a1", time.Hour); !reflect.DeepEqual(fallen, []string{"a1"}) {
		t.Errorf("fallen after another renewal: %v", fallen)
	}
	if _, err := h.c.Start(h.ctx(), h.attempt("a1/main/2", "sleep 1000")); !errors.Is(err, ErrFenced) {
		t.Errorf("start of a fallen allocation: %v", err)
	}
	h.crash()
	h.launch()
	h.connect()
	if _, err := h.c.Start(h.ctx(), h.attempt("a1/main/2", "sleep 1000")); !errors.Is(err, ErrFenced) {
		t.Errorf("start of a fallen allocation by the next supervisor: %v", err)
	}
	if err := h.c.Unguard(h.ctx(), []string{"a1"}); err != nil {
		t.Fatal(err)
	}
	h.start(h.attempt("a1/main/3", "sleep 1000"))
	if _, err := os.Stat(filepath.Join(h.rc.Dir, "fence.json")); !os.IsNotExist(err) {
		t.Errorf("the file of an empty fence: %v", err)
	}
}

// The deadline is kept from disk, and only within one start of the machine.
func TestTheFenceOnDisk(t *testing.T) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	path := filepath.Join(t.TempDir(), "fence.json")
	open := func(boot string) *fence {
		t.Helper()
		f, err := openFence(path, boot, log)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := open("b1")
	apply := func(sent, now time.Duration, over ...string) []string {
		t.Helper()
		fallen, err := f.apply(guard{Sent: sent, Renewed: map[string]Guarded{"a": {After: 10 * time.Second}, "b": {After: time.Minute, Containers: true}}, Over: over}, now)
		if err != nil {
			t.Fatal(err)
		}
		return fallen
	}
	apply(100*time.Second, 101*time.Second)
	apply(100500*time.Millisecond, 101*time.Second)
	if got := open("b1").allocs["a"].Sent; got != 100*time.Second {
		t.Errorf("a renewal that changes little was written: %v", got)
	}
	apply(102*time.Second, 102*time.Second)
	if got := open("b1").allocs["a"].Sent; got != 102*time.Second {
		t.Errorf("on disk is %v", got)
	}
	if got := len(open("b2").allocs); got != 0 {
		t.Errorf("after a start of the machine %d are guarded", got)
	}
	if fallen := apply(112*time.Second, 112*time.Second); !reflect.DeepEqual(fallen, []string{"a"}) {
		t.Errorf("a renewal that came after the deadline: %v", fallen)
	}
	f = open("b1")
	fallen, next, err := f.look(113 * time.Second)
	if err != nil || !fallen["a"].Fallen || len(fallen) != 1 || next != 172*time.Second {
		t.Errorf("fallen %v, next %v, %v", fallen, next, err)
	}
	if got := apply(500*time.Second, 114*time.Second); len(got) != 1 || f.allocs["b"].Sent != 114*time.Second {
		t.Errorf("a renewal from the future: %v, %v", got, f.allocs["b"])
	}
	f.apply(guard{Over: []string{"a", "b", "c"}}, 115*time.Second)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file of an empty fence: %v", err)
	}
	if err := os.WriteFile(path, []byte(`{"Ver`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := len(open("b1").allocs); got != 0 {
		t.Errorf("of a damaged file %d are guarded", got)
	}
}

// Containers are killed through their engine, and without it by what they run.
func TestAFenceAroundContainers(t *testing.T) {
	const alloc = "00000000-aaaa-bbbb-cccc-000000000001"
	var killed atomic.Value
	socket := filepath.Join(t.TempDir(), "engine.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	engine := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && strings.Contains(r.URL.Query().Get("filters"), allocLabel+"="+alloc):
			io.WriteString(w, `[{"Id": "c1"}]`)
		case r.Method == http.MethodPost:
			killed.Store(r.URL.String())
			w.WriteHeader(http.StatusNoContent)
		default:
			io.WriteString(w, `[]`)
		}
	})}
	served := make(chan struct{})
	go func() { engine.Serve(l); close(served) }()
	t.Cleanup(func() { engine.Close(); <-served })
	t.Setenv("DOCKER_HOST", "unix://"+socket)

	stranger := exec.Command("sleep", "1000") // as a container's process is: no task of the supervisor
	stranger.Env = append(os.Environ(), allocEnv+"="+alloc)
	bystander := exec.Command("sleep", "1000")
	bystander.Env = append(os.Environ(), allocEnv+"="+strings.Replace(alloc, "1", "2", 1))
	for _, c := range []*exec.Cmd{stranger, bystander} {
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
	}
	defer func() { bystander.Process.Kill(); bystander.Wait() }()

	h := newHouse(t).begin()
	sent := boottime()
	if _, err := h.c.Guard(h.ctx(), sent, map[string]Guarded{alloc: {After: 300 * time.Millisecond, Containers: true}}); err != nil {
		t.Fatal(err)
	}
	syscall.Kill(h.agentPID(), syscall.SIGKILL)
	h.diesAt(stranger.Process.Pid, sent+300*time.Millisecond, 0)
	stranger.Wait()
	h.eventually("the engine's kill", func() bool { return killed.Load() != nil })
	if got := killed.Load(); got != "/containers/c1/kill?signal=KILL" {
		t.Errorf("the engine was asked %v", got)
	}
	if !alive(bystander.Process.Pid) {
		t.Error("a process of another allocation was killed")
	}
}
