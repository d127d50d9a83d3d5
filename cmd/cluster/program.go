package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// The statuses that a command ends with.
const (
	exitDone        = 0
	exitError       = 1   // the command line, the input, the agent or the network
	exitUnplaced    = 2   // the job was accepted, but could not be placed or failed
	exitInterrupted = 130 // the user stopped following; what was asked for goes on
)

// program is the whole command as a value: what it reads, where it writes, which clock it has. Tests run many at once.
type program struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string
	now    func() time.Time
	// terminal is the size of the terminal that stdout is; not ok: it is none. It is asked again for every frame of a
	// live view.
	terminal func() (size terminalSize, ok bool)
	// agent runs an agent until it ends. It owns the process's signals.
	agent func(context.Context, agentStart) error
}

// terminalSize counts characters.
type terminalSize struct{ width, height int }

// agentStart is what `cluster agent` hands to the agent.
type agentStart struct {
	Config   AgentConfig
	Warnings []Warning // of the configuration, not yet shown to anybody
	Join     joinSource
	Args     []string // the command line after the program's name, in order: what starts the same agent again
	Stdout   io.Writer
	Stderr   io.Writer
}

// exitStatus ends the program with a status other than exitError. A nil cause prints nothing more.
type exitStatus struct {
	status int
	cause  error
}

func (e *exitStatus) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.cause.Error()
}

func (e *exitStatus) Unwrap() error { return e.cause }

// Run does what args (without the program's name) say and returns the exit status.
func (p *program) Run(ctx context.Context, args []string) int {
	out := p.output(false)
	if len(args) == 1 && slices.Contains([]string{"-v", "-version", "--version"}, args[0]) {
		args = []string{"version"}
	}
	app := p.app(args)
	line, err := arrange(app.Commands, args)
	if err != nil {
		out.fail(err)
		return line.errorStatus()
	}
	if line.help {
		out.help(app, line)
		return exitDone
	}
	err = app.RunContext(ctx, append([]string{"cluster"}, line.argv...))
	if err == nil {
		return exitDone
	}
	status := line.errorStatus()
	if e, ok := errors.AsType[*exitStatus](err); ok {
		status = e.status
		if e.cause == nil {
			return status
		}
	}
	out.fail(err)
	return status
}

// errorStatus is what the command ends with when it fails: `job plan` says something else by exitError.
func (l commandLine) errorStatus() int {
	if n := len(l.path); n > 0 && l.path[n-1].Name == "plan" {
		return exitPlanError
	}
	return exitError
}

// app is the command tree with everything of the library that decides in our place switched off.
func (p *program) app(args []string) *cli.App {
	return &cli.App{
		Name:                      "cluster",
		Usage:                     "many machines, one computer",
		Commands:                  p.commands(args),
		Reader:                    p.stdin,
		Writer:                    p.stdout,
		ErrWriter:                 p.stderr,
		HideHelp:                  true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {},
	}
}

// verb describes one command that does something.
type verb struct {
	name     string
	short    string // one line
	long     string // more of it, "" if short says it all
	args     string // "[ID]", as help shows it
	min, max int    // how many arguments; max < 0: any number
	example  string // lines; a line that starts with "cluster" is a command
	flags    []cli.Flag
	local    bool // asks no agent: has no flags that choose one
	hidden   bool
	run      func(*call) error
}

// call is one command being run.
type call struct {
	*cli.Context
	program *program
	out     *output
}

// ctx ends when the user interrupts the command.
func (c *call) ctx() context.Context { return c.Context.Context }

// command makes the library's command of the verb.
func (p *program) command(v verb) *cli.Command {
	flags := append([]cli.Flag{}, v.flags...)
	if !v.local {
		flags = append(flags, targetFlags()...)
	}
	flags = append(flags, noColorFlag())
	description := v.long
	if v.example != "" {
		if description != "" {
			description += "\n\n"
		}
		description += "Example:\n\n" + indent(v.example, "  ")
	}
	return &cli.Command{
		Name: v.name, Usage: v.short, ArgsUsage: v.args, Description: description, Flags: flags,
		Hidden: v.hidden, HideHelp: true, HideHelpCommand: true,
		OnUsageError: func(c *cli.Context, err error, _ bool) error {
			return fmt.Errorf("read command line: %w: `%s -h` says what there is", err, commandName(c))
		},
		Action: func(c *cli.Context) error {
			if err := v.checkArgs(c); err != nil {
				return err
			}
			ctx, stop := c.Context, func() {}
			if v.name != "agent" {
				ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
			}
			defer stop()
			c.Context = ctx
			run := &call{Context: c, program: p, out: p.output(c.Bool("no-color"))}
			err := run.explain(v.run(run))
			if _, decided := errors.AsType[*exitStatus](err); err != nil && !decided && ctx.Err() != nil {
				return &exitStatus{status: exitInterrupted} // whatever else it says, it is the user who ended it
			}
			return err
		},
	}
}

func (v verb) checkArgs(c *cli.Context) error {
	n := c.NArg()
	if n >= v.min && (v.max < 0 || n <= v.max) {
		return nil
	}
	want := strings.TrimSpace(commandName(c) + " " + v.args)
	if n < v.min {
		return fmt.Errorf("run `%s`: an argument is missing: want `%s`", commandName(c), want)
	}
	return fmt.Errorf("run `%s`: %q is one argument too many: want `%s`", commandName(c), clip(c.Args().Get(v.max)), want)
}

// commandName is what a user types to name the command that runs: "cluster job run".
func commandName(c *cli.Context) string {
	var names []string
	for _, parent := range c.Lineage() {
		if parent.Command != nil && parent.Command.Name != "" {
			names = append([]string{parent.Command.Name}, names...)
		}
	}
	if len(names) > 0 && names[0] == "cluster" {
		names = names[1:]
	}
	return "cluster " + strings.Join(names, " ")
}

// noun groups verbs.
func noun(name, short string, verbs ...*cli.Command) *cli.Command {
	return &cli.Command{Name: name, Usage: short, Subcommands: verbs, HideHelp: true, HideHelpCommand: true}
}

// targetFlags choose the agent that a command asks. They are the same for all commands.
func targetFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "address", Usage: "the agent to ask, `URL` or unix://PATH (CLUSTER_ADDR)", Category: generalFlags},
		&cli.StringFlag{Name: "namespace", Usage: "the `NAMESPACE` to look in, * for all in lists (CLUSTER_NAMESPACE)", Category: generalFlags},
		&cli.StringFlag{Name: "region", Usage: "the `REGION` to ask; there is one, global (CLUSTER_REGION)", Category: generalFlags},
		&cli.StringFlag{Name: "token", Usage: "the `SECRET` that proves who asks (CLUSTER_TOKEN)", Category: generalFlags},
	}
}

const generalFlags = "General"

func noColorFlag() cli.Flag {
	return &cli.BoolFlag{Name: "no-color", Usage: "no colours, also on a terminal (NO_COLOR)", Category: generalFlags}
}

func jsonFlag() cli.Flag { return &cli.BoolFlag{Name: "json", Usage: "print the API's object"} }

func verboseFlag() cli.Flag { return &cli.BoolFlag{Name: "verbose", Usage: "print full IDs"} }

// setting is a general flag or, in its absence, the first environment variable that is set: ours, then the one that
// the ecosystem's tools know.
func (c *call) setting(flag, suffix, otherwise string) string {
	if v := c.String(flag); v != "" {
		return v
	}
	for _, prefix := range []string{"CLUSTER_", "NOMAD_"} {
		if v := c.program.getenv(prefix + suffix); v != "" {
			return v
		}
	}
	return otherwise
}

const defaultAddress = "http://127.0.0.1:4646"

func (c *call) address() string { return c.setting("address", "ADDR", defaultAddress) }

// unreachable is an agent that could not be talked to.
type unreachable struct {
	address string
	cause   error
}

func (e *unreachable) Error() string {
	why := ""
	if !errors.Is(e.cause, syscall.ECONNREFUSED) && !errors.Is(e.cause, syscall.ENOENT) {
		why = fmt.Sprintf(" (%v)", e.cause)
	}
	return fmt.Sprintf("no agent answers at %s%s: start one with `cluster agent -dev`, or set CLUSTER_ADDR", e.address, why)
}

func (e *unreachable) Unwrap() error { return e.cause }

// explain replaces what the network says of a missing agent by what to do about it.
func (c *call) explain(err error) error {
	if failed, ok := errors.AsType[*net.OpError](err); ok && failed.Op == "dial" {
		return &unreachable{address: c.address(), cause: failed}
	}
	return err
}

// indent puts prefix before every line that is not empty.
func indent(text, prefix string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, l := range lines {
		if l != "" {
			lines[i] = prefix + l
		}
	}
	return strings.Join(lines, "\n")
}
