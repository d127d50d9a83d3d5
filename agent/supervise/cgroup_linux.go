package supervise

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is the part of the kernel's control groups that we use: one parent of ours in every
// hierarchy that is there, with a group per task below. The unified hierarchy (version 2, alone or
// beside the old ones) tracks and kills; controllers are used where they are mounted.
type cgroups struct {
	unified string      // our parent in the unified hierarchy, "" without one
	v1      []hierarchy // old hierarchies that a task is put into
	enabled []string    // controllers of the unified hierarchy that our groups have
	reason  string      // why something is missing
	create  int         // os.O_CREATE where tests stand in for the kernel
}

// hierarchy is one mounted version 1 hierarchy.
type hierarchy struct {
	controllers []string
	home        string // the supervisor's own group
	parent      string // our parent of tasks
}

// mount is one line of mountinfo about control groups.
type mount struct {
	root, point string
	v2          bool
	options     []string // of the file system: the controllers
}

// openCgroups makes our parent groups. proc is "/proc"; name is the parent's. It returns nil and
// the reason where this process may not make groups.
func openCgroups(proc, name string, create int) (*cgroups, string) {
	mounts, err := cgroupMounts(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return nil, err.Error()
	}
	own, err := ownCgroups(filepath.Join(proc, "self/cgroup"))
	if err != nil {
		return nil, err.Error()
	}
	c := &cgroups{create: create}
	var problems []error
	tracked := false
	for _, m := range mounts {
		if m.v2 {
			err := c.openUnified(m, own[""], name)
			problems = append(problems, err)
			tracked = tracked || c.unified != ""
			continue
		}
		if !slices.ContainsFunc(m.options, usedV1) {
			continue
		}
		h := hierarchy{controllers: m.options}
		if path, ok := ownPath(own, m.options); ok {
			h.home = filepath.Join(m.point, strings.TrimPrefix(path, strings.TrimSuffix(m.root, "/")))
		}
		if _, err := os.Stat(h.home); err != nil {
			h.home = m.point
		}
		h.parent = filepath.Join(m.point, name)
		if err := mkdir(h.parent); err != nil {
			problems = append(problems, err)
			continue
		}
		tracked = tracked || h.has("freezer")
		c.v1 = append(c.v1, h)
	}
	for _, err := range problems {
		if err != nil && c.reason == "" {
			c.reason = err.Error() // the others are alike
		}
	}
	if !tracked {
		c.close()
		if c.reason == "" {
			c.reason = "no control groups are mounted"
		}
		return nil, c.reason
	}
	return c, c.reason
}

func usedV1(option string) bool {
	return slices.Contains([]string{"cpu", "cpuacct", "memory", "pids", "freezer"}, option)
}

func (h hierarchy) has(controller string) bool { return slices.Contains(h.controllers, controller) }

// leafName is the group for processes that are in the way where controllers are handed down, as the
// kernel wants processes in leaves only; above all, for us. A systemd unit with
// DelegateSubgroup=supervisor starts us there.
const leafName = "supervisor"

// openUnified makes our parent beside the leaf that we are in, if somebody put us there; else at the
// top of the tree or, where that is not permitted, below the group we are in, if it was delegated to
// us.
func (c *cgroups) openUnified(m mount, own, name string) error {
	home := filepath.Join(m.point, strings.TrimPrefix(own, strings.TrimSuffix(m.root, "/")))
	aside := filepath.Base(home) == leafName
	if aside {
		home = filepath.Dir(home)
	}
	places := []string{m.point, home}
	if aside {
		slices.Reverse(places)
	}
	var first error
	for _, place := range slices.Compact(places) {
		ours := filepath.Join(place, name)
		if err := mkdir(ours); err != nil {
			first = cmp.Or(first, err)
			continue
		}
		c.unified = ours
		c.enable(place, ours, "cpu", "memory", "pids")
		return nil
	}
	return first
}

// enable hands controllers down from parent to ours and from ours to the tasks' groups. What is not
// there or not permitted is not enabled; with old hierarchies it is in use there.
func (c *cgroups) enable(parent, ours string, wanted ...string) {
	available, _ := os.ReadFile(filepath.Join(parent, "cgroup.controllers"))
	for _, name := range strings.Fields(string(available)) {
		if !slices.Contains(wanted, name) {
			continue
		}
		control := filepath.Join(parent, "cgroup.subtree_control")
		err := c.write(control, "+"+name)
		if errors.Is(err, unix.EBUSY) { // processes are in the way, of which we are one
			err = c.clear(parent)
			if err == nil {
				err = c.write(control, "+"+name)
			}
		}
		if err == nil {
			err = c.write(filepath.Join(ours, "cgroup.subtree_control"), "+"+name)
		}
		if err != nil {
			c.reason = err.Error()
			continue
		}
		c.enabled = append(c.enabled, name)
	}
}

// clear moves the processes of a group that is ours to divide into a leaf below it.
func (c *cgroups) clear(dir string) error {
	leaf := filepath.Join(dir, leafName)
	if err := mkdir(leaf); err != nil {
		return err
	}
	for range 10 { // what is moved may just have forked
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		pids := strings.Fields(string(b))
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			err := c.write(filepath.Join(leaf, "cgroup.procs"), pid)
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// controllers are those that tasks' groups have, sorted.
func (c *cgroups) controllers() []string {
	all := slices.Clone(c.enabled)
	for _, h := range c.v1 {
		for _, name := range h.controllers {
			if usedV1(name) && name != "freezer" {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// close removes our parents if no task's group is left in them, nor the agent.
func (c *cgroups) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = c.group(agentGroup).remove(ctx) // the next supervisor's agent may have it
	if c.unified != "" {
		unix.Rmdir(c.unified)
	}
	for _, h := range c.v1 {
		unix.Rmdir(h.parent)
	}
}

func (c *cgroups) write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|c.create, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// mkdir is content with a directory that is there, if it can be written.
func mkdir(path string) error {
	err := os.Mkdir(path, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return unix.Access(path, unix.W_OK)
	}
	return err
}

// group is one task's place in all hierarchies.
type group struct {
	in   *cgroups
	name string
}

func (c *cgroups) group(name string) *group { return &group{in: c, name: name} }

// at returns c as it was for a task that began with another parent in the unified hierarchy: who
// starts a supervisor by hand and then as a service has both.
func (c *cgroups) at(unified string) *cgroups {
	if unified == c.unified {
		return c
	}
	moved := *c
	moved.unified = unified
	return &moved
}

// unified returns the group's directory in the unified hierarchy, or "".
func (g *group) unified() string {
	if g.in.unified == "" {
		return ""
	}
	return filepath.Join(g.in.unified, g.name)
}

// v1 returns the group's directory in the old hierarchy of a controller, or "".
func (g *group) v1(controller string) string {
	for _, h := range g.in.v1 {
		if h.has(controller) {
			return filepath.Join(h.parent, g.name)
		}
	}
	return ""
}

// open makes the groups and sets the limits. A limit that cannot be set is an error: a task must
// not run without the bounds it was promised.
func (g *group) open(s Spec) error {
	if g.in.unified != "" {
		if err := mkdir(g.unified()); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	for _, h := range g.in.v1 {
		if err := mkdir(filepath.Join(h.parent, g.name)); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	for _, l := range g.limits(s) {
		if err := g.in.write(l.path, l.value); err != nil {
			return fmt.Errorf("set cgroup limit: %w", err)
		}
	}
	return nil
}

type limit struct{ path, value string }

// limits says what to write where for a task. A controller that no group has limits nothing; Mode
// says so.
func (g *group) limits(s Spec) []limit {
	var all []limit
	add := func(dir, file string, value string) {
		all = append(all, limit{filepath.Join(dir, file), value})
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	const period = 100_000 // microseconds
	shares := min(max(s.CPUShares, 2), 262_144)
	quota := max(s.CPUHardLimit*period/100, 1000)

	if dir := g.v1("cpu"); dir != "" {
		if s.CPUShares > 0 {
			add(dir, "cpu.shares", number(shares))
		}
		if s.CPUHardLimit > 0 {
			add(dir, "cpu.cfs_period_us", number(period))
			add(dir, "cpu.cfs_quota_us", number(quota))
		}
	} else if g.in.has("cpu") {
		if s.CPUShares > 0 {
			add(g.unified(), "cpu.weight", number(1+(shares-2)*9999/262_142))
		}
		if s.CPUHardLimit > 0 {
			add(g.unified(), "cpu.max", number(quota)+" "+number(period))
		}
	}
	if s.MemoryLimit > 0 {
		if dir := g.v1("memory"); dir != "" {
			add(dir, "memory.limit_in_bytes", number(s.MemoryLimit))
		} else if g.in.has("memory") {
			add(g.unified(), "memory.max", number(s.MemoryLimit))
		}
	}
	if s.PidsLimit > 0 {
		if dir := g.v1("pids"); dir != "" {
			add(dir, "pids.max", number(s.PidsLimit))
		} else if g.in.has("pids") {
			add(g.unified(), "pids.max", number(s.PidsLimit))
		}
	}
	return all
}

func (c *cgroups) has(controller string) bool { return slices.Contains(c.enabled, controller) }

// admit makes the groups with their limits, and has b fork into them. The descriptor is to be closed
// after the fork; it may be -1.
func (g *group) admit(s Spec, b *birth) (int, error) {
	if err := g.open(s); err != nil {
		return -1, err
	}
	fd, err := g.place(b.attr.Sys)
	if err == nil {
		b.enter, b.leave = g.enter, g.leave
	}
	return fd, err
}

// enter puts the calling thread into the group in the old hierarchies: what it forks begins there.
// Moving oneself alone is cheap, as it does not stop the other threads.
func (g *group) enter() error {
	for _, h := range g.in.v1 {
		if err := g.in.write(filepath.Join(h.parent, g.name, "tasks"), "0"); err != nil {
			return fmt.Errorf("enter cgroup: %w", err)
		}
	}
	return nil
}

// leave takes the calling thread back to where the supervisor is.
func (g *group) leave() {
	for _, h := range g.in.v1 {
		g.in.write(filepath.Join(h.home, "tasks"), "0")
	}
}

// place makes attr fork into the group of the unified hierarchy. The descriptor is to be closed
// after the fork; it is -1 without that hierarchy.
func (g *group) place(attr *syscall.SysProcAttr) (int, error) {
	if g.in.unified == "" {
		return -1, nil
	}
	fd, err := unix.Open(g.unified(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open cgroup: %w", err)
	}
	attr.UseCgroupFD, attr.CgroupFD = true, fd
	return fd, nil
}

// cgroupMounts reads which hierarchies are mounted where.
func cgroupMounts(path string) ([]mount, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	defer f.Close()
	var all []mount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		left, right, _ := strings.Cut(lines.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 3 || (r[0] != "cgroup" && r[0] != "cgroup2") {
			continue
		}
		all = append(all, mount{
			root:    l[3],
			point:   l[4],
			v2:      r[0] == "cgroup2",
			options: strings.Split(r[2], ","),
		})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	return oneOfEach(all), nil
}

// oneOfEach leaves one mount of each hierarchy: that in the usual place, else the first. Others are often somebody's who
// prepares a root of his own, and may vanish with it.
func oneOfEach(mounts []mount) []mount {
	const usual = "/sys/fs/cgroup"
	inPlace := func(m mount) bool { return m.point == usual || strings.HasPrefix(m.point, usual+"/") }
	var kept []mount
	for _, m := range mounts {
		same := func(other mount) bool {
			return m.v2 && other.v2 || !m.v2 && !other.v2 && slices.Equal(m.options, other.options)
		}
		switch i := slices.IndexFunc(kept, same); {
		case i < 0:
			kept = append(kept, m)
		case inPlace(m) && !inPlace(kept[i]):
			kept[i] = m
		}
	}
	return kept
}

// ownCgroups reads the groups this process is in, by controller list; the unified one is at "".
func ownCgroups(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("find own control groups: %w", err)
	}
	own := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 {
			own[f[1]] = f[2]
		}
	}
	return own, nil
}

func ownPath(own map[string]string, options []string) (string, bool) {
	for controllers, path := range own {
		if first, _, _ := strings.Cut(controllers, ","); first != "" && slices.Contains(options, first) {
			return path, true
		}
	}
	return "", false
}
