package docker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster/driver"
)

// drainAttempts is how often the rest of an ended container's output is asked for before it is given up as lost.
const drainAttempts = 5

// Wait implements driver.Driver. While it goes on the container's output is copied into the task's log files. An engine that
// is away, or restarts, is waited for.
func (d *Driver) Wait(ctx context.Context, id string) (driver.Exit, error) {
	const shortest, longest = 50 * time.Millisecond, 5 * time.Second
	delay := shortest
	for {
		found, err := d.find(ctx, id)
		if err == nil && found.State == container.StateCreated {
			err = driver.ErrUnknown
		}
		if err == nil {
			delay = shortest
			var exit driver.Exit
			if exit, err = d.watch(ctx, found); err == nil {
				return exit, nil
			}
		}
		if ctx.Err() != nil {
			return driver.Exit{}, fmt.Errorf("wait for task %s: %w", id, context.Cause(ctx))
		}
		if errors.Is(err, driver.ErrUnknown) {
			return driver.Exit{}, fmt.Errorf("wait for task %s: %w", id, err)
		}
		d.log.Warn("waiting for a task is interrupted", "task", id, "delay", delay, "err", err)
		if err := pause(ctx, delay); err != nil {
			return driver.Exit{}, fmt.Errorf("wait for task %s: %w", id, err)
		}
		delay = min(2*delay, longest)
	}
}

// watch copies a container's output until it has ended, and returns how. One watches at a time; the next goes on where the
// one before it stopped.
func (d *Driver) watch(ctx context.Context, found container.Summary) (driver.Exit, error) {
	release, err := d.locks.acquire(ctx, "watch "+found.ID)
	if err != nil {
		return driver.Exit{}, err
	}
	defer release()
	exit, ended, err := d.ended(ctx, found.ID)
	if err != nil {
		return driver.Exit{}, err
	}
	out, err := d.openOutput(found.ID, found.Labels)
	if err != nil {
		return driver.Exit{}, err
	}
	defer out.closeLogs()
	for !ended {
		err := d.follow(ctx, found.ID, out)
		if errors.Is(err, errBehind) {
			err = d.catchUp(ctx, found.ID, out)
		}
		if err != nil {
			return driver.Exit{}, err
		}
		if exit, ended, err = d.ended(ctx, found.ID); err != nil {
			return driver.Exit{}, err
		}
	}
	if err := d.rest(ctx, found, out, &exit); err != nil {
		return driver.Exit{}, err
	}
	return d.ranOut(ctx, found.ID, exit)
}

// ranOut asks again whether memory ran out, where that may be: engines hear of it apart from the end, and a little later.
func (d *Driver) ranOut(ctx context.Context, containerID string, exit driver.Exit) (driver.Exit, error) {
	const killed = 128 + 9
	if exit.Code != killed || exit.OOMKilled {
		return exit, nil
	}
	if err := pause(ctx, 200*time.Millisecond); err != nil {
		return driver.Exit{}, err
	}
	if later, over, err := d.ended(ctx, containerID); err == nil && over {
		exit.OOMKilled = later.OOMKilled
	}
	return exit, nil
}

// ended reports whether the container has ended, and how. When it has, the engine's log is complete.
func (d *Driver) ended(ctx context.Context, containerID string) (driver.Exit, bool, error) {
	found, err := d.inspect(ctx, containerID)
	switch {
	case isMissing(err):
		gone := fmt.Errorf("its container was removed: %w", driver.ErrUnknown)
		return driver.Exit{}, false, errors.Join(gone, d.forgetOutput(containerID))
	case err != nil:
		return driver.Exit{}, false, err
	}
	s := found.State
	if s.Running || s.Paused || s.Restarting || s.Status == container.StateRunning {
		return driver.Exit{}, false, nil
	}
	exit := driver.Exit{Code: s.ExitCode, OOMKilled: s.OOMKilled, Message: s.Error}
	if at, err := time.Parse(time.RFC3339Nano, s.FinishedAt); err == nil && at.Year() > 1 {
		exit.At = at
	} else {
		exit.At = time.Now()
		exit.Unknown = true
		exit.Message = "the Docker engine does not know when and how it ended"
	}
	return exit, true, nil
}

// follow copies output as it comes. It returns nil when the container has ended or the engine ended the stream.
func (d *Driver) follow(ctx context.Context, containerID string, out *output) error {
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	over, broken := make(chan error, 1), make(chan error, 1)
	group.Go(func() { over <- d.awaitEnd(ctx, containerID) })
	if out.disabled {
		return <-over
	}
	group.Go(func() { broken <- d.read(ctx, containerID, out, true) })
	select {
	case err := <-over:
		return err // what is missing is read as the rest
	case err := <-broken:
		if err != nil {
			return err
		}
		// The stream ends just before the container counts as ended.
		return first(ctx, over, time.Second)
	}
}

// first is what comes through the channel, nil if nothing does for so long.
func first(ctx context.Context, from <-chan error, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-from:
		return err
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// awaitEnd blocks until the container does not run any more. Where the engine does not say so, it asks from time to time.
func (d *Driver) awaitEnd(ctx context.Context, containerID string) error {
	ctx, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	told := make(chan error, 1)
	group.Go(func() { told <- d.askForEnd(ctx, containerID) })
	tick := time.NewTicker(d.lookEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-told:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if _, over, err := d.ended(ctx, containerID); err == nil && over {
				return nil
			} else if err != nil && !errors.Is(err, errAway) {
				return err
			}
		}
	}
}

// askForEnd blocks until the engine says that the container does not run any more, which it may forget.
func (d *Driver) askForEnd(ctx context.Context, containerID string) error {
	wait := d.engine.api.ContainerWait(ctx, containerID, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select { // the end of ctx is an error of the call
	case <-wait.Result:
		return nil
	case err := <-wait.Error:
		return d.engine.explain(err)
	}
}

// read copies what the engine's log has beyond the cursor; with follow also what comes.
func (d *Driver) read(ctx context.Context, containerID string, out *output, follow bool) error {
	stream, err := d.engine.api.ContainerLogs(ctx, containerID, client.ContainerLogsOptions{
		ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow, Since: out.cursor.since(),
	})
	if err != nil {
		return d.engine.explain(err)
	}
	defer stream.Close()
	return out.copy(stream, follow && d.engine.skipsLogs())
}

// readAll copies what the engine's log has beyond the cursor now; the engine must have answered in time.
func (d *Driver) readAll(ctx context.Context, containerID string, out *output) error {
	return d.engine.callFor(ctx, 4*d.engine.limit, func(ctx context.Context) error {
		return d.read(ctx, containerID, out, false)
	})
}

// catchUp copies what there is, until there is little: engines that skip messages while they are followed do not when they
// are asked for all that they have.
func (d *Driver) catchUp(ctx context.Context, containerID string, out *output) error {
	for {
		before := out.cursor
		if err := d.readAll(ctx, containerID, out); err != nil {
			return err
		}
		if out.cursor == before || out.pace.backlog(time.Now()) < float64(out.engineFile)/8 {
			return nil
		}
	}
}

// rest copies what an ended container has left in the engine's log. Where the engine cannot read its own log any more, the
// exit says what is missing: nobody would be helped by waiting.
func (d *Driver) rest(ctx context.Context, found container.Summary, out *output, exit *driver.Exit) error {
	if out.disabled {
		return nil
	}
	for attempt := 1; ; attempt++ {
		err := d.readAll(ctx, found.ID, out)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errAway) || ctx.Err() != nil || isMissing(err):
			return err
		case attempt == drainAttempts:
			exit.Message = fmt.Sprintf("the end of its output is lost: %v", err)
			d.log.Warn("the end of a task's output is lost", "task", found.Labels[labelTask], "err", err)
			return nil
		}
		if err := pause(ctx, time.Duration(attempt)*50*time.Millisecond); err != nil {
			return err
		}
	}
}
