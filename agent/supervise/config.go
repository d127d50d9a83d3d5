package supervise

import (
	"log/slog"
	"time"
)

// Config says how [Run] is to live. Dir and Agent are required.
type Config struct {
	// Dir is the supervisor's own directory, made with mode 0700: lock, journal, pipes.
	Dir string

	// Agent is the argv of the agent process; Env its environment, nil meaning the supervisor's.
	Agent []string
	Env   []string

	// Executable is what an upgrade starts in place of this process, with the arguments of this
	// process; empty is the file this process was started from. Version is run before, to see that
	// the new file works: its arguments, nil meaning "version".
	Executable string
	Version    []string

	// StopTasks says that tasks end with the supervisor when it is asked to end.
	StopTasks bool

	// AgentGrace is how long an upgrade waits for the old agent before it kills it; 0: 30 s.
	AgentGrace time.Duration

	// BootID stands for the kernel's, in tests of what happens after a reboot.
	BootID string

	// reached is called at each point of a task's start: tests end the supervisor there. It may be nil.
	reached func(p point, task string)

	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
}

// point is a place in a task's start.
type point string

const (
	pointFork   point = "fork"   // all is ready, nothing is forked
	pointForked point = "forked" // the program executes, which is not on record
)
