package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// serveAll answers the same request again and again, without a network.
func serveAll(b *testing.B, h http.Handler, method, target string, body []byte) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(method, target, bytes.NewReader(body))
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, r)
		if recorder.Code != http.StatusOK {
			b.Fatal(recorder.Code, recorder.Body)
		}
	}
}

// BenchmarkAPI measures what the API adds to the state behind it: no Raft, no sockets.
func BenchmarkAPI(b *testing.B) {
	w := newWorld(b)
	var jobs []string
	for i := range 1000 {
		jobs = append(jobs, "job-"+strconv.Itoa(i))
	}
	alloc := w.populate(jobs...)[0]
	b.Run("register", func(b *testing.B) { serveAll(b, w.handler, "PUT", "/v1/jobs", []byte(`{"Job": `+jobText("web")+`}`)) })
	b.Run("read allocation", func(b *testing.B) { serveAll(b, w.handler, "GET", "/v1/allocation/"+alloc.ID.String(), nil) })
	b.Run("list 1000 allocations", func(b *testing.B) { serveAll(b, w.handler, "GET", "/v1/allocations", nil) })
	b.Run("filter 1000 allocations", func(b *testing.B) {
		serveAll(b, w.handler, "GET", "/v1/allocations?filter=JobID+%3D%3D+%22job-7%22", nil)
	})
	b.Run("list 1000 jobs", func(b *testing.B) { serveAll(b, w.handler, "GET", "/v1/jobs", nil) })
}
