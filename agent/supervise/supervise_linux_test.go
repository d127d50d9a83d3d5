package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// both runs a test with cgroups, if it can, and without.
func both(t *testing.T, f func(t *testing.T, h *house)) {
	t.Run("cgroup", func(t *testing.T) {
		privileged(t)
		f(t, newHouse(t).begin())
	})
	t.Run("process group", func(t *testing.T) {
		f(t, newHouse(t, nobody).begin())
	})
}

func TestExits(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		for script, want := range map[string]Exit{
			"exit 0":        {},
			"exit 3":        {Code: 3},
			"kill -TERM $$": {Signal: 15},
			"kill -KILL $$": {Signal: 9},
		} {
			s := h.sh("t-"+strings.Fields(script)[1], "echo before; "+script)
			st := h.start(s)
			e := h.exit(s.ID)
			if e.At.Before(st.StartedAt) {
				t.Errorf("%s: ended at %v, before its start at %v", script, e.At, st.StartedAt)
			}
			e.At = want.At
			if e != want {
				t.Errorf("%s: got %+v", script, e)
			}
			if got := h.out(s.ID); got != "before\n" {
				t.Errorf("%s: output %q when the exit was reported", script, got)
			}
			if again := h.start(s); again.PID != st.PID || again.Exit == nil {
				t.Errorf("second start of an ID gave %+v", again)
			}
			if err := h.c.Signal(h.ctx(), s.ID, syscall.SIGTERM); !errors.Is(err, ErrEnded) {
				t.Errorf("signalling what has ended: %v", err)
			}
			if err := h.c.Forget(h.ctx(), s.ID); err != nil {
				t.Error(err)
			}
			if err := h.c.Signal(h.ctx(), s.ID, syscall.SIGTERM); !errors.Is(err, ErrUnknownTask) {
				t.Errorf("signalling what was forgotten: %v", err)
			}
		}
		if all, err := h.c.List(h.ctx()); err != nil || len(all) != 0 {
			t.Errorf("after forgetting all: %v, %v", all, err)
		}
		for _, dir := range []string{"pipes", "tasks"} {
			if left, err := os.ReadDir(h.rc.Dir + "/" + dir); err != nil || len(left) != 0 {
				t.Errorf("left in %s: %v, %v", dir, left, err)
			}
		}
	})
}

func TestTaskBeginsClean(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		s := h.sh("clean", `for f in /proc/$$/fd/*; do [ -e $f ] && echo "${f##*/} -> $(readlink $f)"; done
			cat /proc/$$/oom_score_adj
			tr '\0' '\n' </proc/$$/environ | sort
			pwd
			awk '{print $1 == $6}' /proc/$$/stat`)
		s.Env = append(s.Env, "SECRET=x", MarkerEnv+"=forged")
		s.Dir = "/usr"
		h.start(s)
		if e := h.exit(s.ID); e.Code != 0 {
			t.Errorf("got %+v", e)
		}
		got := h.out(s.ID)
		for _, want := range []string{
			"0 -> /dev/null\n",
			"1 -> " + h.rc.Dir + "/pipes/",
			"2 -> " + h.rc.Dir + "/pipes/",
			"\n0\n",
			"\nCLUSTER_TASK_ID=clean\nHOUSE=" + h.logs + "\nPATH=/usr/local/bin:/usr/bin:/bin\nSECRET=x\n/usr\n1\n",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in:\n%s", want, got)
			}
		}
		if n := strings.Count(got, " -> "); n != 3 {
			t.Errorf("%d descriptors are open:\n%s", n, got)
		}
		s = h.sh("signals", "")
		s.Command, s.Args = "cat", []string{"/proc/self/status"}
		h.start(s)
		h.exit(s.ID)
		// Signals 32 and 33 belong to the C library: whoever started the test may have left them ignored.
		for _, mask := range []string{"SigBlk", "SigIgn", "SigCgt"} {
			text := regexp.MustCompile(mask + `:\t([0-9a-f]{16})\n`).FindStringSubmatch(h.out(s.ID))
			if len(text) != 2 {
				t.Fatalf("no %s in:\n%s", mask, h.out(s.ID))
			}
			if set, err := strconv.ParseUint(text[1], 16, 64); err != nil || set&^(3<<31) != 0 {
				t.Errorf("%s is %s", mask, text[1])
			}
		}
	})
}

func TestStartErrors(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		plain := func(change func(*Spec)) Spec {
			s := h.sh("bad", "exit 0")
			change(&s)
			return s
		}
		for want, s := range map[string]Spec{
			`start task "bad": run "/no/such": no such file or directory`:                                  plain(func(s *Spec) { s.Command = "/no/such" }),
			`start task "bad": run "nosuch": not found in PATH "/usr/local/bin:/usr/bin:/bin"`:             plain(func(s *Spec) { s.Command = "nosuch" }),
			`start task "bad": run "/etc/passwd": permission denied`:                                       plain(func(s *Spec) { s.Command = "/etc/passwd" }),
			`start task "bad": look up user "nosuchuser": no such user on this machine`:                    plain(func(s *Spec) { s.User = "nosuchuser" }),
			`start task "bad": enter working directory "/no/dir": stat /no/dir: no such file or directory`: plain(func(s *Spec) { s.Dir = "/no/dir" }),
			`start task "bad": open output "bad.stdout": open /no/logs: no such file or directory`:         plain(func(s *Spec) { s.Stdout.Dir = "/no/logs" }),
			`start task "bad": no command given`:                                                           plain(func(s *Spec) { s.Command = "" }),
			`start task "bad": output name "a/b" contains a slash`:                                         plain(func(s *Spec) { s.Stdout.Name = "a/b" }),
			`start task: its ID must have 1 to 512 bytes without NUL, this has 0`:                          plain(func(s *Spec) { s.ID = "" }),
		} {
			_, err := h.c.Start(h.ctx(), s)
			if err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
		if h.uid != 0 {
			_, err := h.c.Start(h.ctx(), plain(func(s *Spec) { s.User = "root" }))
			if err == nil || !strings.Contains(err.Error(), "needs to run as root") {
				t.Errorf("start as root without being root: %v", err)
			}
		}
		if _, err := h.c.Start(h.ctx(), plain(func(s *Spec) { s.Env = []string{strings.Repeat("x", maxFrame)} })); err == nil {
			t.Error("a task too large for a message was accepted")
		}
		if all, err := h.c.List(h.ctx()); err != nil || len(all) != 0 {
			t.Errorf("tasks after failed starts: %v, %v", all, err)
		}
		h.start(plain(func(*Spec) {})) // the ID is free again
		if e := h.exit("bad"); e.Code != 0 {
			t.Errorf("got %+v", e)
		}
	})
}

func TestUser(t *testing.T) {
	privileged(t)
	h := newHouse(t).begin()
	for user, want := range map[string]string{
		"nobody":      "65534 65534\n",
		"65534":       "65534 65534\n",
		"nobody:root": "65534 0\n",
		"12345":       "12345 12345\n",
		"12345:54321": "12345 54321\n",
	} {
		s := h.sh("user-"+user, "echo $(id -u) $(id -g); echo reopened >/dev/stderr")
		s.User = user
		h.start(s)
		if e := h.exit(s.ID); e.Code != 0 {
			t.Errorf("%s: %+v %s", user, e, h.files(s.ID+".stderr"))
		}
		if got := h.out(s.ID); got != want {
			t.Errorf("%s: ran as %q", user, got)
		}
		if got := h.files(s.ID + ".stderr"); got != "reopened\n" {
			t.Errorf("%s: stderr %q", user, got)
		}
	}
}

// unruly starts what a task should not: children in other sessions, orphans, deaf to SIGTERM. Each
// puts its PID into the output.
const unruly = `trap '' TERM HUP INT
	setsid sh -c 'trap "" TERM; echo $$; while :; do sleep 1000; done' &
	(setsid sh -c 'trap "" TERM; (sh -c "echo \$\$; exec sleep 1000" &) ; echo $$; sleep 1000' &)
	sh -c 'echo $$; exec sleep 1000' &
	echo $$`

func (h *house) unrulyPIDs(id string) []int {
	h.t.Helper()
	h.eventually("five processes", func() bool { return strings.Count(h.out(id), "\n") == 5 })
	var pids []int
	for _, f := range strings.Fields(h.out(id)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			h.t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}

func (h *house) allGone(pids []int) {
	h.t.Helper()
	for _, pid := range pids {
		if s, err := readStat(pid); err == nil && s.alive() {
			h.t.Errorf("process %d lives on", pid)
		}
	}
}

func TestKillLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.start(h.sh("unruly", unruly+"; while :; do sleep 1; done"))
		pids := h.unrulyPIDs("unruly")
		if err := h.c.Signal(h.ctx(), "unruly", syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := h.c.Kill(h.ctx(), "unruly"); err != nil {
			t.Error(err)
		}
		h.allGone(pids)
		if e := h.exit("unruly"); e.Signal != 9 {
			t.Errorf("got %+v", e)
		}
		if err := h.c.Kill(h.ctx(), "unruly"); err != nil {
			t.Errorf("killing what has ended: %v", err)
		}
		if err := h.c.Kill(h.ctx(), "nothing"); !errors.Is(err, ErrUnknownTask) {
			t.Errorf("killing what never was: %v", err)
		}
		h.noZombies()
	})
}

func TestDescendantsEndWithTheMainProcess(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		h.start(h.sh("main", unruly+"; sleep 1000 & wait"))
		pids := h.unrulyPIDs("main")
		st, err := h.c.List(h.ctx())
		if err != nil || len(st) != 1 {
			t.Fatal(st, err)
		}
		syscall.Kill(st[0].PID, syscall.SIGKILL)
		if e := h.exit("main"); e.Signal != 9 {
			t.Errorf("got %+v", e)
		}
		h.allGone(pids)
		h.noZombies()
	})
}

// noZombies sees that nothing unreaped hangs on the supervisor.
func (h *house) noZombies() {
	h.t.Helper()
	h.eventually("no zombies", func() bool {
		all, _ := processes()
		for _, s := range all {
			if s.ppid == h.cmd.Process.Pid && !s.alive() {
				return false
			}
		}
		return true
	})
}

// forkBomb grows to several hundred processes, if it may.
const forkBomb = `trap '' TERM; n=0; bomb() { n=$((n+1)); while [ $n -lt 8 ]; do bomb & bomb; done; sleep 100; }; bomb`

func TestForkBomb(t *testing.T) {
	both(t, func(t *testing.T, h *house) {
		s := h.sh("bomb", forkBomb)
		s.PidsLimit = 200
		if h.uid != 0 {
			s.Args[1] = `for i in 1 2 3 4 5 6 7 8; do for j in 1 2 3 4 5 6 7 8; do (setsid sh -c 'sleep 100 & sleep 100' &); done; done; sleep 100`
		}
		st := h.start(s)
		h.eventually("many processes", func() bool {
			st, err := h.c.Stats(h.ctx(), s.ID)
			return err == nil && st.Pids >= 100
		})
		if err := h.c.Kill(h.ctx(), s.ID); err != nil {
			t.Fatal(err)
		}
		left, _ := tree{id: s.ID, pid: st.PID}.members()
		if len(left) > 0 {
			t.Errorf("%d processes are left", len(left))
		}
		h.exit(s.ID)
		h.noZombies()
	})
}

// What befalls the agent for its memory must not befall the supervisor.
func TestAgentHasItsOwnCgroup(t *testing.T) {
	privileged(t)
	h := newHouse(t).begin()
	groups := func(pid int) map[string]string {
		own, err := ownCgroups(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil {
			t.Fatal(err)
		}
		return own
	}
	score := func(pid int) string {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
		return strings.TrimSpace(string(b))
	}
	supervisor, agent := h.cmd.Process.Pid, h.agentPID()
	mine, its := groups(supervisor), groups(agent)
	for _, name := range append(h.c.Mode().Controllers, "") {
		if group, ok := its[name]; ok && (group == mine[name] || filepath.Base(group) != agentGroup) {
			t.Errorf("in hierarchy %q the agent is in %s, the supervisor in %s", name, group, mine[name])
		}
	}
	if score(supervisor) == "0" {
		t.Log("the kernel does not let us lower OOM scores here")
	} else if score(supervisor) != "-1000" || score(agent) != "-500" {
		t.Errorf("OOM scores %s and %s", score(supervisor), score(agent))
	}
	st := h.start(h.sh("task", "sleep 1000"))
	if score(st.PID) != "0" {
		t.Errorf("the task has the OOM score %s", score(st.PID))
	}
	h.crashAgent(1)
	h.connect()
	if group := groups(h.agentPID())["memory"]; group != its["memory"] {
		t.Errorf("the next agent is in %s", group)
	}
}

func TestLimits(t *testing.T) {
	privileged(t)
	h := newHouse(t).begin()
	if m := h.c.Mode(); !m.Cgroup || m.String() != "cgroup" {
		t.Fatalf("mode %+v", m)
	}
	t.Run("memory", func(t *testing.T) {
		s := h.sh("greedy", `exec dd if=/dev/zero of=/dev/null bs=200M count=1`)
		s.MemoryLimit = 20 << 20
		h.start(s)
		if e := h.exit(s.ID); !e.OOMKilled || e.Signal != 9 {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("cpu", func(t *testing.T) {
		s := h.sh("busy", `while :; do :; done`)
		s.CPUHardLimit, s.CPUShares = 10, 500
		h.start(s)
		h.eventually("throttling", func() bool {
			st, err := h.c.Stats(h.ctx(), s.ID)
			return err == nil && st.ThrottledN > 1 && st.Throttled > 0 && st.CPU > 0 && st.Memory > 0
		})
		if err := h.c.Kill(h.ctx(), s.ID); err != nil {
			t.Error(err)
		}
		h.exit(s.ID)
	})
	c := h.cgroups()
	h.eventually("no cgroups of tasks", func() bool {
		dirs, _ := filepath.Glob(c.unified + "/*/cgroup.procs")
		for _, v1 := range c.v1 {
			more, _ := filepath.Glob(v1.parent + "/*/cgroup.procs")
			dirs = append(dirs, more...)
		}
		dirs = slices.DeleteFunc(dirs, func(dir string) bool { return filepath.Base(filepath.Dir(dir)) == agentGroup })
		return len(dirs) == 0
	})
}
