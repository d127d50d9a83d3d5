package rawexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// Processes is what runs commands so that they outlive the agent. Its methods may be called concurrently; they block until
// it answered or the context is done. For an ID that it does not know Signal, Kill and Stats return driver.ErrUnknown.
type Processes interface {
	// Start runs a process; if the ID is known already, running or ended, it starts nothing, which is no error.
	Start(ctx context.Context, p Process) error
	// Signal signals the main process. Signalling what has ended is no error.
	Signal(ctx context.Context, id string, signal syscall.Signal) error
	// Kill ends the process and everything it started and returns when none of it is left; the Exit may come later.
	// Killing what has ended is no error.
	Kill(ctx context.Context, id string) error
	// Forget drops what is known of a process that has an Exit; it is an error while it has none. Forgetting what is
	// unknown is none.
	Forget(ctx context.Context, id string) error
	// List returns all that is not forgotten.
	List(ctx context.Context) ([]Status, error)
	// Stats measures a running process and its descendants; driver.ErrUnknown if it has ended.
	Stats(ctx context.Context, id string) (driver.Stats, error)
}

// Process says what to run.
type Process struct {
	ID           string
	Command      string   // an absolute path
	Args         []string // without the command's own name
	Env          []string // "KEY=value", complete
	Dir          string
	User         string // a name or number, with an optional ":group"; "" is the supervisor's own
	CPUShares    int    // weight, in MHz
	CPUHardLimit int    // percent of one core; 0: none
	MemoryLimit  int64  // bytes; 0: none
	OOMScoreAdj  int
	Stdout       Output
	Stderr       Output
}

// Output says where a stream goes: files Dir/Name.0, Dir/Name.1, … of MaxBytes, of which the newest MaxFiles are kept.
// Without a Name it is thrown away.
type Output struct {
	Dir, Name string
	MaxBytes  int64
	MaxFiles  int
}

// Status is what is known of a process.
type Status struct {
	ID   string
	Exit *driver.Exit // nil while it, or anything it started, lives or its output is not in the files
}

// Config is what a driver needs. Processes is required.
type Config struct {
	Processes Processes
	Options   Options
	// CoreMHz is what one core of the node counts in MHz, to make hard limits of shares.
	CoreMHz int
	// Environ is the agent's own environment ("KEY=value"), which tasks get beneath their own; DeniedEnv names the
	// variables that they do not, beside those of the agent itself.
	Environ   []string
	DeniedEnv []string
}

// Driver runs tasks as processes. It implements driver.Driver. Whoever hears of exits must tell it by Ended.
type Driver struct {
	config  Config
	environ map[string]string // what tasks inherit

	mu      sync.Mutex
	waiting map[string]*end // by task ID, while somebody waits
}

// end is the end of one task.
type end struct {
	waiters int
	over    chan struct{} // closed when the task has ended or was forgotten
	exit    *driver.Exit  // set before over is closed; nil if the task was forgotten
}

var _ driver.Driver = (*Driver)(nil)

// New makes a driver. It does not use Processes yet.
func New(c Config) *Driver {
	d := &Driver{config: c, environ: map[string]string{}, waiting: map[string]*end{}}
	denied := slices.Concat(agentEnv, c.DeniedEnv)
	for _, variable := range c.Environ {
		if name, value, ok := strings.Cut(variable, "="); ok && !anyMatch(denied, name) {
			d.environ[name] = value
		}
	}
	return d
}

// Fingerprint is healthy when the node allows this driver, and not detected otherwise.
func (d *Driver) Fingerprint(context.Context) cluster.DriverState {
	if !d.config.Options.Enabled {
		return cluster.DriverState{HealthDescription: disabled}
	}
	return cluster.DriverState{
		Attributes: map[string]string{"driver.raw_exec": "1"}, Detected: true, Healthy: true, HealthDescription: "Healthy",
	}
}

const disabled = `disabled: set enabled = true in the node's plugin "raw_exec" config`

// Start implements driver.Driver.
func (d *Driver) Start(ctx context.Context, t driver.Task, _ func(string)) error {
	if !d.config.Options.Enabled {
		return driver.Invalidf("start task %q: driver raw_exec is %s", t.Name, disabled)
	}
	process, err := d.process(t)
	if err != nil {
		return err
	}
	if err := d.config.Processes.Start(ctx, process); err != nil {
		return err // names the task
	}
	return nil
}

// Wait implements driver.Driver.
func (d *Driver) Wait(ctx context.Context, id string) (driver.Exit, error) {
	// The wait begins before the look, so that an exit in between is heard of.
	e := d.begin(id)
	defer d.done(id, e)
	all, err := d.config.Processes.List(ctx)
	if err != nil {
		return driver.Exit{}, fmt.Errorf("wait for task %s: %w", id, err)
	}
	at := slices.IndexFunc(all, func(s Status) bool { return s.ID == id })
	switch {
	case at < 0:
		return driver.Exit{}, fmt.Errorf("wait for task %s: %w", id, driver.ErrUnknown)
	case all[at].Exit != nil:
		return *all[at].Exit, nil
	}
	select {
	case <-e.over:
	case <-ctx.Done():
		return driver.Exit{}, fmt.Errorf("wait for task %s: %w", id, context.Cause(ctx))
	}
	if e.exit == nil {
		return driver.Exit{}, fmt.Errorf("wait for task %s: %w", id, driver.ErrUnknown)
	}
	return *e.exit, nil
}

// Ended tells the driver how a process ended. It must be called for every exit that Processes knows of, when it comes to
// be known; again, too early, and for IDs that are not the driver's do no harm. It does not block.
func (d *Driver) Ended(id string, exit driver.Exit) { d.finish(id, &exit) }

// Signal implements driver.Driver; "" is SIGINT.
func (d *Driver) Signal(ctx context.Context, id, name string) error {
	if name == "" {
		name = "SIGINT"
	}
	signal, ok := signalNumber(name)
	if !ok {
		return driver.Invalidf("signal task %s: there is no signal %q", id, name)
	}
	if err := d.config.Processes.Signal(ctx, id, signal); err != nil {
		return fmt.Errorf("signal task %s: %w", id, err)
	}
	return nil
}

// Destroy implements driver.Driver.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	if err := d.config.Processes.Kill(ctx, id); err != nil && !errors.Is(err, driver.ErrUnknown) {
		return fmt.Errorf("destroy task %s: %w", id, err)
	}
	// What is killed has ended when its output is in the files, and can be forgotten then.
	if _, err := d.Wait(ctx, id); err != nil && !errors.Is(err, driver.ErrUnknown) {
		return fmt.Errorf("destroy: %w", err)
	}
	if err := d.config.Processes.Forget(ctx, id); err != nil {
		return fmt.Errorf("destroy task %s: %w", id, err)
	}
	d.finish(id, nil)
	return nil
}

// Stats implements driver.Driver.
func (d *Driver) Stats(ctx context.Context, id string) (driver.Stats, error) {
	stats, err := d.config.Processes.Stats(ctx, id)
	if err != nil {
		return driver.Stats{}, fmt.Errorf("measure task %s: %w", id, err)
	}
	return stats, nil
}

func (d *Driver) begin(id string) *end {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.waiting[id]
	if e == nil {
		e = &end{over: make(chan struct{})}
		d.waiting[id] = e
	}
	e.waiters++
	return e
}

func (d *Driver) done(id string, e *end) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.waiters--; e.waiters == 0 && d.waiting[id] == e {
		delete(d.waiting, id)
	}
}

// finish wakes those who wait for the task; exit is nil if it was forgotten.
func (d *Driver) finish(id string, exit *driver.Exit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.waiting[id]; e != nil {
		e.exit = exit
		close(e.over)
		delete(d.waiting, id)
	}
}
