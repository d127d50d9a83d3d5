package e2e

import (
	"bytes"
	"context"
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
	"testing"
	"time"

	"github.com/a43e60e4/cluster/e2e/fleet"
)

const (
	// patience bounds every wait. Nothing that works takes nearly as long.
	patience = 30 * time.Second
	// longest bounds every command line. One that hangs is asked for its stacks.
	longest = time.Minute
	// markerEnv is in the environment of everything that a world starts, tasks included (who get no CLUSTER_… variable), with the world's directory as its value.
	markerEnv = "E2E_WORLD"
)

// world is one script's or test's own: a directory, agents on folders of it, and what they run.
type world struct {
	dir       string
	cluster   string                 // the program
	env       []string               // of all that it starts
	user      *syscall.Credential    // of all that it starts, nil for the test's own
	agents    map[string]*exec.Cmd   // by name, the supervisors
	newest    string                 // name of the agent that commands talk to
	followers map[string]*background // by name
	image     string                 // of containers, "" while there is none
}

// background is a command line that goes on while others run.
type background struct {
	cmd  *exec.Cmd
	done chan struct{} // closed after cmd.Wait
	err  error         // of cmd.Wait, when done is closed
}

func newWorld(dir string) *world {
	w := &world{dir: dir, cluster: programs.cluster, agents: map[string]*exec.Cmd{}, followers: map[string]*background{}}
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "CLUSTER_") {
			w.env = append(w.env, variable)
		}
	}
	w.env = append(w.env, markerEnv+"="+dir, "HOME="+dir, "NO_COLOR=1")
	return w
}

// scratch is a world of a test that is no script.
func scratch(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e") // short: a socket's path may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(dir)
	t.Cleanup(func() {
		w.close()
		if t.Failed() {
			t.Log(w.said())
		}
		os.RemoveAll(dir)
	})
	return w
}

// drop makes everything from now on run as a user without any rights, with copies of the program and of others that such
// a user can reach.
func (w *world) drop(others ...string) error {
	const nobody = 65534
	// cp, as a file that this process has open for writing could not be executed while it starts something else
	copied := exec.Command("cp", append(append([]string{w.cluster}, others...), w.dir)...)
	if out, err := copied.CombinedOutput(); err != nil {
		return fmt.Errorf("copy programs: %w: %s", err, out)
	}
	if err := os.Chmod(filepath.Dir(w.dir), 0o711); err != nil {
		return err
	}
	w.cluster, w.user = filepath.Join(w.dir, filepath.Base(w.cluster)), &syscall.Credential{Uid: nobody, Gid: nobody}
	return filepath.Walk(w.dir, func(path string, _ os.FileInfo, err error) error {
		return errors.Join(err, os.Lchown(path, nobody, nobody))
	})
}

// socket is where the API of an agent answers.
func (w *world) socket(name string) string { return filepath.Join(w.dir, name, "api.sock") }

// command is a command line of the program, not yet started.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, w.cluster, args...)
	cmd.Dir, cmd.Env = w.dir, slices.Clone(w.env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: w.user}
	return cmd
}

// run runs a command line of the program. err is an *exec.ExitError when it ended with another status than 0.
func (w *world) run(args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	cmd := w.command(ctx, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // so that it says where it hangs
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("did not end within %s", longest)
	}
	return out.String(), errs.String(), err
}

// follow starts a command line whose standard output goes to the file NAME.out.
func (w *world) follow(name string, args ...string) error {
	out, err := os.Create(filepath.Join(w.dir, name+".out"))
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := w.command(context.Background(), args...)
	cmd.Stdout, cmd.Stderr = out, &bytes.Buffer{}
	if err := cmd.Start(); err != nil {
		return err
	}
	b := &background{cmd: cmd, done: make(chan struct{})}
	w.followers[name] = b
	go func() { b.err = cmd.Wait(); close(b.done) }()
	return nil
}

// join waits for the end of what follow started, which must be 0.
func (w *world) join(name string) error {
	b := w.followers[name]
	if b == nil {
		return fmt.Errorf("nothing named %s was started", name)
	}
	return b.finish(name)
}

// finish waits for its end, which must be 0.
func (b *background) finish(name string) error {
	select {
	case <-b.done:
	case <-time.After(patience):
		_ = b.cmd.Process.Signal(syscall.SIGQUIT)
		<-b.done
		return fmt.Errorf("%s did not end; it says:\n%s", name, b.cmd.Stderr)
	}
	if b.err != nil {
		return fmt.Errorf("%s: %w; it says:\n%s", name, b.err, b.cmd.Stderr)
	}
	return nil
}

// agentConfig lets the machine choose ports, so that worlds live side by side.
const agentConfig = `bind_addr = "127.0.0.1"
ports {
  http = 0
  rpc  = 0
  serf = 0
  dns  = 0
}
plugin "raw_exec" {
  config { enabled = true }
}
`

// launch starts an agent on the directory NAME, with NAME.hcl as configuration if there is such a file. Its output goes
// to NAME.log. Commands talk to it from now on.
func (w *world) launch(name string, flags ...string) error {
	config := filepath.Join(w.dir, "."+name+".hcl")
	if err := os.WriteFile(config, []byte(agentConfig), 0o644); err != nil {
		return err
	}
	argv := []string{"agent", "-bootstrap", "-data-dir", filepath.Join(w.dir, name), "-config", config}
	if own := filepath.Join(w.dir, name+".hcl"); exists(own) {
		argv = append(argv, "-config", own)
	}
	log, err := os.OpenFile(w.log(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := w.command(context.Background(), append(argv, flags...)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	w.agents[name], w.newest = cmd, name
	w.env = append(w.env, "CLUSTER_ADDR=unix://"+w.socket(name))
	return nil
}

// ready waits until the newest agent's node is. An agent whose supervisor was killed may answer for a moment: it does not
// count.
func (w *world) ready() error {
	said := ""
	err := w.wait("a ready node", func() bool {
		out, errs, err := w.run("node", "status")
		said = out + errs
		return err == nil && strings.Contains(out, "ready") && w.agentOf(w.agents[w.newest].Process.Pid) != 0
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, said)
	}
	return nil
}

func (w *world) log(name string) string { return filepath.Join(w.dir, name+".log") }

var httpAddress = regexp.MustCompile(`API on (http://\S+)`)

// address is where an agent answers over TCP.
func (w *world) address(name string) (string, error) {
	text, err := os.ReadFile(w.log(name))
	if err != nil {
		return "", err
	}
	all := httpAddress.FindAllStringSubmatch(string(text), -1)
	if len(all) == 0 {
		return "", fmt.Errorf("agent %s does not say where its API is", name)
	}
	return all[len(all)-1][1], nil // the newest start's
}

// errNoAgent says that a supervisor has no agent at the moment.
var errNoAgent = errors.New("there is no such process")

// crash kills the agent, the supervisor or both.
func (w *world) crash(name, what string) error {
	supervisor := w.agents[name]
	if supervisor == nil {
		return fmt.Errorf("there is no agent %s", name)
	}
	agent := w.agentOf(supervisor.Process.Pid)
	if what != "supervisor" && agent == 0 {
		return fmt.Errorf("kill agent of %s: %w", name, errNoAgent)
	}
	var errs []error
	if what != "agent" {
		errs = append(errs, supervisor.Process.Kill())
	}
	if what != "supervisor" {
		errs = append(errs, syscall.Kill(agent, syscall.SIGKILL))
	}
	if what != "agent" {
		_ = supervisor.Wait() // says that it was killed
	}
	return errors.Join(errs...)
}

// agentOf is the agent process of a supervisor, 0 if there is none.
func (w *world) agentOf(supervisor int) int {
	for _, p := range processes() {
		if p.parent == supervisor && p.state != "Z" && p.task == "" && strings.HasPrefix(p.line, w.cluster+" agent") {
			return p.pid
		}
	}
	return 0
}

// end asks an agent to end, and waits until it has, with status 0.
func (w *world) end(name string) error {
	cmd := w.agents[name]
	if cmd == nil {
		return fmt.Errorf("there is no agent %s", name)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	defer watchdog.Stop()
	return cmd.Wait()
}

// tasks are the living processes of the world's tasks whose command line has the text.
func (w *world) tasks(text string) []process {
	return slices.DeleteFunc(processes(), func(p process) bool {
		return p.script != w.dir || p.task == "" || p.state == "Z" || !strings.Contains(p.line, text)
	})
}

// wait polls, quickly at first, until done.
func (w *world) wait(what string, done func() bool) error {
	pause := 20 * time.Millisecond
	for deadline := time.Now().Add(patience); !done(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("gave up waiting for %s", what)
		}
		<-time.After(pause)
		pause = min(pause*5/4, 200*time.Millisecond)
	}
	return nil
}

// kill ends all that has the world's mark and is chosen.
func (w *world) kill(chosen func(process) bool) {
	for range 1000 { // what is killed may just have started something
		left := slices.DeleteFunc(processes(), func(p process) bool { return p.script != w.dir || p.state == "Z" || !chosen(p) })
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL) // it may have ended meanwhile
		}
	}
}

// halt kills everything, as a machine does that loses its power.
func (w *world) halt() {
	w.kill(func(process) bool { return true })
	for name, cmd := range w.agents {
		_ = cmd.Wait() // reaps it, if nobody has
		delete(w.agents, name)
	}
}

// close ends everything that the world has started.
func (w *world) close() {
	w.halt()
	for _, b := range w.followers {
		<-b.done
	}
	w.sweep()
	if w.image != "" {
		script := `docker rm -f $(docker ps -aq --filter ancestor="$0"); docker rmi -f "$0"`
		_ = exec.Command("sh", "-c", script, w.image).Run() // there may be no container left
	}
}

// sweep removes the cgroups that supervisors who were killed could not.
func (w *world) sweep() {
	dirs, _ := filepath.Glob(filepath.Join(w.dir, "*", "supervisor"))
	for _, dir := range dirs {
		fleet.RemoveGroups(dir)
	}
}

// makeImage makes an image of a shell, cat and a program from what the machine has, so that nothing need be downloaded.
func (w *world) makeImage(program string) error {
	w.image = "cluster.test/" + strings.ToLower(filepath.Base(filepath.Dir(w.dir)))
	script := `tar -ch $(ldd /bin/sh /bin/cat | grep -o '/[^ :]*' | sort -u) "$0" 2>/dev/null | docker import - "$1"`
	if out, err := exec.Command("sh", "-c", script, program, w.image).CombinedOutput(); err != nil {
		return fmt.Errorf("make image: %w: %s", err, out)
	}
	return nil
}

// said is the end of what each agent logged.
func (w *world) said() string {
	const lines = 60
	var out strings.Builder
	logs, _ := filepath.Glob(filepath.Join(w.dir, "*.log"))
	for _, log := range logs {
		text, _ := os.ReadFile(log)
		all := strings.SplitAfter(string(text), "\n")
		fmt.Fprintf(&out, "the end of %s:\n%s\n", filepath.Base(log), strings.Join(all[max(0, len(all)-lines):], ""))
	}
	return out.String()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// sequence checks that lines of numbers count up by one.
func sequence(text string) error {
	next, begun := 0, false
	for line := range strings.Lines(text) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return fmt.Errorf("after %d comes %q, which is no number", next-1, line)
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
