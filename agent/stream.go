package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/a43e60e4/cluster"
)

const (
	streamBeat  = time.Second            // between signs of life
	pollFirst   = 4 * time.Millisecond   // after something came
	pollLongest = 100 * time.Millisecond // when nothing comes for long
)

// source is what a stream reads from.
type source interface {
	// next reads what comes next into p. A piece without data and event says that there is nothing now;
	// io.EOF says that nothing will come any more.
	next(p []byte) (piece, error)
	close()
}

// piece is what a source has read.
type piece struct {
	n      int
	offset int64 // where it ends in file
	file   string
	event  string
}

// sink writes a stream to a client, as frames or as plain text.
type sink struct {
	w     io.Writer
	flush func()
	plain bool
	file  string // that the client was told last
}

func newSink(w http.ResponseWriter, plain bool) *sink {
	kind := "application/json"
	if plain {
		kind = "text/plain; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	controller := http.NewResponseController(w)
	s := &sink{w: w, plain: plain, flush: func() { controller.Flush() }}
	w.WriteHeader(http.StatusOK)
	s.flush()
	return s
}

func (s *sink) send(p piece, data []byte) error {
	if s.plain {
		_, err := s.w.Write(data)
		return err
	}
	f := cluster.FileFrame{Offset: p.offset, Data: data, FileEvent: p.event}
	if p.file != s.file || p.event != "" {
		f.File, s.file = p.file, p.file
	}
	return s.write(f)
}

func (s *sink) write(f cluster.FileFrame) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = s.w.Write(text)
	return err
}

// pump carries everything from the source to the client; with follow it waits for more until ctx ends. It looks for
// more often while something comes and ever more seldom while nothing does; nothing is looked at when nobody follows.
func pump(ctx context.Context, from source, to *sink, follow bool) error {
	buffer := make([]byte, cluster.MaxFrameData)
	pause, beat := pollFirst, time.Now()
	for ctx.Err() == nil {
		p, err := from.next(buffer)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.n > 0 || p.event != "" {
			if err := to.send(p, buffer[:p.n]); err != nil {
				return err
			}
			pause, beat = pollFirst, time.Now()
			if follow {
				to.flush()
			}
			continue
		}
		if !follow {
			return nil
		}
		if time.Since(beat) >= streamBeat && !to.plain {
			if err := to.write(cluster.FileFrame{}); err != nil {
				return err
			}
			to.flush()
			beat = time.Now()
		}
		if !rest(ctx, pause) {
			return nil
		}
		pause = min(pause*2, pollLongest)
	}
	return nil
}

// fileSource reads one file.
type fileSource struct {
	tree   tree
	name   string
	file   *os.File
	offset int64
	gone   bool
}

// openFile positions a source: offset bytes from the start, or before the end.
func openFile(t tree, name string, offset int64, fromEnd bool) (*fileSource, error) {
	file, real, err := t.open(name)
	if err != nil {
		return nil, err
	}
	if fromEnd {
		info, err := file.Stat()
		if err != nil {
			file.Close()
			return nil, fileError(name, err)
		}
		offset = max(info.Size()-offset, 0)
	}
	return &fileSource{tree: t, name: real, file: file, offset: offset}, nil
}

func (s *fileSource) close() { s.file.Close() }

func (s *fileSource) next(p []byte) (piece, error) {
	if s.gone {
		return piece{}, io.EOF
	}
	n, err := s.file.ReadAt(p, s.offset)
	if n > 0 {
		s.offset += int64(n)
		return piece{n: n, offset: s.offset, file: s.name}, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return piece{}, err
	}
	info, err := s.file.Stat()
	if err != nil {
		return piece{}, err
	}
	if info.Size() < s.offset {
		s.offset = 0
		return piece{file: s.name, event: cluster.FileTruncated}, nil
	}
	if there, err := s.tree.find(s.name); err != nil || !os.SameFile(there.info, info) {
		if err == nil {
			there.dir.Close()
		}
		s.gone = true
		return piece{offset: s.offset, file: s.name, event: cluster.FileDeleted}, nil
	} else {
		there.dir.Close()
	}
	return piece{}, nil
}
