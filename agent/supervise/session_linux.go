package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// sendPatience is how long an agent may take to read what it is told.
	sendPatience = 10 * time.Second

	// requests is how many of an agent's requests are carried out at a time.
	requests = 256
)

// session is the supervisor's end of the connection to one agent.
type session struct {
	s    *supervisor
	conn *net.UnixConn
	in   frames
	idle chan struct{} // closed when serve has stopped reading

	writing sync.Mutex // one frame at a time; also guards pending
	pending map[uint64][]byte
}

// newSession takes over the socket fd.
func newSession(s *supervisor, fd int, rest []byte) (*session, error) {
	f := os.NewFile(uintptr(fd), "agent")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("open connection to agent: %w", err)
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("open connection to agent: not a unix socket")
	}
	return &session{
		s:       s,
		conn:    conn,
		in:      frames{from: conn, rest: rest},
		pending: map[uint64][]byte{},
	}, nil
}

// begin serves; again are requests from before an exec that had no reply.
func (x *session) begin(again [][]byte) {
	x.idle = make(chan struct{})
	x.s.spawn(func() { x.serve(again) })
}

// serve reads and carries out requests until the connection ends or suspend.
func (x *session) serve(again [][]byte) {
	defer close(x.idle)
	slots := make(chan struct{}, requests)
	handle := func(body []byte) error {
		var q request
		if err := json.Unmarshal(body, &q); err != nil {
			return fmt.Errorf("decode request: %w", err)
		}
		x.writing.Lock()
		x.pending[q.ID] = body
		x.writing.Unlock()
		slots <- struct{}{}
		x.s.spawn(func() {
			r := x.answer(q)
			r.ID = q.ID
			<-slots
			x.send(r)
			if q.Verb == verbHello {
				x.s.attach(x)
			}
		})
		return nil
	}
	for _, body := range again {
		if err := handle(body); err != nil {
			x.s.log.Error("request from before the exec is lost", "err", err)
		}
	}
	for {
		body, err := x.in.next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return // suspended
		}
		if err == nil {
			err = handle(body)
		}
		if err != nil {
			x.s.log.Debug("connection to agent ended", "err", err)
			x.conn.Close()
			return
		}
	}
}

func (x *session) answer(q request) (r reply) {
	var err error
	switch s := x.s; q.Verb {
	case verbHello:
		r.Hello = &hello{Dir: s.config.Dir, PID: os.Getpid(), Mode: s.mode}
	case verbReady:
		s.ready()
	case verbStart:
		if q.Spec == nil {
			err = errors.New("start task: the request has no spec")
			break
		}
		var st Status
		st, err = s.start(*q.Spec)
		r.Status = &st
	case verbSignal:
		err = s.signal(q.Task, q.Signal)
	case verbKill:
		err = s.kill(q.Task)
	case verbList:
		r.List = s.list()
	case verbForget:
		err = s.forget(q.Task)
	case verbStats:
		var st Stats
		st, err = s.stats(q.Task)
		r.Stats = &st
	case verbGuard:
		if q.Guard == nil {
			err = errors.New("guard allocations: the request names none")
			break
		}
		r.Fallen, err = s.fence.apply(*q.Guard, boottime())
	default:
		err = fmt.Errorf("this supervisor does not know the request %q: upgrade it", q.Verb)
	}
	r.Error = toWire(err)
	return r
}

// send writes one message. An agent that does not read for long is cut off, which ends it.
func (x *session) send(r reply) {
	frame, err := encodeFrame(r)
	if err != nil {
		x.s.log.Error("answer agent", "err", err)
		x.conn.Close()
		return
	}
	x.writing.Lock()
	defer x.writing.Unlock()
	x.conn.SetWriteDeadline(time.Now().Add(sendPatience))
	if _, err := x.conn.Write(frame); err != nil {
		x.conn.Close()
	}
	if r.ID != 0 {
		delete(x.pending, r.ID)
	}
}

// suspend stops reading, at any byte. resume goes on, in this process or after an exec.
func (x *session) suspend() {
	x.conn.SetReadDeadline(time.Unix(1, 0))
	<-x.idle
}

func (x *session) resume() {
	x.conn.SetReadDeadline(time.Time{})
	x.begin(nil)
}

// attach makes the session the one that exits are reported to, beginning with those that were not
// forgotten.
func (s *supervisor) attach(x *session) {
	s.mu.Lock()
	s.session = x
	var ended []Status
	for _, t := range s.tasks {
		if t.rec.Final {
			ended = append(ended, t.rec.status())
		}
	}
	s.mu.Unlock()
	for i := range ended {
		x.send(reply{Status: &ended[i]})
	}
}

// Inherited connects an agent process to the supervisor that started it, and waits up to 10 s for an
// earlier agent in the same directory to end: two never live at a time. The error is ErrNoSupervisor
// in a process without one. It can be called once.
func Inherited() (*Client, error) {
	value := os.Getenv(envSocket)
	if value == "" {
		return nil, ErrNoSupervisor
	}
	os.Unsetenv(envSocket)
	fd, ok := number(value)
	if !ok || fd < 3 {
		return nil, fmt.Errorf("connect to supervisor: %s=%q is no descriptor", envSocket, value)
	}
	f := os.NewFile(uintptr(fd), "supervisor")
	unix.CloseOnExec(int(fd))
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return nil, fmt.Errorf("connect to supervisor: %w", err)
	}
	return connect(conn)
}
