package supervise

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// holder keeps tasks' pipes open in the agent too. A pipe forgets what is in it once nobody has it
// open: without this, what a task wrote and nobody read yet would be lost if the supervisor was
// killed and the task ended before there was another supervisor.
type holder struct {
	mu    sync.Mutex
	pipes map[string][]int // descriptors by task
}

// pipeSuffixes are the names of a task's pipes behind its file name: stdout, stderr.
var pipeSuffixes = [2]string{".out", ".err"}

// hold opens the pipes of a running task. One whose pipes are gone has ended.
func (h *holder) hold(dir, id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pipes == nil {
		h.pipes = map[string][]int{}
	}
	if dir == "" || h.pipes[id] != nil {
		return
	}
	for _, suffix := range pipeSuffixes {
		path := filepath.Join(dir, "pipes", fileName(id)+suffix)
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			h.pipes[id] = append(h.pipes[id], fd)
		}
	}
}

// release closes the pipes of a task that has ended.
func (h *holder) release(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, fd := range h.pipes[id] {
		unix.Close(fd)
	}
	delete(h.pipes, id)
}

// Linger is what an agent that has stopped all its work does last, after Done: it keeps the output
// that is still in the pipes until the next supervisor has opened them, or until ctx is done. Its
// lock keeps the next agent from beginning meanwhile; that waits up to 10 s.
func (c *Client) Linger(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(filepath.Join(c.hello.Dir, "lock"))
		if err != nil || strings.TrimSpace(string(b)) != strconv.Itoa(c.hello.PID) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
