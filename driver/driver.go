// Package driver says what a driver is: the part of a node that starts, watches and ends tasks of one kind.
// Package drivertest holds the suite that every driver must pass.
package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/a43e60e4/cluster"
)

// Driver runs tasks. All methods may be called concurrently, for different tasks and for the same.
//
// A task is named by its ID, unique for every start of it ("<alloc>/<task>/<attempt>"). What runs does not depend on
// the process that called Start: after the agent was killed and started again, the same IDs mean the same tasks.
// It ends with its main process: what that leaves behind is killed.
// A driver whose tasks have a file system of their own is a [Mounter] too; one with something to tidy up is a [Cleaner].
type Driver interface {
	// Fingerprint reports whether the driver can run tasks here and what nodes should say of it; the caller stamps
	// UpdateTime. It may block for a few seconds; a machine without what the driver needs is Detected false, not an
	// error, and one whose driver stopped answering is Detected but not Healthy.
	Fingerprint(ctx context.Context) cluster.DriverState
	// Start makes the task run, or finds that it already runs or has ended under this ID, which is success too.
	// notice is told what takes long ("pulling image … 40 %"); it may be nil. When Start fails nothing of the task
	// is left, unless whoever runs it did not answer: Destroy makes sure. An error that starting again cannot cure
	// wraps ErrInvalid. ctx ends the attempt, never the task.
	Start(ctx context.Context, t Task, notice func(string)) error
	// Wait blocks until the task has ended, all of its processes with it, and its output is in the log files; what
	// drivers move themselves moves while somebody waits. It may be called again after it returned. While nobody can
	// say whether the task lives (its engine is away) it goes on waiting. ErrUnknown if there is no such task.
	Wait(ctx context.Context, id string) (Exit, error)
	// Signal sends a signal such as "SIGHUP" to the task's main process; "" is the one with which tasks of this driver
	// are asked to end unless their kill_signal says otherwise. A task that has ended already is no error; a signal
	// that does not exist wraps ErrInvalid. ErrUnknown if there is no such task.
	Signal(ctx context.Context, id, signal string) error
	// Destroy kills what is left of the task, whatever it does about it, and forgets it; a Wait going on returns its
	// exit or ErrUnknown. A task that is not there is no error. When Destroy returned nil, nothing of it is left but
	// its log files.
	Destroy(ctx context.Context, id string) error
	// Stats measures the task while it runs. ErrUnknown if there is no such task, or it has ended.
	Stats(ctx context.Context, id string) (Stats, error)
}

// Mounter is a driver whose tasks do not see the node's file system. The others see host paths.
type Mounter interface {
	// Mounts are the paths at which a task sees its directories.
	Mounts() Mounts
}

// Cleaner is a driver that keeps more than its tasks, such as images.
type Cleaner interface {
	// Run removes what nobody needs any more, and tasks of allocations that are not known, until ctx ends.
	Run(ctx context.Context, known func(alloc cluster.ID) bool)
}

// Mounts are the directories of a task, as it sees them.
type Mounts struct{ AllocDir, LocalDir, SecretsDir string }

var (
	// ErrUnknown is the cause when a task ID names nothing.
	ErrUnknown = errors.New("no such task")
	// ErrInvalid is the cause of a start that would fail again in the same way: a wrong config, a missing image.
	// Invalidf makes errors that wrap it.
	ErrInvalid = errors.New("the task's configuration cannot work")
)

// Invalidf makes an error whose text is the formatted one alone and that is ErrInvalid. The format may wrap a cause.
func Invalidf(format string, args ...any) error { return &invalidError{fmt.Errorf(format, args...)} }

type invalidError struct{ error }

func (e *invalidError) Is(target error) bool { return target == ErrInvalid }
func (e *invalidError) Unwrap() error        { return errors.Unwrap(e.error) }

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
	Config     map[string]any    // the `config` block, values as JSON has them; Decode reads it
	Env        map[string]string // complete, but drivers without isolation put the agent's own environment beneath it
	Resources  cluster.Resources
	Ports      []cluster.AllocatedPort
	AllocDir   string // shared by the allocation's tasks; logs are in its logs/
	LocalDir   string // the task's own, "<task dir>/local"
	SecretsDir string // "<task dir>/secrets"
	LogConfig  cluster.LogConfig
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
	MemoryBytes      uint64        // resident, without the page cache
	Pids             int
	ThrottledPeriods uint64
	ThrottledTime    time.Duration
}
