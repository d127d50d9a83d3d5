package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mishap is a row of TestBadInput: a command line that cannot succeed, and all that it may say. Arguments are split at
// spaces. In texts, <dir> is the world's directory, <n> a number, <id> an ID or its beginning, <any> anything.
type mishap struct {
	name   string
	args   string
	file   string // text of the file "in", "" for none
	stdin  string
	status int
	says   string // standard error without its "Error: "; where it ends with a line break, what follows does not matter
}

var placeholders = strings.NewReplacer("<n>", "[0-9]+", "<id>", "[0-9a-f-]+", "<any>", "(?s:.*)")

// matches reports whether a text is what was wanted.
func (w *world) matches(text, want string) bool {
	want = regexp.QuoteMeta(strings.ReplaceAll(want, "<dir>", w.dir))
	return regexp.MustCompile("^" + placeholders.Replace(want) + "$").MatchString(text)
}

// feed runs a command line with that standard input.
func (w *world) feed(stdin string, args ...string) (stdout, stderr string, status int) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	cmd := w.command(ctx, args...)
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	status = -1
	if err := cmd.Run(); err == nil || errors.As(err, new(*exec.ExitError)) {
		status = cmd.ProcessState.ExitCode()
	}
	return out.String(), errs.String(), status
}

// try runs a row.
func (w *world) try(t *testing.T, m mishap) {
	t.Helper()
	if m.file != "" {
		if err := os.WriteFile(filepath.Join(w.dir, "in"), []byte(m.file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stdout, stderr, status := w.feed(m.stdin, strings.Fields(strings.ReplaceAll(m.args, "<dir>", w.dir))...)
	said := strings.TrimSuffix(spoken(stderr), "\n")
	if status != m.status || !w.matches(said, m.says) {
		t.Errorf("cluster %s\nends with status %d, want %d, and says\n%s\nwant\n%s\nstandard output:\n%s", m.args, status, m.status, said, m.says, stdout)
	}
	if strings.Contains(stderr, "goroutine ") {
		t.Errorf("it crashed:\n%s", stderr)
	}
}

// spoken is what an error output says to people: without the log, and without the word that begins every error.
func spoken(stderr string) string {
	var out strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "time=") {
			out.WriteString(strings.TrimPrefix(line, "Error: "))
		}
	}
	return out.String()
}

// hello starts an agent that the rest of the test may talk to.
func (w *world) begin(t *testing.T, flags ...string) {
	t.Helper()
	if err := w.launch("one", flags...); err != nil {
		t.Fatal(err)
	}
	if err := w.ready(); err != nil {
		t.Fatal(err)
	}
}

// alive fails the test if the agent has crashed or does not answer.
func (w *world) alive(t *testing.T) {
	t.Helper()
	if out, stderr, status := w.feed("", "node", "status"); status != 0 || !strings.Contains(out, "ready") {
		t.Errorf("the agent does not answer: %s%s", out, stderr)
	}
	log, err := os.ReadFile(w.log("one"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(log, []byte("goroutine ")) || bytes.Count(log, []byte(`msg="agent started"`)) != 1 {
		t.Errorf("the agent crashed:\n%s", log)
	}
}

// mount puts a small file system at a directory of the world. Root alone can.
func (w *world) mount(t *testing.T, name, options string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a file system")
	}
	dir := filepath.Join(w.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		if os.Getenv("CLUSTER_FORBID_SKIP") != "" {
			t.Fatal(err)
		}
		t.Skipf("this machine lets nobody mount: %v", err)
	}
	t.Cleanup(func() {
		w.halt() // nobody may use it
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// damaged is a world with the data directory "one" of an agent that has run a job and ended.
func damaged(t *testing.T) *world {
	t.Helper()
	w := scratch(t)
	w.begin(t)
	w.write(t, "in", jobFile("batch", `command = "/bin/true"`, ""))
	if _, stderr, status := w.feed("", "job", "run", "in"); status != 0 {
		t.Fatal(stderr)
	}
	if err := w.end("one"); err != nil {
		t.Fatal(err)
	}
	delete(w.agents, "one")
	return w
}

func (w *world) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// jobFile is a job "a" of one raw_exec task that is not started again.
func jobFile(kind, config, more string) string {
	return `job "a" {
  type = "` + kind + `"
  group "g" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    task "t" {
      driver = "raw_exec"
      config {
        ` + config + `
      }
` + more + `
    }
  }
}
`
}

// engine is a Docker engine on a socket that answers as it is told to.
type engine struct {
	path   string
	server *http.Server
}

// newEngine answers every request by answer.
func newEngine(t *testing.T, w *world, answer http.HandlerFunc) *engine {
	t.Helper()
	e := &engine{path: filepath.Join(w.dir, "docker.sock")}
	listener, err := net.Listen("unix", e.path)
	if err != nil {
		t.Fatal(err)
	}
	e.server = &http.Server{Handler: answer}
	done := make(chan struct{})
	go func() { defer close(done); _ = e.server.Serve(listener) }() // it says that it was closed
	t.Cleanup(func() { e.server.Close(); <-done })
	return e
}

// use is the configuration of a node whose engine this is.
func (e *engine) use() string {
	return `plugin "docker" {
  config {
    endpoint = "unix://` + e.path + `"
  }
}
`
}

// exchange sends bytes to a port and returns the beginning of the answer.
func exchange(network, address, text string) (string, error) {
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	_, _ = io.WriteString(conn, text) // the other side may refuse to read all of it
	answer := make([]byte, 100)
	n, _ := io.ReadAtLeast(conn, answer, len(answer)) // nor need it answer
	return string(answer[:n]), nil
}
