package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/a43e60e4/cluster/e2e/fleet"
	"github.com/a43e60e4/cluster/e2e/lan"
)

var machinesCut = flag.Duration("machines.cut", 50*time.Second, "how long the script cut leaves a cut alone")

// TestMachines runs testdata/machines/*.txt, each on several machines (network namespaces on a network of their own, see
// e2e/lan) with a real agent on each. NODE is a machine's name. A PROBE is one of
//
//	on NODE cluster ARG…          the command line on the machine, talking to the machine's agent
//	on NODE PROGRAM ARG…          any program on the machine
//	dig NODE NAME [TYPE]          what the machine's agent answers by DNS: the code, then a line per record (TYPE: A)
//
// and is a command by itself, which must succeed, or fail with ! before it. Besides what testscript knows there are
//
//	machines [-6] NODE…           makes the machines, -6: without IPv4. First of all
//	start NODE node|server|client [flag…]   starts an agent; the first one bootstraps the cluster, or with -alone another
//	join NODE node|server|client VIA        starts an agent with a token made on the machine VIA
//	again NODE… [-- flag…]        starts agents, and machines that are off, as they were before
//	ready NODE…                   waits until the agents are
//	off NODE…                     the machines lose their power
//	crash NODE agent|supervisor|both        kills with SIGKILL
//	end NODE…                     sends SIGTERM to the supervisors, all at once, and waits for their ends
//	suspend NODE, resume NODE     as a virtual machine
//	readdress NODE…               gives the machines, on or off, other addresses
//	inherit A B                   gives A the addresses of B, and B others
//	cut NODE…                     cuts the machines off from everybody
//	cut A from B, cut A to B      cuts the way between two machines, or only what A sends to B
//	loss PART [NODE…], delay TIME [NODE…], block NODE PORT…   conditions of machines' traffic, see e2e/lan
//	heal [NODE…]                  takes the machines' conditions away, or all
//	pause TIME                    lets time pass
//	eventually [TIME] REGEXP PROBE          repeats until the output, errors too, matches
//	holds TIME REGEXP PROBE       repeats for this long, and every output must match
//	runs JOB N [not NODE…]        waits until so many instances run, none of them on those machines
//	where VARIABLE JOB[I]         the machine on which the instance runs, JOB's only group having its name
//	leader VARIABLE, other VARIABLE NODE…   the machine that leads; the first running one that is none of these
//	leads [not NODE…]             waits until a machine leads, none of these
//	tasks NODE TEXT N, slay NODE TEXT       waits for so many processes with TEXT in their command line; kills them
//	behind NAME PROBE, finish NAME          runs a probe (not dig) in the background, its output in NAME.out; waits for its end
//	engine NODE, image NODE       starts a Docker engine on the machine; makes $IMAGE in it, see TestScripts
//	upstream NODE NAME OTHER      answers names outside the cluster there, for agents that start later: NAME is OTHER's address
//	token VARIABLE NODE server|client       makes a token to join with
//	disk NODE SIZE                gives the machine's agent, before its start, a disk of its own, of so many MiB
//	fill NODE…, free NODE…        fills those disks to the last byte; gives it back
//	flood A TIME NODE…            A sends garbage to all ports of the nodes' agents, in the background
//	hangup NODE                   sends SIGHUP to the supervisor: an upgrade to the program that is there now
//	set, lines, sequence, build   as in TestScripts
//
// The program of all machines is the file cluster in the script's directory. The files testdata/machines/*.hcl are in
// the script's directory, $EXAMPLES is the folder of that name, $HELLO the program of examples/hello.
func TestMachines(t *testing.T) {
	t.Parallel()
	if err := lan.Missing(); err != nil && os.Getenv("CLUSTER_FORBID_SKIP") == "" {
		t.Skipf("machines cannot be made: %v", err)
	}
	files, err := filepath.Glob("testdata/machines/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no scripts: %v", err)
	}
	testscript.Run(t, testscript.Params{
		Files: files, RequireExplicitExec: true, RequireUniqueNames: true,
		Condition: machineCondition, Setup: setupMachines, Cmds: machineCommands(),
	})
}

// builtin are the commands that testscript brings along, as far as these scripts need them.
var builtin = []string{"cd", "cmp", "cp", "env", "exec", "exists", "grep", "mkdir", "mv", "rm", "skip", "stderr", "stdout", "stop"}

// TestScriptsKnowTheirCommands reads also the scripts that cannot run on this machine.
func TestScriptsKnowTheirCommands(t *testing.T) {
	files, err := filepath.Glob("testdata/machines/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := machineCommands()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "-- ") {
				break // the script's files begin
			}
			line, _, _ = strings.Cut(line, "#")
			words := slices.DeleteFunc(strings.Fields(line), func(w string) bool { return w == "!" || w[0] == '[' })
			if len(words) > 0 && known[words[0]] == nil && !slices.Contains(builtin, words[0]) {
				t.Errorf("%s: there is no command %q", file, words[0])
			}
		}
	}
}

func machineCondition(name string) (bool, error) {
	var missing error
	switch name {
	case "docker":
		missing = fleet.MissingEngine()
	case "dnsmasq":
		_, missing = exec.LookPath("dnsmasq")
	default:
		return false, fmt.Errorf("unknown condition %q", name)
	}
	return os.Getenv("CLUSTER_FORBID_SKIP") != "" || missing == nil, nil
}

// site is what a script of several machines has: the machines, and what runs in the background.
type site struct {
	*fleet.Fleet
	ts      *testscript.TestScript
	t       fleetT
	dir     string
	program string // the program under test
	begun   bool   // a first agent has been started
	behind  map[string]*background
	disks   []string // that were mounted
	floods  sync.WaitGroup
}

type siteKey struct{}

func siteOf(ts *testscript.TestScript) *site {
	s := ts.Value(siteKey{}).(*site)
	s.ts = ts
	return s
}

func setupMachines(env *testscript.Env) error {
	s := &site{dir: env.WorkDir, t: fleetT{env}, behind: map[string]*background{}}
	s.program = filepath.Join(env.WorkDir, "cluster") // a copy, so that scripts can replace it
	if out, err := copyFile(programs.cluster, s.program); err != nil {
		return fmt.Errorf("copy program: %w: %s", err, out)
	}
	jobs, err := filepath.Glob("testdata/machines/*.hcl")
	if err != nil {
		return err
	}
	for _, job := range jobs {
		text, err := os.ReadFile(job)
		if err == nil {
			err = os.WriteFile(filepath.Join(env.WorkDir, filepath.Base(job)), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	env.Values[siteKey{}] = s
	// what scripts share with those of one machine looks for its world; this one starts nothing
	env.Values[worldKey{}] = newWorld(env.WorkDir)
	examples, err := filepath.Abs("../examples")
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLES", examples)
	env.Setenv("HELLO", programs.hello)
	env.Setenv("CLUSTER", programs.cluster)
	env.Setenv("CUT", machinesCut.String())
	env.Setenv("PATH", os.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	env.Defer(func() { // after the machines are gone
		for name, b := range s.behind {
			<-b.done
			if s.t.Failed() {
				env.T().Log(name, "ended with", b.err, "and said:", b.cmd.Stderr)
			}
		}
		s.floods.Wait()
		for _, disk := range s.disks {
			_ = unix.Unmount(disk, unix.MNT_DETACH)
		}
	})
	return nil
}

// fleetT is the script's test as a fleet knows one.
type fleetT struct{ env *testscript.Env }

func (t fleetT) Helper()                           {}
func (t fleetT) Skipf(format string, args ...any)  { t.env.T().Skip(fmt.Sprintf(format, args...)) }
func (t fleetT) Fatalf(format string, args ...any) { t.env.T().Fatal(fmt.Sprintf(format, args...)) }
func (t fleetT) Errorf(format string, args ...any) { t.env.T().Fatal(fmt.Sprintf(format, args...)) }
func (t fleetT) Log(args ...any)                   { t.env.T().Log(args...) }
func (t fleetT) Cleanup(f func())                  { t.env.Defer(f) }
func (t fleetT) Failed() bool {
	failed, ok := t.env.T().(interface{ Failed() bool })
	return ok && failed.Failed()
}

// node is the machine of that name.
func (s *site) node(name string) *fleet.Node {
	if s.Fleet == nil {
		s.ts.Fatalf("there are no machines")
	}
	n := s.Named(name)
	if n == nil {
		s.ts.Fatalf("there is no machine %s", name)
	}
	return n
}

// each does something to every machine that is named, at once.
func (s *site) each(names []string, do func(*fleet.Node) error) {
	failed := make(chan error, len(names))
	for _, name := range names {
		n := s.node(name)
		go func() { failed <- do(n) }()
	}
	var errs []error
	for range names {
		errs = append(errs, <-failed)
	}
	s.ts.Check(errors.Join(errs...))
}

// probe runs a probe and returns what it prints.
func (s *site) probe(ctx context.Context, args []string) (stdout, stderr string, err error) {
	if len(args) < 3 || args[0] != "on" && args[0] != "dig" {
		s.ts.Fatalf("usage: on NODE PROGRAM ARG… or dig NODE NAME [TYPE]")
	}
	n := s.node(args[1])
	if args[0] == "on" {
		return n.Run(ctx, s.commandOn(ctx, args[1:]))
	}
	kind := "A"
	if len(args) > 3 {
		kind = args[3]
	}
	answer, err := n.Ask(ctx, "udp", args[2], kind)
	if err != nil {
		return "", err.Error(), err
	}
	return answer.String(), "", nil
}

// commandOn is the program that NODE PROGRAM ARG… names, not yet started.
func (s *site) commandOn(ctx context.Context, args []string) *exec.Cmd {
	n := s.node(args[0])
	if args[1] == "cluster" {
		return n.Program(ctx, args[2:]...)
	}
	return n.Any(ctx, args[1], args[2:]...)
}

// show gives what was printed to the script, for stdout and stderr to match.
func (s *site) show(stdout, stderr string) {
	fmt.Fprint(s.ts.Stdout(), stdout)
	fmt.Fprint(s.ts.Stderr(), stderr)
}
