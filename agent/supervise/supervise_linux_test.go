package supervise

import (
	"errors"
	"os"
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
