package agent

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// allocDir is an allocation's directory: "alloc/{data,logs,tmp}", shared by its tasks, and "<task>/{local,secrets,
// private,tmp}".
type allocDir string

func (d allocDir) shared() string            { return filepath.Join(string(d), "alloc") }
func (d allocDir) task(name string) string   { return filepath.Join(string(d), name) }
func (d allocDir) local(task string) string  { return filepath.Join(string(d), task, "local") }
func (d allocDir) secret(task string) string { return filepath.Join(string(d), task, "secrets") }

// make creates what is missing of the directories that the task uses. Others may write where tasks of any user must;
// secrets are the task's user's alone.
func (d allocDir) make(task, owner string) error {
	uid, gid, chown := lookupOwner(owner)
	for _, dir := range []struct {
		path  string
		mode  os.FileMode
		owned bool
	}{
		{string(d), 0o755, false},
		{d.shared(), 0o755, false},
		{filepath.Join(d.shared(), "data"), 0o777, false},
		{filepath.Join(d.shared(), "logs"), 0o755, false},
		{filepath.Join(d.shared(), "tmp"), 0o777 | os.ModeSticky, false},
		{d.task(task), 0o755, true},
		{d.local(task), 0o777, true},
		{d.secret(task), 0o700, true},
		{filepath.Join(d.task(task), "private"), 0o700, false},
		{filepath.Join(d.task(task), "tmp"), 0o777 | os.ModeSticky, true},
	} {
		err := os.Mkdir(dir.path, dir.mode.Perm())
		if errors.Is(err, os.ErrExist) {
			continue // with what the task made of it
		}
		if err == nil {
			err = os.Chmod(dir.path, dir.mode) // whatever the umask
		}
		if err == nil && dir.owned && chown {
			err = os.Chown(dir.path, uid, gid)
		}
		if err != nil {
			return fmt.Errorf("make task directory: %w", err)
		}
	}
	return nil
}

// deliver writes the payload of a dispatched job to a path below the task's folder local/, which it does not leave, whatever
// links are there. What is there already is replaced: a task that starts again finds what it was given.
func (d allocDir) deliver(task, path, owner string, payload []byte) (err error) {
	failed := func(err error) error { return fmt.Errorf("write dispatch payload %.100q: %w", path, err) }
	root, err := os.OpenRoot(d.local(task))
	if err != nil {
		return failed(err)
	}
	defer root.Close()
	path = filepath.Clean(path)
	if err := root.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return failed(err)
	}
	if err := root.RemoveAll(path); err != nil {
		return failed(err)
	}
	file, err := root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return failed(err)
	}
	if _, err = file.Write(payload); err == nil {
		if uid, gid, chown := lookupOwner(owner); chown {
			err = file.Chown(uid, gid)
		}
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return failed(err)
	}
	return nil
}

// lookupOwner finds the user that a task runs as, if this process may give files away. Users of an image are not known
// here: their directories stay ours.
func lookupOwner(name string) (uid, gid int, ok bool) {
	name, _, _ = strings.Cut(name, ":")
	if name == "" || os.Geteuid() != 0 {
		return 0, 0, false
	}
	found, err := user.Lookup(name)
	if err != nil {
		if uid, err := strconv.Atoi(name); err == nil {
			return uid, -1, true
		}
		return 0, 0, false
	}
	uid, _ = strconv.Atoi(found.Uid)
	gid, _ = strconv.Atoi(found.Gid)
	return uid, gid, true
}

// dirs is the directory of an allocation.
func (n *Node) dirs(id cluster.ID) allocDir {
	return allocDir(filepath.Join(n.config.AllocDir, id.String()))
}

// mounts are the task's directories as the task sees them.
func mounts(d driver.Driver, dirs allocDir, task string) cluster.TaskDirs {
	if m, ok := d.(driver.Mounter); ok {
		inside := m.Mounts()
		return cluster.TaskDirs{Alloc: inside.AllocDir, Local: inside.LocalDir, Secrets: inside.SecretsDir}
	}
	return cluster.TaskDirs{Alloc: dirs.shared(), Local: dirs.local(task), Secrets: dirs.secret(task)}
}

// prepare makes the directories of the i-th task and says all that its driver needs to know.
func (n *Node) prepare(r record, i int, id string, d driver.Driver) (driver.Task, error) {
	a, spec, dirs := r.Alloc, r.spec(i), n.dirs(r.Alloc.ID)
	self := n.self.Load()
	scope := a.TaskScope(self, spec.Name, mounts(d, dirs, spec.Name))
	owner := scope.Interpolate(spec.User)
	if err := dirs.make(spec.Name, owner); err != nil {
		return driver.Task{}, err
	}
	if spec.DispatchPayload != nil && len(a.Job.Payload) > 0 {
		if err := dirs.deliver(spec.Name, scope.Interpolate(spec.DispatchPayload.File), owner, a.Job.Payload); err != nil {
			return driver.Task{}, err
		}
	}
	config, _ := scope.InterpolateValue(spec.Config).(map[string]any)
	return driver.Task{
		ID:         id,
		AllocID:    a.ID,
		Namespace:  a.Namespace(),
		JobID:      a.JobID(),
		Group:      a.TaskGroup,
		Name:       spec.Name,
		NodeID:     self.ID,
		NodeName:   self.Name,
		User:       owner,
		Config:     config,
		Env:        scope.Env(),
		Resources:  spec.Resources,
		Ports:      a.PortsOn(self),
		AllocDir:   dirs.shared(),
		LocalDir:   dirs.local(spec.Name),
		SecretsDir: dirs.secret(spec.Name),
		LogConfig:  spec.LogConfig,
	}, nil
}
