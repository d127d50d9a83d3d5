package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// heirloom is what one task's supervisor leaves to itself across an exec: more than the journal has.
type heirloom struct {
	Record record
	Child  bool
	PIDFD  int
	Pipes  [2]int // -1 where there is none
}

// recover finds again the tasks of the supervisor before this one: of its journal if it is dead, of
// what it left to us (inherited, by ID) if it was this process.
func (s *supervisor) recover(inherited map[string]heirloom) error {
	records, err := s.journal.read(s.log)
	if err != nil {
		return err
	}
	old := s.openEstate()
	defer old.close()
	seen := map[string]bool{}
	for _, r := range records {
		seen[r.Spec.ID] = true
		h, ok := inherited[r.Spec.ID]
		if !ok {
			h = heirloom{Record: *r, PIDFD: -1, Pipes: [2]int{-1, -1}}
		}
		s.resume(h, old)
	}
	for id, h := range inherited {
		if !seen[id] { // the disk was full when it was to be recorded
			s.resume(h, old)
		}
	}
	if s.unfinished() {
		s.keep() // before the old one ends
	}
	return s.sweep()
}

// resume takes up a task where it was.
func (s *supervisor) resume(h heirloom, old estate) {
	t := newTask(h.Record)
	close(t.begun)
	t.pidfd, t.child = h.PIDFD, h.Child
	s.mu.Lock()
	s.tasks[t.rec.Spec.ID] = t
	s.mu.Unlock()
	r := &h.Record
	if r.Final {
		close(t.done)
		return
	}
	if r.interrupted(s.boot) && s.trace(t, old) == fateNever {
		s.log.Info("task had not begun to run when the supervisor ended: it is started when the agent asks again", "task", r.Spec.ID)
		s.abandon(t)
		return
	}
	s.reopenOutput(t, h.Pipes)
	switch {
	case r.Exit != nil:
		s.spawn(func() { s.finish(t) })
	case r.Boot != s.boot:
		s.ended(t, Exit{Unknown: true, Reboot: true, At: time.Now().UTC(), Message: "the machine was restarted while the task ran"})
	case r.PID == 0 && t.pidfd < 0:
		s.ended(t, lost())
	case h.Child:
		s.children.adopt(r.PID, func(e Exit) { s.ended(t, e) })
	default:
		s.watch(t, old)
	}
}

// watch follows a process that is not our child.
func (s *supervisor) watch(t *task, old estate) {
	if t.pidfd < 0 {
		fd, err := openProcess(t.rec.PID, t.rec.Start)
		if err != nil {
			fd = old.process(t.rec.Inode)
		}
		if fd < 0 {
			s.ended(t, s.unseen(t))
			return
		}
		t.pidfd = fd
	}
	s.mover.watch(t.pidfd, func() {
		s.spawn(func() {
			if e := s.unseen(t); s.ctx.Err() == nil { // else the next supervisor may learn more
				s.ended(t, e)
			}
		})
	})
}

// unseen finds out how a process ended that was not our child.
func (s *supervisor) unseen(t *task) Exit {
	for give := time.Now().Add(reapPatience); ; s.pause(5 * time.Millisecond) {
		if w, ok := exitOf(t.rec.PID, t.rec.Start, t.pidfd); ok {
			e := exitFrom(w)
			e.At = time.Now().UTC()
			return e
		}
		if t.pidfd < 0 || time.Now().After(give) || s.ctx.Err() != nil {
			break
		}
	}
	return Exit{Unknown: true, At: time.Now().UTC(), Message: "the task ended while no supervisor watched it, its exit status is unknown"}
}

// reopenOutput goes on moving a task's output.
func (s *supervisor) reopenOutput(t *task, pipes [2]int) {
	for i, out := range []Output{t.rec.Spec.Stdout, t.rec.Spec.Stderr} {
		fd := pipes[i]
		if out.Name == "" {
			continue
		}
		var err error
		if fd < 0 {
			fd, err = unix.Open(s.pipePath(t.rec.Spec.ID, i), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
			if err == unix.ENOENT {
				continue // all was moved, or nothing was made yet
			}
		}
		if err == nil {
			t.streams[i], err = s.mover.add(fd, out)
		}
		if err != nil {
			s.log.Error("output of a running task is not moved: it will wait", "task", t.rec.Spec.ID, "err", err)
		}
	}
}

// sweep removes pipes that belong to no unfinished task.
func (s *supervisor) sweep() error {
	used := map[string]bool{}
	s.mu.Lock()
	for id, t := range s.tasks {
		if !t.rec.Final {
			used[s.pipePath(id, 0)], used[s.pipePath(id, 1)] = true, true
		}
	}
	s.mu.Unlock()
	entries, err := os.ReadDir(s.pipes)
	if err != nil {
		return fmt.Errorf("read pipes: %w", err)
	}
	for _, e := range entries {
		if path := filepath.Join(s.pipes, e.Name()); !used[path] {
			os.Remove(path)
		}
	}
	return nil
}
