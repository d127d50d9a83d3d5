package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
)

// envSocket tells the agent the number of the descriptor that leads to its supervisor.
const envSocket = "CLUSTER_SUPERVISOR_FD"

// ErrNoSupervisor is what [Inherited] returns in a process that no supervisor started.
var ErrNoSupervisor = errors.New("this process was not started by a supervisor")

// ErrGone is what calls return when the supervisor is gone. Whether it did what was asked is not known.
var ErrGone = errors.New("the supervisor is gone")

// Client is the agent's door to its supervisor. Its methods may be called concurrently; each blocks
// until the supervisor has answered, the context is done or the supervisor is gone. Giving up
// waiting does not undo the request.
type Client struct {
	conn  net.Conn
	lock  *os.File // the agent's lock, held while the process lives
	hello hello
	exits chan Status
	done  chan struct{}

	writing sync.Mutex // one frame at a time

	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan reply
	ended   []Status      // not yet taken from exits
	wake    chan struct{} // has room for one: ended grew
}

// newClient takes over conn. The goroutines it starts end with the connection.
func newClient(conn net.Conn) *Client {
	c := &Client{
		conn:    conn,
		exits:   make(chan Status),
		done:    make(chan struct{}),
		waiting: map[uint64]chan reply{},
		wake:    make(chan struct{}, 1),
	}
	go c.read()
	go c.deliver()
	return c
}

// Mode says how the supervisor keeps hold of tasks.
func (c *Client) Mode() Mode { return c.hello.Mode }

// PID is the supervisor's.
func (c *Client) PID() int { return c.hello.PID }

// Done is closed when the supervisor is gone. The agent must end itself then: the next supervisor
// starts another.
func (c *Client) Done() <-chan struct{} { return c.done }

// Exits delivers each exit at least once per connection until it is forgotten, those from before
// the connection first. It is never closed; nothing is lost when the receiver is slow.
func (c *Client) Exits() <-chan Status { return c.exits }

// Ready says that the agent's start succeeded: from now on the supervisor restarts it when it
// crashes. An agent that ends before ends the supervisor with it.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.call(ctx, request{Verb: verbReady})
	return err
}

// Start runs a task and returns once its command is executing. If the ID is known already, it
// starts nothing and returns that task's status. After an error there is no such task, unless the
// error says that the supervisor is gone or the context is done.
func (c *Client) Start(ctx context.Context, spec Spec) (Status, error) {
	r, err := c.call(ctx, request{Verb: verbStart, Spec: &spec})
	if err != nil {
		return Status{}, err
	}
	if r.Status == nil {
		return Status{}, fmt.Errorf("start task %q: the supervisor's answer has no status", spec.ID)
	}
	return *r.Status, nil
}

// Signal sends a signal to the task's main process alone. The error is ErrEnded when that has ended,
// ErrUnknownTask when there is no such task.
func (c *Client) Signal(ctx context.Context, id string, sig syscall.Signal) error {
	_, err := c.call(ctx, request{Verb: verbSignal, Task: id, Signal: int(sig)})
	return err
}

// Kill ends the task and everything it started, and returns when none of it is left. The exit is
// reported as any other. Killing what has ended is no error.
func (c *Client) Kill(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{Verb: verbKill, Task: id})
	return err
}

// List returns all tasks that are not forgotten, in the order of their IDs.
func (c *Client) List(ctx context.Context) ([]Status, error) {
	r, err := c.call(ctx, request{Verb: verbList})
	return r.List, err
}

// Forget acknowledges a task's exit: the supervisor drops its record and the ID could be used again.
// Forgetting a task that has not ended is an error, one that is unknown is none.
func (c *Client) Forget(ctx context.Context, id string) error {
	_, err := c.call(ctx, request{Verb: verbForget, Task: id})
	return err
}

// Stats measures a running task. The error is ErrEnded when it has ended.
func (c *Client) Stats(ctx context.Context, id string) (Stats, error) {
	r, err := c.call(ctx, request{Verb: verbStats, Task: id})
	if err != nil {
		return Stats{}, err
	}
	if r.Stats == nil {
		return Stats{}, fmt.Errorf("measure task %q: the supervisor's answer has no figures", id)
	}
	return *r.Stats, nil
}

func (c *Client) call(ctx context.Context, q request) (reply, error) {
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.last++
	q.ID = c.last
	c.waiting[q.ID] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, q.ID)
		c.mu.Unlock()
	}()

	frame, err := encodeFrame(q)
	if err != nil {
		return reply{}, fmt.Errorf("%s task: %w", q.Verb, err)
	}
	c.writing.Lock()
	_, err = c.conn.Write(frame)
	c.writing.Unlock()
	if err != nil {
		return reply{}, fmt.Errorf("%s: %w", q.Verb, ErrGone)
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			return reply{}, r.Error
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, fmt.Errorf("%s: %w", q.Verb, context.Cause(ctx))
	case <-c.done:
		return reply{}, fmt.Errorf("%s: %w", q.Verb, ErrGone)
	}
}

// read sorts what arrives until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	defer c.conn.Close()
	in := frames{from: c.conn}
	for {
		body, err := in.next()
		if err != nil {
			return
		}
		var r reply
		if json.Unmarshal(body, &r) != nil {
			return
		}
		c.mu.Lock()
		if answer := c.waiting[r.ID]; answer != nil {
			answer <- r
			delete(c.waiting, r.ID)
		}
		if r.ID == 0 && r.Status != nil {
			c.ended = append(c.ended, *r.Status)
			select {
			case c.wake <- struct{}{}:
			default:
			}
		}
		c.mu.Unlock()
	}
}

// deliver hands exits on, so that read never waits for their receiver.
func (c *Client) deliver() {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		batch := c.ended
		c.ended = nil
		c.mu.Unlock()
		for _, s := range batch {
			select {
			case c.exits <- s:
			case <-c.done:
				return
			}
		}
	}
}
