package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// killPatience bounds one attempt to empty a tree.
	killPatience = time.Minute

	// drainPatience is how long an exit waits for output that a full disk does not take. Moving it
	// goes on afterwards.
	drainPatience = 10 * time.Second

	// reapPatience is how long another parent has to reap a process whose status we want to know.
	reapPatience = 3 * time.Second
)

// task is one task's life in the supervisor. What may change is guarded by supervisor.mu.
type task struct {
	begun chan struct{} // closed once it runs, or cannot
	err   error         // why it cannot; read after begun
	done  chan struct{} // closed once rec is final

	saving  sync.Mutex // one write of its record at a time
	rec     record
	child   bool // reaped by us
	unsaved bool // its exit is not on record; written before finish begins
	pidfd   int
	streams [2]*stream // nil where there is no pipe
}

func newTask(r record) *task {
	return &task{rec: r, pidfd: -1, begun: make(chan struct{}), done: make(chan struct{})}
}

// tree is called with the task begun, or by the one who begins it.
func (s *supervisor) tree(t *task) tree {
	s.mu.Lock()
	defer s.mu.Unlock()
	tr := tree{id: t.rec.Spec.ID, pid: t.rec.PID, start: t.rec.Start}
	if t.rec.Boot != s.boot {
		tr.pid = 0 // the number may be anybody's by now
	}
	if s.cgroups != nil && t.rec.Cgroup != "" {
		tr.group = s.cgroups.at(t.rec.Unified).group(t.rec.Cgroup)
	}
	return tr
}

func (s *supervisor) find(id string) (*task, error) {
	s.mu.Lock()
	t := s.tasks[id]
	s.mu.Unlock()
	if t == nil {
		return nil, fmt.Errorf("task %q: %w", id, ErrUnknownTask)
	}
	<-t.begun
	if t.err != nil {
		return nil, fmt.Errorf("task %q: %w", id, ErrUnknownTask)
	}
	return t, nil
}

// save writes the record as it is now.
func (s *supervisor) save(t *task) error {
	t.saving.Lock()
	defer t.saving.Unlock()
	s.mu.Lock()
	r := t.rec
	s.mu.Unlock()
	return s.journal.write(&r)
}

func (s *supervisor) status(t *task) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.rec.status()
}

// start runs a task unless it is known already.
func (s *supervisor) start(spec Spec) (Status, error) {
	if err := spec.validate(); err != nil {
		return Status{}, err
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	env := spec.Env
	spec.Env = nil
	if spec.Dir == "" {
		spec.Dir = "/"
	}
	fresh := newTask(record{Version: recordVersion, Spec: spec, Boot: s.boot, StartedAt: time.Now().UTC()})
	if s.cgroups != nil {
		fresh.rec.Cgroup, fresh.rec.Unified = fileName(spec.ID), s.cgroups.unified
	}
	fresh.rec.Unborn = fresh.rec.Unified == ""
	s.mu.Lock()
	t := s.tasks[spec.ID]
	if t == nil {
		s.tasks[spec.ID] = fresh
	}
	s.mu.Unlock()
	if t != nil {
		<-t.begun
		return s.status(t), t.err
	}
	t = fresh
	err := s.begin(t, env)
	if err != nil {
		err = fmt.Errorf("start task %q: %w", spec.ID, err)
		s.abandon(t)
	}
	t.err = err
	close(t.begun)
	s.change()
	return s.status(t), err
}

// begin does the start. The record comes first, so that at no moment anything runs that the next
// supervisor would not find.
func (s *supervisor) begin(t *task, env []string) error {
	spec := t.rec.Spec
	if err := s.fence.refuses(spec.ID); err != nil { // the task is listed: the fence finds it, or we the fence
		return err
	}
	cred, err := credential(spec.User)
	if err != nil {
		return err
	}
	st, err := os.Stat(spec.Dir)
	if err == nil && !st.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil {
		return fmt.Errorf("enter working directory %q: %w", spec.Dir, err)
	}
	path, err := lookPath(spec.Command, spec.Dir, env)
	if err != nil {
		return err
	}
	if err := s.save(t); err != nil {
		return err
	}
	files, err := s.openOutput(t, cred)
	defer func() {
		for _, fd := range files {
			unix.Close(int(fd))
		}
	}()
	if err != nil {
		return err
	}
	b := birth{
		path: path,
		argv: append([]string{spec.Command}, spec.Args...),
		oom:  spec.OOMScoreAdj,
		attr: &syscall.ProcAttr{
			Dir:   spec.Dir,
			Env:   withMarker(env, spec.ID),
			Files: files,
			Sys:   &syscall.SysProcAttr{Setsid: true, Credential: cred},
		},
		ended: func(e Exit) { s.ended(t, e) },
		born: func(pid, pidfd int) {
			s.reached(pointForked, t)
			st, _ := readStat(pid)
			s.mu.Lock()
			t.rec.PID, t.rec.Start, t.rec.Inode = pid, st.start, pidfdInode(pidfd)
			t.pidfd, t.child = pidfd, true
			s.mu.Unlock()
		},
	}
	if g := s.tree(t).group; g != nil {
		fd, err := g.admit(spec, &b)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
	}
	b.enter = s.forking(t, b.enter)
	s.keep()
	if err := s.children.spawn(b); err != nil {
		return unrunnable(path, spec.Dir, err)
	}
	if err := s.save(t); err != nil {
		s.log.Error("task runs but may be ended by a restart of the supervisor", "task", spec.ID, "err", err)
	}
	return nil
}

// unrunnable says why the kernel did not run a program. It says "not there" of a file that is: then of what the file needs.
func unrunnable(path, dir string, err error) error {
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	_, here := os.Stat(dir)
	_, there := os.Stat(path)
	switch {
	case errors.Is(err, syscall.ENOENT) && here == nil && there == nil:
		return fmt.Errorf("run %q: the interpreter that its first line names, or the loader that it was linked for, is not on this machine", path)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("run %q: it is no program for this machine; a script needs a first line such as #!/bin/sh", path)
	}
	return fmt.Errorf("run %q: %w", path, err)
}

// openOutput makes the pipes and returns a task's descriptors 0, 1 and 2, which the caller closes.
func (s *supervisor) openOutput(t *task, cred *syscall.Credential) ([]uintptr, error) {
	var files []uintptr
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/null: %w", err)
	}
	files = append(files, uintptr(null))
	for i, out := range []Output{t.rec.Spec.Stdout, t.rec.Spec.Stderr} {
		if out.Name == "" {
			fd, err := unix.FcntlInt(uintptr(null), unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				return files, fmt.Errorf("open /dev/null: %w", err)
			}
			files = append(files, uintptr(fd))
			continue
		}
		p, err := makePipe(s.pipePath(t.rec.Spec.ID, i), cred)
		if err != nil {
			return files, err
		}
		if t.streams[i], err = s.mover.add(p.r, out); err != nil {
			p.close()
			return files, err
		}
		files = append(files, uintptr(p.w))
	}
	return files, nil
}

// pipeSuffixes are the names of a task's pipes behind its file name: stdout, stderr.
var pipeSuffixes = [2]string{".out", ".err"}

func (s *supervisor) pipePath(id string, i int) string {
	return filepath.Join(s.pipes, fileName(id)+pipeSuffixes[i])
}

// withMarker adds our variable to a task's environment, in place of one that came from outside.
func withMarker(env []string, id string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, MarkerEnv+"=") })
	return append(env, MarkerEnv+"="+id)
}

// abandon removes all traces of a task that could not start.
func (s *supervisor) abandon(t *task) {
	id := t.rec.Spec.ID
	s.closeOutput(t)
	if tr := s.tree(t); tr.group != nil {
		if err := tr.group.remove(s.ctx); err != nil {
			s.log.Warn("cgroup of a failed start stays behind", "task", id, "err", err)
		}
	}
	if err := s.journal.remove(id); err != nil {
		s.log.Warn("record of a failed start stays behind", "task", id, "err", err)
	}
	s.mu.Lock()
	delete(s.tasks, id)
	s.mu.Unlock()
}

func (s *supervisor) closeOutput(t *task) {
	s.unlinkPipes(t)
	for _, st := range t.streams {
		if st != nil {
			s.mover.drop(st)
		}
	}
}

func (s *supervisor) unlinkPipes(t *task) {
	for i := range t.streams {
		os.Remove(s.pipePath(t.rec.Spec.ID, i))
	}
}

// ended takes down how the main process ended, while it is still a zombie, and lets the rest follow.
func (s *supervisor) ended(t *task, e Exit) {
	s.mu.Lock()
	t.rec.Exit = &e
	s.mu.Unlock()
	if err := s.save(t); err != nil {
		t.unsaved = true
		s.log.Error("exit is not on record yet", "task", t.rec.Spec.ID, "err", err)
	}
	s.spawn(func() { s.finish(t) })
}

// finish ends what the main process left behind, empties the pipes, and then, and only then, makes
// the exit final and reports it. Each step may be done again by the next supervisor.
func (s *supervisor) finish(t *task) {
	<-t.begun
	id := t.rec.Spec.ID
	tr := s.tree(t)
	for s.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(s.ctx, killPatience)
		err := tr.kill(ctx)
		cancel()
		if err == nil {
			break
		}
		s.log.Error("task has ended but what it started has not", "task", id, "err", err)
		s.pause(time.Second)
	}
	drained := s.drain(t)
	e := *t.rec.Exit // nobody changes it any more
	if tr.group != nil {
		e.OOMKilled = tr.group.oomKills() > 0
		s.removeGroup(t, tr.group)
	}
	if s.ctx.Err() != nil {
		return
	}
	s.unlinkPipes(t) // an agent that learns of the start only after the end must not open them
	s.final(t, e)
	for _, ch := range drained {
		select {
		case <-ch:
		case <-s.ctx.Done():
			return
		}
	}
	s.closeOutput(t)
}

// removeGroup removes the group of what has ended. The end must be on record before: without the group and its end a
// task would be taken for one that never ran.
func (s *supervisor) removeGroup(t *task, g *group) {
	var err error
	if t.unsaved {
		err = s.save(t)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(s.ctx, 10*time.Second)
		defer cancel()
		err = g.remove(ctx)
	}
	if err != nil && s.ctx.Err() == nil {
		s.log.Warn("cgroup stays behind", "task", t.rec.Spec.ID, "err", err)
	}
}

// drain empties the pipes, or begins to if the disk is full; the channels tell when it is done.
func (s *supervisor) drain(t *task) []<-chan struct{} {
	var all []<-chan struct{}
	for _, st := range t.streams {
		if st != nil {
			all = append(all, s.mover.drain(st))
		}
	}
	patience := time.NewTimer(drainPatience)
	defer patience.Stop()
	for _, ch := range all {
		select {
		case <-ch:
		case <-patience.C:
			s.log.Warn("task has ended but its output waits for the disk", "task", t.rec.Spec.ID)
			return all
		case <-s.ctx.Done():
			return all
		}
	}
	return all
}

// final records the exit for good and reports it.
func (s *supervisor) final(t *task, e Exit) {
	s.gate.RLock() // an exec must not pass on a descriptor that is being closed
	defer s.gate.RUnlock()
	s.mu.Lock()
	r := t.rec
	s.mu.Unlock()
	r.Exit, r.Final = &e, true
	s.syncs <- struct{}{} // a thread each: not hundreds at once
	err := s.journal.write(&r)
	<-s.syncs
	if err != nil {
		s.log.Error("exit is reported but not on record", "task", t.rec.Spec.ID, "err", err)
	}
	s.mu.Lock()
	t.rec = r // from now on it is seen
	pidfd := t.pidfd
	t.pidfd = -1
	s.mu.Unlock()
	if pidfd >= 0 {
		unix.Close(pidfd)
	}
	close(t.done)
	s.change()
	s.mu.Lock()
	to, status := s.session, t.rec.status()
	s.mu.Unlock()
	if to != nil {
		to.send(reply{Status: &status})
	}
}

func (s *supervisor) signal(id string, sig int) error {
	t, err := s.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.rec.Exit != nil || t.pidfd < 0 {
		return fmt.Errorf("signal task %q: %w", id, ErrEnded)
	}
	err = unix.PidfdSendSignal(t.pidfd, unix.Signal(sig), nil, 0)
	if err == unix.ESRCH {
		err = ErrEnded
	}
	if err != nil {
		return fmt.Errorf("signal task %q: %w", id, err)
	}
	return nil
}

func (s *supervisor) kill(id string) error {
	t, err := s.find(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	final := t.rec.Final
	s.mu.Unlock()
	if final {
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, killPatience)
	defer cancel()
	return s.tree(t).kill(ctx)
}

func (s *supervisor) list() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Status, 0, len(s.tasks))
	for _, t := range s.tasks {
		if t.rec.PID != 0 || t.rec.Exit != nil { // not one that is just starting
			all = append(all, t.rec.status())
		}
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (s *supervisor) forget(id string) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	t, err := s.find(id)
	if errors.Is(err, ErrUnknownTask) {
		return nil
	}
	select {
	case <-t.done:
	default:
		return fmt.Errorf("forget task %q: it has not ended", id)
	}
	if err := s.journal.remove(id); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.tasks, id)
	s.mu.Unlock()
	return nil
}

func (s *supervisor) stats(id string) (Stats, error) {
	t, err := s.find(id)
	if err != nil {
		return Stats{}, err
	}
	s.mu.Lock()
	ended := t.rec.Exit != nil
	s.mu.Unlock()
	if ended {
		return Stats{}, fmt.Errorf("measure task %q: %w", id, ErrEnded)
	}
	st, err := s.tree(t).stats()
	if err != nil {
		return Stats{}, fmt.Errorf("measure task %q: %w", id, err)
	}
	return st, nil
}
