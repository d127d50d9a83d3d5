package agent

import (
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
)

// logSource reads one stream of a task's output across its files "<task>.<stream>.N", of which new ones come and old
// ones go at any time. All attempts of the task write to them.
type logSource struct {
	tree   tree
	prefix string      // "<task>.<stream>."
	done   func() bool // reports whether nobody will write any more

	file   *os.File // nil: the next one is to be opened
	number int      // of file, or below the one to be opened
	path   string
	offset int64 // in file
}

const logsDir = "alloc/logs"

// openLogs positions a source: offset bytes after the start of the oldest file, or before the end of the newest,
// counted across files. Positions beyond what there is are its end or start. stream is "stdout" or "stderr".
func openLogs(t tree, task, stream string, at streamQuery, done func() bool) (*logSource, error) {
	s := &logSource{tree: t, prefix: task + "." + stream + ".", done: done, number: -1}
	numbers, err := s.numbers()
	if err != nil && cluster.CodeOf(err) != cluster.CodeNotFound {
		return nil, err
	}
	if at.fromEnd {
		slices.Reverse(numbers)
	}
	offset := max(at.offset, 0)
	for _, n := range numbers {
		file, path, err := t.open(logsDir + "/" + s.prefix + strconv.Itoa(n))
		if cluster.CodeOf(err) == cluster.CodeNotFound {
			continue // it has just gone
		}
		if err != nil {
			s.close()
			return nil, err
		}
		info, err := file.Stat()
		if err != nil {
			file.Close()
			s.close()
			return nil, fileError(path, err)
		}
		s.close()
		s.file, s.number, s.path = file, n, path
		if size := info.Size(); size >= offset {
			s.offset = offset
			if at.fromEnd {
				s.offset = size - offset
			}
			return s, nil
		} else {
			offset -= size
			s.offset = size
			if at.fromEnd {
				s.offset = 0
			}
		}
	}
	return s, nil
}

func (s *logSource) close() {
	if s.file != nil {
		s.file.Close()
		s.file = nil
	}
}

// numbers are those of the files there are, ascending.
func (s *logSource) numbers() ([]int, error) {
	found, err := s.tree.find(logsDir)
	if err != nil {
		return nil, err
	}
	defer found.dir.Close()
	dir, err := enter(found.dir, found.base, found.info)
	if err != nil {
		return nil, fileError(logsDir, err)
	}
	defer dir.Close()
	names, err := readDir(dir)
	if err != nil {
		return nil, fileError(logsDir, err)
	}
	var all []int
	for _, name := range names {
		if n, ok := logNumber(name, s.prefix); ok {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// logNumber reads the N of "<prefix>N".
func logNumber(name, prefix string) (int, bool) {
	suffix, ok := strings.CutPrefix(name, prefix)
	n, err := strconv.Atoi(suffix)
	if !ok || err != nil || n < 0 || strconv.Itoa(n) != suffix {
		return 0, false
	}
	return n, true
}

func (s *logSource) next(p []byte) (piece, error) {
	done := s.done() // asked before reading: what is read after that is all there will be
	for {
		if s.file == nil {
			opened, err := s.openNext()
			if err != nil || !opened {
				return piece{}, orEOF(err, done)
			}
		}
		got, err := s.read(p)
		if err != nil || got.n > 0 || got.event != "" {
			return got, err
		}
		numbers, err := s.numbers()
		if err != nil {
			return piece{}, orEOF(err, true)
		}
		if len(numbers) == 0 || numbers[len(numbers)-1] <= s.number {
			return piece{}, orEOF(nil, done)
		}
		// There is a newer file, so this one is complete; something may have come since we read.
		if got, err := s.read(p); err != nil || got.n > 0 {
			return got, err
		}
		s.close()
	}
}

// orEOF is the end of the stream where nothing more can come.
func orEOF(err error, done bool) error {
	if done && (err == nil || cluster.CodeOf(err) == cluster.CodeNotFound) {
		return io.EOF
	}
	return err
}

// read reads on in the file that is open.
func (s *logSource) read(p []byte) (piece, error) {
	n, err := s.file.ReadAt(p, s.offset)
	if n > 0 {
		s.offset += int64(n)
		return piece{n: n, offset: s.offset, file: s.path}, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return piece{}, err
	}
	if info, err := s.file.Stat(); err == nil && info.Size() < s.offset {
		s.offset = 0
		return piece{file: s.path, event: cluster.FileTruncated}, nil
	}
	return piece{}, nil
}

// openNext opens the oldest file that is newer than the last one. It reports false while there is none.
func (s *logSource) openNext() (bool, error) {
	numbers, err := s.numbers()
	if err != nil {
		if cluster.CodeOf(err) == cluster.CodeNotFound && s.number < 0 && !s.done() {
			return false, nil // the task has not begun to write
		}
		return false, err
	}
	for _, n := range numbers {
		if n <= s.number {
			continue
		}
		file, path, err := s.tree.open(logsDir + "/" + s.prefix + strconv.Itoa(n))
		if cluster.CodeOf(err) == cluster.CodeNotFound {
			continue // it has just gone
		}
		if err != nil {
			return false, err
		}
		s.file, s.path, s.number, s.offset = file, path, n, 0
		return true, nil
	}
	return false, nil
}
