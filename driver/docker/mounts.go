package docker

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/mount"

	"github.com/a43e60e4/cluster/driver"
)

// Where a task sees its directories.
var mounts = driver.Mounts{AllocDir: "/alloc", LocalDir: "/local", SecretsDir: "/secrets"}

// needVolumes ends the message about a path that tasks may see only where the node's operator says so.
const needVolumes = `needs volumes { enabled = true } in the node's docker plugin config`

// volumeModes are what may stand behind the second colon of a volume, with commas between them.
var volumeModes = []string{"ro", "rw", "z", "Z", "nocopy", "shared", "rshared", "slave", "rslave", "private", "rprivate", "cached", "delegated", "consistent"}

// mounts are all that the container sees of the node: the task's directories and what its config asks for, as far as that
// lies in its allocation or the node allows more. Directories of the allocation that are missing are made.
func (o Options) mounts(t driver.Task, c taskConfig) (binds []string, all []mount.Mount, err error) {
	all = []mount.Mount{
		{Type: mount.TypeBind, Source: t.AllocDir, Target: mounts.AllocDir},
		{Type: mount.TypeBind, Source: filepath.Join(t.AllocDir, "logs"), Target: mounts.AllocDir + "/logs", ReadOnly: true},
		{Type: mount.TypeBind, Source: t.LocalDir, Target: mounts.LocalDir},
		{Type: mount.TypeBind, Source: t.SecretsDir, Target: mounts.SecretsDir},
	}
	var problems []error
	for _, text := range c.Volumes {
		bind, err := o.volume(t, text)
		if err != nil {
			problems = append(problems, fmt.Errorf("option \"volumes\": %q %w", text, err))
		}
		binds = append(binds, bind)
	}
	for _, m := range slices.Concat(c.Mount, c.Mounts) {
		one, err := o.mount(t, m)
		if err != nil {
			problems = append(problems, fmt.Errorf("option \"mount\": the one at %q %w", m.Target, err))
		}
		all = append(all, one)
	}
	if len(problems) > 0 {
		return nil, nil, driver.Invalidf("config of task %q: %w", t.Name, errors.Join(problems...))
	}
	return binds, all, nil
}

// volume makes "src:dst[:mode]" what the engine understands.
func (o Options) volume(t driver.Task, text string) (string, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || !path.IsAbs(parts[1]) {
		return "", errors.New(`must be "source:/target" or "source:/target:mode"`)
	}
	if len(parts) == 3 {
		for _, mode := range strings.Split(parts[2], ",") {
			if !slices.Contains(volumeModes, mode) {
				return "", fmt.Errorf("has the unknown mode %q", mode)
			}
		}
	}
	source, err := o.source(t, parts[0])
	if err != nil {
		return "", err
	}
	if strings.Contains(source, ":") {
		return "", errors.New("lies at a path with a colon: use a mount block")
	}
	parts[0] = source
	return strings.Join(parts, ":"), nil
}

func (o Options) mount(t driver.Task, m mountConfig) (mount.Mount, error) {
	out := mount.Mount{Type: mount.Type(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.Readonly}
	if !path.IsAbs(m.Target) {
		return out, errors.New("must have an absolute target")
	}
	switch m.Type {
	case "", "volume":
		out.Type = mount.TypeVolume
		v := m.VolumeOptions
		if len(v.DriverConfig.Options) > 0 && !o.Volumes.Enabled {
			return out, errors.New("has options for a volume driver, which " + needVolumes)
		}
		out.VolumeOptions = &mount.VolumeOptions{NoCopy: v.NoCopy, Labels: v.Labels}
		if v.DriverConfig.Name != "" {
			out.VolumeOptions.DriverConfig = &mount.Driver{Name: v.DriverConfig.Name, Options: v.DriverConfig.Options}
		}
	case "bind":
		source, err := o.source(t, m.Source)
		if err != nil {
			return out, err
		}
		out.Source = source
		if p := mount.Propagation(m.BindOptions.Propagation); p != "" {
			if !slices.Contains(mount.Propagations, p) {
				return out, fmt.Errorf("has the unknown propagation %q", p)
			}
			out.BindOptions = &mount.BindOptions{Propagation: p}
		}
	case "tmpfs":
		if !o.Volumes.Enabled {
			return out, errors.New("is a tmpfs, which " + needVolumes)
		}
		if m.Source != "" {
			return out, errors.New("is a tmpfs and has a source")
		}
		out.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.TmpfsOptions.Size, Mode: os.FileMode(m.TmpfsOptions.Mode)}
	default:
		return out, fmt.Errorf("has the unknown type %q (there are: volume, bind, tmpfs)", m.Type)
	}
	return out, nil
}

// source is the path on the node that a bind means: relative ones lie in the task's directory. Links are followed before
// it is decided whether the path is the allocation's own, since tasks can make them.
func (o Options) source(t driver.Task, text string) (string, error) {
	taskDir := filepath.Dir(t.LocalDir)
	place := filepath.Clean(text)
	if !filepath.IsAbs(place) {
		place = filepath.Join(taskDir, place)
	}
	if o.Volumes.Enabled && filepath.IsAbs(text) {
		return place, nil
	}
	real, err := resolve(place)
	if err != nil {
		return "", fmt.Errorf("cannot be looked at: %w", err)
	}
	own := false
	for _, dir := range []string{taskDir, t.AllocDir} {
		root, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return "", fmt.Errorf("cannot be looked at: %w", err)
		}
		own = own || real == root || strings.HasPrefix(real, root+string(filepath.Separator))
	}
	if !own && !o.Volumes.Enabled {
		return "", errors.New("is outside the allocation, which " + needVolumes)
	}
	if own {
		if err := os.MkdirAll(real, 0o777); err != nil && !errors.Is(err, os.ErrExist) && !isFile(real) {
			return "", fmt.Errorf("cannot be made: %w", err)
		}
	}
	return real, nil
}

func isFile(place string) bool {
	info, err := os.Stat(place)
	return err == nil && !info.IsDir()
}

// resolve follows the links in a path of which the end may be missing.
func resolve(place string) (string, error) {
	real, err := filepath.EvalSymlinks(place)
	if !errors.Is(err, os.ErrNotExist) {
		return real, err
	}
	if _, err := os.Lstat(place); err == nil {
		return "", fmt.Errorf("%s is a link to nowhere", place)
	}
	parent := filepath.Dir(place)
	if parent == place {
		return place, nil
	}
	if real, err = resolve(parent); err != nil {
		return "", err
	}
	return filepath.Join(real, filepath.Base(place)), nil
}
