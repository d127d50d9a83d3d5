package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sink is where output goes: numbered files of bounded size, of which the newest few are kept. It
// keeps nothing in memory that the directory does not say, so it can be opened again at any time and
// goes on where it was. It is used by one goroutine.
type sink struct {
	out    Output
	prefix string // path of the files without their numbers
	fd     int    // the newest file, -1 while none is open
	number int    // of that file
	oldest int    // lowest number that may still be there
	size   int64  // of that file
	copies bool   // the file system cannot splice
}

// openSink finds the newest file and goes on in it, or makes the first.
func openSink(out Output) (*sink, error) {
	if out.MaxBytes <= 0 {
		out.MaxBytes = 10 << 20
	}
	if out.MaxFiles <= 0 {
		out.MaxFiles = 10
	}
	s := &sink{out: out, prefix: filepath.Join(out.Dir, out.Name) + ".", fd: -1}
	entries, err := os.ReadDir(out.Dir)
	if err != nil {
		return nil, fmt.Errorf("open output %q: %w", out.Name, err)
	}
	s.oldest = -1
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), out.Name+".")
		n, err := strconv.Atoi(rest)
		if !ok || err != nil || n < 0 || strconv.Itoa(n) != rest {
			continue
		}
		s.number = max(s.number, n)
		if s.oldest < 0 || n < s.oldest {
			s.oldest = n
		}
	}
	s.oldest = max(s.oldest, 0)
	return s, s.open()
}

func (s *sink) open() error {
	path := s.prefix + strconv.Itoa(s.number)
	// Not O_APPEND, which the kernel refuses to splice to.
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	size, err := unix.Seek(fd, 0, unix.SEEK_END)
	if err != nil {
		unix.Close(fd)
		return &os.PathError{Op: "seek", Path: path, Err: err}
	}
	s.fd, s.size = fd, size
	s.prune()
	return nil
}

// room returns how many bytes fit into the open file, after beginning a new one if none do.
func (s *sink) room() (int64, error) {
	if s.fd >= 0 && s.size >= s.out.MaxBytes {
		unix.Close(s.fd)
		s.fd = -1
		s.number++
	}
	if s.fd < 0 {
		if err := s.open(); err != nil {
			return 0, err
		}
	}
	return s.out.MaxBytes - s.size, nil
}

// prune removes the files that are too many.
func (s *sink) prune() {
	for ; s.oldest <= s.number-s.out.MaxFiles; s.oldest++ {
		os.Remove(s.prefix + strconv.Itoa(s.oldest))
	}
}

// take moves up to limit bytes from the pipe, as many as are there and fit into one file. The error
// is EAGAIN when the pipe is empty; 0 without an error means that nobody writes to it any more.
func (s *sink) take(pipe int, limit int64) (int64, error) {
	room, err := s.room()
	if err != nil {
		return 0, err
	}
	limit = min(limit, room)
	if s.copies {
		return s.copy(pipe, limit)
	}
	for {
		n, err := unix.Splice(pipe, nil, s.fd, nil, int(limit), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err == unix.EINTR {
			continue
		}
		if err == unix.EINVAL {
			s.copies = true
			return s.copy(pipe, limit)
		}
		s.size += max(int64(n), 0)
		return int64(n), err
	}
}

// copy does what splice does, but loses what is in its hands when the process is killed.
func (s *sink) copy(pipe int, limit int64) (int64, error) {
	buf := make([]byte, min(limit, 64<<10))
	n, err := unix.Read(pipe, buf)
	if n <= 0 || err != nil {
		return 0, err
	}
	for done := 0; done < n; {
		w, err := unix.Write(s.fd, buf[done:n])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return int64(done), fmt.Errorf("%d bytes of output are lost: %w", n-done, err)
		}
		done += w
		s.size += int64(w)
	}
	return int64(n), nil
}

func (s *sink) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
		s.fd = -1
	}
}
