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
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// programs are the binaries under test, built once unless the environment names them.
var programs struct{ cluster, hello string }

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "cluster-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs.cluster, err = program("CLUSTER_BIN", "./cmd/cluster", filepath.Join(dir, "cluster"))
	if err == nil {
		programs.hello, err = program("HELLO_BIN", "./examples/hello", filepath.Join(dir, "hello"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// program is the path in the environment variable, or the package built into path.
func program(variable, pkg, path string) (string, error) {
	if given := os.Getenv(variable); given != "" {
		return given, nil
	}
	build := exec.Command("go", "build", "-o", path, pkg)
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// TestScripts runs testdata/*.txt. Besides what testscript knows, a script has these commands. They bound every wait,
// and a script that fails shows the end of what its agents logged.
//
//	agent NAME [flag…]            starts an agent on the directory NAME (again), with NAME.hcl as its configuration if the
//	                              script has that file, and waits until its node is ready; later commands talk to it
//	crash NAME agent|supervisor|both    kills with SIGKILL
//	halt                          kills everything with SIGKILL, tasks included
//	end NAME                      sends SIGTERM to the supervisor and waits for its end, with status 0
//	cluster ARG…                  runs the command line, which must end with status 0; with ! before it, with another
//	exits N cluster ARG…          … with status N
//	eventually REGEXP cluster …   repeats a command until what it prints matches
//	behind NAME cluster ARG…      runs a command in the background, its output in the file NAME.out
//	join NAME                     waits for the end of that command, with status 0
//	set NAME REGEXP               $NAME is from now on what the first group matches in the last standard output
//	tasks [TEXT] N                waits until N processes of tasks (whose command line has TEXT) run
//	pids FILE [TEXT]              writes the process IDs of those tasks to a file, sorted as comm wants them
//	lines FILE N                  waits until the file has at least N lines
//	image                         makes a container image with /bin/sh, /bin/cat and $HELLO in it, and names it $IMAGE
//	build FILE VERSION            builds the program as that version
//	program FILE                  copies the program to a file, which is the program from now on
//	hangup NAME                   sends SIGHUP to the supervisor: an upgrade to the program that is there now
//	logged NAME REGEXP            waits until the agent's log has a match
//	sequence FILE                 the file's lines count up by one from the first, none lost, none twice
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata", RequireExplicitExec: true, RequireUniqueNames: true, Condition: condition, Setup: setup, Cmds: commands(),
	})
}

// TestUnprivileged runs a script as a user who has no rights at all.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user; for this one TestScripts/first shows the same")
	}
	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/first.txt"}, RequireExplicitExec: true, Condition: condition, Cmds: commands(),
		Setup: func(env *testscript.Env) error {
			if err := setup(env); err != nil {
				return err
			}
			w := env.Values[worldKey{}].(*world)
			env.Setenv("HELLO", filepath.Join(w.dir, filepath.Base(programs.hello)))
			return w.drop(programs.hello)
		},
	})
}

// condition answers [docker] in scripts. Where skipping is forbidden it holds, and a script that finds no engine fails.
func condition(name string) (bool, error) {
	if name != "docker" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return os.Getenv("CLUSTER_FORBID_SKIP") != "" || exec.Command("docker", "version").Run() == nil, nil
}

// bootEnv stands for the machine's start in place of the kernel's word, so that a script can show what a reboot does.
const bootEnv = "CLUSTER_BOOT_ID"

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

func setup(env *testscript.Env) error {
	w := newWorld(env.WorkDir)
	env.Values[worldKey{}] = w
	env.Setenv(markerEnv, env.WorkDir)
	env.Setenv("HELLO", programs.hello)
	env.Setenv("CLUSTER", programs.cluster)
	for _, variable := range []string{"PATH", "DOCKER_HOST"} {
		env.Setenv(variable, os.Getenv(variable))
	}
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("NO_COLOR", "1")
	env.Defer(func() {
		w.close()
		if t, ok := env.T().(interface{ Failed() bool }); ok && t.Failed() {
			env.T().Log(w.said())
		}
	})
	return nil
}

func commands() map[string]func(*testscript.TestScript, bool, []string) {
	return map[string]func(*testscript.TestScript, bool, []string){
		"agent": cmdAgent, "crash": cmdCrash, "halt": cmdHalt, "end": cmdEnd,
		"cluster": cmdCluster, "exits": cmdExits, "eventually": cmdEventually, "behind": cmdBehind, "join": cmdJoin,
		"set": cmdSet, "tasks": cmdTasks, "pids": cmdPids, "lines": cmdLines, "sequence": cmdSequence,
		"image": cmdImage,
		"build": cmdBuild, "program": cmdProgram, "hangup": cmdHangup, "logged": cmdLogged,
	}
}

// usage fails unless the arguments are right. No command but cluster and agent knows what ! before it means.
func usage(ts *testscript.TestScript, right bool, text string) {
	if !right {
		ts.Fatalf("usage: %s", text)
	}
}

func cmdAgent(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) > 0, "agent NAME [flag…]")
	w, name := worldOf(ts), args[0]
	if boot := ts.Getenv(bootEnv); boot != "" {
		w.env = append(w.env, bootEnv+"="+boot)
	}
	ts.Check(w.launch(name, args[1:]...))
	if neg {
		err := w.agents[name].Wait()
		text, _ := os.ReadFile(w.log(name))
		fmt.Fprintf(ts.Stderr(), "%s", text)
		if err == nil {
			ts.Fatalf("agent %s ended with status 0", name)
		}
		return
	}
	ts.Check(w.ready())
	ts.Setenv("CLUSTER_ADDR", "unix://"+w.socket(name))
}

func cmdCrash(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "crash NAME agent|supervisor|both")
	ts.Check(worldOf(ts).crash(args[0], args[1]))
}

func cmdHalt(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "halt")
	worldOf(ts).halt()
}

func cmdEnd(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "end NAME")
	ts.Check(worldOf(ts).end(args[0]))
}

// execute runs a command line and gives its output to the script.
func execute(ts *testscript.TestScript, args []string) error {
	stdout, stderr, err := worldOf(ts).run(args...)
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	return err
}

func cmdCluster(ts *testscript.TestScript, neg bool, args []string) {
	err := execute(ts, args)
	exit, said := errors.AsType[*exec.ExitError](err)
	switch {
	case err != nil && !said, said && !exit.Exited(), said && !neg:
		ts.Fatalf("cluster %s: %v", strings.Join(args, " "), err)
	case err == nil && neg:
		ts.Fatalf("cluster %s succeeded", strings.Join(args, " "))
	}
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 2 && args[1] == "cluster", "exits N cluster ARG…")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	status := 0
	if err := execute(ts, args[2:]); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Check(err)
		}
		status = exit.ExitCode()
	}
	if status != want {
		ts.Fatalf("it ended with status %d", status)
	}
}

func cmdEventually(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 2 && args[1] == "cluster", "eventually REGEXP cluster ARG…")
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var stdout, stderr string
	what := fmt.Sprintf("cluster %s to say %q", strings.Join(args[2:], " "), args[0])
	err = worldOf(ts).wait(what, func() bool {
		stdout, stderr, _ = worldOf(ts).run(args[2:]...) // what it prints says all
		return pattern.MatchString(stdout + stderr)
	})
	fmt.Fprint(ts.Stdout(), stdout)
	fmt.Fprint(ts.Stderr(), stderr)
	ts.Check(err)
}

func cmdBehind(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 2 && args[1] == "cluster", "behind NAME cluster ARG…")
	ts.Check(worldOf(ts).follow(args[0], args[2:]...))
}

func cmdJoin(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "join NAME")
	ts.Check(worldOf(ts).join(args[0]))
}

func cmdSet(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "set NAME REGEXP")
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	found := pattern.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) < 2 {
		ts.Fatalf("%q matches nothing", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func cmdTasks(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && (len(args) == 1 || len(args) == 2), "tasks [TEXT] N")
	want, err := strconv.Atoi(args[len(args)-1])
	ts.Check(err)
	text := strings.Join(args[:len(args)-1], "")
	var have []process
	err = worldOf(ts).wait(fmt.Sprintf("%d processes of tasks %s", want, text), func() bool {
		have = worldOf(ts).tasks(text)
		return len(have) == want
	})
	if err != nil {
		ts.Fatalf("%v; there are %+v", err, have)
	}
}

func cmdPids(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && (len(args) == 1 || len(args) == 2), "pids FILE [TEXT]")
	var lines []string
	for _, p := range worldOf(ts).tasks(strings.Join(args[1:], "")) {
		lines = append(lines, strconv.Itoa(p.pid)+"\n")
	}
	slices.Sort(lines)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(lines, "")), 0o600))
}

func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "lines FILE N")
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	have := 0
	err = worldOf(ts).wait(fmt.Sprintf("%d lines in %s", want, args[0]), func() bool {
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		have = bytes.Count(text, []byte("\n"))
		return have >= want
	})
	if err != nil {
		ts.Fatalf("%v; there are %d", err, have)
	}
}

func cmdSequence(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "sequence FILE")
	ts.Check(sequence(ts.ReadFile(args[0])))
}

func cmdImage(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 0, "image")
	ts.Check(worldOf(ts).makeImage(programs.hello))
	ts.Setenv("IMAGE", worldOf(ts).image)
}
