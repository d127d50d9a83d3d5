package cluster

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

func (v *validator) task(at Path, g *TaskGroup, t *Task) {
	v.name(at, "task name", t.Name)
	v.check(!strings.ContainsAny(t.Name, "/\\\x00") && t.Name != "." && t.Name != "..", at, "Task name cannot include slashes or be a dot: %s; it becomes the name of a folder", quote(t.Name))
	v.check(t.Name != "alloc", at, `Task name cannot be "alloc": the folder that tasks share has that name`)
	v.check(t.Driver != "", at, `Missing task driver; write one such as driver = "docker"`)
	v.short(at.Field("driver"), "driver", t.Driver)
	if near := Nearest(t.Driver, knownDrivers); t.Driver != "" && !slices.Contains(knownDrivers, t.Driver) && near != "" {
		v.warn(true, at.Field("driver"), "the driver %s is none of those that are usual; did you mean %q? A node without it does not run the task", quote(t.Driver), near)
	}
	v.short(at.Field("user"), "user", t.User)
	v.check(t.KillTimeout >= 0, at.Field("kill_timeout"), "KillTimeout must be a positive value, have %s", t.KillTimeout)
	v.signal(at.Field("kill_signal"), t.KillSignal)
	v.delay(at, t.ShutdownDelay)
	v.environment(at.Field("env"), t.Env)
	v.constraints(at, t.Constraints, false)
	v.affinities(at, t.Affinities)
	if t.RestartPolicy != g.RestartPolicy { // else it is the group's, and said there
		v.restart(at.Field("restart"), &t.RestartPolicy, false)
	}
	v.resources(at.Field("resources"), &t.Resources)
	v.logs(at.Field("logs"), g, t.LogConfig)
	v.lifecycle(at.Field("lifecycle"), t.Lifecycle)
	v.actions(at, t.Actions)
	v.artifacts(at, t.Artifacts)
	v.templates(at, t.Templates)
	v.volumeMounts(at, g, t.VolumeMounts)
	v.csiPlugin(at.Field("csi_plugin"), t.CSIPluginConfig)
	v.identities(at, t)
	v.secrets(at, t)
	v.taskScaling(at, t)
}

// knownDrivers are drivers that real job files name. A node may have others.
var knownDrivers = []string{"docker", "raw_exec", "exec", "exec2", "java", "qemu", "podman", "containerd-driver", "mock_driver", "lxc", "nix", "nix2", "pot", "virt"}

func (v *validator) environment(at Path, env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		v.check(name != "" && !strings.ContainsAny(name, "=\x00"), at, `Environment variable name %s is empty or contains "="`, quote(name))
		v.check(!strings.Contains(env[name], "\x00"), at, "The value of environment variable %s contains a NUL", quote(name))
	}
}

// signal warns of a name that no signal has. A node may know more.
func (v *validator) signal(at Path, name string) {
	known := strings.Split(Signals, ",")
	if name != "" && !strings.Contains(name, "${") && !slices.Contains(known, strings.ToUpper(name)) && !slices.Contains(known, "SIG"+strings.ToUpper(name)) {
		v.warn(true, at, "no signal is called %s%s", quote(name), didYouMean(strings.ToUpper(name), known))
	}
}

// mostResources is more than any machine has of anything.
const mostResources = 1 << 30

func (v *validator) resources(at Path, r *Resources) {
	v.check(r.CPU >= 1 || r.Cores > 0, at.Field("cpu"), "minimum CPU value is 1; got %d", r.CPU)
	v.check(r.CPU == 0 || r.Cores == 0, at.Field("cores"), "Task can only ask for 'cpu' or 'cores' resource, not both; remove one")
	v.check(r.Cores >= 0, at.Field("cores"), "Cores can not be negative; got %d", r.Cores)
	v.check(r.MemoryMB >= 10, at.Field("memory"), "minimum MemoryMB value is 10; got %d", r.MemoryMB)
	v.check(r.MemoryMaxMB == 0 || r.MemoryMaxMB == -1 || r.MemoryMaxMB >= r.MemoryMB, at.Field("memory_max"),
		"MemoryMaxMB value (%d) should be larger than MemoryMB value (%d), or -1 for no limit", r.MemoryMaxMB, r.MemoryMB)
	v.check(r.SecretsMB >= 0 && r.SecretsMB <= max(r.MemoryMB, 0), at.Field("secrets"), "SecretsMB value (%d) is a part of the memory: between 0 and %d", r.SecretsMB, r.MemoryMB)
	v.check(r.DiskMB == 0, at.Field("disk"), "Task can't ask for disk resources, they have to be specified at the task group level: write ephemeral_disk { size = %d } into the group", r.DiskMB)
	v.check(r.CPU <= mostResources, at.Field("cpu"), "CPU of %d is more than any machine has; the unit is MHz", r.CPU)
	v.check(r.Cores <= mostResources, at.Field("cores"), "%d cores are more than any machine has", r.Cores)
	v.check(r.MemoryMB <= mostResources, at.Field("memory"), "MemoryMB of %d is more than any machine has; the unit is MB", r.MemoryMB)
	v.check(r.MemoryMaxMB <= mostResources, at.Field("memory_max"), "MemoryMaxMB of %d is more than any machine has; the unit is MB", r.MemoryMaxMB)
	for i := range r.Devices {
		d := &r.Devices[i]
		path := at.Label("device", d.Name)
		v.name(path, "device name", d.Name)
		v.check(strings.Count(d.Name, "/") <= 2, path, "The device name %s has too many parts; write type, vendor/type or vendor/type/model", quote(d.Name))
		v.check(d.Count >= 0 && d.Count <= mostResources, path.Field("count"), "A count of %d devices makes no sense", d.Count)
		v.warn(d.Count == 0, path.Field("count"), "a count of 0 asks for no device")
		v.constraints(path, d.Constraints, false)
		v.affinities(path, d.Affinities)
	}
	if r.NUMA != nil {
		v.numa(at.Field("numa"), r)
	}
}

func (v *validator) numa(at Path, r *Resources) {
	for i, name := range r.NUMA.Devices {
		v.check(slices.ContainsFunc(r.Devices, func(d RequestedDevice) bool { return d.Name == name }), at.Field("devices"), "numa device %s not requested as task resource", quote(name))
		v.check(!slices.Contains(r.NUMA.Devices[:i], name), at.Field("devices"), "numa device %s is named twice", quote(name))
	}
	v.warn(r.NUMA.Affinity != "none" && r.Cores == 0, at, "only reserved cores are bound: write cores instead of cpu")
}

func (v *validator) logs(at Path, g *TaskGroup, l LogConfig) {
	v.check(l.MaxFiles >= 1, at.Field("max_files"), "minimum number of files is 1; got %d", l.MaxFiles)
	v.check(l.MaxFileSizeMB >= 1, at.Field("max_file_size"), "minimum file size is 1MB; got %d", l.MaxFileSizeMB)
	if l.MaxFiles < 1 || l.MaxFileSizeMB < 1 || l.Disabled {
		return
	}
	fits := l.MaxFileSizeMB < g.EphemeralDisk.SizeMB && l.MaxFiles <= (g.EphemeralDisk.SizeMB-1)/l.MaxFileSizeMB
	v.check(fits, at, "log storage (%d files of %d MB) must be less than requested disk capacity (%d MB); write a larger ephemeral_disk or fewer files", l.MaxFiles, l.MaxFileSizeMB, g.EphemeralDisk.SizeMB)
}

func (v *validator) lifecycle(at Path, l *Lifecycle) {
	if l == nil {
		return
	}
	v.check(l.Hook != "", at, `no lifecycle hook provided; write hook = "prestart", "poststart" or "poststop"`)
	v.warn(l.Hook == HookPoststop && l.Sidecar, at.Field("sidecar"), "a poststop task runs after the main ones, and is no sidecar of theirs")
}

// The names of actions, identities and secrets.
var (
	actionName   = regexp.MustCompile(`^[^\x00\s]{1,128}$`)
	identityName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	secretName   = regexp.MustCompile(`^[a-zA-Z0-9_]{1,128}$`)
)

func (v *validator) actions(at Path, actions []Action) {
	seen := map[string]bool{}
	for _, a := range actions {
		path := at.Label("action", a.Name)
		v.check(actionName.MatchString(a.Name), path, "Action name %s is not 1 to 128 characters without spaces", quote(a.Name))
		v.check(!seen[a.Name], path, "Action %s redefined in the task; give each action a name of its own", quote(a.Name))
		seen[a.Name] = true
		v.check(a.Command != "", path, "Action %s has no command; write one", quote(a.Name))
	}
}

// identities checks the task's own identity and the others.
func (v *validator) identities(at Path, t *Task) {
	if t.Identity != nil {
		v.identity(at.Field("identity"), t.Identity)
		v.check(t.Identity.TTL == 0, at.Field("identity").Field("ttl"), "ttl for default identity not yet supported; give the identity a name")
	}
	own := t.ownIdentities()
	v.check(len(own) == 0, at, `The task has %d identities of its own, which have no name or that of %q; write one, and give the others names`, len(own), DefaultIdentity)
	seen := map[string]bool{}
	for i := range t.Identities {
		if slices.Contains(own, i) {
			continue
		}
		w := &t.Identities[i]
		path := at.Label("identity", w.Name)
		v.identity(path, w)
		v.check(identityName.MatchString(w.Name), path, "invalid identity name %s: write letters, digits, dashes and underscores, at most 128", quote(w.Name))
		v.warn(seen[w.Name], path, "the task has two identities called %s, and the later one counts", quote(w.Name))
		seen[w.Name] = true
		v.warn(len(w.Audience) == 0, path, "identities without an audience are insecure: write aud")
		v.warn(w.TTL == 0, path, "identities without an expiration are insecure: write ttl")
	}
}

func (v *validator) identity(at Path, w *WorkloadIdentity) {
	v.check(!slices.Contains(w.Audience, ""), at.Field("aud"), "an empty string is an invalid audience")
	v.check(w.TTL >= 0, at.Field("ttl"), "ttl must be >= 0, have %s", w.TTL)
	v.check(w.ChangeMode != "signal" || w.ChangeSignal != "", at, `change_signal must be specified when using change_mode = "signal"`)
	v.check(w.ChangeMode == "signal" || w.ChangeSignal == "", at.Field("change_signal"), `change_signal = %s has an effect with change_mode = "signal" alone`, quote(w.ChangeSignal))
	v.signal(at.Field("change_signal"), w.ChangeSignal)
	v.check(w.Filepath == "" || w.File, at.Field("filepath"), "file parameter must be true in order to specify filepath")
	v.check(!escapes("task", w.Filepath), at.Field("filepath"), "filepath %s is not inside of the allocation's directory", quote(w.Filepath))
}

// secrets checks the secrets of a task, and its Vault.
func (v *validator) secrets(at Path, t *Task) {
	seen := map[string]bool{}
	for i := range t.Secrets {
		s := &t.Secrets[i]
		path := at.Label("secret", s.Name)
		v.check(secretName.MatchString(s.Name), path, "Secret name %s is not 1 to 128 letters, digits and underscores", quote(s.Name))
		v.check(!seen[s.Name], path, "Secret %s redefined in the task; give each secret a name of its own", quote(s.Name))
		seen[s.Name] = true
		v.check(s.Provider != "", path, `Secret %s has no provider; write provider = "nomad"`, quote(s.Name))
		v.check(s.Path != "", path, "Secret %s has no path; write where its provider keeps it", quote(s.Name))
		v.check(s.Provider != "vault" || t.Vault != nil, path, `Secret %s has the provider "vault", which needs a vault block in the task`, quote(s.Name))
		builtin := s.Provider == "nomad" || s.Provider == "vault"
		v.check(!builtin || len(s.Env) == 0, path.Field("env"), "Secret %s: env is for providers that are plugins, not for %s", quote(s.Name), quote(s.Provider))
	}
	if t.Vault != nil {
		v.check(t.Vault.ChangeMode != "signal" || t.Vault.ChangeSignal != "", at.Field("vault"), `Signal must be specified when using change_mode = "signal": write change_signal`)
		v.signal(at.Field("vault").Field("change_signal"), t.Vault.ChangeSignal)
	}
}
