package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJobFilesAreReadFromTheWeb(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wrong.hcl" {
			w.Write([]byte("job {"))
			return
		}
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
	secret := strings.Replace(web.URL, "http://", "http://me:hush@", 1)
	for _, name := range []string{"/none.hcl", "/wrong.hcl"} {
		if out, status := s.run("job", "run", "-output", secret+name); status != exitError || strings.Contains(out, "hush") || !strings.Contains(out, "http://me:xxxxx@") {
			t.Errorf("%s with a password: status %d, %s", name, status, out)
		}
	}
	if out, status := s.run("job", "run", "-output", web.URL+"/none.hcl"); status != exitError || !strings.Contains(out, `it answers "404 Not Found"`) {
		t.Errorf("status %d, %s", status, out)
	}
}

// A job as JSON is sent on as it was understood: what was not has to be told here.
func TestWhatIsNotReadOfJSONIsTold(t *testing.T) {
	s := newSession(t)
	file := filepath.Join(t.TempDir(), "web.json")
	job := `{"Job": {"ID": "web", "TaskGroups": [{"Name": "app", "Tasks": [{"Name": "main", "Driver": "raw_exec", "Resources": {"Memory": 512}}]}]}}`
	if err := os.WriteFile(file, []byte(job), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = `group "app" > task "main" > resources: "Memory" is not known here and has no effect; did you mean "MemoryMB"?`
	for _, verb := range []string{"validate", "plan", "run"} {
		if out, _ := s.run("job", verb, "-json", file); strings.Count(out, want) != 1 {
			t.Errorf("%s: %s", verb, out)
		}
	}
}
