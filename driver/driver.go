// Package driver says what a driver is: the part of a node that starts, watches and ends tasks of one kind.
// Package drivertest holds the suite that every driver must pass.
package driver

import (
	"context"
	"errors"
	"time"

	"github.com/a43e60e4/cluster"
)

// Driver runs tasks. All methods may be called concurrently, for different tasks and for the same.
//
// A task is named by its ID, unique for every start of it ("<alloc>/<task>/<attempt>"). What runs does not depend on
// the process that called Start: after the agent was killed and started again, the same IDs mean the same tasks.
type Driver interface {
	// Fingerprint reports whether the driver can run tasks here and what nodes should say of it. It may block for
	// a short time; a machine without what the driver needs is Detected false, not an error.
	Fingerprint(ctx context.Context) cluster.DriverState
	// Start makes the task run, or finds that it already runs or has ended under this ID, which is success too.
	// notice is told what takes long ("pulling image … 40 %"); it may be nil. When Start fails nothing of the task
	// is left. An error that starting again cannot cure wraps ErrInvalid. ctx ends the attempt, never the task.
	Start(ctx context.Context, t Task, notice func(string)) error
	// Wait blocks until the task has ended, all of its processes with it, and its output is in the log files.
	// It may be called again after it returned. ErrUnknown if there is no such task.
	Wait(ctx context.Context, id string) (Exit, error)
	// Signal sends a signal such as "SIGHUP" to the task. ErrUnknown if there is no such task.
	Signal(ctx context.Context, id, signal string) error
	// Destroy kills what is left of the task, whatever it does about it, and forgets it; a Wait going on returns its
	// exit or ErrUnknown. A task that is not there is no error. When Destroy returned nil, nothing of it is left.
	Destroy(ctx context.Context, id string) error
	// Stats measures the task. ErrUnknown if there is no such task.
	Stats(ctx context.Context, id string) (Stats, error)
}

var (
	// ErrUnknown is the cause when a task ID names nothing.
	ErrUnknown = errors.New("no such task")
	// ErrInvalid is the cause of a start that would fail again in the same way: a wrong config, a missing image.
	ErrInvalid = errors.New("the task's configuration cannot work")
)

// Task is all that a driver needs to know to start a task. Config, Env and User are already interpolated.
type Task struct {
	ID         string // "<alloc>/<task>/<attempt>"
	AllocID    cluster.ID
	Namespace  string
	JobID      string
	Group      string
	Name       string
	NodeID     cluster.ID
	NodeName   string
	User       string
	Config     map[string]any    // the `config` block, values as JSON has them (float64 or int64 for numbers)
	Env        map[string]string // complete; HostEnv drivers add what they inherit beneath it
	Resources  cluster.Resources
	Ports      []cluster.AllocatedPort
	AllocDir   string // shared by the allocation's tasks; logs are in its logs/
	LocalDir   string // the task's own
	SecretsDir string
	LogConfig  cluster.LogConfig
	KillSignal string // "" is the driver's default; also what Stop should use
}

// Exit is how a task ended.
type Exit struct {
	Code      int
	Signal    int // 0 unless a signal ended it
	OOMKilled bool
	// Unknown says that nobody saw the end: Code means nothing, and it counts as a failure.
	Unknown bool
	Message string // more, in words; may be empty
	At      time.Time
}

// Successful reports whether the task ended by itself without failure.
func (e Exit) Successful() bool { return e.Code == 0 && e.Signal == 0 && !e.Unknown && !e.OOMKilled }

// Stats is what a task uses now.
type Stats struct {
	CPUTime          time.Duration // since its start
	MemoryBytes      uint64        // resident
	Pids             int
	ThrottledPeriods uint64
	ThrottledTime    time.Duration
}
