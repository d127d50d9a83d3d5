package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster/driver"
)

// parseImage reads an image's name as tasks write it; a scheme before it is tolerated.
func parseImage(task, text string) (reference.Named, error) {
	name := text
	for _, scheme := range []string{"https://", "http://", "docker://"} {
		name = strings.TrimPrefix(name, scheme)
	}
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return nil, driver.Invalidf(`config of task %q: option "image": %q is not the name of an image: %w`, task, text, err)
	}
	return reference.TagNameOnly(ref), nil
}

// latest reports whether the name may mean another image tomorrow without being changed.
func latest(ref reference.Named) bool {
	tagged, ok := ref.(reference.Tagged)
	_, digested := ref.(reference.Digested)
	return ok && !digested && tagged.Tag() == "latest"
}

// pulls are the pulls that go on. There is one for each image and credentials, however many tasks wait for it.
type pulls struct {
	engine      *engine
	idle        time.Duration // a pull in which nothing moves for so long is given up
	noticeEvery time.Duration

	mu    sync.Mutex
	going map[pullKey]*pull
}

// pullKey holds credentials: never print it.
type pullKey struct{ image, auth string }

type pull struct {
	waiters  int
	cancel   context.CancelFunc
	done     chan struct{}
	err      error // set before done is closed
	progress atomic.Pointer[string]
}

// pull has the image on the node when it returns nil. It begins a pull or joins the one that goes on; the last of those who
// give up waiting ends it.
func (p *pulls) pull(ctx context.Context, ref reference.Named, auth string, notice func(string)) error {
	key := pullKey{ref.String(), auth}
	p.mu.Lock()
	going := p.going[key]
	if going == nil {
		background, cancel := context.WithCancel(context.WithoutCancel(ctx))
		going = &pull{cancel: cancel, done: make(chan struct{})}
		p.going[key] = going
		go func() {
			going.err = p.run(background, going, ref, auth)
			p.mu.Lock()
			if p.going[key] == going {
				delete(p.going, key)
			}
			p.mu.Unlock()
			close(going.done)
		}()
	}
	going.waiters++
	p.mu.Unlock()

	err := going.wait(ctx, reference.FamiliarString(ref), p.noticeEvery, notice)

	p.mu.Lock()
	going.waiters--
	last := going.waiters == 0
	if last && p.going[key] == going {
		delete(p.going, key) // whoever comes now begins another
	}
	p.mu.Unlock()
	if last {
		going.cancel()
		<-going.done
	}
	return err
}

func (g *pull) wait(ctx context.Context, image string, every time.Duration, notice func(string)) error {
	if notice == nil {
		notice = func(string) {}
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	notice("pulling image " + image)
	said := ""
	for {
		select {
		case <-g.done:
			return g.err
		case <-ctx.Done():
			return fmt.Errorf("pull image %q: %w", image, context.Cause(ctx))
		case <-tick.C:
			if now := g.progress.Load(); now != nil && *now != said {
				said = *now
				notice(fmt.Sprintf("pulling image %s: %s", image, said))
			}
		}
	}
}

// run pulls, for as long as something moves.
func (p *pulls) run(ctx context.Context, g *pull, ref reference.Named, auth string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := fmt.Errorf("nothing moved for %v; see whether the registry can be reached from the node", p.idle)
	watch := time.AfterFunc(p.idle, func() { cancel(stalled) })
	defer watch.Stop()

	err := p.engine.call(ctx, func(context.Context) error { return nil }) // is it there at all?
	if err == nil {
		err = p.stream(ctx, g, ref, auth, func() { watch.Reset(p.idle) })
	}
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	return pullError(ref, p.engine.explain(err))
}

func (p *pulls) stream(ctx context.Context, g *pull, ref reference.Named, auth string, moved func()) error {
	stream, err := p.engine.api.ImagePull(ctx, ref.String(), client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return err
	}
	defer stream.Close()
	var all layers
	for m, err := range stream.JSONMessages(ctx) {
		if err != nil {
			return err
		}
		if m.Error != nil {
			return m.Error
		}
		moved()
		all.add(m)
		text := all.String()
		g.progress.Store(&text)
	}
	return nil
}

// layers sums up the progress of an image's layers.
type layers struct{ parts map[string]*layer }

type layer struct {
	current, total int64
	done           bool
}

func (l *layers) add(m jsonstream.Message) {
	if m.ID == "" || m.Status == "" || strings.HasPrefix(m.Status, "Pulling from") {
		return
	}
	if l.parts == nil {
		l.parts = map[string]*layer{}
	}
	part := l.parts[m.ID]
	if part == nil {
		part = &layer{}
		l.parts[m.ID] = part
	}
	switch m.Status {
	case "Downloading":
		if m.Progress != nil {
			part.current, part.total = m.Progress.Current, max(m.Progress.Total, m.Progress.Current)
		}
	case "Download complete", "Verifying Checksum", "Extracting":
		part.current = part.total
	case "Pull complete", "Already exists":
		part.current, part.done = part.total, true
	}
}

// String is like "2 of 5 layers, 40 % of 120 MB".
func (l *layers) String() string {
	var current, total int64
	done := 0
	for _, part := range l.parts {
		current, total = current+part.current, total+part.total
		if part.done {
			done++
		}
	}
	text := fmt.Sprintf("%d of %d layers", done, len(l.parts))
	if total > 0 {
		text += fmt.Sprintf(", %d %% of %.1f MB", current*100/total, float64(total)/1e6)
	}
	return text
}

// pullError says in words why an image cannot be had. What trying again cannot cure wraps driver.ErrInvalid. Engines
// give no codes for what a registry said, so it is looked for in their text.
func pullError(ref reference.Named, err error) error {
	if err == nil {
		return nil
	}
	image, registry := reference.FamiliarString(ref), reference.Domain(ref)
	if errors.Is(err, errAway) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("pull image %q: %w", image, err)
	}
	text := strings.ToLower(err.Error())
	says := func(words ...string) bool {
		for _, w := range words {
			if strings.Contains(text, w) {
				return true
			}
		}
		return false
	}
	switch {
	case says("too many requests", "toomanyrequests"):
		return fmt.Errorf("pull image %q: registry %s has had too many requests: wait, or use credentials: %w", image, registry, err)
	case says("access denied", "denied:", "is denied", "access forbidden", "unauthorized", "no basic auth credentials", "authentication required", "incorrect username"):
		return driver.Invalidf("pull image %q: registry %s refuses access, or has no such image: check the name and the credentials in option \"auth\": %w", image, registry, err)
	case says("manifest unknown", "not found", "repository does not exist", "name unknown", "no matching manifest", "invalid reference"):
		return driver.Invalidf("pull image %q: registry %s has no such image or tag for this machine: correct option \"image\" or push it: %w", image, registry, err)
	}
	return fmt.Errorf("pull image %q: registry %s: %w", image, registry, err)
}
