//go:build linux

package rawexec_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
	"github.com/a43e60e4/cluster/driver/rawexec"
)

// recorder remembers what was started and signalled.
type recorder struct {
	rawexec.Processes
	started rawexec.Process
	signal  syscall.Signal
}

func (r *recorder) Start(_ context.Context, p rawexec.Process) error {
	r.started = p
	return nil
}

func (r *recorder) Signal(_ context.Context, _ string, s syscall.Signal) error {
	r.signal = s
	return nil
}

func executable(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestProcess(t *testing.T) {
	task := drivertest.Task(t, "web")
	command := executable(t, filepath.Join(task.LocalDir, "run"))
	task.User = "nobody"
	task.Resources = cluster.Resources{CPU: 1500, MemoryMB: 64}
	task.LogConfig = cluster.LogConfig{MaxFiles: 3, MaxFileSizeMB: 2}
	task.Env = map[string]string{"PATH": "/bin", "OWN": "1", "MY_TOKEN": "x", "A_B_C": "x"}
	task.Config = map[string]any{
		"command": "run", "args": []any{"a", 1.0}, "oom_score_adj": 5.0, "denied_envvars": []any{"A*B*C"},
	}
	var r recorder
	d := rawexec.New(rawexec.Config{
		Processes: &r, CoreMHz: 3000, DeniedEnv: []string{"HIDDEN"},
		Options: rawexec.Options{Enabled: true, HardLimits: true, DeniedEnv: []string{"*_TOKEN"}},
		Environ: []string{"HOME=/root", "OWN=0", "HIDDEN=1", "CLUSTER_TOKEN=x", "CLUSTER_SUPERVISOR_FD=3", "NOTIFY_SOCKET=/x", "broken"},
	})
	if err := d.Start(t.Context(), task, nil); err != nil {
		t.Fatal(err)
	}
	logs := filepath.Join(task.AllocDir, "logs")
	want := rawexec.Process{
		ID: task.ID, Command: command, Args: []string{"a", "1"}, Env: []string{"HOME=/root", "OWN=1", "PATH=/bin"},
		Dir: filepath.Dir(task.LocalDir), User: "nobody", CPUShares: 1500, CPUHardLimit: 50, MemoryLimit: 64 << 20, OOMScoreAdj: 5,
		Stdout: rawexec.Output{Dir: logs, Name: "web.stdout", MaxBytes: 2 << 20, MaxFiles: 3},
		Stderr: rawexec.Output{Dir: logs, Name: "web.stderr", MaxBytes: 2 << 20, MaxFiles: 3},
	}
	if got := r.started; !slices.Equal(got.Env, want.Env) || !slices.Equal(got.Args, want.Args) {
		t.Errorf("args %q, env %q", got.Args, got.Env)
	} else if got.Env, got.Args, want.Env, want.Args = nil, nil, nil, nil; !equal(got, want) {
		t.Errorf("\n%+v, want\n%+v", got, want)
	}
}

func equal(a, b rawexec.Process) bool {
	return a.ID == b.ID && a.Command == b.Command && a.Dir == b.Dir && a.User == b.User && a.CPUShares == b.CPUShares &&
		a.CPUHardLimit == b.CPUHardLimit && a.MemoryLimit == b.MemoryLimit && a.OOMScoreAdj == b.OOMScoreAdj &&
		a.Stdout == b.Stdout && a.Stderr == b.Stderr
}

func TestCommandLookup(t *testing.T) {
	task := drivertest.Task(t, "web")
	bin := t.TempDir()
	inPath := executable(t, filepath.Join(bin, "both"))
	onlyPath := executable(t, filepath.Join(bin, "only"))
	inLocal := executable(t, filepath.Join(task.LocalDir, "both"))
	inTask := executable(t, filepath.Join(filepath.Dir(task.LocalDir), "here"))
	os.WriteFile(filepath.Join(bin, "text"), nil, 0o644)
	task.Env["PATH"] = "relative:" + bin
	for _, test := range []struct{ command, want, problem string }{
		{inPath, inPath, ""},
		{"both", inLocal, ""},
		{"only", onlyPath, ""},
		{"local/both", inLocal, ""},
		{"here", inTask, ""},
		{"text", "", "text is not executable"},
		{"local", "", "local is a directory"},
		{"none", "", `config of task "web": option "command" names "none": it is neither in the task's local directory nor in PATH (relative:` + bin + ")"},
		{"/none", "", `config of task "web": option "command" names "/none": it is not there`},
	} {
		r := &recorder{}
		d := rawexec.New(rawexec.Config{Processes: r, Options: rawexec.Options{Enabled: true}})
		task.Config = map[string]any{"command": test.command}
		err := d.Start(t.Context(), task, nil)
		if test.problem == "" && (err != nil || r.started.Command != test.want) {
			t.Errorf("%s: %q, %v, want %q", test.command, r.started.Command, err, test.want)
		}
		if test.problem != "" && (!errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), test.problem)) {
			t.Errorf("%s: %v, want %s", test.command, err, test.problem)
		}
	}
}

func TestRefused(t *testing.T) {
	task := drivertest.Task(t, "web")
	d := rawexec.New(rawexec.Config{Processes: &recorder{}, Options: rawexec.Options{Enabled: true}})
	for option, want := range map[string]string{
		"cgroup_v1_override": `option "cgroup_v1_override" is not supported yet`,
		"cgroup_v2_override": `option "cgroup_v2_override" is not supported yet`,
		"work_dir":           `option "work_dir" must be an absolute path, not "x"`,
		"oom_score_adj":      `option "oom_score_adj" must be a whole number, not the string "x"`,
		"pid_mode":           `unknown option "pid_mode" (there are: args, command, denied_envvars, oom_score_adj, work_dir)`,
	} {
		task.Config = map[string]any{"command": "/bin/sh", option: "x"}
		if err := d.Start(t.Context(), task, nil); !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", option, err)
		}
	}
	task.Config = map[string]any{"command": "/bin/sh", "oom_score_adj": 2000.0}
	if err := d.Start(t.Context(), task, nil); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("oom_score_adj 2000: %v", err)
	}
}

func TestDisabled(t *testing.T) {
	d := rawexec.New(rawexec.Config{Processes: &recorder{}})
	if state := d.Fingerprint(t.Context()); state.Detected || state.Healthy || state.HealthDescription == "" {
		t.Errorf("%+v", state)
	}
	err := d.Start(t.Context(), drivertest.Task(t, "web"), nil)
	if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), "enabled = true") {
		t.Error(err)
	}
}

func TestDefaultSignal(t *testing.T) {
	var r recorder
	d := rawexec.New(rawexec.Config{Processes: &r})
	if err := d.Signal(t.Context(), "x", ""); err != nil || r.signal != syscall.SIGINT {
		t.Errorf("%v, %v", r.signal, err)
	}
}

func TestDecodeOptions(t *testing.T) {
	o, unsupported, err := rawexec.DecodeOptions(map[string]any{"enabled": true, "denied_host_uids": "0"})
	if err != nil || !o.Enabled || o.DeniedUIDs != "0" || len(unsupported) != 0 {
		t.Errorf("%+v, %q, %v", o, unsupported, err)
	}
	if _, _, err := rawexec.DecodeOptions(map[string]any{"enable": true}); err == nil || !strings.Contains(err.Error(), `did you mean "enabled"?`) {
		t.Error(err)
	}
}
