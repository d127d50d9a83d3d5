package supervise

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	restartMin = 100 * time.Millisecond
	restartMax = 5 * time.Second

	// settled is how long an agent must live for its crash not to count as one of a row.
	settled = 10 * time.Second

	// agentOOMScore makes the kernel end tasks before the agent, and the agent before us.
	agentOOMScore = -500

	// agentGroup is the agent's own place beside the tasks' cgroups, none of which has such a name.
	agentGroup = "agent"
)

// agent is the agent process there is, if any, and what is to become of it.
type agent struct {
	pid      int // 0: none
	pidfd    int
	session  *session
	started  time.Time
	delay    time.Duration    // before the last restart
	restart  <-chan time.Time // non-nil while a restart is due
	overdue  <-chan time.Time // non-nil while a polite end is awaited for an upgrade
	stopping bool             // asked to end for good
	renewing bool             // asked to end, to be started from the new executable
}

// startAgent forks the agent with a connection of its own.
func (s *supervisor) startAgent() error {
	s.gate.RLock()
	defer s.gate.RUnlock()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make connection: %w", err)
	}
	defer unix.Close(pair[1])
	x, err := newSession(s, pair[0], nil)
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	b := birth{
		path: s.config.Agent[0],
		argv: s.config.Agent,
		attr: &syscall.ProcAttr{
			Env: append(cleanEnv(s.config.Env), envSocket+"=3"),
			// A group of its own: a terminal's Ctrl-C reaches it through us, once.
			Sys:   &syscall.SysProcAttr{Setpgid: true},
			Files: []uintptr{null.Fd(), 1, 2, uintptr(pair[1])},
		},
		ended: func(e Exit) { s.ends <- e },
		born:  func(pid, pidfd int) { s.agent.pid, s.agent.pidfd = pid, pidfd },
		oom:   agentOOMScore,
	}
	if s.cgroups != nil {
		fd, err := s.cgroups.group(agentGroup).admit(Spec{}, &b)
		if err != nil {
			s.log.Warn("agent runs in the supervisor's cgroup", "err", err)
		}
		defer unix.Close(fd)
	}
	if err := s.children.spawn(b); err != nil {
		x.conn.Close()
		return fmt.Errorf("run %q: %w", s.config.Agent[0], err)
	}
	s.agent.session, s.agent.started = x, time.Now()
	x.begin(nil)
	s.log.Info("agent started", "pid", s.agent.pid)
	return nil
}

// cleanEnv returns env, or our own environment for nil, without what is between us and our children.
func cleanEnv(env []string) []string {
	if env == nil {
		env = os.Environ()
	}
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		return strings.HasPrefix(e, envSocket+"=") || strings.HasPrefix(e, envBequest+"=")
	})
}

// agentEnded decides what follows the agent's end: another agent, or our own end with its status.
func (s *supervisor) agentEnded(e Exit) (status int, over bool) {
	a := &s.agent
	a.session.conn.Close()
	unix.Close(a.pidfd)
	s.mu.Lock()
	proven := s.proven
	if s.session == a.session {
		s.session = nil
	}
	s.mu.Unlock()
	a.pid, a.pidfd, a.session, a.overdue = 0, -1, nil, nil
	status = e.Code
	if e.Signal != 0 {
		status = 128 + e.Signal
	}
	switch {
	case a.stopping, status == StopStatus && proven:
		return status, true
	case a.renewing:
		a.renewing = false
		a.restart = time.After(0)
		return 0, false
	case !proven:
		s.log.Error("agent ended before it was ready, not starting it again", "status", status)
		return status, true
	}
	s.restartAgent()
	s.log.Warn("agent crashed, starting it again", "status", status, "delay", a.delay)
	return 0, false
}

// restartAgent makes a restart due: soon, or later if it crashes again and again.
func (s *supervisor) restartAgent() {
	s.agent.delay = restartDelay(s.agent.delay, time.Since(s.agent.started))
	s.agent.restart = time.After(s.agent.delay)
}

// restartDelay returns how long to wait after an agent that lived for so long, and that itself had
// been waited for.
func restartDelay(last, lived time.Duration) time.Duration {
	if lived >= settled {
		return restartMin
	}
	return min(max(2*last, restartMin), restartMax)
}

// ready notes that agents can start here.
func (s *supervisor) ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proven = true
}

// signalAgent signals the agent, if it is there.
func (s *supervisor) signalAgent(sig syscall.Signal) {
	if s.agent.pid == 0 {
		return
	}
	if err := unix.PidfdSendSignal(s.agent.pidfd, sig, nil, 0); err != nil && err != unix.ESRCH {
		s.log.Error("signal agent", "signal", strconv.Itoa(int(sig)), "err", err)
	}
}

// renewAgent asks the agent to end politely, and starts another when it has.
func (s *supervisor) renewAgent() {
	if s.agent.pid == 0 || s.agent.stopping {
		return
	}
	s.agent.renewing = true
	s.agent.overdue = time.After(s.config.AgentGrace)
	s.signalAgent(syscall.SIGTERM)
}
