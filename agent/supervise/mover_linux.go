package supervise

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pipeSmall = 64 << 10 // what a pipe holds at first
	pipeLarge = 1 << 20  // what a pipe that proves busy may hold
	chunk     = 1 << 20  // most that is moved for one stream before the next has its turn
	quiet     = 16 << 10 // a round that moves less is worth a pause
)

// mover moves the output of all tasks into their files, and watches processes that are not our
// children. One goroutine does it all, so that idle tasks cost a few hundred bytes; everything below
// queue belongs to it.
type mover struct {
	log   *slog.Logger
	epoll int
	event int // eventfd: queue has grown
	done  chan struct{}

	mu    sync.Mutex
	queue []func()

	stopped bool
	streams map[int]*stream // by descriptor of the pipe
	watched map[int]func()  // by pidfd
	sinks   map[string]*sinkUse
}

// sinkUse is a sink and who uses it: a task that is restarted may still be drained when its next
// attempt begins.
type sinkUse struct {
	*sink
	users   map[*stream]bool
	stalled bool // the disk refuses; nothing is taken from the pipes
	retry   time.Time
	backoff time.Duration
}

// stream is one pipe. Its owner knows it as a handle only.
type stream struct {
	fd      int
	sink    *sinkUse
	polled  bool
	large   bool
	over    bool          // nobody can write to it any more
	drained chan struct{} // non-nil while the owner waits for the pipe to be empty
}

func openMover(log *slog.Logger) (*mover, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("start output: %w", err)
	}
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("start output: %w", err)
	}
	m := &mover{
		log:     log,
		epoll:   epoll,
		event:   event,
		done:    make(chan struct{}),
		streams: map[int]*stream{},
		watched: map[int]func(){},
		sinks:   map[string]*sinkUse{},
	}
	return m, m.poll(event)
}

func (m *mover) poll(fd int) error {
	return unix.EpollCtl(m.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (m *mover) unpoll(fd int) { unix.EpollCtl(m.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

// do runs f on the mover's goroutine, and returns before.
func (m *mover) do(f func()) {
	m.mu.Lock()
	m.queue = append(m.queue, f)
	m.mu.Unlock()
	unix.Write(m.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// wait runs f on the mover's goroutine, and returns after.
func (m *mover) wait(f func()) {
	done := make(chan struct{})
	m.do(func() { f(); close(done) })
	select {
	case <-done:
	case <-m.done:
	}
}

// add begins to move what arrives at the pipe, a nonblocking descriptor that now belongs to the
// mover. Files are opened at once, so that a task without a place for its output does not start.
func (m *mover) add(fd int, out Output) (s *stream, err error) {
	m.wait(func() {
		key := filepath.Join(out.Dir, out.Name)
		use := m.sinks[key]
		if use == nil {
			var sk *sink
			if sk, err = openSink(out); err != nil {
				return
			}
			use = &sinkUse{sink: sk, users: map[*stream]bool{}}
			m.sinks[key] = use
		}
		s = &stream{fd: fd, sink: use}
		use.users[s] = true
		m.streams[fd] = s
		m.setPolled(s, !use.stalled)
	})
	return s, err
}

// drain asks for the pipe to be emptied, after all that could write to it is gone. The channel is
// closed once it is.
func (m *mover) drain(s *stream) <-chan struct{} {
	drained := make(chan struct{})
	m.do(func() {
		s.drained = drained
		m.turn(s)
	})
	return drained
}

// drop closes the pipe and, after its last user, the file.
func (m *mover) drop(s *stream) {
	m.wait(func() {
		m.setPolled(s, false)
		delete(m.streams, s.fd)
		unix.Close(s.fd)
		delete(s.sink.users, s)
		if len(s.sink.users) == 0 {
			s.sink.close()
			delete(m.sinks, filepath.Join(s.sink.out.Dir, s.sink.out.Name))
		}
	})
}

// watch calls f once, on the mover's goroutine, when the process behind pidfd has ended.
func (m *mover) watch(pidfd int, f func()) {
	m.do(func() {
		m.watched[pidfd] = f
		if err := m.poll(pidfd); err != nil {
			m.log.Error("watch process", "err", err)
		}
	})
}

// pause stops all moving until the returned function is called; nothing is half moved meanwhile.
func (m *mover) pause() (resume func()) {
	paused, again := make(chan struct{}), make(chan struct{})
	m.do(func() { close(paused); <-again })
	<-paused
	return func() { close(again) }
}

// stop ends run and waits for it. Pipes and files stay as they are.
func (m *mover) stop() {
	m.do(func() { m.stopped = true })
	<-m.done
}

// run moves until stop.
func (m *mover) run() {
	defer close(m.done)
	events := make([]unix.EpollEvent, 64)
	for !m.stopped {
		n, err := unix.EpollWait(m.epoll, events, m.timeout())
		if err != nil && err != unix.EINTR {
			m.log.Error("wait for output", "err", err)
			return
		}
		var moved int64
		for _, e := range events[:max(n, 0)] {
			moved += m.handle(int(e.Fd))
		}
		m.retry()
		if n > 0 && moved > 0 && moved < quiet {
			// Little was there: let some gather, or a task that writes lines costs a core.
			unix.Poll([]unix.PollFd{{Fd: int32(m.event), Events: unix.POLLIN}}, 2)
		}
	}
}

func (m *mover) handle(fd int) int64 {
	if fd == m.event {
		var b [8]byte
		unix.Read(m.event, b[:])
		m.mu.Lock()
		queue := m.queue
		m.queue = nil
		m.mu.Unlock()
		for _, f := range queue {
			f()
		}
		return 0
	}
	if f := m.watched[fd]; f != nil {
		delete(m.watched, fd)
		m.unpoll(fd)
		f()
		return 0
	}
	if s := m.streams[fd]; s != nil {
		return m.turn(s)
	}
	return 0
}

// turn moves what one stream has: a chunk, or everything if its owner waits for that.
func (m *mover) turn(s *stream) (moved int64) {
	for !s.sink.stalled {
		if s.over {
			break
		}
		n, err := s.sink.take(s.fd, chunk)
		moved += n
		switch {
		case err == unix.EAGAIN:
			m.finish(s)
			return moved
		case err != nil:
			m.stall(s.sink, err)
			return moved
		case n == 0:
			s.over = true
		case s.sink.backoff > 0:
			m.log.Info("output is moving again", "file", s.sink.prefix)
			s.sink.backoff = 0
		}
		if n >= pipeSmall && !s.large {
			s.large = true
			unix.FcntlInt(uintptr(s.fd), unix.F_SETPIPE_SZ, pipeLarge) // beyond the user's allowance: stays small
		}
		if s.drained == nil && !s.over {
			return moved
		}
	}
	if s.over {
		m.setPolled(s, false) // else epoll would report its end for ever
		m.finish(s)
	}
	return moved
}

func (m *mover) finish(s *stream) {
	if s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
}

// stall stops taking output that cannot be written, so that it waits in the pipe and its task with
// it, until the disk has room again.
func (m *mover) stall(use *sinkUse, err error) {
	if use.backoff == 0 {
		m.log.Error("cannot write output, its tasks will wait: free the disk", "file", use.prefix, "err", err)
	}
	use.backoff = min(max(use.backoff*2, 100*time.Millisecond), 5*time.Second)
	use.stalled, use.retry = true, time.Now().Add(use.backoff)
	for s := range use.users {
		m.setPolled(s, false)
	}
}

// timeout returns how long to wait for events, in milliseconds: for ever, or to the next retry.
func (m *mover) timeout() int {
	wait := -1
	for _, use := range m.sinks {
		if use.stalled {
			ms := int(max(time.Until(use.retry), 0)/time.Millisecond) + 1
			if wait < 0 || ms < wait {
				wait = ms
			}
		}
	}
	return wait
}

// retry tries again what stalled and whose time has come.
func (m *mover) retry() {
	for _, use := range m.sinks {
		if !use.stalled || time.Now().Before(use.retry) {
			continue
		}
		use.stalled = false
		for s := range use.users {
			if use.stalled {
				break
			}
			m.setPolled(s, !s.over)
			m.turn(s)
		}
	}
}

func (m *mover) setPolled(s *stream, on bool) {
	if s.polled == on {
		return
	}
	s.polled = on
	if !on {
		m.unpoll(s.fd)
		return
	}
	if err := m.poll(s.fd); err != nil {
		m.log.Error("watch output", "err", err)
	}
}
