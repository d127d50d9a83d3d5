package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// library is an allocation's directory with some files.
func library(t *testing.T) (tree, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "alloc-dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := allocDir(dir).make("web", ""); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "alloc/data/page.html", "<html><script>x</script>")
	write(t, dir, "alloc/data/plain", "hello")
	write(t, dir, "web/secrets/token", "secret")
	write(t, dir, "web/private/key", "secret")
	write(t, dir, "web/local/app.conf", "conf")
	write(t, filepath.Dir(dir), "outside", "outside")
	for link, target := range map[string]string{
		"alloc/data/near": "plain", "alloc/data/across": "../../web/local/app.conf", "alloc/data/dir": "../../web/local",
		"alloc/data/up": "../../../outside", "alloc/data/abs": "/etc/passwd", "alloc/data/secret": "../../web/secrets/token",
		"alloc/data/secrets": "../../web/secrets", "alloc/data/loop": "loop", "web/local/private": "../private/key",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	return tree(dir), dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPathsStayInTheDirectoryAndOutOfSecrets(t *testing.T) {
	files, _ := library(t)
	for _, c := range []struct {
		path string
		want string // the content
		code cluster.Code
	}{
		{"alloc/data/plain", "hello", ""},
		{"/alloc/data/plain", "hello", ""},
		{"/alloc/../alloc//data/./plain", "hello", ""},
		{"../../alloc/data/plain", "hello", ""},
		{"alloc/data/near", "hello", ""},
		{"alloc/data/across", "conf", ""},
		{"alloc/data/dir/app.conf", "conf", ""},
		{"web/local/app.conf", "conf", ""},
		{"alloc/data/none", "", cluster.CodeNotFound},
		{"alloc/data/plain/below", "", cluster.CodeNotFound},
		{"../outside", "", cluster.CodeNotFound},
		{"alloc/data/up", "", cluster.CodeNotFound},
		{"alloc/data/abs", "", cluster.CodeForbidden},
		{"web/secrets/token", "", cluster.CodeForbidden},
		{"web/secrets", "", cluster.CodeForbidden},
		{"web/private/key", "", cluster.CodeForbidden},
		{"alloc/../web/secrets/token", "", cluster.CodeForbidden},
		{"alloc/data/secret", "", cluster.CodeForbidden},
		{"alloc/data/secrets/token", "", cluster.CodeForbidden},
		{"web/local/private", "", cluster.CodeForbidden},
		{"alloc/data/loop", "", cluster.CodeInvalid},
		{"alloc/data", "", cluster.CodeInvalid},
		{"/", "", cluster.CodeInvalid},
	} {
		file, _, err := files.open(c.path)
		if code := cluster.CodeOf(err); code != c.code || (err != nil) != (c.code != "") {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if err == nil {
			got, _ := io.ReadAll(file)
			file.Close()
			if string(got) != c.want {
				t.Errorf("%s: %q", c.path, got)
			}
		}
	}
}

func FuzzPaths(f *testing.F) {
	for _, name := range []string{"alloc/data/plain", "../..", "/", "", "alloc/data/secret", "alloc/data/dir/../../secrets/token", "a\x00b"} {
		f.Add(name)
	}
	var files tree
	f.Fuzz(func(t *testing.T, name string) {
		if _, err := os.Stat(string(files)); err != nil { // its directory went with the run that made it
			files, _ = library(t)
		}
		file, _, err := files.open(name)
		if err != nil {
			return
		}
		defer file.Close()
		if got, _ := io.ReadAll(file); string(got) == "secret" || string(got) == "outside" {
			t.Errorf("%q shows %q", name, got)
		}
	})
}

func FuzzLogNames(f *testing.F) {
	f.Add("web.stdout.0", "web.stdout.")
	f.Add("web.stdout.-1", "web.stdout.")
	f.Fuzz(func(t *testing.T, name, prefix string) {
		if n, ok := logNumber(name, prefix); ok && fmt.Sprint(prefix, n) != name {
			t.Errorf("%q with %q is %d", name, prefix, n)
		}
	})
}

// readAll reads a source to its end or until nothing comes.
func readAll(t *testing.T, s source) string {
	t.Helper()
	var out bytes.Buffer
	p := make([]byte, 7)
	for {
		got, err := s.next(p)
		if errors.Is(err, io.EOF) || err == nil && got.n == 0 && got.event == "" {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		out.Write(p[:got.n])
	}
}

func TestPositionsInLogs(t *testing.T) {
	files, dir := library(t)
	for n, text := range map[int]string{3: "aaaa", 4: "", 10: "bbbbbb", 11: "cc"} {
		write(t, dir, fmt.Sprintf("alloc/logs/web.stdout.%d", n), text)
	}
	for _, other := range []string{"web.stderr.5", "web.stdout.x", "web.stdout.05", "webby.stdout.5"} {
		write(t, dir, "alloc/logs/"+other, "other")
	}
	const all = "aaaabbbbbbcc"
	for offset := range len(all) + 4 {
		for _, fromEnd := range []bool{false, true} {
			s, err := openLogs(files, "web", "stdout", streamQuery{offset: int64(offset), fromEnd: fromEnd}, func() bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			want := all[min(offset, len(all)):]
			if fromEnd {
				want = all[max(len(all)-offset, 0):]
			}
			if got := readAll(t, s); got != want {
				t.Errorf("offset %d, from the end %v: %q, want %q", offset, fromEnd, got, want)
			}
			s.close()
		}
	}
}

func TestATruncatedLogIsReadAnew(t *testing.T) {
	files, dir := library(t)
	write(t, dir, "alloc/logs/web.stdout.0", "before")
	s, err := openLogs(files, "web", "stdout", streamQuery{}, func() bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if got := readAll(t, s); got != "before" {
		t.Fatalf("%q", got)
	}
	if err := os.Truncate(dir+"/alloc/logs/web.stdout.0", 0); err != nil {
		t.Fatal(err)
	}
	if got, err := s.next(make([]byte, 9)); err != nil || got.event != cluster.FileTruncated {
		t.Errorf("%+v, %v", got, err)
	}
	write(t, dir, "alloc/logs/web.stdout.0", "new")
	if got := readAll(t, s); got != "new" {
		t.Errorf("%q", got)
	}
}

// TestAFollowerMissesNothing reads a log while it is written and rotated, by several attempts of the task.
func TestAFollowerMissesNothing(t *testing.T) {
	files, dir := library(t)
	var done atomic.Bool
	s, err := openLogs(files, "web", "stdout", streamQuery{}, done.Load)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	const lines = 60_000
	var ahead atomic.Int64 // lines written and not yet read, so that the writer does not rotate away what nobody read
	failed := make(chan error, 1)
	go func() {
		failed <- func() error {
			defer done.Store(true)
			var log *driver.Log
			var err error
			for i := range lines {
				if i%20_000 == 0 { // a new attempt
					if log, err = driver.OpenLog(dir+"/alloc/logs", "web.stdout", cluster.LogConfig{MaxFiles: 3, MaxFileSizeMB: 1}); err != nil {
						return err
					}
					defer log.Close()
				}
				for ahead.Load() > 15_000 {
					if !rest(t.Context(), time.Millisecond) {
						return nil
					}
				}
				if _, err := fmt.Fprintf(log, "line %08d of a log that is long enough to be rotated a few times\n", i); err != nil {
					return err
				}
				ahead.Add(1)
			}
			return nil
		}()
	}()
	pr, pw := io.Pipe()
	go func() {
		pw.CloseWithError(pump(t.Context(), s, &sink{w: pw, flush: func() {}, plain: true}, true))
	}()
	var n int
	buffer, begun := make([]byte, 1<<15), ""
	for {
		got, err := pr.Read(buffer)
		text := begun + string(buffer[:got])
		for {
			line, after, ok := strings.Cut(text, "\n")
			if !ok {
				break
			}
			if !strings.HasPrefix(line, fmt.Sprintf("line %08d ", n)) {
				t.Fatalf("line %d: %q", n, line)
			}
			n++
			ahead.Add(-1)
			text = after
		}
		begun = text
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-failed; err != nil || n != lines {
		t.Errorf("%d lines, %v", n, err)
	}
}

func TestFramesOfAFile(t *testing.T) {
	files, dir := library(t)
	path := dir + "/alloc/data/plain"
	s, err := openFile(files, "/alloc/data/plain", 2, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	pr, pw := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { pw.CloseWithError(pump(ctx, s, &sink{w: pw, flush: func() {}}, true)) }()
	frames := json.NewDecoder(pr)
	next := func() cluster.FileFrame {
		t.Helper()
		var f cluster.FileFrame
		for f.Offset == 0 && f.File == "" && f.FileEvent == "" {
			if err := frames.Decode(&f); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	if f := next(); string(f.Data) != "lo" || f.Offset != 5 || f.File != "alloc/data/plain" {
		t.Errorf("%+v", f)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(file, " world")
	if f := next(); string(f.Data) != " world" || f.Offset != 11 || f.File != "" {
		t.Errorf("%+v", f)
	}
	file.Truncate(0)
	file.Close()
	if f := next(); f.FileEvent != cluster.FileTruncated || f.Offset != 0 {
		t.Errorf("%+v", f)
	}
	os.Remove(path)
	if f := next(); f.FileEvent != cluster.FileDeleted {
		t.Errorf("%+v", f)
	}
	if err := frames.Decode(new(cluster.FileFrame)); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestAStreamSaysThatItLives(t *testing.T) {
	files, _ := library(t)
	s, err := openFile(files, "alloc/data/plain", 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	pr, pw := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go pump(ctx, s, &sink{w: pw, flush: func() {}}, true)
	begun := time.Now()
	got := make([]byte, 10)
	n, err := pr.Read(got)
	if err != nil || string(got[:n]) != "{}" || time.Since(begun) < streamBeat {
		t.Errorf("%q after %v, %v", got[:n], time.Since(begun), err)
	}
}

// site is a node with an allocation whose task runs, and its API.
func site(t *testing.T) (*world, *incarnation, *cluster.Allocation, *httptest.Server) {
	w := newWorld(t)
	n := w.start(0)
	t.Cleanup(n.stop)
	a := w.change(testAlloc(1, cluster.JobTypeService, func(j *cluster.Job) {
		j.TaskGroups[0].Services = []cluster.Service{{Name: "web", PortLabel: "http", Checks: []cluster.Check{{Name: "alive", Type: "tcp", Interval: time.Second, Timeout: time.Second}}}}
	}, "web"), nil)
	for deadline := time.Now().Add(20 * time.Second); w.alloc(a.ID).Passing != 1; {
		if time.Now().After(deadline) {
			t.Fatal("the allocation does not run")
		}
		rest(t.Context(), time.Millisecond)
	}
	server := httptest.NewServer(n.node.Handler())
	t.Cleanup(server.Close)
	dir := string(n.node.dirs(a.ID))
	write(t, dir, "alloc/logs/web.stdout.0", "hello\n")
	write(t, dir, "alloc/logs/web.stdout.1", "world\n")
	write(t, dir, "alloc/data/page.html", "<html>")
	return w, n, a, server
}

func TestRoutes(t *testing.T) {
	w, n, a, server := site(t)
	fs, alloc, id := "/v1/client/fs/", "/v1/client/allocation/", a.ID.String()
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string // contained in the answer
	}{
		{"GET", fs + "ls/" + id + "?path=/", "", 200, `"Name":"web","IsDir":true`},
		{"GET", fs + "ls/" + id + "?path=/alloc/logs", "", 200, `{"Name":"web.stdout.0","IsDir":false,"Size":6,"FileMode":"-rw-r--r--","ModTime":"2`},
		{"GET", fs + "ls/" + id + "?path=/web/local", "", 200, `[]`},
		{"GET", fs + "stat/" + id + "?path=alloc/logs/web.stdout.0", "", 200, `"Size":6`},
		{"GET", fs + "stat/" + id, "", 400, "path is missing"},
		{"GET", fs + "cat/" + id + "?path=alloc/logs/web.stdout.0", "", 200, "hello\n"},
		{"GET", fs + "cat/" + id + "?path=web/secrets/x", "", 403, "secrets"},
		{"GET", fs + "cat/" + id + "?path=none", "", 404, "no such file"},
		{"GET", fs + "readat/" + id + "?path=alloc/logs/web.stdout.0&offset=2&limit=3", "", 200, "llo"},
		{"GET", fs + "readat/" + id + "?path=alloc/logs/web.stdout.0", "", 400, "offset"},
		{"GET", fs + "stream/" + id + "?path=alloc/logs/web.stdout.0&follow=false", "", 200, `{"Offset":6,"Data":"aGVsbG8K","File":"alloc/logs/web.stdout.0"}`},
		{"GET", fs + "stream/" + id + "?path=x&origin=middle", "", 400, "origin"},
		{"GET", fs + "logs/" + id + "?task=web&type=stdout&plain=true", "", 200, "hello\nworld\n"},
		{"GET", fs + "logs/" + id + "?task=web&type=stdout&plain=true&origin=end&offset=8", "", 200, "o\nworld\n"},
		{"GET", fs + "logs/" + id + "?task=web&type=stdout", "", 200, `{"Offset":6,"Data":"aGVsbG8K","File":"alloc/logs/web.stdout.0"}{"Offset":6,"Data":"d29ybGQK","File":"alloc/logs/web.stdout.1"}`},
		{"GET", fs + "logs/" + id + "?task=web&type=stderr&plain=true", "", 200, ""},
		{"GET", fs + "logs/" + id + "?task=none&type=stdout", "", 404, `unknown task name "none"`},
		{"GET", fs + "logs/" + id + "?type=stdout", "", 400, "task"},
		{"GET", fs + "logs/" + id + "?task=web", "", 400, "type"},
		{"GET", fs + "logs/" + id + "?task=web&type=stdout&follow=perhaps", "", 400, "follow"},
		{"GET", fs + "ls/", "", 400, "ID of an allocation"},
		{"GET", fs + "ls/nonsense", "", 400, "parse ID"},
		{"GET", fs + "ls/" + cluster.ID{8}.String(), "", 404, "Unknown allocation"},
		{"PUT", fs + "ls/" + id, "", 405, "Invalid method"},
		{"GET", alloc + id + "/checks", "", 200, `"Check":"alive","Group":"g","Mode":"healthiness","Output":"ok","Service":"web","Task":"","Status":"success","StatusCode":200`},
		{"GET", alloc + id + "/stats", "", 200, `"RSS":1048576`},
		{"GET", alloc + id + "/stats?task=none", "", 404, "unknown task"},
		{"PUT", alloc + id + "/signal", `{"Signal":"SIGHUP","Task":"web"}`, 200, `{"Index":0}`},
		{"PUT", alloc + id + "/signal", `{"Signal":"SIGHUP","Task":"none"}`, 404, "unknown task"},
		{"PUT", alloc + id + "/signal", `{}`, 400, "Signal is missing"},
		{"PUT", alloc + id + "/signal", `{"Signal"`, 400, "read request body"},
		{"GET", alloc + id + "/restart", "", 405, "Invalid method"},
		{"PUT", alloc + id + "/restart", `{"TaskName":"none"}`, 404, "unknown task"},
		{"GET", alloc + id + "/gc", "", 500, "have not ended"},
		{"GET", "/v1/client/stats", "", 200, `"Memory":{"Total":`},
		{"PUT", "/v1/client/gc", "", 200, "null"},
		{"POST", alloc + id + "/restart", "", 200, `{"Index":0}`},
	} {
		request, _ := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.body))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != c.code || !strings.Contains(string(got), c.want) {
			t.Errorf("%s %s: %d %s", c.method, c.path, response.StatusCode, got)
		}
		if kind := response.Header.Get("Content-Type"); c.code != 200 && kind != "text/plain; charset=utf-8" || strings.Contains(kind, "html") {
			t.Errorf("%s %s: %s", c.method, c.path, kind)
		}
	}
	until(t, "the task is restarted", func() bool { return len(n.running()) == 1 && strings.HasSuffix(n.running()[0], "/2") })
	w.mu.Lock()
	defer w.mu.Unlock()
	if want := id + "/web/1 SIGHUP"; w.signals[0] != want {
		t.Errorf("signals %v", w.signals)
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); rest(t.Context(), time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// TestFollowingEndsWithTheTask follows the logs over HTTP until the task has ended for good.
func TestFollowingEndsWithTheTask(t *testing.T) {
	w, n, a, server := site(t)
	response, err := http.Get(server.URL + "/v1/client/fs/logs/" + a.ID.String() + "?task=web&type=stdout&follow=true&plain=true")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 12)
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "hello\nworld\n" {
		t.Fatalf("%q, %v", first, err)
	}
	write(t, string(n.node.dirs(a.ID)), "alloc/logs/web.stdout.2", "late\n")
	w.change(a, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
	late, err := io.ReadAll(response.Body)
	if err != nil || string(late) != "late\n" {
		t.Errorf("%q, %v", late, err)
	}
}

func TestProbes(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "wrong" || r.Header.Get("X-Key") == "wrong" || r.URL.Path != "/health" {
			http.Error(w, "not well", http.StatusServiceUnavailable)
			return
		}
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
			io.Copy(w, r.Body)
		}
	}))
	defer web.Close()
	address := web.Listener.Addr().String()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for _, c := range []struct {
		name    string
		check   cluster.Check
		address string
		status  string
		code    int
		output  string // its beginning
	}{
		{"http", cluster.Check{Type: "http", Path: "/health"}, address, cluster.CheckSuccess, 200, "nomad: http ok"},
		{"relative path", cluster.Check{Type: "http", Path: "health"}, address, cluster.CheckSuccess, 200, "nomad: http ok"},
		{"unwell", cluster.Check{Type: "http", Path: "/other"}, address, cluster.CheckFailure, 503, "not well"},
		{"body", cluster.Check{Type: "http", Path: "/health", Method: "POST", Body: "text"}, address, cluster.CheckSuccess, 202, "text"},
		{"header", cluster.Check{Type: "http", Path: "/health", Header: map[string][]string{"x-key": {"wrong"}}}, address, cluster.CheckFailure, 503, "not well"},
		{"host", cluster.Check{Type: "http", Path: "/health", Header: map[string][]string{"Host": {"wrong"}}}, address, cluster.CheckFailure, 503, "not well"},
		{"nobody there", cluster.Check{Type: "http", Path: "/health"}, closed.Listener.Addr().String(), cluster.CheckFailure, 0, "nomad: "},
		{"tls unknown", cluster.Check{Type: "http", Protocol: "https"}, secure.Listener.Addr().String(), cluster.CheckFailure, 0, "nomad: "},
		{"tls not verified", cluster.Check{Type: "http", Protocol: "https", TLSSkipVerify: true}, secure.Listener.Addr().String(), cluster.CheckFailure, 404, "404"},
		{"tcp", cluster.Check{Type: "tcp"}, address, cluster.CheckSuccess, 0, "nomad: tcp ok"},
		{"tcp, nobody there", cluster.Check{Type: "tcp"}, closed.Listener.Addr().String(), cluster.CheckFailure, 0, "nomad: "},
		{"unknown", cluster.Check{Type: "script"}, address, cluster.CheckFailure, 0, "nomad: checks of type"},
	} {
		status, code, output := probe(t.Context(), c.check, c.address)
		if status != c.status || code != c.code || !strings.HasPrefix(output, c.output) {
			t.Errorf("%s: %s, %d, %q", c.name, status, code, output)
		}
	}
}
