package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdBuild builds the program as another version.
func cmdBuild(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "build FILE VERSION")
	build := exec.Command("go", "build", "-ldflags", "-s -w -X main.version="+args[1], "-o", ts.MkAbs(args[0]), "./cmd/cluster")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		ts.Fatalf("build version %s: %v\n%s", args[1], err, out)
	}
}

// cmdProgram makes a file the program of agents and command lines from now on.
func cmdProgram(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "program FILE")
	w := worldOf(ts)
	own := ts.MkAbs(args[0])
	if out, err := exec.Command("cp", w.cluster, own).CombinedOutput(); err != nil {
		ts.Fatalf("copy program: %v: %s", err, out)
	}
	w.cluster = own
}

// cmdHangup asks a supervisor for an upgrade.
func cmdHangup(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 1, "hangup NAME")
	supervisor := worldOf(ts).agents[args[0]]
	if supervisor == nil {
		ts.Fatalf("there is no agent %s", args[0])
	}
	ts.Check(supervisor.Process.Signal(syscall.SIGHUP))
}

// cmdLogged waits until an agent has said something.
func cmdLogged(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "logged NAME REGEXP")
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	w := worldOf(ts)
	ts.Check(w.wait(fmt.Sprintf("%q in the log of %s", args[1], args[0]), func() bool {
		text, _ := os.ReadFile(w.log(args[0]))
		return pattern.Match(text)
	}))
}
