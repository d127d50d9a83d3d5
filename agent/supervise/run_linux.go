package supervise

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// heeded are the signals that the loop receives, unheeded those that would end us for no good reason.
// They are caught all the same: what is ignored would be ignored in tasks, too.
var (
	heeded   = []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT}
	unheeded = []os.Signal{syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE}
)

const (
	// tidyAfter is how long after tasks began or ended the memory that took is given back.
	tidyAfter = 5 * time.Second

	// widest is how many processors are enough for us: each costs memory on a large machine.
	widest = 4
)

// supervisor is what Run keeps. Its loop is one goroutine, which alone touches agent and the fields
// next to it.
type supervisor struct {
	config   Config
	log      *slog.Logger
	ctx      context.Context // ends with Run
	cancel   context.CancelFunc
	group    sync.WaitGroup // all goroutines of spawn
	lock     *os.File
	boot     string
	pipes    string // directory
	cgroups  *cgroups
	mode     Mode
	journal  journal
	children *children
	mover    *mover
	syncs    chan struct{}
	keeper   keeper
	fence    *fence

	// gate is held for reading while something is forked or forgotten, and for writing over an exec.
	gate sync.RWMutex

	agent    agent
	ends     chan Exit  // the agent's
	checked  chan error // result of looking at a new executable
	checking bool
	child    chan os.Signal
	signals  chan os.Signal
	changed  chan struct{} // has room for one: tasks began or ended

	mu      sync.Mutex
	tasks   map[string]*task
	session *session // where exits are reported, nil before an agent's hello
	proven  bool     // an agent was Ready in this process's life, exec included
}

// Run is the supervisor's life: it takes the lock of the data directory, finds again the tasks of a
// predecessor, starts the agent, and returns the agent's exit status once the agent has ended for
// good. It is meant to be the whole of a process: it changes the process's signal handling, memory
// settings and OOM score, and reaps all its children. It may not return at all, when an upgrade
// replaces the process.
//
// SIGTERM, SIGINT and the end of ctx ask the agent to end and leave the tasks running, unless
// StopTasks; a second signal ends at once. SIGQUIT does the same after writing all stacks to standard
// error. SIGHUP upgrades or, with StopTasks, is like SIGTERM: a terminal was closed. SIGUSR1, SIGUSR2
// and SIGPIPE do nothing.
func Run(ctx context.Context, c Config) (status int, err error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	debug.SetGCPercent(20)
	debug.SetMemoryLimit(64 << 20)
	runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), widest))
	s, err := open(c)
	if err != nil {
		return 1, fmt.Errorf("start supervisor: %w", err)
	}
	defer s.close()
	return s.loop(ctx)
}

// open makes a supervisor that has its tasks again and its agent, if this process had one before an
// exec.
func open(c Config) (s *supervisor, err error) {
	b, err := inheritBequest()
	if err != nil {
		return nil, err
	}
	if c.Executable == "" {
		if c.Executable, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if c.AgentGrace <= 0 {
		c.AgentGrace = 30 * time.Second
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return nil, err
	}
	s = &supervisor{
		config:  c,
		log:     c.Logger,
		boot:    c.BootID,
		pipes:   filepath.Join(c.Dir, "pipes"),
		journal: journal{dir: filepath.Join(c.Dir, "tasks")},
		syncs:   make(chan struct{}, 8),
		tasks:   map[string]*task{},
		ends:    make(chan Exit, 1),
		checked: make(chan error, 1),
		child:   make(chan os.Signal, 1),
		signals: make(chan os.Signal, 8),
		changed: make(chan struct{}, 1),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if s.boot == "" {
		if s.boot, err = bootID(); err != nil {
			return nil, err
		}
	}
	if err := s.occupy(b); err != nil {
		return nil, err
	}
	if s.fence, err = openFence(filepath.Join(c.Dir, "fence.json"), s.boot, s.log); err != nil {
		return nil, err
	}
	if err := s.adapt(); err != nil {
		return nil, err
	}
	go s.mover.run()
	if err := s.recover(b.tasks()); err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.spawn(s.keepFence)
	if err := s.adoptAgent(b); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// occupy makes the directory and takes its lock, unless an exec kept it.
func (s *supervisor) occupy(b *bequest) error {
	for _, dir := range []string{s.config.Dir, s.pipes, s.journal.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	if b != nil {
		s.lock = os.NewFile(uintptr(b.Lock), "lock")
		return nil
	}
	var holder string
	var err error
	for give := time.Now().Add(lockPatience); ; s.pause(time.Millisecond) {
		s.lock, holder, err = lock(filepath.Join(s.config.Dir, "lock"))
		// The keeper of one that was killed lets go of its lock a moment later.
		if pid, _ := number(holder); !errors.Is(err, errLocked) || alive(int(pid)) || time.Now().After(give) {
			break
		}
	}
	if err == nil {
		return sign(s.lock)
	}
	if errors.Is(err, errLocked) {
		return fmt.Errorf("another agent, with PID %s, works in %s: end it, or choose another data directory", holder, filepath.Dir(s.config.Dir))
	}
	return err
}

// adapt sets up the process: what it is to the kernel and to its children.
func (s *supervisor) adapt() error {
	if err := closeOnExec(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become reaper of orphans: %w", err)
	}
	// What was ignored when we were started (by nohup, say) must not be ignored in tasks, where
	// signals that are caught here have their default effect.
	discard := make(chan os.Signal, 1)
	for sig := syscall.Signal(1); sig < 32; sig++ {
		if signal.Ignored(sig) {
			signal.Notify(discard, sig)
		}
	}
	signal.Notify(s.child, syscall.SIGCHLD)
	signal.Notify(s.signals, heeded...)
	signal.Notify(discard, unheeded...)

	sum := sha256.Sum256([]byte(s.config.Dir))
	var reason string
	s.cgroups, reason = openCgroups("/proc", "cluster-"+hex.EncodeToString(sum[:6]), 0)
	s.mode = Mode{Cgroup: s.cgroups != nil, Reason: reason}
	if s.cgroups != nil {
		s.mode.Controllers = s.cgroups.controllers()
	}
	if reason != "" {
		s.log.Warn("tasks cannot be fully contained", "mode", s.mode.String(), "err", reason)
	}
	var err error
	if s.children, err = newChildren(); err != nil {
		return err
	}
	s.mover, err = openMover(s.log)
	return err
}

// closeOnExec keeps from our children what we were started with beyond the three standard
// descriptors.
func closeOnExec() error {
	if unix.CloseRange(3, 1<<31-1, unix.CLOSE_RANGE_CLOEXEC) == nil { // Linux 5.11
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("find open descriptors: %w", err)
	}
	for _, e := range entries {
		if fd, ok := number(e.Name()); ok && fd > 2 {
			unix.CloseOnExec(int(fd))
		}
	}
	return nil
}

// loop lives until the agent has ended for good.
func (s *supervisor) loop(ctx context.Context) (int, error) {
	s.children.reap() // what ended during an exec
	if s.agent.pid == 0 {
		if err := s.startAgent(); err != nil {
			return 1, fmt.Errorf("start agent: %w", err)
		}
	}
	asked, tidy := ctx.Done(), time.After(0)
	for {
		select {
		case <-s.changed:
			if tidy == nil {
				tidy = time.After(tidyAfter)
			}
		case <-tidy:
			tidy = nil
			debug.FreeOSMemory()
		case <-s.child:
			s.children.reap()
		case sig := <-s.signals:
			switch {
			case sig == syscall.SIGHUP && s.config.StopTasks:
				sig = syscall.SIGTERM
			case sig == syscall.SIGHUP:
				s.checkUpgrade()
				continue
			case sig == syscall.SIGQUIT:
				stacks := make([]byte, 1<<20)
				os.Stderr.Write(stacks[:runtime.Stack(stacks, true)])
			}
			if over := s.stop(sig.(syscall.Signal)); over {
				return s.end(0)
			}
		case <-asked:
			asked = nil
			if over := s.stop(syscall.SIGTERM); over {
				return s.end(0)
			}
		case e := <-s.ends:
			if status, over := s.agentEnded(e); over {
				return s.end(status)
			}
		case <-s.agent.restart:
			s.agent.restart = nil
			if err := s.startAgent(); err != nil {
				s.log.Error("cannot start agent, trying again", "err", err)
				s.restartAgent()
			}
		case err := <-s.checked:
			s.upgrade(err)
		case <-s.agent.overdue:
			s.log.Warn("agent did not end for the upgrade, killing it", "grace", s.config.AgentGrace)
			s.agent.overdue = nil
			s.signalAgent(syscall.SIGKILL)
		}
	}
}

// stop asks the agent to end, or ends at once when it was asked before or is not there.
func (s *supervisor) stop(sig syscall.Signal) (over bool) {
	if s.agent.pid == 0 {
		return true
	}
	if s.agent.stopping {
		s.log.Warn("asked to end twice, killing the agent")
		s.signalAgent(syscall.SIGKILL)
		return true
	}
	s.agent.stopping = true
	s.signalAgent(sig)
	return false
}

// end is the last act of the loop.
func (s *supervisor) end(status int) (int, error) {
	if s.config.StopTasks {
		s.stopTasks()
	}
	if !s.unfinished() {
		s.endKeeper()
	}
	return status, nil
}

// stopTasks kills all tasks and waits until they are gone, or for another signal.
func (s *supervisor) stopTasks() {
	s.mu.Lock()
	var all []*task
	for id, t := range s.tasks {
		if !t.rec.Final {
			all = append(all, t)
			s.spawn(func() { s.kill(id) })
		}
	}
	s.mu.Unlock()
	for _, t := range all {
		for waiting := true; waiting; {
			select {
			case <-t.done:
				waiting = false
			case <-s.child:
				s.children.reap()
			case <-s.signals:
				s.log.Warn("asked to end while tasks are being killed: some may live")
				return
			case <-time.After(killPatience):
				s.log.Error("task does not end", "task", t.rec.Spec.ID)
				waiting = false
			}
		}
	}
}

// unfinished reports whether a task lives, or something of it.
func (s *supervisor) unfinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tasks {
		if !t.rec.Final {
			return true
		}
	}
	return false
}

// close ends all goroutines. Tasks and their records stay as they are.
func (s *supervisor) close() error {
	signal.Stop(s.child)
	signal.Stop(s.signals)
	s.cancel()
	if s.agent.session != nil {
		s.agent.session.conn.Close()
	}
	s.mover.stop()
	s.group.Wait()
	close(s.children.forks)
	if s.cgroups != nil {
		s.cgroups.close()
	}
	return s.lock.Close()
}

// change says that tasks began or ended.
func (s *supervisor) change() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *supervisor) spawn(f func()) { s.group.Go(f) }

// pause waits, or less if the supervisor ends.
func (s *supervisor) pause(d time.Duration) {
	select {
	case <-s.ctx.Done():
	case <-time.After(d):
	}
}
