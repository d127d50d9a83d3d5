//go:build linux

package docker

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/drivertest"
)

// translate is what a task of this config becomes; config is JSON without its braces.
func translate(t *testing.T, o Options, task driver.Task, config string) (client.ContainerCreateOptions, error) {
	t.Helper()
	task.Config = nil
	if err := json.Unmarshal([]byte("{"+config+"}"), &task.Config); err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	d := open(t, Config{Options: o, Dir: t.TempDir(), CoreMHz: 2000})
	c, err := o.decode(task)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	return d.container(task, c, c.Image)
}

func TestContainer(t *testing.T) {
	task := drivertest.Task(t, "web")
	task.Env = map[string]string{"B": "2", "A": "1"}
	task.User = "1000:100"
	task.Ports = []cluster.AllocatedPort{{Label: "http", HostIP: "10.0.0.1", Value: 20001, To: 80}, {Label: "same", Value: 20002}}
	o := DefaultOptions()
	o.ExtraLabels = []string{"job_name", "task*"}
	config := `
		"image": "web:1", "command": "run", "args": ["-p", 80], "entrypoint": ["/init"], "ports": ["http", "same"], "work_dir": "/srv",
		"hostname": "h", "labels": [{"own": "1", "cluster.task": "stolen"}], "network_mode": "net", "cap_add": ["net_raw"], "cap_drop": ["CHOWN"],
		"cpu_hard_limit": true, "memory_hard_limit": 256, "pids_limit": 50, "ulimit": [{"nofile": "100:200", "core": 0}],
		"init": true, "readonly_rootfs": true, "extra_hosts": ["a:1.2.3.4"], "dns_servers": ["1.1.1.1"], "shm_size": 1000,
		"sysctl": {"net.core.somaxconn": 9}, "devices": [{"host_path": "/dev/fuse"}], "group_add": ["video"], "healthchecks": {"disable": true}`
	if _, err := translate(t, o, task, config); err == nil || !strings.Contains(err.Error(), `option "cap_add": net_raw is not allowed on this node`) {
		t.Errorf("a capability that the node keeps: %v", err)
	}
	o.AllowCaps = append(o.AllowCaps, "net_raw")
	got, err := translate(t, o, task, config)
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "web-"+task.AllocID.String() {
		t.Errorf("name %q", got.Name)
	}
	c, h := got.Config, got.HostConfig
	check := func(what string, got, want any) {
		t.Helper()
		a, _ := json.Marshal(got)
		b, _ := json.Marshal(want)
		if string(a) != string(b) {
			t.Errorf("%s is %s, want %s", what, a, b)
		}
	}
	check("cmd", c.Cmd, []string{"run", "-p", "80"})
	check("entrypoint", c.Entrypoint, []string{"/init"})
	check("env", c.Env, []string{"A=1", "B=2"})
	check("user, directory, name", []string{c.User, c.WorkingDir, c.Hostname, string(h.NetworkMode)}, []string{"1000:100", "/srv", "h", "net"})
	output, _ := json.Marshal(outputLabel{task.AllocDir, "web", task.LogConfig})
	check("labels", c.Labels, map[string]string{
		"own": "1", labelTask: task.ID, labelAlloc: task.AllocID.String(), labelOutput: string(output),
		labelNode:                      task.NodeID.String(),
		"com.hashicorp.nomad.job_name": "suite", "com.hashicorp.nomad.task_name": "web", "com.hashicorp.nomad.task_group_name": "group",
	})
	check("ports", h.PortBindings, network.PortMap{
		network.MustParsePort("80/tcp"):    {{HostIP: netip.MustParseAddr("10.0.0.1"), HostPort: "20001"}},
		network.MustParsePort("80/udp"):    {{HostIP: netip.MustParseAddr("10.0.0.1"), HostPort: "20001"}},
		network.MustParsePort("20002/tcp"): {{HostPort: "20002"}},
		network.MustParsePort("20002/udp"): {{HostPort: "20002"}},
	})
	check("capabilities", [][]string{h.CapAdd, h.CapDrop}, [][]string{{"NET_RAW"}, {"CHOWN"}})
	pids := int64(50)
	check("limits", h.Resources, container.Resources{
		Memory: 256 << 20, MemoryReservation: 128 << 20, MemorySwap: 256 << 20, CPUShares: 500, CPUPeriod: 100000, CPUQuota: 25000,
		PidsLimit: &pids, Ulimits: []*container.Ulimit{{Name: "core"}, {Name: "nofile", Soft: 100, Hard: 200}},
		Devices: []container.DeviceMapping{{PathOnHost: "/dev/fuse", PathInContainer: "/dev/fuse", CgroupPermissions: "rwm"}},
	})
	check("the rest", []any{*h.Init, h.ReadonlyRootfs, h.ExtraHosts, h.DNS, h.ShmSize, h.Sysctls, h.GroupAdd, c.Healthcheck.Test},
		[]any{true, true, []string{"a:1.2.3.4"}, []string{"1.1.1.1"}, 1000, map[string]string{"net.core.somaxconn": "9"}, []string{"video"}, []string{"NONE"}})
	check("mounts", h.Mounts, []mount.Mount{
		{Type: "bind", Source: task.AllocDir, Target: "/alloc"},
		{Type: "bind", Source: filepath.Join(task.AllocDir, "logs"), Target: "/alloc/logs", ReadOnly: true},
		{Type: "bind", Source: task.LocalDir, Target: "/local"},
		{Type: "bind", Source: task.SecretsDir, Target: "/secrets"},
	})
}

func TestDefaults(t *testing.T) {
	task := drivertest.Task(t, "web")
	got, err := translate(t, DefaultOptions(), task, `"image": "web", "args": ["only"]`)
	if err != nil {
		t.Fatal(err)
	}
	h := got.HostConfig
	if !slices.Equal(got.Config.Cmd, []string{"only"}) || got.Config.Entrypoint != nil {
		t.Errorf("cmd %q, entrypoint %q", got.Config.Cmd, got.Config.Entrypoint)
	}
	if h.Memory != 128<<20 || h.MemorySwap != h.Memory || h.CPUQuota != 0 || h.PidsLimit != nil || !slices.Equal(h.CapDrop, []string{"NET_RAW"}) {
		t.Errorf("%+v", h)
	}
	task.LogConfig.Disabled = true
	if got, err = translate(t, DefaultOptions(), task, `"image": "web", "network_mode": "host"`); err != nil || got.HostConfig.LogConfig.Type != "none" {
		t.Errorf("%+v, %v", got.HostConfig, err)
	}
}

func TestRefused(t *testing.T) {
	task := drivertest.Task(t, "web")
	task.Ports = []cluster.AllocatedPort{{Label: "http", Value: 20001}, {Label: "admin", Value: 20002}}
	limited := DefaultOptions()
	limited.PidsLimit = 100
	for config, want := range map[string]string{
		`"imge": "web"`:                                                            `option "image" is required; unknown option "imge" (did you mean "image"?)`,
		`"image": "web", "ports": ["htpp"]`:                                        `option "ports": the group's network has no port "htpp" (there are: http, admin)`,
		`"image": "web", "privileged": true`:                                       `option "privileged": true is not allowed on this node: set allow_privileged`,
		`"image": "web", "pid_mode": "host"`:                                       `option "pid_mode": host is not allowed on this node: set allowed_modes`,
		`"image": "web", "ipc_mode": "host"`:                                       `option "ipc_mode": host is not allowed`,
		`"image": "web", "uts_mode": "host"`:                                       `option "uts_mode": host is not allowed`,
		`"image": "web", "userns_mode": "host"`:                                    `option "userns_mode": host is not allowed`,
		`"image": "web", "security_opt": ["seccomp=unconfined"]`:                   `option "security_opt": seccomp=unconfined is not allowed`,
		`"image": "web", "cap_add": ["ALL"]`:                                       `option "cap_add": ALL is not allowed on this node: its docker plugin config allows audit_write chown`,
		`"image": "web", "runtime": "kata"`:                                        `option "runtime": kata is not allowed on this node: its docker plugin config allows runc nvidia`,
		`"image": "web", "pids_limit": 1000`:                                       `option "pids_limit" may be at most 100 on this node`,
		`"image": "web", "pids_limit": -1`:                                         `option "pids_limit" may be at most 100 on this node`,
		`"image": "web", "memory_hard_limit": 64`:                                  `option "memory_hard_limit" (64 MB) is below the task's memory (128 MB)`,
		`"image": "web", "cpu_hard_limit": true, "cpu_cfs_period": 1`:              `option "cpu_cfs_period" must be from 1000 to 1000000`,
		`"image": "web", "ulimit": {"nofile": "many"}`:                             `option "ulimit": nofile = "many" must be a number or "soft:hard"`,
		`"image": "web", "dns_servers": ["x"]`:                                     `option "dns_servers": "x" is no address`,
		`"image": "web", "image_pull_timeout": "soon"`:                             `option "image_pull_timeout" must be a duration`,
		`"image": "web", "volumes": ["/etc:/etc"]`:                                 `option "volumes": "/etc:/etc" is outside the allocation, which needs volumes { enabled = true }`,
		`"image": "web", "volumes": ["../../..:/x"]`:                               `is outside the allocation`,
		`"image": "web", "volumes": ["../other/secrets:/x"]`:                       `is outside the allocation`,
		`"image": "web", "volumes": ["local/out/etc:/x"]`:                          `is outside the allocation`,
		`"image": "web", "volumes": ["local"]`:                                     `must be "source:/target" or "source:/target:mode"`,
		`"image": "web", "volumes": ["local:/x:rx"]`:                               `has the unknown mode "rx"`,
		`"image": "web", "mount": {"type": "bind", "source": "/", "target": "/x"}`: `option "mount": the one at "/x" is outside the allocation`,
		`"image": "web", "mount": {"type": "tmpfs", "target": "/x"}`:               `is a tmpfs, which needs volumes`,
		`"image": "web", "mount": {"type": "image", "target": "/x"}`:               `has the unknown type "image" (there are: volume, bind, tmpfs)`,
		`"image": "web", "mount": {"target": "x"}`:                                 `must have an absolute target`,
		`"image": "web", "mount": {"target": "/x", "volume_options": {"driver_config": {"options": {"o": "bind"}}}}`: `has options for a volume driver, which needs volumes`,
	} {
		if err := os.MkdirAll(filepath.Join(task.AllocDir, "../other/secrets"), 0o755); err != nil {
			t.Fatal(err)
		}
		os.Symlink("/", filepath.Join(task.LocalDir, "out"))
		_, err := translate(t, limited, task, config)
		if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), `config of task "web": `) {
			t.Errorf("%s:\n%v, want\n%s", config, err, want)
		}
	}
	for _, option := range notYet {
		_, err := translate(t, limited, task, `"image": "web", "`+option+`": "x"`)
		if !errors.Is(err, driver.ErrInvalid) || !strings.Contains(err.Error(), `option "`+option+`" is not supported yet`) {
			t.Errorf("%s: %v", option, err)
		}
	}
}

func TestVolumes(t *testing.T) {
	task := drivertest.Task(t, "web")
	enabled := DefaultOptions()
	enabled.Volumes.Enabled = true
	taskDir := filepath.Dir(task.LocalDir)
	file := filepath.Join(task.LocalDir, "web.conf")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := translate(t, DefaultOptions(), task, `"image": "web", "volumes": ["local/web.conf:/etc/web.conf:ro", "new/dir:/data", "../alloc/data:/shared"]`)
	want := []string{file + ":/etc/web.conf:ro", taskDir + "/new/dir:/data", task.AllocDir + "/data:/shared"}
	if err != nil || !slices.Equal(got.HostConfig.Binds, want) {
		t.Fatalf("%+v, %v, want %q", got.HostConfig, err, want)
	}
	if info, err := os.Stat(filepath.Join(taskDir, "new/dir")); err != nil || !info.IsDir() {
		t.Errorf("the missing directory was not made: %v", err)
	}
	got, err = translate(t, enabled, task, `"image": "web", "volumes": ["/srv:/srv:ro,z"], "mount": [
		{"type": "bind", "source": "/etc", "target": "/x", "readonly": true, "bind_options": {"propagation": "rshared"}},
		{"type": "tmpfs", "target": "/tmp", "tmpfs_options": {"size": 1000, "mode": 511}},
		{"source": "data", "target": "/data", "volume_options": {"no_copy": true, "labels": {"a": "b"}}}]`)
	if err != nil {
		t.Fatal(err)
	}
	mounts := got.HostConfig.Mounts[4:]
	if got.HostConfig.Binds[0] != "/srv:/srv:ro,z" || mounts[0].Source != "/etc" || !mounts[0].ReadOnly || mounts[0].BindOptions.Propagation != "rshared" ||
		mounts[1].TmpfsOptions.Mode != 0o777 || mounts[1].TmpfsOptions.SizeBytes != 1000 ||
		mounts[2].Type != mount.TypeVolume || mounts[2].Source != "data" || !mounts[2].VolumeOptions.NoCopy {
		t.Errorf("%+v", mounts)
	}
}

func TestDecodeOptions(t *testing.T) {
	o, unsupported, err := DecodeOptions(map[string]any{
		"endpoint": "unix:///x", "volumes": []any{map[string]any{"enabled": true, "selinuxlabel": "z"}}, "gc": []any{map[string]any{"image": false}},
		"allow_caps": []any{"ALL"}, "extra_labels": []any{"job*"}, "pull_activity_timeout": "5m",
	})
	if err != nil || o.Endpoint != "unix:///x" || !o.Volumes.Enabled || !o.allowsCap("sys_admin") || o.ContainerExistsAttempts != 5 {
		t.Errorf("%+v, %v", o, err)
	}
	if !slices.Equal(unsupported, []string{"volumes.selinuxlabel"}) {
		t.Errorf("unsupported %q", unsupported)
	}
	for option, want := range map[string]string{
		"endpiont":              `unknown option "endpiont" (did you mean "endpoint"?)`,
		"volumes":               `option "volumes" must be one block`,
		"pull_activity_timeout": `option "pull_activity_timeout" must be a duration like "2m", not "x"`,
	} {
		if _, _, err := DecodeOptions(map[string]any{option: "x"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", option, err)
		}
	}
	if _, _, err := DecodeOptions(map[string]any{"extra_labels": []any{"x"}}); err == nil || !strings.Contains(err.Error(), "job_name, job_id") {
		t.Error(err)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(`{"image":"web","volumes":["a:/b","../x:/y:ro"],"mount":[{"type":"bind","source":"local","target":"/t"}],"ulimit":{"a":"1:2"}}`)
	f.Add(`{"image":"web","ports":["x"],"dns_servers":["::1"],"cap_add":["all"],"auth":{}}`)
	task := drivertest.Task(f, "web")
	d := &Driver{config: Config{Options: DefaultOptions(), CoreMHz: 1000}, engineFile: 1}
	f.Fuzz(func(t *testing.T, text string) {
		task := task
		task.Config = nil
		if json.Unmarshal([]byte(text), &task.Config) != nil {
			return
		}
		c, err := d.config.Options.decode(task)
		if err != nil {
			return
		}
		if _, err := parseImage(task.Name, c.Image); err != nil {
			return
		}
		got, err := d.container(task, c, c.Image)
		if err != nil {
			return
		}
		root := filepath.Dir(task.AllocDir)
		for _, bind := range got.HostConfig.Binds {
			if !strings.HasPrefix(bind, root) {
				t.Errorf("%s shows what is outside the allocation", bind)
			}
		}
		if got.HostConfig.Privileged {
			t.Error("it is privileged")
		}
	})
}

func TestNotYet(t *testing.T) {
	for _, option := range notYet {
		task := drivertest.Task(t, "web")
		task.Config = map[string]any{"image": "web", option: true}
		_, err := DefaultOptions().decode(task)
		want := `config of task "web": option "` + option + `" is not supported yet: remove it`
		if !errors.Is(err, driver.ErrInvalid) || err.Error() != want {
			t.Errorf("%s: %v", option, err)
		}
	}
}
