package rawexec

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster/driver"
)

// agentEnv are the variables that belong to the agent and never reach a task, as patterns with "*".
var agentEnv = []string{
	"CLUSTER_*", "NOMAD_TOKEN", "CONSUL_TOKEN", "CONSUL_HTTP_TOKEN", "CONSUL_HTTP_TOKEN_FILE", "VAULT_TOKEN",
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS",
	"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "INVOCATION_ID", "JOURNAL_STREAM",
}

// Options are those of the node's `plugin "raw_exec" { config { … } }`.
type Options struct {
	Enabled    bool     `config:"enabled"`
	DeniedEnv  []string `config:"denied_envvars"` // patterns with "*"; no task has such a variable
	HardLimits bool     `config:"hard_limits"`    // cpu and memory of the resources are limits, not weight and hint
	NoCgroups  bool     `config:"no_cgroups"`     // of old versions; nothing depends on it
	// Users and groups as which no task may run, as numbers and ranges of them: "0,10-20".
	DeniedUIDs string `config:"denied_host_uids"`
	DeniedGIDs string `config:"denied_host_gids"`
}

// DecodeOptions reads the options; those in the first result are known but not supported yet. All errors are in one.
func DecodeOptions(from map[string]any) (o Options, unsupported []string, err error) {
	if unsupported, err = driver.Decode(from, &o); err != nil {
		return Options{}, nil, err
	}
	_, uids := parseIDs("denied_host_uids", o.DeniedUIDs)
	_, gids := parseIDs("denied_host_gids", o.DeniedGIDs)
	return o, unsupported, errors.Join(uids, gids)
}

// taskConfig is a task's `config` block.
type taskConfig struct {
	Command     string   `config:"command,required"`
	Args        []string `config:"args"`
	WorkDir     string   `config:"work_dir"`
	OOMScoreAdj int      `config:"oom_score_adj"`
	DeniedEnv   []string `config:"denied_envvars"`
}

// notYet are the options that such job files may have and that this driver does not have yet.
var notYet = []string{"cgroup_v1_override", "cgroup_v2_override"}

// CheckConfig finds what the driver would not understand of a task's config, as it is in a job, on any node.
func CheckConfig(config map[string]any) []driver.Fault {
	return driver.CheckConfig(config, new(taskConfig), notYet...)
}

// process translates a task.
func (d *Driver) process(t driver.Task) (Process, error) {
	var c taskConfig
	if err := driver.DecodeTask(t, &c, notYet...); err != nil {
		return Process{}, err
	}
	if c.OOMScoreAdj < -1000 || c.OOMScoreAdj > 1000 {
		return Process{}, driver.Invalidf(`config of task %q: option "oom_score_adj" must be from -1000 to 1000, not %d`, t.Name, c.OOMScoreAdj)
	}
	if err := d.config.Options.allow(t); err != nil {
		return Process{}, err
	}
	env := d.env(t.Env, c.DeniedEnv)
	dir, err := workDir(t, c.WorkDir)
	if err != nil {
		return Process{}, err
	}
	command, err := lookUp(t, c.Command, env["PATH"])
	if err != nil {
		return Process{}, err
	}
	p := Process{
		ID: t.ID, Command: command, Args: c.Args, Dir: dir, User: t.User,
		CPUShares: t.Resources.CPU, OOMScoreAdj: c.OOMScoreAdj,
		Stdout: output(t, "stdout"), Stderr: output(t, "stderr"),
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		p.Env = append(p.Env, name+"="+env[name])
	}
	if d.config.Options.HardLimits {
		p.MemoryLimit = int64(t.Resources.MemoryMB) << 20
		if d.config.CoreMHz > 0 {
			p.CPUHardLimit = max(1, t.Resources.CPU*100/d.config.CoreMHz)
		}
	}
	return p, nil
}

// env is the task's own environment above the inherited one, without what is denied.
func (d *Driver) env(own map[string]string, denied []string) map[string]string {
	all := maps.Clone(d.environ)
	maps.Copy(all, own)
	denied = slices.Concat(d.config.Options.DeniedEnv, denied)
	maps.DeleteFunc(all, func(name, _ string) bool { return anyMatch(denied, name) })
	return all
}

func output(t driver.Task, stream string) Output {
	if t.LogConfig.Disabled {
		return Output{}
	}
	return Output{
		Dir: filepath.Join(t.AllocDir, "logs"), Name: t.Name + "." + stream,
		MaxBytes: int64(t.LogConfig.MaxFileSizeMB) << 20, MaxFiles: t.LogConfig.MaxFiles,
	}
}

// workDir is the directory that the task begins in: its own unless the config names another.
func workDir(t driver.Task, dir string) (string, error) {
	if dir == "" {
		return filepath.Dir(t.LocalDir), nil
	}
	if !filepath.IsAbs(dir) {
		return "", driver.Invalidf(`config of task %q: option "work_dir" must be an absolute path, not %q`, t.Name, dir)
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return "", driver.Invalidf(`config of task %q: option "work_dir" names %q, which is no directory of this node`, t.Name, dir)
	}
	return dir, nil
}

// lookUp finds the command: an absolute path, one in the task's local directory or in its directory, or a name in PATH.
func lookUp(t driver.Task, command, path string) (string, error) {
	var places []string
	switch {
	case filepath.IsAbs(command):
		places = []string{command}
	default:
		places = []string{filepath.Join(t.LocalDir, command), filepath.Join(filepath.Dir(t.LocalDir), command)}
		if !strings.Contains(command, "/") {
			for _, dir := range filepath.SplitList(path) {
				if filepath.IsAbs(dir) {
					places = append(places, filepath.Join(dir, command))
				}
			}
		}
	}
	why := "it is not there"
	for _, place := range places {
		info, err := os.Stat(place)
		switch {
		case err != nil:
		case info.IsDir():
			why = place + " is a directory"
		case info.Mode()&0o111 == 0:
			why = place + " is not executable"
		default:
			return place, nil
		}
	}
	if !filepath.IsAbs(command) && why == "it is not there" {
		why = fmt.Sprintf("it is neither in the task's local directory nor in PATH (%s)", path)
	}
	return "", driver.Invalidf(`config of task %q: option "command" names %q: %s`, t.Name, command, why)
}

// anyMatch reports whether one of the patterns, in which "*" stands for any letters, is the name.
func anyMatch(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

func match(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, parts[last])
}
