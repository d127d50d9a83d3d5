package supervise

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gate is a script that waits for a file and then goes on.
func (h *house) gate(name, then string) string {
	return fmt.Sprintf("while [ ! -e %s ]; do sleep 0.02; done; %s", filepath.Join(h.logs, name), then)
}

func (h *house) open(name string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.logs, name), nil, 0o644); err != nil {
		h.t.Fatal(err)
	}
}

// crashAgent makes the agent end with a status.
func (h *house) crashAgent(status int) {
	h.t.Helper()
	frame, _ := encodeFrame(request{Verb: verbTestExit, Signal: status})
	h.c.conn.Write(frame)
	select {
	case <-h.c.Done():
	case <-h.ctx().Done():
		h.t.Fatal("the agent does not crash")
	}
}

func TestAgentCrashLosesNothing(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		for i := range 10 {
			h.start(h.sh("t"+strconv.Itoa(i), h.gate("go", fmt.Sprintf("echo bye; exit %d", i+1))))
		}
		begin := time.Now()
		h.crashAgent(1)
		h.open("go")
		h.connect()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("the next agent answered after %v", took)
		}
		for i := range 10 {
			id := "t" + strconv.Itoa(i)
			if e := h.wait(id); e.Code != i+1 || e.Unknown {
				t.Errorf("%s: %+v", id, e)
			}
			if got := h.out(id); got != "bye\n" {
				t.Errorf("%s: output %q", id, got)
			}
		}
		h.crashAgent(1)
		h.connect()
		reported := map[string]bool{}
		for len(reported) < 10 { // again, to an agent that may not know
			s := <-h.c.Exits()
			reported[s.ID] = true
		}
	})
}

func (h *house) ends(want int) {
	h.t.Helper()
	select {
	case <-h.done:
	case <-h.ctx().Done():
		h.t.Fatal("the supervisor does not end")
	}
	if got := h.cmd.ProcessState.ExitCode(); got != want {
		h.t.Errorf("the supervisor ended with status %d, want %d", got, want)
	}
}

func TestEndOfSupervisor(t *testing.T) {
	t.Run("agent never ready", func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.rc.AgentArgs = []string{"broken"} })
		h.launch()
		h.ends(7)
	})
	t.Run("agent stops it", func(t *testing.T) {
		h := newHouse(t).begin()
		h.crashAgent(StopStatus)
		h.ends(StopStatus)
	})
	t.Run("second in one directory", func(t *testing.T) {
		h := newHouse(t).begin()
		second := &house{t: t, rc: h.rc, logs: h.logs}
		config, _ := json.Marshal(h.rc)
		cmd := exec.Command(h.rc.Executable)
		cmd.Env = append(os.Environ(), envRole+"=supervisor", envConfig+"="+string(config))
		out, _ := cmd.CombinedOutput()
		want := fmt.Sprintf("start supervisor: another agent, with PID %d, works in %s: end it, or choose another data directory\n", h.cmd.Process.Pid, filepath.Dir(second.rc.Dir))
		if string(out) != want || cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("status %d, output %q", cmd.ProcessState.ExitCode(), out)
		}
	})
}

func TestSignalsToSupervisor(t *testing.T) {
	t.Run("with its tasks", func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.rc.StopTasks = true }).begin()
		h.start(h.sh("unruly", unruly+"; sleep 1000 & wait"))
		pids := h.unrulyPIDs("unruly")
		h.cmd.Process.Signal(syscall.SIGINT)
		h.ends(0)
		h.allGone(pids)
	})
	t.Run("with its terminal", func(t *testing.T) {
		h := newHouse(t, func(h *house) { h.rc.StopTasks = true }).begin()
		st := h.start(h.sh("task", "sleep 1000"))
		h.cmd.Process.Signal(syscall.SIGHUP)
		h.ends(0)
		h.allGone([]int{st.PID})
	})
	t.Run("with all stacks", func(t *testing.T) {
		h := newHouse(t).begin()
		st := h.start(h.sh("task", "sleep 1000"))
		h.cmd.Process.Signal(syscall.SIGQUIT)
		h.ends(2) // Go's status of an agent that wrote its own
		if !alive(st.PID) {
			t.Error("the task did not survive")
		}
	})
	t.Run("not at all", func(t *testing.T) {
		h := newHouse(t).begin()
		for _, sig := range unheeded {
			h.cmd.Process.Signal(sig)
		}
		for range 100 { // they have arrived by now
			if _, err := h.c.List(h.ctx()); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("without its tasks", func(t *testing.T) {
		h := newHouse(t).begin()
		st := h.start(h.sh("task", "echo before; "+h.gate("go", "echo after; exit 3")))
		h.waitOut("task", "before")
		h.cmd.Process.Signal(syscall.SIGTERM)
		h.ends(0)
		if s, err := readStat(st.PID); err != nil || !s.alive() {
			t.Errorf("the task did not survive: %+v %v", s, err)
		}
		h.begin()
		h.open("go")
		if e := h.wait("task"); e.Code != 3 && knowsExits() {
			t.Errorf("got %+v", e)
		}
		if got := h.out("task"); got != "before\nafter\n" {
			t.Errorf("output %q", got)
		}
	})
	t.Run("asked twice", func(t *testing.T) {
		h := newHouse(t).begin()
		agent := h.agentPID()
		syscall.Kill(agent, syscall.SIGSTOP)
		h.eventually("a stopped agent", func() bool {
			threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", agent))
			for _, thread := range threads {
				if b, _ := os.ReadFile(thread); !bytes.Contains(b, []byte("State:\tT")) {
					return false
				}
			}
			return len(threads) > 0
		})
		h.cmd.Process.Signal(syscall.SIGTERM)
		h.eventually("the first signal to reach the agent", func() bool {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", agent))
			return bytes.Contains(b, []byte("ShdPnd:\t0000000000004000"))
		})
		h.cmd.Process.Signal(syscall.SIGTERM)
		h.ends(0)
		h.eventually("the agent's end", func() bool {
			s, err := readStat(agent)
			return err != nil || !s.alive()
		})
	})
}

func (h *house) agentPID() int {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.rc.Dir, "agent.lock"))
	if err != nil {
		h.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		h.t.Fatal(err)
	}
	return pid
}

// knowsExits reports whether the kernel remembers how foreign processes ended.
func knowsExits() bool {
	cmd := exec.Command("true")
	if cmd.Start() != nil {
		return false
	}
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	cmd.Wait()
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	return pidfdInfo(fd, &info) == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0
}

func TestSupervisorCrash(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.start(h.sh("code", "echo one; "+h.gate("go", "echo two; exit 5")))
		h.start(h.sh("signalled", "sleep 1000 & wait"))
		h.start(h.sh("killed", unruly+"; while :; do sleep 1; done"))
		pids := h.unrulyPIDs("killed")
		gone := h.start(h.sh("gone", "sleep 1000"))
		h.start(h.sh("ended", "exit 4"))
		if e := h.exit("ended"); e.Code != 4 {
			t.Fatalf("got %+v", e)
		}
		h.crash()
		syscall.Kill(gone.PID, syscall.SIGKILL)
		h.eventually("its end", func() bool {
			_, err := readStat(gone.PID)
			return err != nil
		})
		h.begin()

		e := h.wait("gone")
		if knowsExits() && (e.Unknown || e.Signal != 9) || !knowsExits() && (!e.Unknown || e.Reboot || e.Message == "") {
			t.Errorf("what nobody saw ended as %+v", e)
		}
		if e := h.wait("ended"); e.Code != 4 || e.Unknown {
			t.Errorf("what was seen before ended as %+v", e)
		}
		if err := h.c.Signal(h.ctx(), "signalled", syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		h.open("go")
		sig, code := h.wait("signalled"), h.wait("code")
		if knowsExits() {
			if sig.Signal != 15 || code.Code != 5 || sig.Unknown || code.Unknown {
				t.Errorf("got %+v and %+v", sig, code)
			}
		} else if !sig.Unknown || !code.Unknown {
			t.Errorf("got %+v and %+v from a kernel that does not tell", sig, code)
		}
		if got := h.out("code"); got != "one\ntwo\n" {
			t.Errorf("output %q", got)
		}
		if err := h.c.Kill(h.ctx(), "killed"); err != nil {
			t.Error(err)
		}
		h.allGone(pids)
		h.wait("killed")
	})
}

// What a task wrote is kept even when nobody read it and the task ended with no supervisor there.
func TestOutputOfATaskThatEndedUnwatched(t *testing.T) {
	h := newHouse(t).begin()
	st := h.start(h.sh("task", h.gate("go", "echo last words")))
	h.crash()
	h.open("go")
	h.eventually("its end", func() bool {
		s, err := readStat(st.PID)
		return err != nil || !s.alive()
	})
	h.begin()
	h.wait("task")
	if got := h.out("task"); got != "last words\n" {
		t.Errorf("output %q", got)
	}
}

func TestReboot(t *testing.T) {
	h := newHouse(t).begin()
	st := h.start(h.sh("old", "echo hello; sleep 1000"))
	h.waitOut("old", "hello")
	h.crash()
	syscall.Kill(-st.PID, syscall.SIGKILL)
	h.rc.BootID = "another"
	h.begin()
	if e := h.wait("old"); !e.Unknown || !e.Reboot {
		t.Errorf("got %+v", e)
	}
}

func TestInterruptedStart(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.start(h.sh("first", "sleep 1000")) // makes the directories and a record to imitate
		st, err := h.c.List(h.ctx())
		if err != nil {
			t.Fatal(err)
		}
		syscall.Kill(h.keeperPID(), syscall.SIGSTOP) // one that is away knows nothing, and is not replaced
		h.crash()
		syscall.Kill(h.keeperPID(), syscall.SIGKILL)
		path := journal{dir: filepath.Join(h.rc.Dir, "tasks")}.path("first")
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := decodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		r.PID, r.Start = 0, 0
		b, _ = json.Marshal(r)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(h.rc.Dir, "tasks", "garbage.json"), []byte(`{"Version":1,`), 0o644)
		os.WriteFile(filepath.Join(h.rc.Dir, "tasks", "half.json.tmp"), []byte(`{`), 0o644)
		h.begin()
		e := h.wait("first")
		if !e.Unknown || !strings.Contains(e.Message, "interrupted") {
			t.Errorf("got %+v", e)
		}
		h.allGone([]int{st[0].PID})
		h.c.Forget(h.ctx(), "first")
		if left, _ := os.ReadDir(filepath.Join(h.rc.Dir, "tasks")); len(left) != 0 {
			t.Errorf("left in the journal: %v", left)
		}
	})
}

// checkLines verifies that a writer's output is complete and in order.
func (h *house) checkLines(id string) {
	h.t.Helper()
	n, rest := 0, h.out(id)
	for {
		line, tail, ok := strings.Cut(rest, "\n")
		if ok && line == fmt.Sprintf("end %d", n) && tail == "" {
			break
		}
		if !ok || line != fmt.Sprintf("line %012d", n) {
			h.t.Fatalf("%s: %q where line %d should be", id, line, n)
		}
		n++
		rest = tail
	}
	h.t.Logf("%s: %d lines, none lost, none doubled", id, n)
}

// writers starts two tasks that write numbered lines into files of odd size, all of which are kept.
func (h *house) writers() []Spec {
	var all []Spec
	for _, id := range []string{"w1", "w2"} {
		s := h.role(id, "lines")
		s.Stdout.MaxBytes, s.Stdout.MaxFiles = 9_999_991, 1_000_000
		h.start(s)
		all = append(all, s)
	}
	return all
}

func (h *house) endWriters() {
	h.t.Helper()
	for _, id := range []string{"w1", "w2"} {
		if err := h.c.Signal(h.ctx(), id, syscall.SIGTERM); err != nil {
			h.t.Fatal(err)
		}
		if e := h.wait(id); e.Code != 0 || e.Signal != 0 {
			h.t.Errorf("%s: %+v", id, e)
		}
		h.checkLines(id)
	}
}

// grown waits until the writers' output has grown.
func (h *house) grown() {
	h.t.Helper()
	size := func() (n int64) {
		names, _ := filepath.Glob(filepath.Join(h.logs, "w?.stdout.*"))
		for _, name := range names {
			if st, err := os.Stat(name); err == nil {
				n += st.Size()
			}
		}
		return n
	}
	before := size()
	h.eventually("more output", func() bool { return size() > before })
}

func TestOutputIsExactOverCrashes(t *testing.T) {
	h := newHouse(t).begin()
	h.writers()
	for range 12 {
		h.grown()
		h.crash()
		h.begin()
	}
	h.endWriters()
}

func TestUpgradeUnderChurn(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.writers()
		h.start(h.sh("long", "echo $$; "+h.gate("go", "exit 6")))
		supervisor := h.cmd.Process.Pid
		var mu sync.Mutex
		want := map[string]int{}
		n := 0
		churn := func() {
			for range 5 {
				n++
				id, code := fmt.Sprintf("churn-%d", n), n%100
				_, err := h.c.Start(h.ctx(), h.sh(id, fmt.Sprintf("echo $$; sleep 0.0%d; exit %d", n%10, code)))
				if err != nil { // the agent went away: it may have started or not
					h.connect()
					continue
				}
				mu.Lock()
				want[id] = code
				mu.Unlock()
			}
		}
		for range 20 {
			before := h.agentPID()
			churn()
			syscall.Kill(supervisor, syscall.SIGHUP)
			churn()
			h.eventually("another agent", func() bool { return h.agentPID() != before })
			h.connect()
		}
		for id, code := range want {
			if e := h.wait(id); e.Code != code || e.Unknown {
				t.Errorf("%s: want %d, got %+v", id, code, e)
			}
			if got := h.out(id); strings.Count(got, "\n") != 1 {
				t.Errorf("%s: output %q", id, got)
			}
		}
		h.open("go")
		if e := h.wait("long"); e.Code != 6 {
			t.Errorf("got %+v", e)
		}
		h.endWriters()
		h.noZombies()
	})
}

func TestUpgradeRefused(t *testing.T) {
	h := newHouse(t).begin()
	h.start(h.sh("task", h.gate("go", "exit 2")))
	for _, content := range []string{"#!/bin/sh\nexit 1\n", "\x7fELF nonsense"} {
		os.Remove(h.rc.Executable)
		if err := os.WriteFile(h.rc.Executable, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		h.cmd.Process.Signal(syscall.SIGHUP)
		if _, err := h.c.List(h.ctx()); err != nil {
			t.Fatal(err)
		}
	}
	h.open("go")
	if e := h.exit("task"); e.Code != 2 {
		t.Errorf("got %+v", e)
	}
}

func TestFullDisk(t *testing.T) {
	privileged(t)
	h := newHouse(t)
	h.begin()
	if err := syscall.Mount("tmpfs", h.logs, "tmpfs", 0, "size=8m"); err != nil {
		t.Skip("needs a tmpfs mount:", err)
	}
	t.Cleanup(func() { syscall.Unmount(h.logs, syscall.MNT_DETACH) })
	ballast := filepath.Join(h.logs, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 7<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	const lines = 300_000 // 5.4 MB, more than the pipe and the free 1 MB
	s := h.role("lines", "lines", "LINES="+strconv.Itoa(lines))
	s.Stdout.MaxBytes, s.Stdout.MaxFiles = 500_000, 100
	s.Stderr = Output{}
	h.start(s)
	h.eventually("a full disk", func() bool {
		var st unix.Statfs_t
		return unix.Statfs(h.logs, &st) == nil && st.Bfree == 0
	})
	if all, err := h.c.List(h.ctx()); err != nil || all[0].Exit != nil {
		t.Fatalf("the task does not wait: %+v %v", all, err)
	}
	h.crash() // with the disk full
	h.begin()
	os.Remove(ballast)
	h.wait("lines")
	got := h.out("lines")
	for i := range lines {
		line, rest, _ := strings.Cut(got, "\n")
		if line != fmt.Sprintf("line %012d", i) {
			t.Fatalf("%q where line %d should be", line, i)
		}
		got = rest
	}
	if got != "" {
		t.Errorf("%d bytes too many", len(got))
	}
	h.c.conn.Close()
}

func TestRotationBoundsTheDisk(t *testing.T) {
	h := newHouse(t).begin()
	const size = 64 << 20
	s := h.role("flood", "flood", "BYTES="+strconv.Itoa(size))
	s.Stdout.MaxBytes, s.Stdout.MaxFiles = 1_000_003, 3
	h.start(s)
	if e := h.exit("flood"); e.Code != 0 {
		t.Errorf("got %+v", e)
	}
	last := size / 1_000_003
	names, _ := filepath.Glob(filepath.Join(h.logs, "flood.stdout.*"))
	if len(names) != 3 {
		t.Errorf("files: %v", names)
	}
	for n := last - 2; n <= last; n++ {
		want := int64(1_000_003)
		if n == last {
			want = size - int64(last)*want
		}
		st, err := os.Stat(filepath.Join(h.logs, "flood.stdout."+strconv.Itoa(n)))
		if err != nil || st.Size() != want {
			t.Errorf("file %d: %v, want %d bytes", n, err, want)
		}
	}
	s.ID = "flood/again" // the next attempt goes on in the same files
	s.Env = append(s.Env, "BYTES=65536")
	s.Env[0] = "BYTES=65536"
	h.start(s)
	h.exit(s.ID)
	st, err := os.Stat(filepath.Join(h.logs, "flood.stdout."+strconv.Itoa(last)))
	if err != nil || st.Size() != size-int64(last)*1_000_003+65536 {
		t.Errorf("the next attempt did not go on: %v %v", st, err)
	}
}
