package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// agentPatience is how long a new agent waits for the one before it to end.
const agentPatience = 10 * time.Second

// lockPatience is how long the directory of a dead supervisor may still be locked.
const lockPatience = 5 * time.Second

var errLocked = errors.New("locked")

// connect greets the supervisor and takes the agent's lock.
func connect(conn net.Conn) (*Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), agentPatience)
	defer cancel()
	c := newClient(conn)
	r, err := c.call(ctx, request{Verb: verbHello})
	if err == nil && r.Hello == nil {
		err = errors.New("its answer is empty")
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("connect to supervisor: %w", err)
	}
	c.hello = *r.Hello
	path := filepath.Join(c.hello.Dir, "agent.lock")
	for {
		var holder string
		c.lock, holder, err = lock(path)
		if err == nil {
			err = sign(c.lock)
		}
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, errLocked) {
			conn.Close()
			return nil, fmt.Errorf("connect to supervisor: %w", err)
		}
		select {
		case <-ctx.Done():
			conn.Close()
			return nil, fmt.Errorf("connect to supervisor: the agent before this one (PID %s) has not ended in %v: end it", holder, agentPatience)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// lock takes the lock file, or returns errLocked and the PID in it. The lock lasts as long as the
// file is open here.
func lock(path string) (f *os.File, holder string, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, "", &os.PathError{Op: "lock", Path: path, Err: err}
		}
		b, _ := io.ReadAll(io.LimitReader(f, 32))
		return nil, strings.TrimSpace(string(b)), errLocked
	}
	return f, "", nil
}

// sign writes our PID into our lock file. It is always as long: who reads it meanwhile sees a whole
// number, the old one or ours.
func sign(f *os.File) error {
	_, err := f.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0)
	return err // a full disk, most likely
}
