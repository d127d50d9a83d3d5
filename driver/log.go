package driver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
)

// Log is one stream of a task's output on disk: files "<dir>/<name>.0", "<dir>/<name>.1", …, of which the newest
// LogConfig.MaxFiles are kept, none larger than LogConfig.MaxFileSizeMB. Attempts of a task continue each other's files.
// A Log has one writer and is not safe for concurrent use; readers may open the files at any time.
type Log struct {
	dir, name string
	maxBytes  int64
	maxFiles  int

	file *os.File // nil when the output is thrown away
	at   Position
}

// Position is a place in a stream of output.
type Position struct {
	File   int   // the N of "<name>.N"
	Offset int64 // in bytes
}

// OpenLog continues the newest file, or starts the first; the directory is made if it is missing. With LogConfig.Disabled
// the log writes nothing. Zero limits are the defaults: 10 files of 10 MB.
func OpenLog(dir, name string, c cluster.LogConfig) (*Log, error) {
	l := &Log{dir: dir, name: name, maxBytes: int64(c.MaxFileSizeMB) << 20, maxFiles: c.MaxFiles}
	if l.maxBytes <= 0 {
		l.maxBytes = 10 << 20
	}
	if l.maxFiles <= 0 {
		l.maxFiles = 10
	}
	if c.Disabled {
		return l, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	numbers, err := l.numbers()
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	last := 0
	for _, n := range numbers {
		last = max(last, n)
	}
	if err := l.open(last); err != nil {
		return nil, err
	}
	return l, nil
}

// Write appends p. What fits into one file is not torn between two.
func (l *Log) Write(p []byte) (int, error) {
	if l.file == nil {
		return len(p), nil
	}
	written := 0
	for len(p) > 0 {
		if room := l.maxBytes - l.at.Offset; room <= 0 || int64(len(p)) > room && int64(len(p)) <= l.maxBytes {
			if err := l.rotate(); err != nil {
				return written, err
			}
		}
		n, err := l.file.Write(p[:min(int64(len(p)), l.maxBytes-l.at.Offset)])
		l.at.Offset += int64(n)
		written += n
		if err != nil {
			return written, fmt.Errorf("write log: %w", err)
		}
		p = p[n:]
	}
	return written, nil
}

// Position is where the next byte goes.
func (l *Log) Position() Position { return l.at }

// Rewind takes back what was written behind p. Where p is in a file that is no longer kept, the log goes on in an empty
// file of that number.
func (l *Log) Rewind(p Position) error {
	if l.file == nil || p == l.at {
		return nil
	}
	numbers, err := l.numbers()
	if err != nil {
		return fmt.Errorf("rewind log: %w", err)
	}
	for _, n := range numbers {
		if n > p.File {
			if err := os.Remove(l.path(n)); err != nil {
				return fmt.Errorf("rewind log: %w", err)
			}
		}
	}
	if err := l.open(p.File); err != nil {
		return err
	}
	if l.at.Offset > p.Offset {
		if err := l.file.Truncate(p.Offset); err != nil {
			return fmt.Errorf("rewind log: %w", err)
		}
		l.at.Offset = p.Offset
	}
	return nil
}

// Close closes the newest file. Everything written is there already.
func (l *Log) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

func (l *Log) rotate() error {
	if err := l.open(l.at.File + 1); err != nil {
		return err
	}
	numbers, err := l.numbers()
	if err != nil {
		return fmt.Errorf("rotate log: %w", err)
	}
	for _, n := range numbers {
		if n <= l.at.File-l.maxFiles {
			if err := os.Remove(l.path(n)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("rotate log: %w", err)
			}
		}
	}
	return nil
}

// open makes file n the one that is written. A link in its place is refused: tasks may be able to write the directory.
func (l *Log) open(n int) error {
	file, err := os.OpenFile(l.path(n), os.O_CREATE|os.O_WRONLY|os.O_APPEND|noFollow, 0o644)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	size, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open log: %w", err)
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.at = file, Position{n, size.Size()}
	return nil
}

func (l *Log) path(n int) string { return filepath.Join(l.dir, l.name+"."+strconv.Itoa(n)) }

// numbers are those of the files there are, in no order.
func (l *Log) numbers() ([]int, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, entry := range entries {
		suffix, ok := strings.CutPrefix(entry.Name(), l.name+".")
		if n, err := strconv.Atoi(suffix); ok && err == nil && n >= 0 && strconv.Itoa(n) == suffix {
			out = append(out, n)
		}
	}
	return out, nil
}
