package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// How a change is followed.
const (
	settleTime  = 1500 * time.Millisecond // how long a doubtful verdict must stand
	breath      = 100 * time.Millisecond  // between two looks, so that a storm of changes is one
	patience    = time.Minute             // how long an agent may be away
	clockTick   = time.Second             // between two frames of the live view when nothing changes
	watchLength = time.Minute             // of one blocking read
)

// follow shows how a change goes until it is over. The error carries the status to end with.
func (c *call) follow(client *api.Client, f following) error {
	ctx, stop := context.WithCancel(c.ctx())
	wake := make(chan struct{}, 1)
	var watchers sync.WaitGroup
	for _, read := range watches(client, f) {
		watchers.Go(func() { watch(ctx, wake, read) })
	}
	err := c.attend(ctx, client, f, wake)
	stop()
	watchers.Wait()
	if c.Context.Err() != nil {
		c.out.line("Following ended; what was asked for goes on: see `%s`", c.jobCommand("status", f.job.Key()))
		return &exitStatus{status: exitInterrupted}
	}
	return err
}

// reader is one blocking read of something that may change.
type reader func(context.Context, api.Query) (api.Meta, error)

// watches are the reads that together see every change that matters.
func watches(client *api.Client, f following) []reader {
	id, namespace := f.job.ID, f.job.Namespace
	in := func(q api.Query) api.Query { q.Namespace = namespace; return q }
	return []reader{
		func(ctx context.Context, q api.Query) (api.Meta, error) {
			_, meta, err := client.JobEvaluations(ctx, id, in(q))
			return meta, err
		},
		func(ctx context.Context, q api.Query) (api.Meta, error) {
			_, meta, err := client.JobDeployment(ctx, id, in(q))
			return meta, err
		},
		func(ctx context.Context, q api.Query) (api.Meta, error) {
			_, meta, err := client.JobAllocations(ctx, id, false, in(q))
			return meta, err
		},
	}
}

// watch wakes its owner whenever read has something newer, until ctx ends. An agent that is away is asked again.
func watch(ctx context.Context, wake chan<- struct{}, read reader) {
	index, pause := uint64(1), firstPause // with 1 the first read returns at once too, and says it is one that waits
	for {
		began := time.Now()
		meta, err := read(ctx, api.Query{Index: index, Wait: watchLength})
		if err == nil && meta.Index > index {
			index, pause = meta.Index, firstPause
			select {
			case wake <- struct{}{}:
			default:
			}
			continue
		}
		if err == nil && meta.Index < index {
			index = 1 // another cluster's state, or one restored: begin anew
		}
		if err == nil && meta.Index == index && time.Since(began) > lastPause {
			continue // nothing came in the time of one read
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}

// attend looks whenever it is woken, shows what it sees, and returns when the verdict stands.
func (c *call) attend(ctx context.Context, client *api.Client, f following, wake <-chan struct{}) error {
	show := c.newShow()
	var doubt, away time.Time // since when
	var doubted string        // what the verdict says that is in doubt
	for {
		s, err := look(ctx, client, f)
		now := time.Now()
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !passing(err):
			return err
		case err != nil && away.IsZero():
			away = now
			show.note(fmt.Sprintf("%v; trying again", c.explain(err)))
		case err != nil && now.Sub(away) > patience:
			return fmt.Errorf("follow job %q: %w; what was asked for goes on", f.job.ID, err)
		}
		next := clockTick
		if err != nil {
			next = lastPause
		} else {
			away = time.Time{}
			show.scene(s)
			v := s.verdict()
			if v.over && v.doubtful {
				if doubt.IsZero() || doubted != v.text {
					doubt, doubted = now, v.text
				}
				next = settleTime - now.Sub(doubt)
			}
			if v.over && (!v.doubtful || next <= 0) {
				return c.conclude(ctx, client, s, v)
			}
			if !v.over {
				doubt = time.Time{}
			}
		}
		if err := show.wait(ctx, wake, next, err != nil || !doubt.IsZero()); err != nil {
			return err
		}
	}
}

// passing reports whether an error may go away by itself.
func passing(err error) bool {
	switch cluster.CodeOf(err) {
	case cluster.CodeUnavailable:
		return true
	case cluster.CodeInternal:
		return !errors.As(err, new(*cluster.Error)) // no answer of the server at all: it broke off
	}
	return false
}

// look reads the scene. A job that was forgotten has nothing left.
func look(ctx context.Context, client *api.Client, f following) (*scene, error) {
	s := &scene{following: f}
	q := api.Query{Namespace: f.job.Namespace}
	var err error
	for _, read := range []func() error{
		func() error { s.evals, _, err = client.JobEvaluations(ctx, f.job.ID, q); return err },
		func() error { s.deployment, _, err = client.JobDeployment(ctx, f.job.ID, q); return err },
		func() error { s.allocs, _, err = client.JobAllocations(ctx, f.job.ID, false, q); return err },
	} {
		if err := read(); err != nil && cluster.CodeOf(err) != cluster.CodeNotFound {
			return nil, err
		}
	}
	if d := s.deployment; d != nil && (d.JobVersion != f.job.Version || d.JobCreateIndex != f.job.CreateIndex) {
		s.deployment = nil
	}
	slices.SortStableFunc(s.allocs, func(a, b api.AllocListStub) int { return int(a.CreateIndex) - int(b.CreateIndex) })
	return s, nil
}

// show is the live view on a terminal, and a plain log elsewhere.
type show struct {
	out    *output
	size   func() (terminalSize, bool)
	live   bool
	last   *scene
	height int // lines of the frame on the screen
}

func (c *call) newShow() *show {
	_, live := c.program.terminal()
	return &show{out: c.out, size: c.program.terminal, live: live && c.program.getenv("TERM") != "dumb"}
}

func (w *show) scene(s *scene) {
	lines := s.changes(w.last)
	w.last = s
	if w.live {
		w.frame()
		return
	}
	for _, l := range lines {
		w.out.line("%s: %s", w.out.clock(), printable(l))
	}
}

// note shows a line that is no part of the scene; the next frame begins below it.
func (w *show) note(text string) {
	w.height = 0
	w.out.line("%s: %s", w.out.clock(), printable(text))
}

// frame draws the last scene over the frame before. A terminal that went away gets the lines as they are.
func (w *show) frame() {
	size, ok := w.size()
	if !ok {
		size = terminalSize{80, 24}
	}
	var b strings.Builder
	if w.height > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", min(w.height, max(size.height-1, 1)))
	}
	lines := w.out.picture(w.last, max(size.height-1, 1))
	for _, l := range lines {
		b.WriteString(fit(l, size.width) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	w.height = len(lines)
	fmt.Fprint(w.out.w, b.String())
}

// wait returns when there is something to look at: a change, or, if again, the end of the time. Until then the live
// view keeps its clock.
func (w *show) wait(ctx context.Context, wake <-chan struct{}, length time.Duration, again bool) error {
	select { // changes come in bursts
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(min(breath, max(length, 0))):
	}
	for {
		var tick <-chan time.Time
		if again || w.live {
			tick = time.After(max(length, 0))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
			return nil
		case <-tick:
			if again {
				return nil
			}
			if w.last != nil {
				w.frame()
			}
		}
	}
}

// fit cuts a line to what a terminal shows in one; colours end where they would have.
func fit(line string, width int) string {
	var b strings.Builder
	seen, escape := 0, false
	for _, r := range line {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r != 'm'
		case seen >= width:
			continue
		default:
			seen++
		}
		b.WriteRune(r)
	}
	return b.String()
}

// conclude says how the change came out, and for a failure what is known of its causes.
func (c *call) conclude(ctx context.Context, client *api.Client, s *scene, v verdict) error {
	for i, line := range strings.Split(v.text, "\n") {
		if _, live := c.program.terminal(); !live && i == 0 {
			line = c.out.clock() + ": " + line
		}
		c.out.line("%s", printable(line))
	}
	if v.status == exitDone {
		return nil
	}
	for i, a := range s.troubled() {
		if i == 3 {
			break
		}
		c.trouble(ctx, client, s, a)
	}
	return &exitStatus{status: v.status}
}

// trouble prints what happened to an allocation: each failing task's events and the end of what it wrote to stderr.
func (c *call) trouble(ctx context.Context, client *api.Client, s *scene, a api.AllocListStub) {
	c.out.heading(fmt.Sprintf("Allocation %q on node %q is %s", s.name(a.ID), a.NodeName, a.ClientStatus))
	if a.ClientDescription != "" {
		c.out.line("%s", printable(a.ClientDescription))
	}
	for _, name := range slices.Sorted(maps.Keys(a.TaskStates)) {
		t := a.TaskStates[name]
		c.out.line("Task %q is %s, started again %d times:", name, t.State, t.Restarts)
		for _, e := range t.Events[max(0, len(t.Events)-5):] {
			c.out.line("  %s: %s", e.Type, printable(e.DisplayMessage))
		}
		text := c.lastWords(ctx, client, a, name)
		if text != "" {
			c.out.line("The last it wrote to stderr:\n%s", indent(printable(text), "  "))
		}
	}
}

// lastWords is the end of a task's stderr, "" if it cannot be had.
func (c *call) lastWords(ctx context.Context, client *api.Client, a api.AllocListStub, task string) string {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	frames, err := client.Logs(ctx, a.ID, api.LogOptions{Task: task, Type: "stderr", Origin: "end", Offset: 4096}, api.Query{Namespace: a.Namespace})
	if err != nil {
		return ""
	}
	defer frames.Close()
	text, err := io.ReadAll(io.LimitReader(frames, 4096))
	if err != nil && len(text) == 0 {
		return ""
	}
	lines, _ := lastLines(text, tailLines)
	return strings.ToValidUTF8(strings.TrimRight(string(lines), "\n"), "\uFFFD")
}
