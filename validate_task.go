package cluster

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// networks checks a group's ports and returns their labels.
func (v *validator) networks(at Path, g *TaskGroup) map[string]bool {
	type hostPort struct {
		network string
		port    int
	}
	labels, static := map[string]bool{}, map[hostPort]string{}
	for i, n := range g.Networks {
		path := at.Index("network", i)
		for _, port := range slices.Concat(n.ReservedPorts, n.DynamicPorts) {
			where := path.Label("port", port.Label)
			v.port(where, port)
			v.check(!labels[port.Label], where, "Port label %s already in use by the group's network; give each port a label of its own", quote(port.Label))
			labels[port.Label] = true
			if port.Value > 0 {
				key := hostPort{port.HostNetwork, port.Value}
				other, taken := static[key]
				v.check(!taken, where.Field("static"), "Static port %d already reserved by port %s; choose another", port.Value, quote(other))
				static[key] = port.Label
			}
		}
	}
	for _, t := range g.Tasks {
		for _, n := range t.Resources.Networks {
			for _, port := range slices.Concat(n.ReservedPorts, n.DynamicPorts) {
				labels[port.Label] = true
			}
		}
	}
	return labels
}

var portLabel = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

func (v *validator) port(at Path, p Port) {
	v.name(at, "port label", p.Label)
	v.check(p.Label == "" || len(p.Label) > MaxNameLength || portLabel.MatchString(p.Label), at,
		"Port label %s may contain only letters, digits, dashes and underscores: it becomes part of variable names", quote(p.Label))
	v.check(p.Value >= 0 && p.Value <= maxPort, at.Field("static"), "Static port %d is not between 1 and 65535", p.Value)
	v.check(p.To <= maxPort, at.Field("to"), "Port %s cannot be mapped to a port (%d) greater than 65535", quote(p.Label), p.To)
	v.check(p.To >= -1, at.Field("to"), "Port %s cannot be mapped to a negative port (%d)", quote(p.Label), p.To)
}

func (v *validator) task(at Path, j *Job, g *TaskGroup, t *Task) {
	v.name(at, "task name", t.Name)
	v.check(!strings.ContainsAny(t.Name, "/\\\x00") && t.Name != "." && t.Name != "..", at, "Task name cannot include slashes or be a dot: %s; it becomes the name of a folder", quote(t.Name))
	v.check(t.Name != "alloc", at, `Task name cannot be "alloc": the folder that tasks share has that name`)
	v.check(t.Driver != "", at, `Missing task driver; write one such as driver = "docker"`)
	v.short(at.Field("driver"), "driver", t.Driver)
	v.short(at.Field("user"), "user", t.User)
	v.check(t.KillTimeout >= 0, at.Field("kill_timeout"), "KillTimeout must be a positive value, have %s", t.KillTimeout)
	if g.Update != nil && j.Type == JobTypeService && g.Update.ProgressDeadline > 0 {
		v.check(t.KillTimeout <= g.Update.ProgressDeadline, at.Field("kill_timeout"),
			"KillTimeout (%s) is longer than the group's ProgressDeadline (%s)", t.KillTimeout, g.Update.ProgressDeadline)
	}
	v.check(t.ShutdownDelay >= 0, at.Field("shutdown_delay"), "ShutdownDelay must be a positive value, have %s", t.ShutdownDelay)
	v.environment(at.Field("env"), t.Env)
	v.constraints(at, t.Constraints, false)
	if t.RestartPolicy != g.RestartPolicy { // else it is the group's, and said there
		v.restart(at.Field("restart"), &t.RestartPolicy, false)
	}
	v.resources(at.Field("resources"), t.Resources)
	v.logs(at.Field("logs"), g, t.LogConfig)
}

func (v *validator) environment(at Path, env map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(env)) {
		v.check(name != "" && !strings.ContainsAny(name, "=\x00"), at, `Environment variable name %s is empty or contains "="`, quote(name))
		v.check(!strings.Contains(env[name], "\x00"), at, "The value of environment variable %s contains a NUL", quote(name))
	}
}

func (v *validator) resources(at Path, r Resources) {
	const most = 1 << 30
	v.check(r.CPU >= 1 || r.Cores > 0, at.Field("cpu"), "minimum CPU value is 1; got %d", r.CPU)
	v.check(r.CPU == 0 || r.Cores == 0, at.Field("cores"), "Task can only ask for 'cpu' or 'cores' resource, not both; remove one")
	v.check(r.MemoryMB >= 10, at.Field("memory"), "minimum MemoryMB value is 10; got %d", r.MemoryMB)
	v.check(r.CPU <= most, at.Field("cpu"), "CPU of %d is more than any machine has; the unit is MHz", r.CPU)
	v.check(r.MemoryMB <= most, at.Field("memory"), "MemoryMB of %d is more than any machine has; the unit is MB", r.MemoryMB)
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

// services checks the services of a group and of its tasks.
func (v *validator) services(at Path, g *TaskGroup, ports map[string]bool) {
	all := g.AllServices()
	v.check(len(all) <= maxServices, at, "The group has %d services, the limit is %d", len(all), maxServices)
	provider := ""
	seen := map[[2]string]bool{}
	one := func(path Path, s *Service, task string) {
		v.service(path, s, ports, task)
		v.check(s.TaskName == "" || g.Task(s.TaskName) != nil, path.Field("task"), "Service refers to task %s, which the group does not have", quote(s.TaskName))
		v.check(provider == "" || provider == s.Provider, path.Field("provider"), "Multiple service providers used: group services must use the same provider, have %q and %s", provider, quote(s.Provider))
		provider = s.Provider
		key := [2]string{s.Name, s.PortLabel}
		v.check(!seen[key], path, "Service %s with port %s is defined twice in the group; give it another name", quote(s.Name), quote(s.PortLabel))
		seen[key] = true
	}
	for i := range g.Services {
		one(at.Index("service", i), &g.Services[i], "")
	}
	for t := range g.Tasks {
		task := &g.Tasks[t]
		for i := range task.Services {
			one(at.Label("task", task.Name).Index("service", i), &task.Services[i], task.Name)
		}
	}
}

var (
	serviceName  = regexp.MustCompile(`^(?i:[a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$`)
	httpMethod   = regexp.MustCompile(`^[A-Za-z]{1,20}$`)
	reservedName = map[string]bool{"ns": true, "tag": true, "node": true, "dc": true, "region": true}
)

func (v *validator) service(at Path, s *Service, ports map[string]bool, task string) {
	if !strings.Contains(s.Name, "${") {
		v.check(serviceName.MatchString(s.Name), at.Field("name"), "Service name must be valid per RFC 1123 and can contain only alphanumeric characters or dashes and must be no longer than 63 characters: %s", quote(s.Name))
		v.check(!reservedName[strings.ToLower(s.Name)], at.Field("name"), "Service name %q has a meaning of its own in names such as web.ns.cluster.internal; choose another", s.Name)
	} else {
		v.check(len(s.Name) <= MaxNameLength, at.Field("name"), "The service name %s… is %d bytes long, the limit is %d", quote(s.Name), len(s.Name), MaxNameLength)
	}
	v.check(task == "" || s.TaskName == "" || s.TaskName == task, at.Field("task"), "Service %s is task %s's and can not refer to task %s", quote(s.Name), quote(task), quote(s.TaskName))
	v.check(s.Address == "" || s.AddressMode == "auto", at.Field("address"), `Service address must only be set with address_mode "auto"`)
	v.portLabel(at.Field("port"), s.PortLabel, ports)
	v.check(len(s.Checks) <= maxChecks, at, "The service has %d checks, the limit is %d", len(s.Checks), maxChecks)
	for i := range s.Checks {
		v.serviceCheck(at.Index("check", i), s, &s.Checks[i], ports)
	}
}

// portLabel checks a reference to a port of the group; a number names itself.
func (v *validator) portLabel(at Path, label string, ports map[string]bool) {
	if label == "" || strings.Contains(label, "${") || ports[label] {
		return
	}
	if number, err := strconv.Atoi(label); err == nil {
		v.check(number > 0 && number <= maxPort, at, "Port %d is not between 1 and 65535", number)
		return
	}
	v.check(false, at, `port label %s referenced by services does not exist; write port %s {} into the group's network`, quote(label), quote(label))
}

const minCheckTime = time.Second

func (v *validator) serviceCheck(at Path, s *Service, c *Check, ports map[string]bool) {
	v.short(at.Field("name"), "check name", c.Name)
	switch c.Type {
	case CheckHTTP:
		v.check(c.Path != "", at, `http type must have http path; write one such as path = "/health"`)
		v.check(!strings.Contains(c.Path, "://"), at.Field("path"), "Path must be relative to the service, such as /health; have %s", quote(c.Path))
		v.check(c.Method == "" || httpMethod.MatchString(c.Method), at.Field("method"), "Method %s is not one of HTTP's; write GET", quote(c.Method))
	case "":
		v.check(false, at, `missing check type; write type = "http" or "tcp"`)
	}
	v.check(c.Interval >= minCheckTime, at.Field("interval"), "interval (%s) cannot be lower than %s", c.Interval, minCheckTime)
	v.check(c.Timeout >= minCheckTime, at.Field("timeout"), "timeout (%s) is lower than required minimum timeout %s", c.Timeout, minCheckTime)
	v.check(c.Type == "" || c.Type == CheckScript || c.PortLabel != "" || s.PortLabel != "", at, "%s check without a port; write port in the service or in the check", quote(c.Type))
	v.portLabel(at.Field("port"), c.PortLabel, ports)
}
