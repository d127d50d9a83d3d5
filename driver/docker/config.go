package docker

import (
	"slices"
	"strings"

	"github.com/a43e60e4/cluster/driver"
)

// taskConfig is a task's `config` block.
type taskConfig struct {
	Image            string            `config:"image,required"`
	Command          string            `config:"command"`
	Args             []string          `config:"args"`
	Entrypoint       []string          `config:"entrypoint"`
	Ports            []string          `config:"ports"`
	NetworkMode      string            `config:"network_mode"`
	Hostname         string            `config:"hostname"`
	DNSServers       []string          `config:"dns_servers"`
	DNSSearch        []string          `config:"dns_search_domains"`
	DNSOptions       []string          `config:"dns_options"`
	ExtraHosts       []string          `config:"extra_hosts"`
	Volumes          []string          `config:"volumes"`
	Mount            []mountConfig     `config:"mount"`
	Mounts           []mountConfig     `config:"mounts"`
	Devices          []deviceConfig    `config:"devices"`
	Auth             *authConfig       `config:"auth,secret"`
	AuthSoftFail     bool              `config:"auth_soft_fail"`
	ForcePull        bool              `config:"force_pull"`
	ImagePullTimeout string            `config:"image_pull_timeout"`
	Privileged       bool              `config:"privileged"`
	CapAdd           []string          `config:"cap_add"`
	CapDrop          []string          `config:"cap_drop"`
	SecurityOpt      []string          `config:"security_opt"`
	CPUHardLimit     bool              `config:"cpu_hard_limit"`
	CPUPeriod        int64             `config:"cpu_cfs_period"`
	MemoryHardLimit  int64             `config:"memory_hard_limit"` // MB
	PidsLimit        int64             `config:"pids_limit"`
	ShmSize          int64             `config:"shm_size"` // bytes
	OOMScoreAdj      int               `config:"oom_score_adj"`
	Ulimit           map[string]string `config:"ulimit"`
	Sysctl           map[string]string `config:"sysctl"`
	StorageOpt       map[string]string `config:"storage_opt"`
	UsernsMode       string            `config:"userns_mode"`
	PidMode          string            `config:"pid_mode"`
	IpcMode          string            `config:"ipc_mode"`
	UtsMode          string            `config:"uts_mode"`
	Cgroupns         string            `config:"cgroupns"`
	ReadonlyRootfs   bool              `config:"readonly_rootfs"`
	Init             bool              `config:"init"`
	WorkDir          string            `config:"work_dir"`
	Runtime          string            `config:"runtime"`
	Labels           map[string]string `config:"labels"`
	GroupAdd         []string          `config:"group_add"`
	Healthchecks     healthConfig      `config:"healthchecks"`
	ExistsAttempts   int               `config:"container_exists_attempts"`
	CpusetCpus       string            `config:"cpuset_cpus"` // accepted and not used, which the task is told
}

type mountConfig struct {
	Type          string        `config:"type"`
	Target        string        `config:"target,required"`
	Source        string        `config:"source"`
	Readonly      bool          `config:"readonly"`
	BindOptions   bindOptions   `config:"bind_options"`
	TmpfsOptions  tmpfsOptions  `config:"tmpfs_options"`
	VolumeOptions volumeOptions `config:"volume_options"`
}

type bindOptions struct {
	Propagation string `config:"propagation"`
}

type tmpfsOptions struct {
	Size int64 `config:"size"` // bytes
	Mode int   `config:"mode"`
}

type volumeOptions struct {
	NoCopy       bool                `config:"no_copy"`
	Labels       map[string]string   `config:"labels"`
	DriverConfig volumeDriverOptions `config:"driver_config"`
}

type volumeDriverOptions struct {
	Name    string            `config:"name"`
	Options map[string]string `config:"options"`
}

type deviceConfig struct {
	HostPath      string `config:"host_path,required"`
	ContainerPath string `config:"container_path"`
	Permissions   string `config:"cgroup_permissions"`
}

type authConfig struct {
	Username      string `config:"username"`
	Password      string `config:"password"`
	Email         string `config:"email"`
	ServerAddress string `config:"server_address"`
}

type healthConfig struct {
	Disable bool `config:"disable"`
}

// notYet are the options that such job files may have and that this driver does not have yet.
var notYet = []string{
	"port_map", "network_aliases", "ipv4_address", "ipv6_address", "mac_address", "advertise_ipv6_address", "volume_driver",
	"load", "logging", "isolation", "tty", "interactive",
}

// CheckConfig finds what the driver would not understand of a task's config, as it is in a job, on any node.
func CheckConfig(config map[string]any) []driver.Fault {
	return driver.CheckConfig(config, new(taskConfig), notYet...)
}

// decode reads a task's config and checks what it asks for against what the node allows.
func (o Options) decode(t driver.Task) (taskConfig, error) {
	var c taskConfig
	if err := driver.DecodeTask(t, &c, notYet...); err != nil {
		return c, err
	}
	var problems []string
	deny := func(option, value, remedy string) {
		problems = append(problems, "option \""+option+"\": "+value+" is not allowed on this node: "+remedy)
	}
	allowed := strings.Join(o.AllowCaps, " ")
	if c.Privileged && !o.AllowPrivileged {
		deny("privileged", "true", "set allow_privileged in its docker plugin config")
	}
	for _, name := range c.CapAdd {
		if !o.allowsCap(name) {
			deny("cap_add", name, "its docker plugin config allows "+strings.ToLower(allowed))
		}
	}
	for _, value := range c.SecurityOpt {
		if value != "no-new-privileges" && value != "no-new-privileges:true" && value != "no-new-privileges=true" && !o.AllowPrivileged {
			deny("security_opt", value, "set allow_privileged in its docker plugin config")
		}
	}
	for _, mode := range []struct {
		option, value string
		allowed       []string
	}{
		{"userns_mode", c.UsernsMode, o.AllowedModes.Userns},
		{"pid_mode", c.PidMode, o.AllowedModes.Pid},
		{"ipc_mode", c.IpcMode, o.AllowedModes.Ipc},
		{"uts_mode", c.UtsMode, o.AllowedModes.Uts},
	} {
		harmless := mode.value == "" || mode.value == "private" || mode.value == "none"
		if !harmless && !o.AllowPrivileged && !slices.Contains(mode.allowed, mode.value) {
			deny(mode.option, mode.value, "set allowed_modes or allow_privileged in its docker plugin config")
		}
	}
	if c.Runtime != "" && !slices.Contains(o.AllowRuntimes, c.Runtime) {
		deny("runtime", c.Runtime, "its docker plugin config allows "+strings.Join(o.AllowRuntimes, " "))
	}
	if _, err := duration(c.ImagePullTimeout); err != nil {
		problems = append(problems, `option "image_pull_timeout" must be a duration like "5m"`)
	}
	if len(problems) > 0 {
		return c, driver.Invalidf("config of task %q: %s", t.Name, strings.Join(problems, "; "))
	}
	return c, nil
}

func (o Options) allowsCap(name string) bool {
	return slices.ContainsFunc(o.AllowCaps, func(allowed string) bool {
		return capName(allowed) == capName(name) || capName(allowed) == "ALL"
	})
}

// caps are those to add to and to take from what the engine gives by itself.
func (o Options) caps(c taskConfig) (add, drop []string) {
	for _, name := range c.CapAdd {
		add = append(add, capName(name))
	}
	for _, name := range c.CapDrop {
		drop = append(drop, capName(name))
	}
	for _, name := range engineCaps {
		if !o.allowsCap(name) && !slices.Contains(drop, name) && !slices.Contains(drop, "ALL") {
			drop = append(drop, name)
		}
	}
	return add, drop
}
