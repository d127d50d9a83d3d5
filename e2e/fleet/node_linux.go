package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/e2e/lan"
	"github.com/a43e60e4/cluster/server/api"
)

const (
	// longest bounds every command line. One that hangs is asked for its stacks.
	longest = time.Minute
	// patience bounds the waits that have no other bound.
	patience = 30 * time.Second
)

// bootEnv stands for the machine's start in place of the kernel's word.
const bootEnv = "CLUSTER_BOOT_ID"

// config is every agent's. The API is plain HTTP, so it is offered to the machine itself only.
const config = `addresses {
  http = "127.0.0.1"
}
plugin "raw_exec" {
  config { enabled = true }
}
`

// Node is a machine with an agent, or with what is needed to start one.
type Node struct {
	*lan.Machine
	Dir  string // the machine's directory
	Role Role   // of the newest start

	fleet      *Fleet
	mu         sync.Mutex
	supervisor *exec.Cmd
	ends       map[int]chan struct{} // by ID of a supervisor, closed when it has ended and err holds how
	err        error
	offs       int            // how often the machine was turned off
	watched    sync.WaitGroup // for the ends
	docker     string         // where the machine's own engine listens, "" while it has none
	client     *api.Client
}

// Data is the agent's data directory.
func (n *Node) Data() string { return filepath.Join(n.Dir, "data") }

// Log is the file with all that the agents of this machine have said.
func (n *Node) Log() string { return filepath.Join(n.Dir, "log") }

// Start starts an agent, and the machine if it is off. It waits for nothing. Without a role it is as it was before.
// A file agent.hcl in the machine's directory is part of its configuration; a file resolv.conf is what the agent, but nobody
// else, sees as /etc/resolv.conf.
func (n *Node) Start(role Role, flags ...string) error { return n.start(role, nil, flags) }

// Join starts an agent with a token, which reaches it through its environment.
func (n *Node) Join(role Role, token string) error {
	return n.start(role, []string{"CLUSTER_JOIN=" + token}, nil)
}

func (n *Node) start(role Role, env, flags []string) error {
	if n.Running() {
		return fmt.Errorf("start agent on %s: there is one", n.Name)
	}
	if err := n.Boot(); err != nil {
		return err
	}
	if role == "" {
		role = n.Role
	}
	file := filepath.Join(n.Dir, "base.hcl")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		return err
	}
	argv := []string{"agent", "-data-dir", n.Data(), "-bind", n.Address().String(), "-name", n.Name, "-config", file}
	if own := filepath.Join(n.Dir, "agent.hcl"); exists(own) {
		argv = append(argv, "-config", own)
	}
	if role == Server {
		argv = append(argv, "-no-client") // that it is no server says a client's token
	}
	log, err := os.OpenFile(n.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	program, argv := n.fleet.config.Program, append(argv, flags...)
	if own := filepath.Join(n.Dir, "resolv.conf"); exists(own) {
		argv = append([]string{"--mount", "--", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, own, program}, argv...)
		program = "unshare"
	}
	cmd := n.Any(context.Background(), program, argv...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start agent on %s: %w", n.Name, err)
	}
	n.begun(cmd, role)
	return nil
}

// begun takes a supervisor's process over; somebody waits for its end until it comes.
func (n *Node) begun(cmd *exec.Cmd, role Role) {
	n.mu.Lock()
	defer n.mu.Unlock()
	end := make(chan struct{})
	n.supervisor, n.Role, n.ends[cmd.Process.Pid] = cmd, role, end
	n.watched.Go(func() {
		defer close(end)
		err := cmd.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		n.err = err
	})
}

// Program is a command line of the program under test on this machine, which talks to this machine's agent.
func (n *Node) Program(ctx context.Context, args ...string) *exec.Cmd {
	return n.Any(ctx, n.fleet.config.Program, args...)
}

// Any is a command of any program on this machine, in the environment of the fleet.
func (n *Node) Any(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := n.Command(ctx, program, args...)
	cmd.Dir = n.fleet.config.Dir
	n.mu.Lock()
	defer n.mu.Unlock()
	engine := n.docker
	if engine == "" {
		engine = "unix://" + filepath.Join(n.Dir, "no-engine.sock") // the tests' own machine's is none of ours
	}
	cmd.Env = append(slices.Clone(n.fleet.config.Env), "PATH="+os.Getenv("PATH"), "HOME="+n.Dir, "NO_COLOR=1",
		"CLUSTER_ADDR=unix://"+n.socket(), "DOCKER_HOST="+engine, fmt.Sprintf("%s=%s-%d", bootEnv, n.Name, n.offs))
	return cmd
}

func (n *Node) socket() string { return filepath.Join(n.Data(), "api.sock") }

// Run runs a command that Program or Any made. err is an *exec.ExitError when it ended with another status than 0.
func (n *Node) Run(ctx context.Context, cmd *exec.Cmd) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errs, 5*time.Second
	if err := cmd.Start(); err != nil {
		return "", "", err
	}
	watchdog := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) }) // so that it says where it hangs
	defer watchdog()
	err = cmd.Wait()
	if ctx.Err() != nil {
		err = fmt.Errorf("did not end in time: %w", ctx.Err())
	}
	return out.String(), errs.String(), err
}

// CLI runs the command line and returns its standard output; what went wrong is in the error.
func (n *Node) CLI(ctx context.Context, args ...string) (string, error) {
	stdout, stderr, err := n.Run(ctx, n.Program(ctx, args...))
	if err != nil {
		return stdout, fmt.Errorf("cluster %s on %s: %w: %s", strings.Join(args, " "), n.Name, err, strings.TrimSpace(stderr))
	}
	return stdout, nil
}

// API talks to the machine's agent, whatever the network does.
func (n *Node) API() *api.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.client == nil {
		n.client, _ = api.New(api.Config{Address: "unix://" + n.socket()}) // the address is well-formed
	}
	return n.client
}

// HTTP is a client whose connections begin on this machine. Addresses must be IP addresses.
func (n *Node) HTTP() *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}}
}

// Token makes a token to join with; it waits until the agent can.
func (n *Node) Token(ctx context.Context, role Role) (token string, err error) {
	kind := string(role)
	if role == Both {
		kind = string(Server)
	}
	err = Wait(ctx, patience, "a token of "+n.Name, func(ctx context.Context) error {
		said, err := n.CLI(ctx, "join-token", kind)
		token = strings.TrimSpace(said)
		if err == nil && token == "" {
			err = errors.New("it is empty")
		}
		return err
	})
	return token, err
}

// Running reports whether the supervisor runs.
func (n *Node) Running() bool {
	_, _, ok := n.current()
	return ok
}

// current is the supervisor that runs, and what is closed at its end.
func (n *Node) current() (pid int, end <-chan struct{}, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.supervisor == nil {
		return 0, nil, false
	}
	pid = n.supervisor.Process.Pid
	select {
	case <-n.ends[pid]:
		return 0, nil, false
	default:
		return pid, n.ends[pid], true
	}
}

// Ready waits until the agent of this machine says that its node takes work, or, for a server alone, that there is a
// leader.
func (n *Node) Ready(ctx context.Context) error {
	return Wait(ctx, patience, "agent of "+n.Name, func(ctx context.Context) error {
		if !n.Running() {
			return errOver
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if n.Role == Server {
			leader, err := n.API().Leader(ctx)
			if err == nil && leader == "" {
				err = errors.New("there is no leader")
			}
			return err
		}
		nodes, _, err := n.API().Nodes(ctx, api.Query{})
		if err != nil {
			return err
		}
		for _, stub := range nodes {
			if stub.Name == n.Name && stub.Status == cluster.NodeStatusReady {
				return nil
			}
		}
		return fmt.Errorf("it is none of %d nodes that are ready", len(nodes))
	})
}

// Crash kills the agent, the supervisor or both. What runs goes on.
func (n *Node) Crash(what string) error {
	supervisor, end, ok := n.current()
	if !ok {
		return fmt.Errorf("crash %s of %s: it does not run", what, n.Name)
	}
	agent := n.agent(supervisor)
	if agent == 0 && what != "supervisor" {
		return fmt.Errorf("crash agent of %s: there is none at the moment", n.Name)
	}
	switch what {
	case "agent":
		return syscall.Kill(agent, syscall.SIGKILL)
	case "supervisor", "both":
		err := syscall.Kill(supervisor, syscall.SIGKILL)
		if what == "both" {
			err = errors.Join(err, syscall.Kill(agent, syscall.SIGKILL))
		}
		<-end
		return err
	}
	return fmt.Errorf("crash %q: want agent, supervisor or both", what)
}

// agent is the agent process of a supervisor, 0 if there is none.
func (n *Node) agent(supervisor int) int {
	for _, pid := range n.Processes() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[0] == "Z" || fields[1] != strconv.Itoa(supervisor) {
			continue
		}
		environ, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if strings.HasPrefix(commandLine(pid), n.fleet.config.Program+" agent") && !bytes.Contains(environ, []byte("\x00CLUSTER_TASK_ID=")) {
			return pid
		}
	}
	return 0
}

func commandLine(pid int) string {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))
}

// TaskIDs are the machine's processes whose command line has the text.
func (n *Node) TaskIDs(text string) []int {
	return slices.DeleteFunc(n.Processes(), func(pid int) bool { return !strings.Contains(commandLine(pid), text) })
}

// Tasks counts them.
func (n *Node) Tasks(text string) int { return len(n.TaskIDs(text)) }

// Signal sends a signal to the supervisor.
func (n *Node) Signal(signal syscall.Signal) error {
	supervisor, _, ok := n.current()
	if !ok {
		return fmt.Errorf("send %v to %s: it does not run", signal, n.Name)
	}
	return syscall.Kill(supervisor, signal)
}

// End asks the agent to end, and waits until it has, with status 0.
func (n *Node) End(ctx context.Context) error {
	pid, end, ok := n.current()
	if !ok {
		return fmt.Errorf("end agent of %s: it does not run", n.Name)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-end:
	case <-ctx.Done():
		_ = syscall.Kill(pid, syscall.SIGQUIT)
		return fmt.Errorf("end agent of %s: %w", n.Name, ctx.Err())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// reap waits for the supervisors that were killed, and removes the control groups that they could not.
func (n *Node) reap() {
	if n.On() {
		return
	}
	n.watched.Wait()
	RemoveGroups(filepath.Join(n.Data(), "supervisor"))
	n.removeContainerGroups()
}

// Off turns the machine off; see lan.Machine.Kill. Start turns it on again.
func (n *Node) Off() error {
	err := n.Kill()
	n.mu.Lock()
	n.offs++
	n.mu.Unlock()
	n.reap()
	return err
}

// Get answers what a URL with an IP address says to this machine.
func (n *Node) Get(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := n.HTTP().Do(request)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(http.MaxBytesReader(nil, resp.Body, 1<<20))
	return body.String(), err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
