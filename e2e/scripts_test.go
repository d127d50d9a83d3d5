package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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

// TestScripts runs testdata/*.txt. Besides what testscript knows, a script has these commands:
//
//	agent NAME [flag…]            starts an agent on the directory NAME (again), with NAME.hcl as its configuration if the
//	                              script has that file, and waits until its node is ready; later commands talk to it
//	cluster ARG…                  runs the command line
//	eventually REGEXP cluster …   repeats a command until its output matches, for half a minute at most
//	kill NAME agent|supervisor|both     SIGKILL
//	stop NAME                     SIGTERM to the supervisor; waits for its end, which must be 0
//	tasks [TEXT] N                waits until N processes of tasks (whose command line has TEXT) run
//	pids FILE [TEXT]              writes the process IDs of those tasks to a file, sorted
//	lines FILE N                  waits until the file has at least N lines
//	sequence FILE                 the file's lines count up by one from the first, none lost, none twice
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Condition:           condition,
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"agent": cmdAgent, "cluster": cmdCluster, "eventually": cmdEventually, "kill": cmdKill, "stop": cmdStop,
			"tasks": cmdTasks, "pids": cmdPids, "lines": cmdLines, "sequence": cmdSequence,
		},
	})
}

// condition answers [docker] and [root] in scripts. Where skipping is forbidden they hold, and what is missing fails.
func condition(name string) (bool, error) {
	if os.Getenv("CLUSTER_FORBID_SKIP") != "" {
		return true, nil
	}
	switch name {
	case "docker":
		return exec.Command("docker", "version").Run() == nil, nil
	case "root":
		return os.Geteuid() == 0, nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

// markerEnv is in the environment of everything that a script starts, with the script's directory as its value.
const markerEnv = "CLUSTER_E2E_SCRIPT"

func setup(env *testscript.Env) error {
	w := &world{dir: env.WorkDir, agents: map[string]*exec.Cmd{}}
	env.Values[worldKey{}] = w
	env.Setenv(markerEnv, env.WorkDir)
	env.Setenv("HELLO", programs.hello)
	env.Setenv("CLUSTER", programs.cluster)
	env.Setenv("PATH", os.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("NO_COLOR", "1")
	env.Defer(w.clean)
	return nil
}

func cmdCluster(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec(programs.cluster, args...)
	if err != nil && !neg {
		ts.Fatalf("cluster %s: %v", strings.Join(args, " "), err)
	}
	if err == nil && neg {
		ts.Fatalf("cluster %s succeeded", strings.Join(args, " "))
	}
}
