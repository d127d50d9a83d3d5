package server

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
)

const (
	// writePatience is how long a caller may take for the next piece of an answer.
	writePatience = time.Minute
	// gzipFrom is the size of an answer in bytes from which compressing it is worth the work.
	gzipFrom = 1024
)

// reply is an answer under way. It remembers whether it has begun, and gives up on callers that do not read.
type reply struct {
	http.ResponseWriter
	control *http.ResponseController
	status  int           // 0 before the answer has begun
	waited  time.Duration // for a change, before the answer
}

// WriteHeader begins the answer.
func (w *reply) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
	w.patience()
	w.ResponseWriter.WriteHeader(status)
}

// Write writes a piece of the answer.
func (w *reply) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.patience()
	return w.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController find Flush and Hijack.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what has been written.
func (w *reply) Flush() { _ = w.control.Flush() }

// patience renews the time that the caller has to take what is written. Not every writer can do that.
func (w *reply) patience() { _ = w.control.SetWriteDeadline(time.Now().Add(writePatience)) }

// code is the status that was answered.
func (w *reply) code() int {
	if w.status == 0 {
		return http.StatusOK
	}
	return w.status
}

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is the largest buffer that is kept for the next answer.
const maxPooled = 1 << 20

// json answers 200 with the value. An error means that nothing has been written yet.
func (w *reply) json(r *request, value any) error {
	buffer := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	defer func() {
		if buffer.Cap() <= maxPooled {
			buffers.Put(buffer)
		}
	}()
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	if r.pretty {
		encoder.SetIndent("", "    ")
	}
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	text := buffer.Bytes()
	if !r.pretty {
		text = bytes.TrimSuffix(text, []byte("\n"))
	}
	w.Header().Set("Content-Type", "application/json")
	w.body(r.Request, text)
	return nil
}

// body writes the answer, compressed where the caller can read that and it is worth it. That the caller has gone
// away meanwhile is no error of anybody's.
func (w *reply) body(hr *http.Request, text []byte) {
	w.Header().Add("Vary", "Accept-Encoding")
	if len(text) < gzipFrom || !acceptsGzip(hr.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(http.StatusOK)
		w.Write(text)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	w.WriteHeader(http.StatusOK)
	z := gzips.Get().(*gzip.Writer)
	defer gzips.Put(z)
	z.Reset(w)
	z.Write(text)
	z.Close()
}

var gzips = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // the level is valid
	return z
}}

func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, quality, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) == "gzip" {
			q := strings.TrimSpace(quality)
			return q != "q=0" && q != "q=0.0" && q != "q=0.00" && q != "q=0.000"
		}
	}
	return false
}

// statusError is an error that is answered with a status other than its code's. A nil err has no text.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

// fail answers with an error: its text alone, in the status and the header of its code.
func (h *apiHandler) fail(w *reply, hr *http.Request, err error) {
	if w.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	code := cluster.CodeOf(err)
	status := code.Status()
	if s, ok := errors.AsType[*statusError](err); ok {
		status = s.status
	} else if code == cluster.CodeInternal && hr.Context().Err() == nil {
		h.Logger.Warn("request failed", "method", hr.Method, "path", hr.URL.Path, "err", err)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if code != cluster.CodeInternal {
		w.Header().Set(cluster.HeaderError, string(code))
	}
	w.WriteHeader(status)
	io.WriteString(w, err.Error())
}

func formatIndex(index uint64) string { return strconv.FormatUint(index, 10) }
