package supervise

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// children is the one place where processes are forked and reaped.
type children struct {
	mu    sync.Mutex // held while forking and while reaping, so that nothing ends before it is known
	ended map[int]func(Exit)
	forks chan func() // run one after another on a thread that serves nothing else
	score int         // our own oom_score_adj
	self  int         // pidfd of this process
}

func newChildren() (*children, error) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("open own process: %w: Linux 5.3 or newer is needed", err)
	}
	c := &children{ended: map[int]func(Exit){}, forks: make(chan func()), self: self}
	setOOMScore(supervisorOOMScore)
	if b, err := os.ReadFile(oomScoreFile); err == nil {
		c.score, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	go c.forkThread()
	return c, nil
}

// forkThread is where all forks happen: placement writes change the thread's own cgroups, which no
// other goroutine must ever run in. It ends with the process.
func (c *children) forkThread() {
	runtime.LockOSThread()
	unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil) // nothing blocked, in our children too
	for f := range c.forks {
		f()
	}
}

// birth says how to fork one process.
type birth struct {
	path string
	argv []string
	attr *syscall.ProcAttr
	// enter and leave run on the forking thread just before and after the fork, leave also after an error of enter; nil
	// is nothing.
	enter func() error
	leave func()
	oom   int // the process's oom_score_adj
	// ended is called once, from reap and before the process is reaped, with how it ended. It must
	// not fork.
	ended func(Exit)
	// born is called before ended can be.
	born func(pid, pidfd int)
}

// spawn forks and returns after the new program is executing. The process's pidfd, or -1 where the
// kernel has none, belongs to born.
func (c *children) spawn(b birth) error {
	pidfd := -1
	b.attr.Sys.PidFD = &pidfd
	result := make(chan error)
	c.forks <- func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		result <- func() error {
			// The child inherits the score, so that there is no moment in which it has ours. For
			// this short time we have its.
			if b.oom != c.score {
				setOOMScore(b.oom)
				defer setOOMScore(c.score)
			}
			if b.leave != nil {
				defer b.leave()
			}
			if b.enter != nil {
				if err := b.enter(); err != nil {
					return err
				}
			}
			pid, err := syscall.ForkExec(b.path, b.argv, b.attr)
			if err != nil {
				return err
			}
			c.ended[pid] = b.ended
			b.born(pid, pidfd)
			return nil
		}()
	}
	return <-result
}

const (
	supervisorOOMScore = -1000
	oomScoreFile       = "/proc/self/oom_score_adj"
)

// setOOMScore does what is permitted: only the privileged may go below where they began.
func setOOMScore(adj int) {
	os.WriteFile(oomScoreFile, strconv.AppendInt(nil, int64(adj), 10), 0)
}

// adopt makes reap report the end of a child from before an exec.
func (c *children) adopt(pid int, ended func(Exit)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended[pid] = ended
}

// reap collects all that has ended: our children, and orphans of theirs. Each is reported before it
// is reaped, so that its exit status is on record while the kernel still has it too.
func (c *children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var in siginfo
		err := unix.Waitid(unix.P_ALL, 0, (*unix.Siginfo)(unsafe.Pointer(&in)), unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || in.pid() == 0 {
			return
		}
		pid := in.pid()
		if f := c.ended[pid]; f != nil {
			delete(c.ended, pid)
			exit := in.exit()
			exit.At = time.Now().UTC()
			f(exit)
		}
		unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

// siginfo is the kernel's siginfo_t as waitid fills it.
type siginfo struct {
	signo, errno, code int32
	rest               [29]int32
	_                  [0]uintptr // aligned like the kernel's
}

// field returns an int of the union, which begins where a pointer could stand.
func (s *siginfo) field(i int) int {
	if unsafe.Sizeof(uintptr(0)) == 8 {
		i++
	}
	return int(s.rest[i])
}

func (s *siginfo) pid() int { return s.field(0) }

func (s *siginfo) exit() Exit {
	const exited = 1 // CLD_EXITED
	if s.code == exited {
		return Exit{Code: s.field(2)}
	}
	return Exit{Signal: s.field(2)}
}

func pidfdInfo(fd int, info *unix.PidfdInfo) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PIDFD_GET_INFO, uintptr(unsafe.Pointer(info)))
	if errno != 0 {
		return errno
	}
	return nil
}
