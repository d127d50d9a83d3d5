package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent"
	"github.com/a43e60e4/cluster/agent/supervise"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
	"github.com/a43e60e4/cluster/driver/rawexec"
)

// The test binary plays the processes of a node, too: with envRole it is a supervisor, or the agent that this starts, whose
// raw_exec driver obeys the test over a socket.
const (
	envRole  = "CLUSTER_TEST_ROLE"
	envHouse = "CLUSTER_TEST_HOUSE" // a house's configuration
	envProbe = "CLUSTER_TEST_PROBE" // the probe's path where it is built already
)

func TestMain(m *testing.M) {
	switch os.Getenv(envRole) {
	case "supervisor":
		os.Exit(superviseHouse())
	case "agent":
		os.Exit(keepHouse())
	}
	os.Exit(m.Run())
}

// houseConfig is what the processes of a house are told.
type houseConfig struct {
	Dir     string
	Options rawexec.Options
	CoreMHz int
	Environ []string // that tasks inherit
}

func (c houseConfig) socket() string { return filepath.Join(c.Dir, "sock") }

func readHouse() (c houseConfig) {
	if err := json.Unmarshal([]byte(os.Getenv(envHouse)), &c); err != nil {
		panic(err)
	}
	return c
}

func superviseHouse() int {
	c := readHouse()
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	agentEnv := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, envRole+"=") })
	status, err := supervise.Run(context.Background(), supervise.Config{
		Dir: filepath.Join(c.Dir, "supervisor"), Agent: []string{self}, Env: append(agentEnv, envRole+"=agent"),
		StopTasks: true, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return status
}

// keepHouse is an agent that is nothing but its driver.
func keepHouse() int {
	c := readHouse()
	client, err := supervise.Inherited()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	raw := rawexec.New(rawexec.Config{Processes: processes{client}, Options: c.Options, CoreMHz: c.CoreMHz, Environ: c.Environ})
	service := rpc.NewServer()
	os.Remove(c.socket())
	listener, err := net.Listen("unix", c.socket())
	if err == nil {
		err = service.RegisterName("Driver", &served{raw, client.Mode()})
	}
	if err == nil {
		err = client.Ready(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 4
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go service.ServeCodec(jsonrpc.NewServerCodec(conn))
		}
	}()
	if err := hear(context.Background(), client, raw); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 5
}

// served is a driver as net/rpc serves it.
type served struct {
	d    driver.Driver
	mode supervise.Mode
}

// Answer is what any verb returns; net/rpc wants its name exported.
type Answer struct {
	State   cluster.DriverState
	Exit    driver.Exit
	Stats   driver.Stats
	PID     int
	Parent  int    // the supervisor's PID
	Limits  bool   // the supervisor enforces those of cpu and memory
	Text    string // of the error, "" if there is none
	Unknown bool
	Invalid bool
}

func (a *Answer) fail(err error) error {
	if err != nil {
		a.Text, a.Unknown, a.Invalid = err.Error(), errors.Is(err, driver.ErrUnknown), errors.Is(err, driver.ErrInvalid)
	}
	return nil
}

func (a *Answer) err() error {
	cause := errors.New("refused")
	switch {
	case a.Text == "":
		return nil
	case a.Unknown:
		cause = driver.ErrUnknown
	case a.Invalid:
		cause = driver.ErrInvalid
	}
	return &remoteError{a.Text, cause}
}

type remoteError struct {
	text  string
	cause error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.cause }

func (s *served) Fingerprint(_ string, a *Answer) error {
	a.Limits = slices.Contains(s.mode.Controllers, "cpu") && slices.Contains(s.mode.Controllers, "memory")
	a.PID, a.Parent, a.State = os.Getpid(), os.Getppid(), s.d.Fingerprint(context.Background())
	return nil
}

func (s *served) Start(t driver.Task, a *Answer) error {
	return a.fail(s.d.Start(context.Background(), t, nil))
}

func (s *served) Wait(id string, a *Answer) (err error) {
	a.Exit, err = s.d.Wait(context.Background(), id)
	return a.fail(err)
}

func (s *served) Signal(args [2]string, a *Answer) error {
	return a.fail(s.d.Signal(context.Background(), args[0], args[1]))
}

func (s *served) Destroy(id string, a *Answer) error {
	return a.fail(s.d.Destroy(context.Background(), id))
}

func (s *served) Stats(id string, a *Answer) (err error) {
	a.Stats, err = s.d.Stats(context.Background(), id)
	return a.fail(err)
}

// house is a supervisor and its agent. It is the driver of whatever agent there is: what was asked of one that is killed is
// asked again of the next.
type house struct {
	t      testing.TB
	config houseConfig
	ended  context.Context // done when the supervisor has ended; its cause says how
}

var _ driver.Driver = (*house)(nil)

// housePatience is how long a supervisor may take to end with all its tasks.
const housePatience = 90 * time.Second

// newHouse starts a supervisor, which ends with the test, and all its tasks with it.
func newHouse(t testing.TB, c houseConfig) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "house") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	c.Dir = dir
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envRole+"=supervisor", envHouse+"="+string(text))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancelCause(context.Background())
	go func() {
		cmd.Wait()
		end(fmt.Errorf("the supervisor has ended: %v", cmd.ProcessState))
	}()
	h := &house{t: t, config: c, ended: ended}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended.Done():
		case <-time.After(housePatience):
			t.Errorf("the supervisor has not ended in %v", housePatience)
			cmd.Process.Signal(syscall.SIGABRT) // with all stacks
			<-ended.Done()
		}
		if content, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("the supervisor and its agents wrote:\n%s", content)
		}
		os.RemoveAll(dir)
	})
	h.pid(t.Context())
	return h
}

// call asks the agent, however often it is killed meanwhile. There is none any more when the supervisor has ended.
func (h *house) call(ctx context.Context, verb string, args any) (*Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(h.ended, func() { cancel(context.Cause(h.ended)) })()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", h.config.socket()); err == nil {
			client := jsonrpc.NewClient(conn)
			var a Answer
			call := client.Go("Driver."+verb, args, &a, make(chan *rpc.Call, 1))
			select {
			case <-ctx.Done():
			case <-call.Done:
			}
			client.Close()
			if ctx.Err() == nil && call.Error == nil {
				return &a, a.err()
			}
			if refused := rpc.ServerError(""); ctx.Err() == nil && errors.As(call.Error, &refused) {
				return nil, refused
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func (h *house) Fingerprint(ctx context.Context) cluster.DriverState {
	a, err := h.call(ctx, "Fingerprint", "")
	if err != nil {
		return cluster.DriverState{HealthDescription: err.Error()}
	}
	return a.State
}

func (h *house) Start(ctx context.Context, t driver.Task, _ func(string)) error {
	_, err := h.call(ctx, "Start", t)
	return err
}

func (h *house) Wait(ctx context.Context, id string) (driver.Exit, error) {
	a, err := h.call(ctx, "Wait", id)
	if err != nil {
		return driver.Exit{}, err
	}
	return a.Exit, nil
}

func (h *house) Signal(ctx context.Context, id, signal string) error {
	_, err := h.call(ctx, "Signal", [2]string{id, signal})
	return err
}

func (h *house) Destroy(ctx context.Context, id string) error {
	_, err := h.call(ctx, "Destroy", id)
	return err
}

func (h *house) Stats(ctx context.Context, id string) (driver.Stats, error) {
	a, err := h.call(ctx, "Stats", id)
	if err != nil {
		return driver.Stats{}, err
	}
	return a.Stats, nil
}

// limits reports whether the supervisor can enforce those of cpu and memory.
func (h *house) limits() bool {
	h.t.Helper()
	a, err := h.call(h.t.Context(), "Fingerprint", "")
	if err != nil {
		h.t.Fatal(err)
	}
	return a.Limits
}

// pid is the agent's.
func (h *house) pid(ctx context.Context) int {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	a, err := h.call(ctx, "Fingerprint", "")
	if err != nil {
		h.t.Fatalf("the agent does not answer: %v", err)
	}
	return a.PID
}

// crash kills the agent and waits for the next.
func (h *house) crash() {
	h.t.Helper()
	pid := h.pid(h.t.Context())
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	drivertest.Await(h.t, "there is another agent", func() bool { return h.pid(h.t.Context()) != pid })
}

// runProbe makes the task run the probe, which it builds unless the environment has it.
func runProbe(t testing.TB) func(task *driver.Task, args ...string) {
	t.Helper()
	probe := os.Getenv(envProbe)
	if probe == "" {
		probe = drivertest.Probe(t)
	}
	return func(task *driver.Task, args ...string) {
		list := make([]any, len(args))
		for i := range args {
			list[i] = args[i]
		}
		task.Config = map[string]any{"command": probe, "args": list}
	}
}

// TestRawExec is the drivers' suite for raw_exec as it is in a node: below a supervisor, whose agent is killed wherever the
// suite wants another.
func TestRawExec(t *testing.T) {
	t.Parallel()
	houses := map[string]*house{}
	drivertest.Test(t, drivertest.Config{
		Open: func(t *testing.T) driver.Driver {
			if h := houses[t.Name()]; h != nil {
				h.crash()
				return h
			}
			h := newHouse(t, houseConfig{Options: rawexec.Options{Enabled: true}})
			houses[t.Name()] = h
			return h
		},
		Command: runProbe(t),
	})
}

// TestHouseFallsDown asks an agent that there is no more: nobody waits for it, however much time there would be.
func TestHouseFallsDown(t *testing.T) {
	t.Parallel()
	h := newHouse(t, houseConfig{Options: rawexec.Options{Enabled: true}})
	a, err := h.call(t.Context(), "Fingerprint", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(a.Parent, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err = h.Destroy(context.Background(), "gone") // the agent may still be there to say so
	if err == nil || !strings.Contains(err.Error(), "the supervisor has ended: signal: killed") && !strings.Contains(err.Error(), supervise.ErrGone.Error()) {
		t.Errorf("asked of a house that is down: %v", err)
	}
}

// TestRawExecHardLimits gives a task a tenth of a core, of which it wants all.
func TestRawExecHardLimits(t *testing.T) {
	t.Parallel()
	core := agent.CoreMHz(0)
	if got := agent.CoreMHz(500 * runtime.NumCPU()); got != 500 {
		t.Errorf("a machine of 500 MHz for each core has cores of %d", got)
	}
	h := newHouse(t, houseConfig{Options: rawexec.Options{Enabled: true, HardLimits: true}, CoreMHz: core})
	if !h.limits() {
		t.Skip("there are no cgroups for cpu and memory here")
	}
	command := runProbe(t)
	task := drivertest.Task(t, "web")
	command(&task, "work")
	task.Resources = cluster.Resources{CPU: core / 10, MemoryMB: 128}
	began := time.Now()
	if err := h.Start(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
	var stats driver.Stats
	drivertest.Await(t, "the task is throttled", func() (throttled bool) {
		var err error
		if stats, err = h.Stats(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
		return stats.ThrottledPeriods >= 10 && stats.ThrottledTime > 0
	})
	if lived := time.Since(began); stats.CPUTime > lived/5 {
		t.Errorf("with a tenth of a core it used %v in %v", stats.CPUTime, lived)
	}

	greedy := drivertest.Task(t, "web")
	command(&greedy, "eat", "256")
	if err := h.Start(t.Context(), greedy, nil); err != nil {
		t.Fatal(err)
	}
	exit, err := h.Wait(t.Context(), greedy.ID)
	if err != nil || !exit.OOMKilled || exit.Successful() {
		t.Errorf("with 128 MB it ate 256: %+v, %v", exit, err)
	}
}

// TestRawExecUnprivileged is the same for a user without any rights.
func TestRawExecUnprivileged(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("it runs as an ordinary user already")
	}
	runAs(t, 65534, "^TestRawExec$")
}

// runAs runs tests of this binary in a process of another user.
func runAs(t *testing.T, uid int, tests string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "as")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []struct{ from, to string }{{self, "self"}, {drivertest.Probe(t), "probe"}} {
		content, err := os.ReadFile(program.from)
		if err == nil {
			syscall.ForkLock.RLock() // a child of another test would hold the file open for writing: "text file busy"
			err = os.WriteFile(filepath.Join(dir, program.to), content, 0o755)
			syscall.ForkLock.RUnlock()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, uid, uid)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "self"), "-test.run", tests, "-test.v")
	if deadline, ok := t.Deadline(); ok { // it says where it stands before we are asked to
		cmd.Args = append(cmd.Args, "-test.timeout", (time.Until(deadline) * 9 / 10).String())
	}
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir, envProbe+"="+filepath.Join(dir, "probe"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "\n--- PASS") && !strings.Contains(string(out), "\nPASS") {
		t.Errorf("as user %d: %v\n%s", uid, err, out)
	}
}
