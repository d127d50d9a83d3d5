package supervise

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// traces are what is left of a start that the end of the supervisor interrupted. They are taken by the next one, which
// has the lock of the directory: the one before has forked for the last time, and what it forked executes its program
// or has ended, for until then a child holds the lock too.
type traces struct {
	child  bool // the keeper knows the main process
	unborn bool // the record says that nothing was forked
	// grouped says that the task was to be born in a group of the unified hierarchy. What that group tells follows.
	grouped bool
	used    bool // something is in it, or was: it has used processor time; true as well if that cannot be read
}

// fate is what became of a task whose start was interrupted.
type fate uint8

const (
	fateUnknown fate = iota // it may have run, and nobody knows its main process
	fateNever               // its program never ran
	fateFound               // its main process is known, living or dead
)

// fate decides. Never is said only where it is certain, as the task is then started once more.
func (t traces) fate() fate {
	switch {
	case t.child:
		return fateFound
	case t.unborn, t.grouped && !t.used:
		return fateNever
	}
	return fateUnknown
}

// interrupted reports whether the record is of a start of which neither success nor failure was seen.
func (r *record) interrupted(boot string) bool { return r.PID == 0 && r.Exit == nil && r.Boot == boot }

// trace finds out what became of a task whose start was interrupted. If its main process is known, it is the task's
// from now on.
func (s *supervisor) trace(t *task, old estate) fate {
	tr := s.tree(t)
	fd := old.child(tr)
	found := traces{child: fd >= 0, unborn: t.rec.Unborn}
	if tr.group != nil && tr.group.in.unified != "" {
		found.grouped, found.used = true, tr.group.used()
	}
	verdict := found.fate()
	if verdict == fateFound {
		s.follow(t, fd)
	}
	return verdict
}

// follow makes the process behind a pidfd a task's main process.
func (s *supervisor) follow(t *task, pidfd int) {
	pid := pidOf(pidfd)
	st, err := readStat(pid)
	if err != nil || pidOf(pidfd) != pid {
		pid, st = 0, stat{} // it ended and was reaped
	}
	s.mu.Lock()
	t.rec.PID, t.rec.Start, t.rec.Inode, t.rec.Unborn = pid, st.start, pidfdInode(pidfd), false
	t.pidfd = pidfd
	s.mu.Unlock()
	if err := s.save(t); err != nil {
		s.log.Error("task whose start was interrupted is not on record yet", "task", t.rec.Spec.ID, "err", err)
	}
}

// forking returns what is to be done on the forking thread just before the fork: what enter does, if anything, and to
// take down that the task may run from now on, where its group would not tell.
func (s *supervisor) forking(t *task, enter func() error) func() error {
	return func() error {
		if enter != nil {
			if err := enter(); err != nil {
				return err
			}
		}
		s.reached(pointFork, t)
		s.mu.Lock()
		unborn := t.rec.Unborn
		t.rec.Unborn = false
		s.mu.Unlock()
		if unborn {
			return s.save(t)
		}
		return nil
	}
}

func (s *supervisor) reached(p point, t *task) {
	if s.config.reached != nil {
		s.config.reached(p, t.rec.Spec.ID)
	}
}

// lost is the exit of a task that may have run.
func lost() Exit {
	return Exit{Unknown: true, At: time.Now().UTC(), Message: "the task's start was interrupted by the end of the supervisor, and nobody knows how far it came"}
}

// child returns a descriptor of the process of a tree that the supervisor before this one forked, which is its main
// process, or -1 if the keeper has none.
func (e estate) child(of tree) int {
	for inode := range e.ends {
		fd := e.process(inode)
		if fd >= 0 && of.owns(fd) {
			return fd
		}
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	return -1
}

// owns reports whether the process behind a pidfd is one of the tree, or was until it ended. Of what has ended only a
// group of the unified hierarchy tells, and only on Linux 6.15 and newer.
func (t tree) owns(pidfd int) bool {
	pid := pidOf(pidfd)
	if t.group == nil {
		return pid > 0 && marked(pid, t.id)
	}
	if pids, err := t.group.pids(); err == nil && pid > 0 && slices.Contains(pids, pid) {
		return true
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_CGROUPID | unix.PIDFD_INFO_EXIT}
	if err := pidfdInfo(pidfd, &info); err != nil || info.Mask&unix.PIDFD_INFO_CGROUPID == 0 {
		return false
	}
	var st unix.Stat_t
	return t.group.in.unified != "" && unix.Stat(t.group.unified(), &st) == nil && st.Ino == info.Cgroupid
}

// used reports whether something is or ever was in the group of the unified hierarchy, which then has used processor
// time. A group that is not there has not been made: its end is on record before it is removed.
func (g *group) used() bool {
	if _, err := os.Stat(g.unified()); os.IsNotExist(err) {
		return false
	}
	pids, err := g.pids()
	if err != nil || len(pids) > 0 || readTable(g.unified(), "cgroup.events")["populated"] != 0 {
		return true
	}
	time, known := readTable(g.unified(), "cpu.stat")["usage_usec"]
	return !known || time != 0
}

// pidOf is the number of the process behind a pidfd, -1 if it was reaped.
func pidOf(pidfd int) int {
	b, err := os.ReadFile(filepath.Join("/proc/self/fdinfo", strconv.Itoa(pidfd)))
	if err != nil {
		return -1
	}
	pid := -1
	for line := range bytes.Lines(b) {
		if _, err := fmt.Sscanf(string(line), "Pid:\t%d", &pid); err == nil {
			break
		}
	}
	return pid
}
