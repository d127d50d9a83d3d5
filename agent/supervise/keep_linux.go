package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// keepTime is how long a keeper without a supervisor waits for the next one.
	keepTime = time.Hour

	// keepAgain is how soon a keeper that somebody killed is replaced.
	keepAgain = time.Second
)

// keeper is a process that does nothing but hold what the supervisor holds: it shares the
// supervisor's table of descriptors. When the supervisor is killed it lets go of everything except
// the tasks' pipes, whose content is lost once nobody has them open, and the pidfds, behind which
// newer kernels remember how a process ended. The next supervisor takes these over and ends it.
//
// It is forked without an exec, runs no Go code that needs the runtime, and gives back the memory it
// was born with: it costs some ten pages.
type keeper struct {
	mu     sync.Mutex
	pid    int // 0: there is none
	start  uint64
	warned bool // that there cannot be one
}

// keep sees to it that there is a keeper.
func (s *supervisor) keep() {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	if s.keeper.pid != 0 || s.ctx.Err() != nil {
		return
	}
	pid, start, err := s.children.forkKeeper(s.keeperEnded)
	if err == nil {
		s.keeper.pid, s.keeper.start = pid, start
		err = writeFile(s.keeperPath(), fmt.Appendf(nil, "%d %d\n", pid, start), false)
	}
	if err != nil && !s.keeper.warned {
		s.keeper.warned = true
		s.log.Warn("no keeper: a kill of the supervisor may cost tasks that end before the next one their last output", "err", err)
	}
}

func (s *supervisor) keeperPath() string { return filepath.Join(s.config.Dir, "keeper") }

// keeperEnded has another one take its place.
func (s *supervisor) keeperEnded(e Exit) {
	s.spawn(func() {
		if s.ctx.Err() == nil {
			s.log.Warn("keeper ended, starting another", "status", e.Code, "signal", e.Signal)
		}
		s.keeper.mu.Lock()
		s.keeper.pid = 0
		s.keeper.mu.Unlock()
		s.pause(keepAgain)
		s.keep()
	})
}

// endKeeper is for a supervisor that leaves no task behind.
func (s *supervisor) endKeeper() {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	if s.keeper.pid == 0 {
		return
	}
	if fd, err := openProcess(s.keeper.pid, s.keeper.start); err == nil {
		estate{pidfd: fd}.close()
	}
	os.Remove(s.keeperPath())
}

// estate is what a supervisor before this one has left with its keeper.
type estate struct {
	pidfd int            // the keeper's, -1 if there is none
	ends  map[uint64]int // number of a pidfd there, by its inode
}

// openEstate finds the keeper of the supervisor before this one, if it lives.
func (s *supervisor) openEstate() estate {
	e := estate{pidfd: -1}
	b, err := os.ReadFile(s.keeperPath())
	if err != nil {
		return e
	}
	first, second, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	pid, ok := number(first)
	start, err := strconv.ParseUint(second, 10, 64)
	if !ok || pid < 2 || err != nil {
		return e
	}
	if e.pidfd, err = openProcess(int(pid), start); err != nil {
		return estate{pidfd: -1}
	}
	e.ends = map[uint64]int{}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir) // not permitted: nothing to learn
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		link, _ := os.Readlink(path)
		var st unix.Stat_t
		if strings.Contains(link, "[pidfd]") && unix.Stat(path, &st) == nil {
			if fd, ok := number(entry.Name()); ok {
				e.ends[st.Ino] = int(fd)
			}
		}
	}
	return e
}

// process returns a descriptor of a process that has ended, known by its pidfd's inode, or -1.
func (e estate) process(inode uint64) int {
	fd, ok := e.ends[inode]
	if !ok || inode == 0 {
		return -1
	}
	fd, err := unix.PidfdGetfd(e.pidfd, fd, 0)
	if err != nil {
		return -1
	}
	if pidfdInode(fd) != inode {
		unix.Close(fd)
		return -1
	}
	return fd
}

// close ends that keeper: all it had is in our hands.
func (e estate) close() {
	if e.pidfd >= 0 {
		unix.PidfdSendSignal(e.pidfd, unix.SIGKILL, nil, 0)
		unix.Close(e.pidfd)
	}
}

// pidfdInode identifies a process for as long as the machine runs. It is 0 before Linux 6.9, where
// pidfds have no inodes of their own.
func pidfdInode(fd int) uint64 {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if fd < 0 || unix.Fstatfs(fd, &fs) != nil || fs.Type != unix.PID_FS_MAGIC || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}
