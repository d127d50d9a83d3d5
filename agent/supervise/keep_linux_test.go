package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// crashBoth kills supervisor and agent, as near to the same moment as can be.
func (h *house) crashBoth() {
	h.t.Helper()
	agent := h.agentPID()
	h.cmd.Process.Kill()
	syscall.Kill(agent, syscall.SIGKILL)
	<-h.done
	h.eventually("the agent's end", func() bool { return !alive(agent) })
}

// keeperPID is the keeper's, 0 if none is on record.
func (h *house) keeperPID() int {
	b, _ := os.ReadFile(filepath.Join(h.rc.Dir, "keeper"))
	pid, _, _ := strings.Cut(string(b), " ")
	n, _ := number(pid)
	return int(n)
}

// A task that ends while neither supervisor nor agent is there loses neither its last words nor,
// where the kernel remembers it, how it ended.
func TestOutputAndExitOfATaskThatEndedAlone(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		st := h.start(h.sh("task", h.gate("go", "echo last words; echo of it >&2; exit 3")))
		h.start(h.sh("living", "echo one; "+h.gate("on", "echo two; exit 4")))
		h.crashBoth()
		h.open("go")
		h.eventually("its end", func() bool { return !alive(st.PID) })
		h.begin()
		e := h.wait("task")
		if knowsExits() && (e.Unknown || e.Code != 3) {
			t.Errorf("it ended as %+v", e)
		}
		if out, err := h.out("task"), h.files("task.stderr"); out != "last words\n" || err != "of it\n" {
			t.Errorf("output %q and %q", out, err)
		}
		h.open("on")
		if e := h.wait("living"); knowsExits() && e.Code != 4 {
			t.Errorf("what went on ended as %+v", e)
		}
		if out := h.out("living"); out != "one\ntwo\n" {
			t.Errorf("output %q", out)
		}
	})
}

func TestKeeperLife(t *testing.T) {
	h := newHouse(t).begin()
	if h.keeperPID() != 0 {
		t.Error("there is a keeper before there is a task")
	}
	h.start(h.sh("task", h.gate("go", "exit 3")))
	first := h.keeperPID()
	if !alive(first) {
		t.Fatal("there is no keeper")
	}
	parent, err := readStat(first)
	if err != nil || parent.ppid != h.cmd.Process.Pid {
		t.Errorf("the keeper is a child of %d: %v", parent.ppid, err)
	}

	// Killed, it is replaced.
	syscall.Kill(first, syscall.SIGKILL)
	h.eventually("another keeper", func() bool { return h.keeperPID() != first && alive(h.keeperPID()) })

	// It survives the supervisor, without its lock, its agent's connection or its log files.
	second := h.keeperPID()
	h.crashBoth()
	h.eventually("letting go", func() bool {
		pipes, others := 0, 0
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", second))
		for _, entry := range entries {
			switch link, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", second, entry.Name())); {
			case strings.HasPrefix(link, filepath.Join(h.rc.Dir, "pipes")):
				pipes++
			case !strings.HasSuffix(link, "[pidfd]"):
				others++
			}
		}
		return err == nil && pipes == 2 && others == 0
	})
	h.begin()
	h.eventually("its end", func() bool { return !alive(second) })

	// An upgrade changes it.
	third := h.keeperPID()
	h.cmd.Process.Signal(syscall.SIGHUP)
	h.eventually("the end of the keeper from before the upgrade", func() bool { return !alive(third) })
	h.connect()

	// A polite end leaves it with the tasks that go on, and no longer.
	fourth := h.keeperPID()
	h.cmd.Process.Signal(syscall.SIGTERM)
	<-h.done
	if !alive(fourth) {
		t.Error("the keeper ended before the task")
	}
	h.begin()
	h.open("go")
	h.wait("task")
	fifth := h.keeperPID()
	h.cmd.Process.Signal(syscall.SIGTERM)
	<-h.done
	h.eventually("the last keeper's end", func() bool { return !alive(fifth) })
}

// A keeper without a supervisor ends when it is asked to: a machine that shuts down need not wait.
func TestKeeperEndsWhenAsked(t *testing.T) {
	h := newHouse(t).begin()
	h.start(h.sh("task", "sleep 1000"))
	h.crashBoth()
	keeper := h.keeperPID()
	syscall.Kill(keeper, syscall.SIGTERM)
	h.eventually("its end", func() bool { return !alive(keeper) })
}

func BenchmarkKeeper(b *testing.B) {
	for range b.N {
		h := newHouse(b).begin()
		for i := range 200 {
			s := h.sh(fmt.Sprint("idle", i), "")
			s.Command, s.Args = "/bin/sleep", []string{"1000"}
			h.start(s)
		}
		b.ReportMetric(pss(b, h.keeperPID()), "PSS-KB")
	}
}
