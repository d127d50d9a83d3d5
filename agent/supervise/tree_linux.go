package supervise

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tree is a task's main process and everything it started.
type tree struct {
	group *group // nil: no cgroups
	id    string
	pid   int    // of the main process, 0 if it is not known
	start uint64 // of the main process
}

// kill ends all of it and returns when nothing is left. The bound on its time is ctx.
func (t tree) kill(ctx context.Context) error {
	pause := time.Millisecond
	for {
		left, err := t.strike()
		if err != nil {
			return fmt.Errorf("kill task %q: %w", t.id, err)
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill task %q: %d of its processes are still there: %w", t.id, left, context.Cause(ctx))
		case <-time.After(pause):
			pause = min(pause*2, 50*time.Millisecond)
		}
	}
}

// strike kills what is there now, and reports how many it found.
func (t tree) strike() (int, error) {
	if t.group != nil {
		return t.group.strike()
	}
	found, err := t.members()
	for _, s := range found {
		unix.Kill(s.pid, unix.SIGSTOP) // it must not fork while we look for the others
	}
	for _, s := range found {
		unix.Kill(s.pid, unix.SIGKILL)
	}
	return len(found), err
}

// members finds the living processes of a task without a cgroup: its session and process group,
// what carries its marker, and descendants of these.
func (t tree) members() ([]stat, error) {
	all, err := processes()
	if err != nil {
		return nil, err
	}
	in := map[int]bool{}
	for _, s := range all {
		same := t.pid > 0 && (s.pid == t.pid && s.start == t.start ||
			s.start >= t.start && (s.session == t.pid || s.pgrp == t.pid))
		if same || s.alive() && marked(s.pid, t.id) {
			in[s.pid] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, s := range all {
			if in[s.ppid] && !in[s.pid] {
				in[s.pid], grown = true, true
			}
		}
	}
	return slices.DeleteFunc(all, func(s stat) bool { return !in[s.pid] || !s.alive() }), nil
}

// strike kills what is in the group now, all at once where the kernel can (cgroup.kill, Linux 5.14),
// else frozen, so that nothing is born meanwhile. It reports how many processes it found.
func (g *group) strike() (int, error) {
	pids, err := g.pids()
	if err != nil || len(pids) == 0 {
		// A process that is just ending is not listed any more, but may still have its files and
		// ports; the group stays populated until it has let go of them.
		return int(readTable(g.unified(), "cgroup.events")["populated"]), err
	}
	if g.in.unified != "" {
		kill := filepath.Join(g.unified(), "cgroup.kill")
		if _, err := os.Stat(kill); err == nil {
			return len(pids), g.in.write(kill, "1")
		}
	}
	if err := g.freeze(true); err == nil {
		if frozen, err := g.pids(); err == nil {
			pids = frozen
		}
	}
	for _, pid := range pids {
		unix.Kill(pid, unix.SIGKILL)
	}
	return len(pids), g.freeze(false)
}

// freeze stops all processes of the group, or lets them go on: only then does a signal end them.
func (g *group) freeze(frozen bool) error {
	if g.in.unified != "" {
		value := "0"
		if frozen {
			value = "1"
		}
		err := g.in.write(filepath.Join(g.unified(), "cgroup.freeze"), value)
		if errors.Is(err, fs.ErrNotExist) { // before Linux 5.2
			return nil
		}
		return err
	}
	state := filepath.Join(g.v1("freezer"), "freezer.state")
	if !frozen {
		return g.in.write(state, "THAWED")
	}
	// Writing again takes in what was forked while the first freezing ran.
	deadline := time.Now().Add(time.Second)
	for time.Now().Before(deadline) {
		if err := g.in.write(state, "FROZEN"); err != nil {
			return err
		}
		if b, err := os.ReadFile(state); err != nil || strings.TrimSpace(string(b)) == "FROZEN" {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// pids returns the processes of the group and of groups made below it. A group that is gone has
// none.
func (g *group) pids() ([]int, error) {
	dir := g.unified()
	if g.in.unified == "" {
		dir = g.v1("freezer")
	}
	var all []int
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		if d.Name() != "cgroup.procs" {
			return nil
		}
		b, err := os.ReadFile(path)
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				all = append(all, pid)
			}
		}
		return ignoreGone(err)
	})
	return all, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// remove drops the group, and groups made below it, from all hierarchies. Processes that are just
// vanishing keep it busy for a moment.
func (g *group) remove(ctx context.Context) error {
	dirs := []string{}
	if g.in.unified != "" {
		dirs = append(dirs, g.unified())
	}
	for _, h := range g.in.v1 {
		dirs = append(dirs, filepath.Join(h.parent, g.name))
	}
	for _, dir := range dirs {
		for {
			err := rmdirs(dir)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("remove cgroup: %w", err)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

// rmdirs removes a directory and those in it; the kernel's files in them vanish with them.
func rmdirs(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreGone(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := rmdirs(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	err = unix.Rmdir(dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
