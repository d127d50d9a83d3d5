package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestJobFilesAreReadFromTheWeb(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/example.hcl" {
			http.NotFound(w, r)
			return
		}
		w.Write([]byte(shortJob))
	}))
	t.Cleanup(web.Close)
	s := newSession(t)
	if out, status := s.run("job", "run", "-output", web.URL+"/example.hcl"); status != exitDone || !strings.Contains(out, `"ID": "example"`) {
		t.Errorf("status %d, %s", status, out)
	}
	if out, status := s.run("job", "run", "-output", web.URL+"/none.hcl"); status != exitError || !strings.Contains(out, `it answers "404 Not Found"`) {
		t.Errorf("status %d, %s", status, out)
	}
}
