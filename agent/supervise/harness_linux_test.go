package supervise

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary plays every part: with envRole it is a supervisor, an agent or a task.
const (
	envRole   = "SUPERVISE_TEST_ROLE"
	envConfig = "SUPERVISE_TEST_CONFIG"
	envSock   = "SUPERVISE_TEST_SOCKET"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "version" {
		os.Exit(0)
	}
	switch os.Getenv(envRole) {
	case "supervisor":
		os.Exit(supervisorRole())
	case "agent":
		os.Exit(agentRole())
	case "lines":
		os.Exit(linesRole())
	case "flood":
		os.Exit(floodRole())
	}
	os.Exit(m.Run())
}

// roleConfig is what a supervisor of a test is told.
type roleConfig struct {
	Dir, Socket, Executable string
	BootID                  string
	StopTasks               bool
	AgentArgs               []string
	Death                   death
}

func supervisorRole() int {
	var rc roleConfig
	if err := json.Unmarshal([]byte(os.Getenv(envConfig)), &rc); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, envRole+"=") })
	env = append(env, envRole+"=agent", envSock+"="+rc.Socket)
	status, err := Run(context.Background(), Config{
		Dir:        rc.Dir,
		Agent:      append([]string{rc.Executable}, rc.AgentArgs...),
		Env:        env,
		Executable: rc.Executable,
		StopTasks:  rc.StopTasks,
		BootID:     rc.BootID,
		Logger:     slog.New(slog.NewTextHandler(os.Stderr, nil)),
		reached:    rc.Death.at(rc.Dir),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return status
}

const verbTestExit verb = "test-exit"

// agentRole is an agent that does what a test tells it: it speaks the supervisor's own protocol on
// a socket of its own and passes everything on.
func agentRole() int {
	if len(os.Args) > 1 && os.Args[1] == "broken" {
		fmt.Fprintln(os.Stderr, "the configuration is wrong")
		return 7
	}
	c, err := Inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 5
	}
	path := os.Getenv(envSock)
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 6
	}
	if err := c.Ready(context.Background()); err != nil {
		return 8
	}
	p := &proxy{c: c}
	go p.exits()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-term:
		return 0
	case <-c.Done():
		return 9
	}
}

type proxy struct {
	c     *Client
	mu    sync.Mutex
	seen  []Status
	conns []net.Conn
}

func (p *proxy) exits() {
	for {
		select {
		case s := <-p.c.Exits():
			p.mu.Lock()
			p.seen = append(p.seen, s)
			for _, conn := range p.conns {
				p.send(conn, reply{Status: &s})
			}
			p.mu.Unlock()
		case <-p.c.Done():
			return
		}
	}
}

func (p *proxy) send(conn net.Conn, r reply) {
	frame, _ := encodeFrame(r)
	conn.Write(frame)
}

func (p *proxy) serve(conn net.Conn) {
	p.mu.Lock()
	for i := range p.seen {
		p.send(conn, reply{Status: &p.seen[i]})
	}
	p.conns = append(p.conns, conn)
	p.mu.Unlock()
	in := frames{from: conn}
	for {
		body, err := in.next()
		if err != nil {
			return
		}
		var q request
		json.Unmarshal(body, &q)
		if q.Verb == verbTestExit {
			os.Exit(q.Signal)
		}
		go func() {
			r, err := p.c.call(context.Background(), q)
			r.ID, r.Error = q.ID, toWire(err)
			if q.Verb == verbHello {
				r.Hello = &p.c.hello
			}
			p.mu.Lock()
			p.send(conn, r)
			p.mu.Unlock()
		}()
	}
}

// linesRole writes numbered lines until it has written so many, or until it is told to by a signal.
func linesRole() int {
	n, _ := strconv.Atoi(os.Getenv("LINES"))
	last := make(chan os.Signal, 1)
	signal.Notify(last, syscall.SIGTERM)
	w := bufio.NewWriterSize(os.Stdout, 4096)
	tick := time.NewTicker(time.Millisecond) // without a number: 256 lines a millisecond are enough
	defer tick.Stop()
	for i := 0; n == 0 || i < n; i++ {
		select {
		case <-last:
			fmt.Fprintf(w, "end %d\n", i)
			w.Flush()
			return 0
		default:
		}
		fmt.Fprintf(w, "line %012d\n", i)
		if n == 0 && i%256 == 0 {
			w.Flush()
			<-tick.C
		}
	}
	w.Flush()
	return 0
}

// floodRole writes BYTES as fast as it can.
func floodRole() int {
	n, _ := strconv.ParseInt(os.Getenv("BYTES"), 10, 64)
	block := bytes.Repeat([]byte("0123456789abcde\n"), 4096)
	for ; n > 0; n -= int64(len(block)) {
		if _, err := os.Stdout.Write(block); err != nil {
			return 1
		}
	}
	return 0
}

// house is a supervisor in a process of its own, with an agent that obeys the test.
type house struct {
	t    testing.TB
	rc   roleConfig
	logs string
	uid  int
	cmd  *exec.Cmd
	done chan struct{} // closed when the supervisor process has ended
	c    *Client
}

const patience = 60 * time.Second

func newHouse(t testing.TB, change ...func(*house)) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "supervise")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	h := &house{t: t, logs: filepath.Join(dir, "logs")}
	h.rc = roleConfig{Dir: filepath.Join(dir, "sup"), Socket: filepath.Join(dir, "agent.sock"), Executable: testBinary(t, dir)}
	for _, f := range change {
		f(h)
	}
	if err := os.Mkdir(h.logs, 0o777); err != nil {
		t.Fatal(err)
	}
	if h.uid != 0 {
		for _, d := range []string{dir, h.logs} {
			if err := os.Chown(d, h.uid, h.uid); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(func() {
		h.clean()
		os.RemoveAll(dir)
	})
	return h
}

// testBinary puts this program where every user can run it.
func testBinary(t testing.TB, dir string) string {
	t.Helper()
	from, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if os.Link(from, path) == nil {
		return path
	}
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(path, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// begin starts the supervisor and waits for its agent.
func (h *house) begin() *house {
	h.t.Helper()
	h.launch()
	h.connect()
	return h
}

func (h *house) launch() {
	h.t.Helper()
	config, _ := json.Marshal(h.rc)
	h.cmd = exec.Command(h.rc.Executable)
	h.cmd.Env = append(os.Environ(), envRole+"=supervisor", envConfig+"="+string(config), h.race())
	h.cmd.Stdout, h.cmd.Stderr = os.Stdout, os.Stderr
	if !testing.Verbose() {
		h.cmd.Stdout, h.cmd.Stderr = nil, nil
	}
	h.cmd.SysProcAttr = &syscall.SysProcAttr{}
	if h.uid != 0 {
		h.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.uid)}
	}
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		cmd.Wait()
		close(done)
	}(h.cmd, h.done)
}

// race makes a race detector of the other processes write into a file beside the logs.
func (h *house) race() string {
	return "GORACE=atexit_sleep_ms=0 log_path=" + filepath.Join(filepath.Dir(h.logs), "race")
}

// connect waits for an agent that answers, and talks to it from now on.
func (h *house) connect() {
	h.t.Helper()
	h.eventually("an agent that answers", func() bool {
		conn, err := net.Dial("unix", h.rc.Socket)
		if err != nil {
			return false
		}
		c := newClient(conn)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		r, err := c.call(ctx, request{Verb: verbHello})
		if err != nil || r.Hello == nil {
			conn.Close()
			return false
		}
		c.hello = *r.Hello
		if h.c != nil {
			h.c.conn.Close()
		}
		h.c = c
		return true
	})
}

// eventually waits for a condition.
func (h *house) eventually(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			h.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (h *house) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.t.Cleanup(cancel)
	return ctx
}

// sh is a task that runs a shell script, with its output in the files named after its ID.
func (h *house) sh(id, script string) Spec {
	return Spec{
		ID:      id,
		Command: "/bin/sh",
		Args:    []string{"-c", script},
		Env:     []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOUSE=" + h.logs},
		Stdout:  Output{Dir: h.logs, Name: id + ".stdout"},
		Stderr:  Output{Dir: h.logs, Name: id + ".stderr"},
	}
}

// role is a task played by the test binary.
func (h *house) role(id, role string, env ...string) Spec {
	s := h.sh(id, "")
	s.Command, s.Args = h.rc.Executable, nil
	s.Env = append(env, envRole+"="+role, h.race())
	return s
}

func (h *house) start(s Spec) Status {
	h.t.Helper()
	st, err := h.c.Start(h.ctx(), s)
	if err != nil {
		h.t.Fatal(err)
	}
	if st.PID == 0 || st.StartedAt.IsZero() {
		h.t.Fatalf("started task has status %+v", st)
	}
	return st
}

// exit waits for a task's exit to be reported.
func (h *house) exit(id string) Exit {
	h.t.Helper()
	for {
		select {
		case s := <-h.c.Exits():
			if s.ID == id {
				return *s.Exit
			}
		case <-h.ctx().Done():
			h.t.Fatalf("no exit of %s", id)
		}
	}
}

// wait polls for a task's exit, across agents and supervisors.
func (h *house) wait(id string) Exit {
	h.t.Helper()
	var e *Exit
	h.eventually("the exit of "+id, func() bool {
		all, err := h.c.List(h.ctx())
		if err != nil {
			h.connect()
			return false
		}
		for _, s := range all {
			if s.ID == id {
				e = s.Exit
			}
		}
		return e != nil
	})
	return *e
}

func (h *house) out(id string) string { return h.files(id + ".stdout") }

// files returns all files of an output, joined in order.
func (h *house) files(name string) string {
	h.t.Helper()
	var b strings.Builder
	for n := 0; ; n++ {
		part, err := os.ReadFile(filepath.Join(h.logs, name+"."+strconv.Itoa(n)))
		if errors.Is(err, os.ErrNotExist) {
			return b.String()
		}
		if err != nil {
			h.t.Fatal(err)
		}
		b.Write(part)
	}
}

// waitOut waits for text in a task's output.
func (h *house) waitOut(id, text string) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("%q from %s", text, id), func() bool { return strings.Contains(h.out(id), text) })
}

// crash kills the supervisor and waits until it is gone.
func (h *house) crash() {
	h.t.Helper()
	h.cmd.Process.Kill()
	<-h.done
}

// clean ends the supervisor and everything of its tasks, and sees to it that nothing is left.
func (h *house) clean() {
	if h.cmd == nil {
		return
	}
	h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-h.done:
	case <-time.After(patience):
		h.t.Error("the supervisor does not end")
		h.cmd.Process.Kill()
		<-h.done
	}
	mine := func(s stat) bool {
		env, _ := os.ReadFile("/proc/" + strconv.Itoa(s.pid) + "/environ")
		return bytes.Contains(env, []byte(h.rc.Dir)) || bytes.Contains(env, []byte(h.logs))
	}
	if h.c != nil {
		h.c.conn.Close()
	}
	races, _ := filepath.Glob(filepath.Join(filepath.Dir(h.logs), "race.*"))
	for _, path := range races {
		report, _ := os.ReadFile(path)
		h.t.Errorf("%s", report)
	}
	h.eventually("the end of all processes", func() bool {
		all, _ := processes()
		found := 0
		for _, s := range all {
			if s.pid != os.Getpid() && s.alive() && mine(s) {
				found++
				syscall.Kill(s.pid, syscall.SIGKILL)
			}
		}
		return found == 0
	})
	if h.uid == 0 {
		h.removeGroups()
	}
}

// removeGroups drops the cgroups of tasks that outlived their supervisor.
func (h *house) removeGroups() {
	c := h.cgroups()
	if c == nil {
		return
	}
	h.eventually("the end of all cgroups", func() bool {
		ok := c.unified == "" || rmdirs(c.unified) == nil
		for _, v1 := range c.v1 {
			ok = rmdirs(v1.parent) == nil && ok
		}
		return ok
	})
}

// cgroups are those of the supervisor, nil if it has none.
func (h *house) cgroups() *cgroups {
	sum := sha256.Sum256([]byte(h.rc.Dir))
	c, _ := openCgroups("/proc", "cluster-"+hex.EncodeToString(sum[:6]), 0)
	return c
}

// privileged skips a test that needs root.
func privileged(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// nobody makes the supervisor an unprivileged one, where we can.
func nobody(h *house) {
	if os.Geteuid() == 0 {
		h.uid = 65534
	}
}
