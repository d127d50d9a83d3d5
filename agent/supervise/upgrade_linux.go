package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// envBequest is the number of the descriptor that holds what the process leaves to itself over an
// exec.
const envBequest = "CLUSTER_SUPERVISOR_STATE"

// checkPatience is how long a new executable may take to say its version.
const checkPatience = 10 * time.Second

// bequest is what survives an exec beside the processes and descriptors themselves, which it names
// by number.
type bequest struct {
	Version int
	Lock    int
	Proven  bool
	Agent   struct {
		PID     int // 0: there is none
		PIDFD   int
		Socket  int
		Rest    []byte   // read, but not yet a whole request
		Pending [][]byte // requests without a reply
		Started time.Time
	}
	Tasks []heirloom
}

const bequestVersion = 1

func (b *bequest) tasks() map[string]heirloom {
	all := map[string]heirloom{}
	if b != nil {
		for _, h := range b.Tasks {
			all[h.Record.Spec.ID] = h
		}
	}
	return all
}

// descriptors are all that must pass the exec.
func (b *bequest) descriptors() []int {
	all := []int{b.Lock}
	if b.Agent.PID != 0 {
		all = append(all, b.Agent.PIDFD, b.Agent.Socket)
	}
	for _, h := range b.Tasks {
		for _, fd := range []int{h.PIDFD, h.Pipes[0], h.Pipes[1]} {
			if fd >= 0 {
				all = append(all, fd)
			}
		}
	}
	return all
}

// checkUpgrade finds out whether the executable that is there now can run, and reports to checked.
func (s *supervisor) checkUpgrade() {
	args := s.config.Version
	if args == nil {
		args = []string{"version"}
	}
	if s.checking {
		return
	}
	s.checking = true
	ended := make(chan Exit, 1)
	s.spawn(func() {
		err := s.checkVersion(args, ended)
		select {
		case s.checked <- err:
		case <-s.ctx.Done():
		}
	})
}

func (s *supervisor) checkVersion(args []string, ended chan Exit) error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	fd, pidfd := null.Fd(), -1
	err = s.children.spawn(birth{
		path: s.config.Executable,
		argv: append([]string{s.config.Executable}, args...),
		attr: &syscall.ProcAttr{
			Env:   cleanEnv(nil),
			Files: []uintptr{fd, fd, fd},
			Sys:   &syscall.SysProcAttr{Setpgid: true},
		},
		ended: func(e Exit) { ended <- e },
		born:  func(_, fd int) { pidfd = fd },
	})
	if err != nil {
		return fmt.Errorf("run %q: %w", s.config.Executable, err)
	}
	defer unix.Close(pidfd)
	select {
	case e := <-ended:
		if e.Code != 0 || e.Signal != 0 {
			return fmt.Errorf("run %q: it ended with status %d, signal %d", s.config.Executable, e.Code, e.Signal)
		}
		return nil
	case <-time.After(checkPatience):
		unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		return fmt.Errorf("run %q: it did not end in %v", s.config.Executable, checkPatience)
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// upgrade replaces the process, unless the check said that it would not come back. It returns only
// if that failed.
func (s *supervisor) upgrade(check error) {
	s.checking = false
	if check != nil {
		s.log.Error("upgrade refused, going on as before", "err", check)
		return
	}
	if s.agent.stopping {
		return
	}
	s.log.Info("upgrading", "executable", s.config.Executable)
	x := s.agent.session
	if x != nil {
		x.suspend()
	}
	s.gate.Lock()
	resume := s.mover.pause()
	if x != nil {
		x.writing.Lock()
	}
	err := s.fence.save()
	if err == nil {
		err = s.exec(s.bequest())
	}
	if x != nil {
		x.writing.Unlock()
		x.resume()
	}
	resume()
	s.gate.Unlock()
	s.log.Error("upgrade failed, going on as before", "err", err)
}

// bequest collects what is to survive. Nothing starts, is forgotten, moved or answered meanwhile.
func (s *supervisor) bequest() *bequest {
	b := &bequest{Version: bequestVersion, Lock: int(s.lock.Fd())}
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Proven = s.proven
	if a := &s.agent; a.pid != 0 {
		b.Agent.PID, b.Agent.PIDFD, b.Agent.Started = a.pid, a.pidfd, a.started
		b.Agent.Socket = -1
		if raw, err := a.session.conn.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) { b.Agent.Socket = int(fd) })
		}
		b.Agent.Rest = a.session.in.rest
		for _, body := range a.session.pending {
			b.Agent.Pending = append(b.Agent.Pending, body)
		}
	}
	for _, t := range s.tasks {
		h := heirloom{Record: t.rec, Child: t.child, PIDFD: t.pidfd, Pipes: [2]int{-1, -1}}
		for i, st := range t.streams {
			if st != nil && s.mover.streams[st.fd] == st {
				h.Pipes[i] = st.fd
			}
		}
		b.Tasks = append(b.Tasks, h)
	}
	return b
}

// exec writes the bequest down and becomes the new executable.
func (s *supervisor) exec(b *bequest) error {
	body, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	fd, err := unix.MemfdCreate("supervisor", 0)
	if err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	memory := os.NewFile(uintptr(fd), "supervisor")
	defer memory.Close()
	if _, err := memory.Write(body); err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	for _, fd := range b.descriptors() {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep descriptor %d: %w", fd, err)
		}
		defer unix.CloseOnExec(fd)
	}
	// Signals wait until the new program asks for them: by default they would end it. Its threads
	// inherit this, and its fork thread undoes it for what it forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var handled, old unix.Sigset_t
	for _, sig := range slices.Concat(heeded, unheeded) {
		n := uint(sig.(syscall.Signal)) - 1
		bits := uint(unsafe.Sizeof(handled.Val[0])) * 8
		handled.Val[n/bits] |= 1 << (n % bits)
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &handled, &old); err != nil {
		return fmt.Errorf("block signals: %w", err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	env := append(cleanEnv(os.Environ()), envBequest+"="+strconv.Itoa(fd))
	return syscall.Exec(s.config.Executable, os.Args, env)
}

// inheritBequest returns what this process left to itself, or nil if it was started anew.
func inheritBequest() (*bequest, error) {
	value := os.Getenv(envBequest)
	if value == "" {
		return nil, nil
	}
	os.Unsetenv(envBequest)
	fd, ok := number(value)
	if !ok || fd < 3 {
		return nil, fmt.Errorf("take over state: %s=%q is no descriptor", envBequest, value)
	}
	f := os.NewFile(uintptr(fd), "supervisor")
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("take over state: %w", err)
	}
	b := new(bequest)
	if err := json.NewDecoder(f).Decode(b); err != nil {
		return nil, fmt.Errorf("take over state: %w", err)
	}
	if b.Version != bequestVersion {
		return nil, errors.New("take over state: it is of a version this program does not know")
	}
	for _, fd := range b.descriptors() {
		unix.CloseOnExec(fd)
	}
	return b, nil
}

// adoptAgent goes on with the agent from before an exec, and asks it to make room for a new one.
func (s *supervisor) adoptAgent(b *bequest) error {
	if b == nil {
		return nil
	}
	s.proven = b.Proven
	if b.Agent.PID == 0 {
		return nil
	}
	x, err := newSession(s, b.Agent.Socket, b.Agent.Rest)
	if err != nil {
		return err
	}
	s.agent.pid, s.agent.pidfd = b.Agent.PID, b.Agent.PIDFD
	s.agent.session, s.agent.started = x, b.Agent.Started
	s.children.adopt(b.Agent.PID, func(e Exit) { s.ends <- e })
	x.begin(b.Agent.Pending)
	s.attach(x) // exits that were on their way may have been lost
	s.renewAgent()
	return nil
}
