package supervise

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// orders are all that a keeper knows. They live in a page of their own that is no part of Go's
// memory, as the keeper gives that back.
type orders struct {
	watch  unix.PollFd // the supervisor
	wait   unix.Timespec
	pipes  device  // where pipes without a name are
	pids   device  // where pidfds are
	limit  uintptr // no descriptor is this high
	page   uintptr // size of a page
	name   [16]byte
	empty  [8]byte // a path
	term   [1]uint64
	action [64]byte // the kernel's sigaction, all zero: default
	file   unix.Statx_t
	spans  int
	span   [128]struct{ low, high uintptr } // memory to give back
}

type device struct{ major, minor uint32 }

// forkKeeper starts a keeper of this process's descriptors. ended is as in birth.
func (c *children) forkKeeper(ended func(Exit)) (pid int, start uint64, err error) {
	memory, err := unix.Mmap(-1, 0, int(unsafe.Sizeof(orders{})), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, 0, fmt.Errorf("fork keeper: %w", err)
	}
	defer unix.Munmap(memory)
	o := (*orders)(unsafe.Pointer(&memory[0]))
	err = o.write(c.self)
	done := make(chan struct{})
	c.forks <- func() {
		defer close(done)
		if err != nil {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		var maps string
		if maps, err = readMaps(); err != nil {
			return
		}
		o.forget(maps)
		var all, old unix.Sigset_t // a signal would enter Go's handlers in the child
		for i := range all.Val {
			all.Val[i]--
		}
		if err = unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
			return
		}
		child, errno := forkKeeper(o, title(maps))
		unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
		if errno != 0 {
			err = errno
			return
		}
		pid = int(child)
		st, _ := readStat(pid)
		start = st.start
		c.ended[pid] = ended
	}
	<-done
	if err != nil {
		return 0, 0, fmt.Errorf("fork keeper: %w", err)
	}
	return pid, start, nil
}

func readMaps() (string, error) {
	b, err := os.ReadFile("/proc/self/maps")
	return string(b), err
}

// write fills in all but the memory. self is a pidfd of the supervisor.
func (o *orders) write(self int) error {
	o.watch = unix.PollFd{Fd: int32(self), Events: unix.POLLIN}
	o.wait = unix.NsecToTimespec(keepTime.Nanoseconds())
	o.page = uintptr(os.Getpagesize())
	copy(o.name[:], "cluster-keep")
	o.term[0] = ^uint64(1 << (unix.SIGTERM - 1))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	o.limit = uintptr(min(limit.Cur, 1<<20))
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	var err error
	if o.pipes, err = deviceOf(pipe[0]); err != nil {
		return err
	}
	if pidfdInode(self) != 0 { // else a pidfd remembers nothing
		o.pids, err = deviceOf(self)
	}
	return err
}

func deviceOf(fd int) (device, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &st)
	return device{st.Dev_major, st.Dev_minor}, err
}

// forget notes down the memory that the keeper has no use for: all that could ever differ from the
// program's file but the stack that the kernel made, where arguments and environment are. Beside a
// C library nothing is noted: the kernel may write into its memory at any time (rseq).
func (o *orders) forget(maps string) {
	o.spans = 0
	program := ""
	for line := range strings.Lines(maps) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		if strings.Contains(f[1], "x") && len(f) > 5 && strings.HasPrefix(f[5], "/") {
			if program != "" && program != f[5] {
				o.spans = 0
				return
			}
			program = f[5]
		}
		if f[1] != "rw-p" || slices.Contains(f[5:], "[stack]") || o.spans == len(o.span) {
			continue
		}
		o.span[o.spans].low, o.span[o.spans].high = bounds(f[0])
		o.spans++
	}
}

// bounds reads "7f00-7f80".
func bounds(text string) (low, high uintptr) {
	first, second, _ := strings.Cut(text, "-")
	l, _ := strconv.ParseUint(first, 16, 64)
	h, _ := strconv.ParseUint(second, 16, 64)
	return uintptr(l), uintptr(h)
}

// title is where the command line behind the program's name is in memory, nil if it is not where the
// kernel put it.
func title(maps string) []byte {
	var low, high uintptr
	for line := range strings.Lines(maps) {
		if f := strings.Fields(line); len(f) > 5 && f[5] == "[stack]" {
			low, high = bounds(f[0])
		}
	}
	if len(os.Args) < 2 || os.Args[1] == "" {
		return nil
	}
	begin := unsafe.StringData(os.Args[1])
	size := uintptr(0)
	for _, arg := range os.Args[1:] {
		if arg != "" && uintptr(unsafe.Pointer(unsafe.StringData(arg))) != uintptr(unsafe.Pointer(begin))+size {
			return nil
		}
		size += uintptr(len(arg)) + 1
	}
	if at := uintptr(unsafe.Pointer(begin)); at < low || at+size > high {
		return nil
	}
	return unsafe.Slice(begin, size)
}

// forkKeeper returns in the parent only. From here on everything must do without the runtime: no
// stack that grows, no allocation, no signal, and in the end no heap.
//
//go:norace
//go:nosplit
//go:noinline
func forkKeeper(o *orders, title []byte) (pid uintptr, errno syscall.Errno) {
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD|unix.CLONE_FILES), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	syscall.RawSyscall(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(&o.name)), 0)
	for i := range title {
		title[i] = 0
	}
	for i := 0; i < 4 && i < len(title)-1; i++ {
		title[i] = o.name[8+i]
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGTERM), uintptr(unsafe.Pointer(&o.action)), 0, 8, 0, 0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, uintptr(unix.SIG_SETMASK), uintptr(unsafe.Pointer(&o.term)), 0, 8, 0, 0)
	keepStackOnly(o)
	// The supervisor, then whoever is next, or time.
	for {
		n, _, _ := syscall.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&o.watch)), 1, 0, 0, 8, 0)
		if n == 1 {
			break
		}
	}
	letGo(o)
	syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&o.wait)), 0, 8, 0)
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// keepStackOnly gives back the memory of the orders, but for the pages this stack is on.
//
//go:norace
//go:nosplit
//go:noinline
func keepStackOnly(o *orders) {
	here := uintptr(unsafe.Pointer(&o)) &^ (o.page - 1)
	low, high := here-o.page, here+2*o.page
	for i := 0; i < o.spans && i < len(o.span); i++ {
		from, to := o.span[i].low, o.span[i].high
		if here < from || here >= to {
			syscall.RawSyscall(unix.SYS_MUNMAP, from, to-from, 0)
			continue
		}
		if low > from {
			syscall.RawSyscall(unix.SYS_MUNMAP, from, low-from, 0)
		}
		if high < to {
			syscall.RawSyscall(unix.SYS_MUNMAP, high, to-high, 0)
		}
	}
}

// letGo closes all descriptors but the tasks' pipes and processes.
//
//go:norace
//go:nosplit
//go:noinline
func letGo(o *orders) {
	for fd := uintptr(0); fd < o.limit; fd++ {
		_, _, errno := syscall.RawSyscall6(unix.SYS_STATX, fd, uintptr(unsafe.Pointer(&o.empty)), unix.AT_EMPTY_PATH,
			unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(&o.file)), 0)
		if errno == syscall.EBADF {
			continue
		}
		at := device{o.file.Dev_major, o.file.Dev_minor}
		named := o.file.Mode&unix.S_IFMT == unix.S_IFIFO && at != o.pipes
		if errno != 0 || fd < 3 || !named && at != o.pids {
			syscall.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
		}
	}
}
