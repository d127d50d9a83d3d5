package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster"
)

// Run implements driver.Cleaner. It removes containers of this node whose allocations are not known, and images that this
// driver pulled and that no container has had for a while, as often as the options say.
func (d *Driver) Run(ctx context.Context, known func(alloc cluster.ID) bool) {
	gc := d.config.Options.GC
	every := func(interval time.Duration, clean func(context.Context) error) func() {
		return func() {
			for pause(ctx, interval) == nil {
				if !d.seen.Load() {
					continue
				}
				if err := clean(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errAway) {
					d.log.Warn("what nobody needs in the Docker engine stays for now", "err", err)
				}
			}
		}
	}
	var group sync.WaitGroup
	if period, err := duration(gc.Dangling.Period); err == nil && period > 0 && gc.Dangling.Enabled && !d.config.NodeID.IsZero() {
		group.Go(every(period, func(ctx context.Context) error { return d.removeLost(ctx, known) }))
	}
	if delay, err := duration(gc.ImageDelay); err == nil && delay > 0 && gc.Image {
		group.Go(every(delay/2, func(ctx context.Context) error { return d.removeImages(ctx, time.Now(), delay) }))
	}
	group.Wait()
}

// removeLost removes containers of this node that belong to no allocation that is known. Those of other nodes, which may
// share the engine, have another label.
func (d *Driver) removeLost(ctx context.Context, known func(cluster.ID) bool) error {
	grace, err := duration(d.config.Options.GC.Dangling.CreationGrace)
	if err != nil {
		return err
	}
	var all client.ContainerListResult
	err = d.engine.call(ctx, func(ctx context.Context) (err error) {
		filters := client.Filters{}.Add("label", labelNode+"="+d.config.NodeID.String())
		all, err = d.engine.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: filters})
		return err
	})
	if err != nil {
		return err
	}
	var problems []error
	for _, c := range all.Items {
		alloc, err := cluster.ParseID(c.Labels[labelAlloc])
		if err != nil || c.Labels[labelNode] != d.config.NodeID.String() || known(alloc) || time.Since(time.Unix(c.Created, 0)) < grace {
			continue
		}
		if d.config.Options.GC.Dangling.DryRun {
			d.log.Info("a container's allocation is not known: without dry_run it would be removed", "container", c.ID, "alloc", alloc.String())
			continue
		}
		d.log.Info("removing a container whose allocation is not known", "container", c.ID, "alloc", alloc.String())
		if err := d.remove(ctx, c.ID); err != nil {
			problems = append(problems, fmt.Errorf("remove container %s: %w", c.ID, err))
		}
	}
	return errors.Join(problems...)
}

// pulledImages are the images that this driver pulled, which are its to remove. They are kept on disk.
type pulledImages struct {
	path string

	mu    sync.Mutex
	names map[string]string    // by image ID: the name it was pulled by
	used  map[string]time.Time // by image ID: when a container had it, or a task wanted it, or since when it is known
}

// openPulled reads what is on disk. What cannot be read is an error beside a record that is empty and works.
func openPulled(dir string, now time.Time) (*pulledImages, error) {
	p := &pulledImages{path: filepath.Join(dir, "images"), names: map[string]string{}, used: map[string]time.Time{}}
	content, err := os.ReadFile(p.path)
	if errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	var names map[string]string
	if err == nil {
		err = json.Unmarshal(content, &names)
	}
	if err != nil {
		return p, fmt.Errorf("read pulled images: %w", err)
	}
	for id, name := range names {
		p.names[id], p.used[id] = name, now
	}
	return p, nil
}

// use notes that somebody needs the image now.
func (p *pulledImages) use(id string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ours := p.names[id]; ours {
		p.used[id] = now
	}
}

// change adds an image, or drops one where name is "".
func (p *pulledImages) change(id, name string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name == "" {
		delete(p.names, id)
		delete(p.used, id)
	} else {
		p.names[id], p.used[id] = name, now
	}
	content, err := json.Marshal(p.names)
	if err == nil {
		err = os.WriteFile(p.path+".new", content, 0o600)
	}
	if err == nil {
		err = os.Rename(p.path+".new", p.path)
	}
	return wrap(err, "write pulled images")
}

// unused are the names of images by ID that nobody has needed since a time.
func (p *pulledImages) unused(since time.Time) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := maps.Clone(p.names)
	maps.DeleteFunc(old, func(id, _ string) bool { return p.used[id].After(since) })
	return old
}

// imageLock is held by what uses images and does not have a container yet, and by what removes them.
const imageLock = "image "

// removeImages removes pulled images that nobody has needed for the delay.
func (d *Driver) removeImages(ctx context.Context, now time.Time, delay time.Duration) error {
	var all client.ContainerListResult
	if len(d.pulled.unused(now)) == 0 {
		return nil
	}
	err := d.engine.call(ctx, func(ctx context.Context) (err error) {
		all, err = d.engine.api.ContainerList(ctx, client.ContainerListOptions{All: true})
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range all.Items {
		d.pulled.use(c.ImageID, now)
	}
	var problems []error
	for id, name := range d.pulled.unused(now.Add(-delay)) {
		if err := d.removeImage(ctx, id, name, now.Add(-delay)); err != nil {
			problems = append(problems, fmt.Errorf("remove image %q: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

// removeImage removes one image, unless somebody needed it after all. Where its name means another image by now it goes by
// ID; one that has other names, or that the engine has a use for, stays and is not ours any more.
func (d *Driver) removeImage(ctx context.Context, id, name string, since time.Time) error {
	release, err := d.locks.acquire(ctx, imageLock+name)
	if err != nil {
		return err
	}
	defer release()
	if _, still := d.pulled.unused(since)[id]; !still {
		return nil
	}
	err = d.engine.callFor(ctx, 4*d.engine.limit, func(ctx context.Context) error {
		target := name
		found, err := d.engine.api.ImageInspect(ctx, name)
		if err != nil && !isMissing(err) {
			return err
		}
		if err != nil || found.ID != id {
			target = id
		}
		_, err = d.engine.api.ImageRemove(ctx, target, client.ImageRemoveOptions{PruneChildren: true})
		return err
	})
	switch {
	case err == nil:
		d.log.Info("removed an image that nobody uses", "image", name)
	case isMissing(err), isConflict(err):
	default:
		return err
	}
	return d.pulled.change(id, "", since)
}

// imageID is the ID of an image that is here, "" if it is not.
func (d *Driver) imageID(ctx context.Context, ref reference.Named) (id string, err error) {
	err = d.engine.call(ctx, func(ctx context.Context) error {
		found, err := d.engine.api.ImageInspect(ctx, ref.String())
		id = found.ID
		return err
	})
	if isMissing(err) {
		return "", nil
	}
	return id, err
}
