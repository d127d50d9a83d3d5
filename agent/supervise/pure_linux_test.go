package supervise

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"
)

func TestRestartDelay(t *testing.T) {
	var got []time.Duration
	d := time.Duration(0)
	for range 8 {
		d = restartDelay(d, time.Millisecond)
		got = append(got, d/time.Millisecond)
	}
	if want := []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000}; !slices.Equal(got, want) {
		t.Errorf("crashing at once: %d", got)
	}
	if d := restartDelay(5*time.Second, settled); d != restartMin {
		t.Errorf("crashing late: %v", d)
	}
}

func TestParseStat(t *testing.T) {
	line := "42 (a) b (c) Z 7 8 9 0 -1 4228364 0 0 0 0 3 4 0 0 20 0 1 0 123456 0 5 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 256\n"
	got, err := parseStat(line)
	want := stat{pid: 42, ppid: 7, pgrp: 8, session: 9, state: 'Z', start: 123456, ticks: 7, rss: 5, status: 256}
	if err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, bad := range []string{"", "1", "1 (x", "1 (x) R 1", ") (", "x (y) " + strings.Repeat("1 ", 50)} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestFileName(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"a/b", "a-b", "a.b", "../..", strings.Repeat("x", 500), strings.Repeat("x", 501), "ü/\n"} {
		name := fileName(id)
		if strings.ContainsAny(name, "/.\n") || len(name) > 100 {
			t.Errorf("%q becomes %q", id, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%q and %q become the same", id, other)
		}
		seen[name] = id
	}
}

func TestErrorsCrossTheWire(t *testing.T) {
	for _, err := range []error{ErrUnknownTask, ErrEnded, errors.New("other")} {
		b, _ := json.Marshal(toWire(fmt.Errorf("verb: %w", err)))
		got := new(wireError)
		if json.Unmarshal(b, got) != nil || got.Error() != "verb: "+err.Error() {
			t.Errorf("%v arrived as %v", err, got)
		}
		if errors.Is(got, ErrUnknownTask) != (err == ErrUnknownTask) || errors.Is(got, ErrEnded) != (err == ErrEnded) {
			t.Errorf("%v arrived as something else", err)
		}
	}
}

// The frames that arrive are those that were sent, in whatever pieces, and garbage is an error.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, '{', '}', 0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := frames{from: bytes.NewReader(b)}
		pieces := frames{from: iotest.OneByteReader(bytes.NewReader(b))}
		for {
			x, errX := whole.next()
			y, errY := pieces.next()
			if (errX == nil) != (errY == nil) || !bytes.Equal(x, y) {
				t.Fatalf("whole %q %v, in pieces %q %v", x, errX, y, errY)
			}
			if errX != nil {
				return
			}
			var q request
			json.Unmarshal(x, &q)
		}
	})
}

func TestFramesSurviveAnInterruption(t *testing.T) {
	frame, err := encodeFrame(request{ID: 7, Verb: verbList})
	if err != nil {
		t.Fatal(err)
	}
	two := append(slices.Clone(frame), frame...)
	for cut := range two {
		first := frames{from: bytes.NewReader(two[:cut])}
		n := 0
		for {
			if _, err := first.next(); err != nil {
				break
			}
			n++
		}
		second := frames{from: bytes.NewReader(two[cut:]), rest: first.rest}
		for {
			if _, err := second.next(); err != nil {
				break
			}
			n++
		}
		if n != 2 {
			t.Errorf("cut at %d: %d frames", cut, n)
		}
	}
}

func FuzzRecord(f *testing.F) {
	good, _ := json.Marshal(&record{Version: 1, Spec: Spec{ID: "a", Command: "b"}, PID: 7, Start: 8, Exit: &Exit{Code: 3}, Final: true})
	f.Add(good)
	f.Add([]byte(`{"Version":1,"Spec":{"ID":"a","Command":"b"},"Cgroup":"../.."}`))
	f.Add([]byte(`{"Version":99}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		if strings.Contains(r.Cgroup, "/") || r.PID == 1 || r.PID < 0 || r.Final && r.Exit == nil {
			t.Errorf("accepted %+v", r)
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		r2, err := decodeRecord(again)
		if err != nil || !reflect.DeepEqual(r, r2) {
			t.Errorf("%+v became %+v, %v", r, r2, err)
		}
	})
}

func TestJournalRefusesTheFuture(t *testing.T) {
	j := journal{dir: t.TempDir()}
	os.WriteFile(filepath.Join(j.dir, "x.json"), []byte(`{"Version":99}`), 0o600)
	if _, err := j.read(nil); !errors.Is(err, errNewer) {
		t.Errorf("got %v", err)
	}
}

// fakeProc stands in for what a kernel says of its control groups. at is the mount point that the
// lines mean by "AT".
func fakeProc(t *testing.T, at, mounts, own string) string {
	t.Helper()
	proc := t.TempDir()
	if err := os.Mkdir(filepath.Join(proc, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"mountinfo": mounts, "cgroup": own} {
		content = strings.ReplaceAll(content, "AT", at)
		if err := os.WriteFile(filepath.Join(proc, "self", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return proc
}

func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			b, _ := os.ReadFile(path)
			name, _ := filepath.Rel(dir, path)
			all[name] = string(b)
		}
		return nil
	})
	return all
}

var limited = Spec{ID: "t", Command: "x", CPUShares: 1000, CPUHardLimit: 250, MemoryLimit: 64 << 20, PidsLimit: 100}

func TestCgroupVersion2(t *testing.T) {
	at := t.TempDir()
	proc := fakeProc(t, at, "30 1 0:26 / AT rw,nosuid - cgroup2 cgroup2 rw\n", "0::/\n")
	os.WriteFile(filepath.Join(at, "cgroup.controllers"), []byte("cpuset cpu io memory pids\n"), 0o644)
	c, reason := openCgroups(proc, "cluster-x", os.O_CREATE|os.O_APPEND)
	if c == nil || reason != "" {
		t.Fatal(reason)
	}
	if got := c.controllers(); !slices.Equal(got, []string{"cpu", "memory", "pids"}) {
		t.Errorf("controllers %v", got)
	}
	g := c.group("t")
	if err := g.open(limited); err != nil {
		t.Fatal(err)
	}
	if err := g.enter(); err != nil {
		t.Fatal(err)
	}
	var attr syscall.SysProcAttr
	fd, err := g.place(&attr)
	if err != nil || !attr.UseCgroupFD || attr.CgroupFD != fd {
		t.Errorf("place: %v %+v", err, attr)
	}
	syscall.Close(fd)
	want := map[string]string{
		"cgroup.controllers":               "cpuset cpu io memory pids\n",
		"cgroup.subtree_control":           "+cpu+memory+pids",
		"cluster-x/cgroup.subtree_control": "+cpu+memory+pids",
		"cluster-x/t/cpu.weight":           "39",
		"cluster-x/t/cpu.max":              "250000 100000",
		"cluster-x/t/memory.max":           "67108864",
		"cluster-x/t/pids.max":             "100",
	}
	if got := readAll(t, at); !reflect.DeepEqual(got, want) {
		t.Errorf("written:\n%q\nwant:\n%q", got, want)
	}

	for name, content := range map[string]string{
		"cpu.stat":       "usage_usec 5000000\nnr_throttled 3\nthrottled_usec 7000\n",
		"memory.stat":    "anon 4096\nfile 8192\n",
		"memory.current": "12288\n",
		"memory.events":  "oom 2\noom_kill 1\n",
		"pids.current":   "6\n",
		"cgroup.procs":   "",
		"cgroup.kill":    "",
	} {
		os.WriteFile(filepath.Join(g.unified(), name), []byte(content), 0o644)
	}
	st, err := tree{group: g}.stats()
	wantStats := Stats{CPU: 5 * time.Second, Memory: 4096, MemoryCurrent: 12288, Pids: 6, Throttled: 7 * time.Millisecond, ThrottledN: 3}
	if err != nil || st != wantStats {
		t.Errorf("stats %+v, %v", st, err)
	}
	if n := g.oomKills(); n != 1 {
		t.Errorf("%d processes killed for memory", n)
	}
	if n, err := g.strike(); n != 0 || err != nil {
		t.Errorf("strike at nothing: %d %v", n, err)
	}
	os.WriteFile(filepath.Join(g.unified(), "cgroup.events"), []byte("populated 1\nfrozen 0\n"), 0o644)
	if n, err := g.strike(); n != 1 || err != nil {
		t.Errorf("strike at one that is just ending: %d %v", n, err)
	}
	os.Mkdir(filepath.Join(g.unified(), "below"), 0o755)
	os.WriteFile(filepath.Join(g.unified(), "below", "cgroup.procs"), []byte("999999999\n"), 0o644)
	if n, err := g.strike(); n != 1 || err != nil {
		t.Errorf("strike at one in a group below: %d %v", n, err)
	}
	if b, _ := os.ReadFile(filepath.Join(g.unified(), "cgroup.kill")); string(b) != "1" {
		t.Errorf("cgroup.kill has %q", b)
	}
}

func TestCgroupVersion2Delegated(t *testing.T) {
	at := t.TempDir()
	own := filepath.Join(at, "user.slice/app")
	os.MkdirAll(own, 0o755)
	proc := fakeProc(t, at, "30 1 0:26 / AT rw,nosuid - cgroup2 cgroup2 rw\n", "0::/user.slice/app\n")
	os.WriteFile(filepath.Join(own, "cgroup.controllers"), []byte("memory pids\n"), 0o644)
	os.Chmod(at, 0o555)
	t.Cleanup(func() { os.Chmod(at, 0o755) })
	if os.Geteuid() == 0 {
		becomeNobody(t, own, proc)
	}
	for range 2 { // again after an exec, when we may be in the group below
		c, reason := openCgroups(proc, "cluster-x", os.O_CREATE)
		if c == nil || reason != "" || c.unified != filepath.Join(own, "cluster-x") {
			t.Fatal(c, reason)
		}
		if got := c.controllers(); !slices.Equal(got, []string{"memory", "pids"}) {
			t.Errorf("controllers %v", got)
		}
		os.WriteFile(filepath.Join(proc, "self/cgroup"), []byte("0::/user.slice/app/supervisor\n"), 0o644)
	}
}

// A unit with DelegateSubgroup=supervisor keeps its tasks to itself, although we could go to the top.
func TestCgroupVersion2Unit(t *testing.T) {
	at := t.TempDir()
	unit := filepath.Join(at, "system.slice/cluster.service")
	os.MkdirAll(filepath.Join(unit, leafName), 0o755)
	proc := fakeProc(t, at, "30 1 0:26 / AT rw,nosuid - cgroup2 cgroup2 rw\n", "0::/system.slice/cluster.service/supervisor\n")
	os.WriteFile(filepath.Join(unit, "cgroup.controllers"), []byte("memory pids\n"), 0o644)
	c, reason := openCgroups(proc, "cluster-x", os.O_CREATE|os.O_APPEND)
	if c == nil || reason != "" || c.unified != filepath.Join(unit, "cluster-x") {
		t.Fatal(c, reason)
	}
	want := map[string]string{
		"cgroup.controllers":               "memory pids\n",
		"cgroup.subtree_control":           "+memory+pids",
		"cluster-x/cgroup.subtree_control": "+memory+pids",
	}
	if got := readAll(t, unit); !reflect.DeepEqual(got, want) {
		t.Errorf("written:\n%q\nwant:\n%q", got, want)
	}
	// A task from when a supervisor was started by hand is still found where it is.
	if g := c.at(filepath.Join(at, "cluster-x")).group("t"); g.unified() != filepath.Join(at, "cluster-x/t") || c.group("t").unified() != filepath.Join(unit, "cluster-x/t") {
		t.Errorf("groups %s and %s", g.unified(), c.group("t").unified())
	}
}

// The kernel refuses to hand controllers down from a group with processes in it.
func TestProcessesInTheWayAreMoved(t *testing.T) {
	privileged(t)
	mounts, err := cgroupMounts("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(mounts, func(m mount) bool { return m.v2 })
	if i < 0 {
		t.Skip("no unified hierarchy is mounted")
	}
	top := mounts[i].point
	b, _ := os.ReadFile(filepath.Join(top, "cgroup.controllers"))
	names := strings.Fields(string(b))
	if len(names) == 0 {
		t.Skip("all controllers are in old hierarchies")
	}
	name := names[len(names)-1]
	c := &cgroups{}
	if err := c.write(filepath.Join(top, "cgroup.subtree_control"), "+"+name); err != nil {
		t.Skip("controllers are not ours:", err)
	}
	parent, err := os.MkdirTemp(top, "cluster-test-")
	if err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(parent, "cluster-x")
	if err := os.Mkdir(ours, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "1000")
	dir, err := os.Open(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if err := rmdirs(parent); err != nil {
			t.Error(err)
		}
	})
	c.enable(parent, ours, name)
	if c.reason != "" || !slices.Equal(c.enabled, []string{name}) {
		t.Errorf("enabled %v: %s", c.enabled, c.reason)
	}
	if b, _ := os.ReadFile(filepath.Join(parent, leafName, "cgroup.procs")); strings.TrimSpace(string(b)) != fmt.Sprint(cmd.Process.Pid) {
		t.Errorf("in the leaf: %q", b)
	}
	if b, _ := os.ReadFile(filepath.Join(ours, "cgroup.subtree_control")); strings.TrimSpace(string(b)) != name {
		t.Errorf("handed down: %q", b)
	}
}

// becomeNobody lets the test's thread touch files as an ordinary user who owns the folders: root may write everywhere.
func becomeNobody(t *testing.T, folders ...string) {
	const nobody = 65534
	for _, folder := range folders {
		filepath.WalkDir(folder, func(path string, _ fs.DirEntry, _ error) error { return os.Lchown(path, nobody, nobody) })
		for up := filepath.Dir(folder); up != os.TempDir() && len(up) > 1; up = filepath.Dir(up) {
			if info, err := os.Stat(up); err == nil {
				os.Chmod(up, info.Mode().Perm()|0o111)
			}
		}
	}
	runtime.LockOSThread()
	unix.Setfsuid(nobody)
	t.Cleanup(func() {
		unix.Setfsuid(0)
		runtime.UnlockOSThread()
	})
}

func TestCgroupVersion1Alone(t *testing.T) {
	at := t.TempDir()
	mounts := ""
	for _, name := range []string{"cpu,cpuacct", "memory", "pids", "freezer", "devices"} {
		mounts += fmt.Sprintf("31 1 0:29 /docker/abc AT/%s rw - cgroup cgroup rw,%s\n", name, name)
		os.MkdirAll(filepath.Join(at, name, "own"), 0o755)
	}
	proc := fakeProc(t, at, mounts, "4:memory:/docker/abc/own\n3:freezer:/docker/abc\n2:cpu,cpuacct:/docker/abc/own\n1:pids:/elsewhere\n")
	c, reason := openCgroups(proc, "cluster-x", os.O_CREATE|os.O_APPEND)
	if c == nil || reason != "" {
		t.Fatal(reason)
	}
	if got := c.controllers(); !slices.Equal(got, []string{"cpu", "cpuacct", "memory", "pids"}) {
		t.Errorf("controllers %v", got)
	}
	g := c.group("t")
	if err := g.open(limited); err != nil {
		t.Fatal(err)
	}
	if err := g.enter(); err != nil {
		t.Fatal(err)
	}
	g.leave()
	want := map[string]string{
		"cpu,cpuacct/cluster-x/t/cpu.shares":        "1000",
		"cpu,cpuacct/cluster-x/t/cpu.cfs_period_us": "100000",
		"cpu,cpuacct/cluster-x/t/cpu.cfs_quota_us":  "250000",
		"cpu,cpuacct/cluster-x/t/tasks":             "0",
		"memory/cluster-x/t/memory.limit_in_bytes":  "67108864",
		"memory/cluster-x/t/tasks":                  "0",
		"pids/cluster-x/t/pids.max":                 "100",
		"pids/cluster-x/t/tasks":                    "0",
		"freezer/cluster-x/t/tasks":                 "0",
		"cpu,cpuacct/own/tasks":                     "0",
		"memory/own/tasks":                          "0",
		"freezer/tasks":                             "0",
		"pids/tasks":                                "0",
	}
	if got := readAll(t, at); !reflect.DeepEqual(got, want) {
		t.Errorf("written:\n%q\nwant:\n%q", got, want)
	}
}

func TestNoCgroups(t *testing.T) {
	proc := fakeProc(t, "", "30 1 0:26 / /proc rw - proc proc rw\n", "")
	if c, reason := openCgroups(proc, "x", 0); c != nil || reason != "no control groups are mounted" {
		t.Error(c, reason)
	}
}

// Without the unified hierarchy a bomb is frozen before it is killed; the real freezer takes part.
func TestFreezerKillsABomb(t *testing.T) {
	privileged(t)
	c, reason := openCgroups("/proc", "cluster-test-freezer", 0)
	if c == nil {
		t.Skip("no cgroups:", reason)
	}
	c.unified = ""
	if c.group("x").v1("freezer") == "" {
		t.Skip("no version 1 freezer is mounted")
	}
	defer c.close()
	g := c.group("bomb")
	s := limited
	s.PidsLimit = 200
	if err := g.open(s); err != nil {
		t.Fatal(err)
	}
	cs, err := newChildren()
	if err != nil {
		t.Fatal(err)
	}
	defer close(cs.forks)
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pid := 0
	err = cs.spawn(birth{
		path:  "/bin/sh",
		argv:  []string{"sh", "-c", forkBomb},
		attr:  &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true}},
		enter: g.enter,
		leave: g.leave,
		born:  func(p, fd int) { pid = p; syscall.Close(fd) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{t: t}
	h.eventually("a bomb", func() bool {
		pids, _ := g.pids()
		return len(pids) > 100
	})
	if err := (tree{group: g, id: "bomb"}).kill(h.ctx()); err != nil {
		t.Error(err)
	}
	syscall.Wait4(pid, nil, 0, nil)
	if err := g.remove(h.ctx()); err != nil {
		t.Error(err)
	}
}

func TestOneMountOfEachHierarchyIsUsed(t *testing.T) {
	v1 := func(point, controllers string) mount {
		return mount{root: "/", point: point, options: strings.Split(controllers, ",")}
	}
	v2 := func(point string) mount { return mount{root: "/", point: point, v2: true, options: []string{"rw"}} }
	for _, c := range []struct {
		name         string
		mounts, want []mount
	}{
		{"each once", []mount{v1("/sys/fs/cgroup/cpu", "rw,cpu"), v2("/sys/fs/cgroup/unified")}, []mount{v1("/sys/fs/cgroup/cpu", "rw,cpu"), v2("/sys/fs/cgroup/unified")}},
		{"another root's beside ours", []mount{v2("/sys/fs/cgroup"), v2("/var/root/sys/fs/cgroup")}, []mount{v2("/sys/fs/cgroup")}},
		{"another root's before ours", []mount{v1("/var/root/sys/fs/cgroup/cpu", "rw,cpu"), v1("/sys/fs/cgroup/cpu", "rw,cpu")}, []mount{v1("/sys/fs/cgroup/cpu", "rw,cpu")}},
		{"none in the usual place", []mount{v2("/a"), v2("/b")}, []mount{v2("/a")}},
	} {
		if got := oneOfEach(c.mounts); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
