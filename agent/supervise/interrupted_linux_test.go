package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestFateOfAnInterruptedStart(t *testing.T) {
	for _, c := range []struct {
		name string
		have traces
		want fate
	}{
		{"its group was not made, or nothing was ever in it", traces{grouped: true}, fateNever},
		{"something is or was in its group", traces{grouped: true, used: true}, fateUnknown},
		{"the keeper has its process", traces{grouped: true, used: true, child: true}, fateFound},
		{"the keeper has its process, which has not run yet", traces{grouped: true, child: true}, fateFound},
		{"no group, before the fork", traces{unborn: true}, fateNever},
		{"no group, at the fork or after it", traces{}, fateUnknown},
		{"no group, and the keeper has its process", traces{child: true}, fateFound},
	} {
		if got := c.have.fate(); got != c.want {
			t.Errorf("%s: fate %d, want %d", c.name, got, c.want)
		}
	}
}

func TestInterruptedRecord(t *testing.T) {
	for _, c := range []struct {
		have record
		want bool
	}{
		{record{Boot: "now"}, true},
		{record{Boot: "now", Unborn: true}, true},
		{record{Boot: "now", PID: 7}, false},
		{record{Boot: "now", Exit: &Exit{Unknown: true}}, false},
		{record{Boot: "before"}, false},
	} {
		if got := c.have.interrupted("now"); got != c.want {
			t.Errorf("%+v: interrupted %v", c.have, got)
		}
	}
}

func TestUsedGroup(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string // nil: the group is not there
		want  bool
	}{
		{"not made", nil, false},
		{"made", map[string]string{"cgroup.procs": "", "cgroup.events": "populated 0\n", "cpu.stat": "usage_usec 0\nuser_usec 0\n"}, false},
		{"left", map[string]string{"cgroup.procs": "", "cgroup.events": "populated 0\n", "cpu.stat": "usage_usec 93\nuser_usec 0\n"}, true},
		{"in use", map[string]string{"cgroup.procs": "7\n", "cgroup.events": "populated 1\n", "cpu.stat": "usage_usec 0\n"}, true},
		{"just being left", map[string]string{"cgroup.procs": "", "cgroup.events": "populated 1\n", "cpu.stat": "usage_usec 0\n"}, true},
		{"in use below", map[string]string{"sub/cgroup.procs": "7\n", "cpu.stat": "usage_usec 0\n"}, true},
		{"without figures", map[string]string{"cgroup.procs": "", "cgroup.events": "populated 0\n"}, true},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			path := filepath.Join(dir, "task", name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := (&cgroups{unified: dir}).group("task").used(); got != c.want {
			t.Errorf("%s: used %v", c.name, got)
		}
	}
}

// death is how a supervisor is killed in the middle of the start of the task "victim".
type death struct {
	At     point // "": not at all
	Ended  bool  // only after the task has ended
	Keeper bool  // its keeper is killed too
}

// at is what the supervisor calls at each point of a start.
func (d death) at(dir string) func(point, string) {
	return func(p point, task string) {
		if p != d.At || task != "victim" {
			return
		}
		for ended := !d.Ended; !ended; {
			all, _ := processes()
			for _, s := range all {
				ended = ended || s.ppid == os.Getpid() && !s.alive()
			}
		}
		if keeper := (&house{rc: roleConfig{Dir: dir}}).keeperPID(); d.Keeper {
			syscall.Kill(keeper, syscall.SIGKILL)
			for alive(keeper) {
			}
		}
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// die has the supervisor die in the middle of the start of a task that leaves a line for each time it runs, and begins
// the next one.
func (h *house) die(d death, script string) Spec {
	h.t.Helper()
	h.crash()
	h.rc.Death = d
	h.begin()
	s := h.sh("victim", "echo ran; "+script)
	if st, err := h.c.Start(h.ctx(), s); err == nil {
		h.t.Fatalf("the supervisor survived: %+v", st)
	}
	<-h.done
	h.rc.Death = death{}
	h.begin()
	return s
}

// A task whose supervisor was killed before it forked is unknown to the next one, and nothing is left of it. It is
// started when the agent asks again.
func TestKilledBeforeTheFork(t *testing.T) {
	for _, keeper := range []bool{false, true} {
		t.Run(fmt.Sprint("keeper killed ", keeper), func(t *testing.T) {
			both(t, func(t *testing.T, h *house) {
				s := h.die(death{At: pointFork, Keeper: keeper}, "exit 3")
				all, err := h.c.List(h.ctx())
				if err != nil || len(all) != 0 {
					t.Errorf("the supervisor knows %+v, %v", all, err)
				}
				for _, dir := range []string{"tasks", "pipes"} {
					if left, err := os.ReadDir(filepath.Join(h.rc.Dir, dir)); len(left) != 0 || err != nil {
						t.Errorf("left in %s: %v, %v", dir, left, err)
					}
				}
				if c := h.cgroups(); c != nil && c.unified != "" {
					if _, err := os.Stat(c.group(fileName(s.ID)).unified()); !os.IsNotExist(err) {
						t.Errorf("its cgroup is left: %v", err)
					}
				}
				h.start(s)
				if e := h.wait(s.ID); e.Code != 3 || e.Unknown {
					t.Errorf("got %+v", e)
				}
				if out := h.out(s.ID); out != "ran\n" {
					t.Errorf("output %q", out)
				}
			})
		})
	}
}

// A task whose supervisor was killed after it forked, and before that was on record, goes on. On kernels whose pidfds
// remember nothing it may be ended instead; it never runs twice.
func TestKilledAfterTheFork(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		s := h.die(death{At: pointForked}, h.gate("go", "echo end; exit 5"))
		if _, err := h.c.Start(h.ctx(), s); err != nil { // finds that it runs
			t.Fatal(err)
		}
		if !knowsExits() {
			h.open("go")
			if e, out := h.wait(s.ID), h.out(s.ID); !e.Unknown || strings.Count(out, "ran") > 1 {
				t.Errorf("got %+v, output %q", e, out)
			}
			return
		}
		h.waitOut(s.ID, "ran")
		h.crash() // what was found is on record
		h.begin()
		h.open("go")
		if e := h.wait(s.ID); e.Code != 5 || e.Unknown {
			t.Errorf("got %+v", e)
		}
		if out := h.out(s.ID); out != "ran\nend\n" {
			t.Errorf("output %q", out)
		}
	})
}

// One that ended meanwhile is not started again: its exit is known, or said to be unknown.
func TestKilledAfterTheEnd(t *testing.T) {
	for _, keeper := range []bool{false, true} {
		t.Run(fmt.Sprint("keeper killed ", keeper), func(t *testing.T) {
			both(t, func(t *testing.T, h *house) {
				s := h.die(death{At: pointForked, Ended: true, Keeper: keeper}, "exit 7")
				known := !keeper && knowsExits() && h.c.Mode().Cgroup
				if _, err := h.c.Start(h.ctx(), s); err != nil {
					t.Fatal(err)
				}
				e := h.wait(s.ID)
				if known && (e.Code != 7 || e.Unknown) || !known && (!e.Unknown || !strings.Contains(e.Message, "interrupted")) {
					t.Errorf("got %+v", e)
				}
				if e.At.IsZero() || time.Since(e.At) > time.Minute {
					t.Errorf("it ended at %v", e.At)
				}
				if out := h.out(s.ID); !keeper && out != "ran\n" || strings.Count(out, "\n") > 1 {
					t.Errorf("output %q", out)
				}
			})
		})
	}
}

// Killed at any moment of a start, the supervisor leaves a task that the next one starts or finds: it runs once.
func TestKilledAtAnyMomentOfAStart(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		for i := range 30 {
			s := h.sh(fmt.Sprint("task-", i), "echo ran; exit 3")
			asked := make(chan struct{})
			go func(c *Client) {
				defer close(asked)
				c.Start(h.ctx(), s)
			}(h.c)
			<-time.After(time.Duration(i) * 300 * time.Microsecond)
			h.crash()
			<-asked
			h.begin()
			if _, err := h.c.Start(h.ctx(), s); err != nil {
				t.Fatal(err)
			}
			e, out := h.wait(s.ID), h.out(s.ID)
			sure := knowsExits() && h.c.Mode().Cgroup
			if sure && (e.Code != 3 || e.Unknown || out != "ran\n") || !e.Unknown && e.Code != 3 || len(out) > len("ran\n") {
				t.Errorf("after %d times 0.3 ms: got %+v, output %q", i, e, out)
			}
		}
	})
}
