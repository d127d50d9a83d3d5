package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// Config is what a driver needs. Dir is required.
type Config struct {
	// Options are what the node's plugin config says: DefaultOptions or DecodeOptions.
	Options Options
	// Dir is the driver's own directory on disk; it is made if it is missing. It must be the same after a restart.
	Dir string
	// NodeID is in the labels of this node's containers, so that those whose allocations are lost can be told from
	// those of other nodes on the same engine. Zero: none are removed.
	NodeID cluster.ID
	// CoreMHz is what one core of the node counts in MHz, for cpu_hard_limit; 0 refuses that option.
	CoreMHz int
	// CallTimeout is how long the engine may take to answer; 0: 30 s. Creating, starting and ending a container may
	// take four times as long.
	CallTimeout time.Duration
	// Resolvers gives the addresses of this node at which containers are answered on port 53, names of the cluster and all
	// others; tasks that say no resolvers get them. The gateways are the node's own addresses in the engine's default
	// network, as the engine has it. An error says why there are none: then the engine decides. It is called for every
	// start and every fingerprint, concurrently, and must not block. Nil: nobody answers.
	Resolvers func(gateways []netip.Addr) ([]netip.Addr, error)
	Logger    *slog.Logger // nil logs nothing
}

// Driver runs tasks as containers. It implements driver.Driver and driver.Mounter. New makes one.
type Driver struct {
	config Config
	engine *engine
	pulls  *pulls
	pulled *pulledImages
	log    *slog.Logger
	locks  locks
	seen   atomic.Bool // the engine has answered this driver before
	// unnamed is what was last said about why containers resolve no names of the cluster, "" if they do.
	unnamed atomic.Pointer[string]
	// engineFile is the size of the files in which the engine keeps output.
	engineFile int
	// lookEvery is how often a waiter looks for itself, where the engine should have told it.
	lookEvery time.Duration
}

var (
	_ driver.Driver  = (*Driver)(nil)
	_ driver.Mounter = (*Driver)(nil)
	_ driver.Cleaner = (*Driver)(nil)
)

// New makes a driver. It does not call the engine yet, which may come later. An error is one of the Config.
func New(c Config) (*Driver, error) {
	if c.CallTimeout == 0 {
		c.CallTimeout = 30 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open docker driver: %w", err)
	}
	idle, err := duration(c.Options.PullActivityTimeout)
	if err != nil {
		return nil, fmt.Errorf("open docker driver: %w", err)
	}
	if idle == 0 {
		idle = 2 * time.Minute
	}
	pulled, err := openPulled(c.Dir, time.Now())
	if err != nil {
		c.Logger.Warn("images pulled before are not known to be ours, and stay", "err", err)
	}
	e, err := newEngine(c.Options, c.CallTimeout)
	if err != nil {
		return nil, err
	}
	return &Driver{
		config: c, engine: e, log: c.Logger, pulled: pulled,
		pulls: &pulls{engine: e, idle: idle, noticeEvery: 5 * time.Second, going: map[pullKey]*pull{}},
		locks: locks{held: map[string]*lock{}}, engineFile: engineFileBytes, lookEvery: 15 * time.Second,
	}, nil
}

// Mounts implements driver.Mounter.
func (d *Driver) Mounts() driver.Mounts { return mounts }

// Fingerprint implements driver.Driver. It takes at most 5 s.
func (d *Driver) Fingerprint(ctx context.Context) cluster.DriverState {
	var info client.SystemInfoResult
	err := d.engine.callFor(ctx, min(d.engine.limit, 5*time.Second), func(ctx context.Context) (err error) {
		info, err = d.engine.api.Info(ctx, client.InfoOptions{})
		return err
	})
	o := d.config.Options
	state := cluster.DriverState{Attributes: map[string]string{
		"driver.docker":                    "1",
		"driver.docker.volumes.enabled":    fmt.Sprint(o.Volumes.Enabled),
		"driver.docker.privileged.enabled": fmt.Sprint(o.AllowPrivileged),
	}}
	if err != nil {
		// Where nobody ever answered nor left a socket there is no Docker, which is no fault.
		state.Detected = d.seen.Load() || !errors.Is(err, errAbsent)
		state.HealthDescription = err.Error()
		if !state.Detected {
			state.Attributes = nil
		}
		return state
	}
	d.seen.Store(true)
	state.Detected, state.Healthy, state.HealthDescription = true, true, d.answers(ctx, state.Attributes)
	state.Attributes["driver.docker.version"] = info.Info.ServerVersion
	state.Attributes["driver.docker.os_type"] = info.Info.OSType
	state.Attributes["driver.docker.runtimes"] = strings.Join(slices.Sorted(maps.Keys(info.Info.Runtimes)), ",")
	return state
}

// Start implements driver.Driver.
func (d *Driver) Start(ctx context.Context, t driver.Task, notice func(string)) error {
	c, err := d.config.Options.decode(t)
	if err != nil {
		return err
	}
	ref, err := parseImage(t.Name, c.Image)
	if err != nil {
		return err
	}
	release, err := d.locks.acquire(ctx, "start "+containerName(t))
	if err != nil {
		return fmt.Errorf("start task %q: %w", t.Name, err)
	}
	defer release()
	done, err := d.started(ctx, t.ID)
	if err != nil || done {
		return wrap(err, "start task %q", t.Name)
	}
	create, err := d.container(t, c, reference.FamiliarString(ref))
	if err != nil {
		return err
	}
	if c.CpusetCpus != "" && notice != nil {
		notice("option \"cpuset_cpus\" is not used: cores are given by the task's resources")
	}
	if err := d.haveImage(ctx, t, c, ref, notice); err != nil {
		return err
	}
	d.namesFor(ctx, c, &create)
	return d.run(ctx, t, create)
}

// started reports whether the task runs already, or has. What a start that was broken off left is removed.
func (d *Driver) started(ctx context.Context, id string) (bool, error) {
	found, err := d.find(ctx, id)
	switch {
	case errors.Is(err, driver.ErrUnknown):
		return false, nil
	case err != nil:
		return false, err
	case found.State != container.StateCreated:
		return true, nil
	}
	return false, d.remove(ctx, found.ID)
}

// haveImage sees to it that the image is on the node.
func (d *Driver) haveImage(ctx context.Context, t driver.Task, c taskConfig, ref reference.Named, notice func(string)) error {
	release, err := d.locks.acquire(ctx, imageLock+ref.String())
	if err != nil {
		return fmt.Errorf("start task %q: %w", t.Name, err)
	}
	id, err := d.imageID(ctx, ref)
	d.pulled.use(id, time.Now())
	release()
	if err != nil {
		return fmt.Errorf("start task %q: look for image %q: %w", t.Name, reference.FamiliarString(ref), err)
	}
	local := id != ""
	if local && !c.ForcePull && !latest(ref) {
		return nil
	}
	auth, err := d.config.Options.credentials(t.Name, c, ref)
	if err != nil {
		return err
	}
	limit, _ := duration(c.ImagePullTimeout)
	if limit == 0 {
		limit, _ = duration(d.config.Options.ImagePullTimeout)
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than image_pull_timeout, %v", limit))
		defer cancel()
	}
	err = d.pulls.pull(ctx, ref, auth, notice)
	if err != nil && local && !c.ForcePull && ctx.Err() == nil {
		// "latest" without a registry that answers: what is here is better than nothing.
		if notice != nil {
			notice("using the image that is on the node: " + err.Error())
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("start task %q: %w", t.Name, err)
	}
	if now, err := d.imageID(ctx, ref); err == nil && now != id && now != "" {
		err = d.pulled.change(now, ref.String(), time.Now())
		if err != nil { // it is only not removed then
			d.log.Warn("a pulled image is not on record", "err", err)
		}
	}
	return nil
}

// run creates and starts the container. When it fails it leaves none, as far as the engine answers.
func (d *Driver) run(ctx context.Context, t driver.Task, create client.ContainerCreateOptions) error {
	id, err := d.create(ctx, t, create)
	if err != nil {
		if isInvalid(err) {
			return driver.Invalidf("start task %q: %w", t.Name, err)
		}
		return fmt.Errorf("start task %q: %w", t.Name, err)
	}
	err = d.prepareOutput(id, create.Config.Labels)
	if err == nil {
		err = d.engine.callFor(ctx, 4*d.engine.limit, func(ctx context.Context) error {
			_, err := d.engine.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
			return err
		})
	}
	if err == nil {
		return nil
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.engine.limit)
	defer cancel()
	if left := d.remove(clean, id); left != nil {
		err = fmt.Errorf("%w; and its container may be left: %v", err, left)
	}
	if isInvalid(err) || strings.Contains(err.Error(), "executable file not found") {
		return driver.Invalidf("start task %q: %w", t.Name, err)
	}
	return fmt.Errorf("start task %q: %w", t.Name, err)
}

// create makes the container, in the place of one that an earlier attempt of the task left.
func (d *Driver) create(ctx context.Context, t driver.Task, options client.ContainerCreateOptions) (string, error) {
	for attempt := 1; ; attempt++ {
		var created client.ContainerCreateResult
		err := d.engine.callFor(ctx, 4*d.engine.limit, func(ctx context.Context) (err error) {
			created, err = d.engine.api.ContainerCreate(ctx, options)
			return err
		})
		if err == nil {
			for _, warning := range created.Warnings {
				d.log.Warn("container created with a warning", "task", t.ID, "warning", warning)
			}
			return created.ID, nil
		}
		if !isConflict(err) || attempt >= max(1, d.config.Options.ContainerExistsAttempts) {
			return "", err
		}
		old, err := d.inspect(ctx, options.Name)
		switch {
		case isMissing(err):
		case err != nil:
			return "", err
		case old.Config.Labels[labelAlloc] != t.AllocID.String():
			return "", fmt.Errorf("a container named %q is there that is not of this allocation: remove it with docker rm", options.Name)
		default:
			if err := d.remove(ctx, old.ID); err != nil {
				return "", err
			}
		}
	}
}

// Signal implements driver.Driver; "" is the image's STOPSIGNAL, or SIGTERM.
func (d *Driver) Signal(ctx context.Context, id, signal string) error {
	found, err := d.find(ctx, id)
	if err != nil {
		return wrap(err, "signal task %s", id)
	}
	if signal == "" {
		details, err := d.inspect(ctx, found.ID)
		if err != nil {
			return wrap(err, "signal task %s", id)
		}
		if signal = details.Config.StopSignal; signal == "" {
			signal = "SIGTERM"
		}
	}
	err = d.kill(ctx, found.ID, signal)
	if isInvalid(err) {
		return driver.Invalidf("signal task %s: there is no signal %q", id, signal)
	}
	return wrap(err, "signal task %s", id)
}

// kill signals a container; if that has ended it does nothing.
func (d *Driver) kill(ctx context.Context, containerID, signal string) error {
	err := d.engine.call(ctx, func(ctx context.Context) error {
		_, err := d.engine.api.ContainerKill(ctx, containerID, client.ContainerKillOptions{Signal: signal})
		return err
	})
	if err != nil && (isConflict(err) || isMissing(err)) {
		return nil
	}
	return err
}

// Destroy implements driver.Driver.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	// One at a time: a second one would find the container on its way out, and miss output that the first has saved.
	release, err := d.locks.acquire(ctx, "destroy "+id)
	if err != nil {
		return fmt.Errorf("destroy task %s: %w", id, err)
	}
	defer release()
	found, err := d.find(ctx, id)
	if errors.Is(err, driver.ErrUnknown) {
		return nil
	}
	if err == nil && found.State != container.StateCreated {
		err = d.kill(ctx, found.ID, "SIGKILL")
	}
	if err == nil && found.State != container.StateCreated {
		err = d.drain(ctx, found)
	}
	if err == nil {
		err = d.remove(ctx, found.ID)
	}
	return wrap(err, "destroy task %s", id)
}

// drain gives a killed container's last output some time to get into the log files.
func (d *Driver) drain(ctx context.Context, found container.Summary) error {
	short, cancel := context.WithTimeout(ctx, d.engine.limit)
	defer cancel()
	if _, err := d.watch(short, found); err != nil && ctx.Err() == nil {
		d.log.Warn("the last output of a task is lost", "task", found.Labels[labelTask], "err", err)
	}
	return ctx.Err()
}

// remove kills and removes a container, and returns when it is gone.
func (d *Driver) remove(ctx context.Context, containerID string) error {
	for {
		err := d.engine.callFor(ctx, 4*d.engine.limit, func(ctx context.Context) error {
			_, err := d.engine.api.ContainerRemove(ctx, containerID, client.ContainerRemoveOptions{RemoveVolumes: true, Force: true})
			return err
		})
		switch {
		case err == nil, isMissing(err):
			return d.forgetOutput(containerID)
		case !isConflict(err): // somebody else is at it
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// Stats implements driver.Driver.
func (d *Driver) Stats(ctx context.Context, id string) (driver.Stats, error) {
	found, err := d.find(ctx, id)
	if err != nil {
		return driver.Stats{}, wrap(err, "measure task %s", id)
	}
	if found.State != container.StateRunning && found.State != container.StatePaused {
		return driver.Stats{}, fmt.Errorf("measure task %s: it has ended: %w", id, driver.ErrUnknown)
	}
	var s container.StatsResponse
	err = d.engine.call(ctx, func(ctx context.Context) error {
		result, err := d.engine.api.ContainerStats(ctx, found.ID, client.ContainerStatsOptions{})
		if err != nil {
			return err
		}
		defer result.Body.Close()
		return json.NewDecoder(result.Body).Decode(&s)
	})
	if err != nil {
		return driver.Stats{}, wrap(err, "measure task %s", id)
	}
	return stats(s), nil
}

// stats takes what we want from what the engine says; cgroups of version 1 and 2 name resident memory differently.
func stats(s container.StatsResponse) driver.Stats {
	memory := s.MemoryStats.Usage
	for _, name := range []string{"total_rss", "rss", "anon"} {
		if resident, ok := s.MemoryStats.Stats[name]; ok {
			memory = resident
			break
		}
	}
	throttled := s.CPUStats.ThrottlingData
	return driver.Stats{
		CPUTime: time.Duration(s.CPUStats.CPUUsage.TotalUsage), MemoryBytes: memory, Pids: int(s.PidsStats.Current),
		ThrottledPeriods: throttled.ThrottledPeriods, ThrottledTime: time.Duration(throttled.ThrottledTime),
	}
}

// find looks up a task's container; driver.ErrUnknown if there is none.
func (d *Driver) find(ctx context.Context, id string) (container.Summary, error) {
	var all client.ContainerListResult
	err := d.engine.call(ctx, func(ctx context.Context) (err error) {
		filters := client.Filters{}.Add("label", labelTask+"="+id)
		all, err = d.engine.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
		return err
	})
	if err != nil {
		return container.Summary{}, err
	}
	if len(all.Items) == 0 {
		return container.Summary{}, driver.ErrUnknown
	}
	return all.Items[0], nil
}

// inspect returns all that the engine knows of a container, by ID or name.
func (d *Driver) inspect(ctx context.Context, name string) (container.InspectResponse, error) {
	var found client.ContainerInspectResult
	err := d.engine.call(ctx, func(ctx context.Context) (err error) {
		found, err = d.engine.api.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
		return err
	})
	if err == nil && (found.Container.State == nil || found.Container.Config == nil) {
		err = errors.New("inspect container: the Docker engine's answer is incomplete")
	}
	return found.Container, err
}

// cursorPath is where the way of a container's output is kept.
func (d *Driver) cursorPath(containerID string) string {
	return filepath.Join(d.config.Dir, containerID+".json")
}

// prepareOutput notes where the output of a container that has not begun will begin.
func (d *Driver) prepareOutput(containerID string, labels map[string]string) error {
	o, err := d.openOutput(containerID, labels)
	if err != nil {
		return err
	}
	return o.closeLogs()
}

func (d *Driver) openOutput(containerID string, labels map[string]string) (*output, error) {
	var label outputLabel
	if err := json.Unmarshal([]byte(labels[labelOutput]), &label); err != nil || label.Dir == "" || label.Name == "" {
		return nil, fmt.Errorf("open output: label %s of the container says %q: %v", labelOutput, labels[labelOutput], err)
	}
	return openOutput(d.cursorPath(containerID), label, d.engineFile)
}

func (d *Driver) forgetOutput(containerID string) error {
	if err := os.Remove(d.cursorPath(containerID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget output: %w", err)
	}
	return nil
}

// locks are mutexes by name that a context can interrupt.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

type lock struct {
	users int
	token chan struct{}
}

func (l *locks) acquire(ctx context.Context, name string) (release func(), err error) {
	l.mu.Lock()
	one := l.held[name]
	if one == nil {
		one = &lock{token: make(chan struct{}, 1)}
		l.held[name] = one
	}
	one.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(l.held, name)
		}
	}
	select {
	case one.token <- struct{}{}:
		return func() { <-one.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

// wrap adds what was being done to an error; nil stays nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// pause waits, about so long.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
