package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of a script. Nothing that works takes nearly as long.
const patience = 30 * time.Second

type worldKey struct{}

// world is what one script has started.
type world struct {
	dir    string
	agents map[string]*exec.Cmd // by name, the supervisors
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// agentConfig lets the machine choose ports, so that scripts run side by side.
const agentConfig = `bind_addr = "127.0.0.1"
ports {
  http = 0
  rpc  = 0
  serf = 0
}
plugin "raw_exec" {
  config { enabled = true }
}
`

func cmdAgent(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 {
		ts.Fatalf("usage: agent NAME [flag…]")
	}
	w, name := worldOf(ts), args[0]
	config := filepath.Join(w.dir, "."+name+".hcl")
	ts.Check(os.WriteFile(config, []byte(agentConfig), 0o600))
	argv := []string{"agent", "-bootstrap", "-data-dir", filepath.Join(w.dir, name), "-config", config}
	if own := filepath.Join(w.dir, name+".hcl"); exists(own) {
		argv = append(argv, "-config", own)
	}
	log, err := os.OpenFile(filepath.Join(w.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer log.Close()
	cmd := exec.Command(programs.cluster, append(argv, args[1:]...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, log, log
	cmd.Env = append(os.Environ(), markerEnv+"="+w.dir)
	ts.Check(cmd.Start())
	w.agents[name] = cmd
	if neg {
		if cmd.Wait() == nil {
			ts.Fatalf("agent %s ended with status 0", name)
		}
		return
	}
	ts.Setenv("CLUSTER_ADDR", "unix://"+filepath.Join(w.dir, name, "api.sock"))
	wait(ts, "node of "+name+" to be ready", func() bool {
		return ts.Exec(programs.cluster, "node", "status") == nil && strings.Contains(ts.ReadFile("stdout"), "ready")
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// wait polls, quickly at first, until done.
func wait(ts *testscript.TestScript, what string, done func() bool) {
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); ; {
		if done() {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("gave up waiting for %s", what)
		}
		<-tick.C
	}
}

func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "cluster" {
		ts.Fatalf("usage: eventually REGEXP cluster ARG…")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	last := ""
	defer func() { ts.Logf("last output:\n%s", last) }()
	wait(ts, fmt.Sprintf("cluster %s to say %q", strings.Join(args[2:], " "), args[0]), func() bool {
		_ = ts.Exec(programs.cluster, args[2:]...) // its output says all
		last = ts.ReadFile("stdout") + ts.ReadFile("stderr")
		return pattern.MatchString(last)
	})
}

func cmdKill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: kill NAME agent|supervisor|both")
	}
	w := worldOf(ts)
	supervisor := w.agents[args[0]]
	agent := w.agentOf(supervisor.Process.Pid)
	if args[1] != "supervisor" && agent == 0 {
		ts.Fatalf("agent %s has no agent process", args[0])
	}
	if args[1] != "agent" {
		ts.Check(supervisor.Process.Kill())
	}
	if args[1] != "supervisor" {
		ts.Check(syscall.Kill(agent, syscall.SIGKILL))
	}
	if args[1] != "agent" {
		_ = supervisor.Wait() // says that it was killed
	}
}

// agentOf is the agent process of a supervisor, 0 if there is none.
func (w *world) agentOf(supervisor int) int {
	for _, p := range processes() {
		if p.parent == supervisor && strings.HasPrefix(p.line, programs.cluster) {
			return p.pid
		}
	}
	return 0
}

func cmdStop(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: stop NAME")
	}
	cmd := worldOf(ts).agents[args[0]]
	ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	ts.Check(cmd.Wait())
}

func cmdTasks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: tasks [TEXT] N")
	}
	want, err := strconv.Atoi(args[len(args)-1])
	ts.Check(err)
	text := strings.Join(args[:len(args)-1], "")
	wait(ts, fmt.Sprintf("%d tasks %s", want, text), func() bool { return len(worldOf(ts).tasks(text)) == want })
}

func cmdPids(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: pids FILE [TEXT]")
	}
	var out bytes.Buffer
	for _, p := range worldOf(ts).tasks(strings.Join(args[1:], "")) {
		fmt.Fprintln(&out, p.pid)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}

func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines FILE N")
	}
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	wait(ts, fmt.Sprintf("%d lines in %s", want, args[0]), func() bool {
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		return bytes.Count(text, []byte("\n")) >= want
	})
}

func cmdSequence(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sequence FILE")
	}
	ts.Check(sequence(ts.ReadFile(args[0])))
}

// sequence checks that lines of numbers count up by one.
func sequence(text string) error {
	next, begun := 0, false
	for line := range strings.Lines(text) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return fmt.Errorf("line %q is no number", line)
		}
		if begun && n != next {
			return fmt.Errorf("after %d comes %d", next-1, n)
		}
		next, begun = n+1, true
	}
	if !begun {
		return errors.New("no lines")
	}
	return nil
}

// process is one entry of /proc.
type process struct {
	pid, parent int
	state       string
	line        string // its command line, arguments between spaces
	task        string // the task that it belongs to, "" if none
	script      string // the script that it belongs to, "" if none
}

// processes are all processes of the machine that can be read.
func processes() []process {
	var all []process
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		stat, err := os.ReadFile(filepath.Join(entry, "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(entry, "cmdline"))
		p := process{state: fields[0], line: strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))}
		p.pid, _ = strconv.Atoi(filepath.Base(entry))
		p.parent, _ = strconv.Atoi(fields[1])
		environ, _ := os.ReadFile(filepath.Join(entry, "environ"))
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			if value, ok := strings.CutPrefix(variable, "CLUSTER_TASK_ID="); ok {
				p.task = value
			}
			if value, ok := strings.CutPrefix(variable, markerEnv+"="); ok {
				p.script = value
			}
		}
		all = append(all, p)
	}
	return all
}

// tasks are the living processes of the script's tasks whose command line has the text, ascending by ID.
func (w *world) tasks(text string) []process {
	found := slices.DeleteFunc(processes(), func(p process) bool {
		return p.script != w.dir || p.task == "" || p.state == "Z" || !strings.Contains(p.line, text)
	})
	slices.SortFunc(found, func(a, b process) int { return a.pid - b.pid })
	return found
}

// clean ends everything that the script started.
func (w *world) clean() {
	for range 100 {
		left := slices.DeleteFunc(processes(), func(p process) bool { return p.script != w.dir || p.state == "Z" })
		if len(left) == 0 {
			break
		}
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may have ended meanwhile
		}
	}
	for _, cmd := range w.agents {
		_ = cmd.Wait() // reaps it, if nobody has
	}
}
