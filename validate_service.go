package cluster

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	minCheckTime = time.Second
	maxNotes     = 255 // characters
)

var (
	serviceName = regexp.MustCompile(`^(?i:[a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$`)
	httpMethod  = regexp.MustCompile(`^[A-Za-z]{1,20}$`)
	// reservedName are words with a meaning of their own in names such as web.ns.cluster.internal.
	reservedName = []string{"ns", "tag", "node", "dc", "region"}
)

// serviceCheck is a check of the services of a group and of its tasks.
type serviceCheck struct {
	*validator
	group    *TaskGroup
	ports    map[string]bool
	provider string
	seen     map[[2]string]bool // by name and port
}

// services checks the services of a group and of its tasks.
func (v *validator) services(at Path, g *TaskGroup, ports map[string]bool) {
	count := len(g.AllServices())
	v.check(count <= maxServices, at, "The group has %d services, the limit is %d", count, maxServices)
	c := serviceCheck{validator: v, group: g, ports: ports, seen: map[[2]string]bool{}}
	for i := range g.Services {
		c.service(at.Index("service", i), &g.Services[i], nil)
	}
	for t := range g.Tasks {
		task := &g.Tasks[t]
		for i := range task.Services {
			c.service(at.Label("task", task.Name).Index("service", i), &task.Services[i], task)
		}
	}
	v.upstreams(at, g)
}

// service checks a service of the task, or of the group if that is nil.
func (c *serviceCheck) service(at Path, s *Service, task *Task) {
	name := at.Field("name")
	if strings.Contains(s.Name, "${") {
		c.check(len(s.Name) <= MaxNameLength, name, "The service name %s… is %d bytes long, the limit is %d", quote(s.Name), len(s.Name), MaxNameLength)
	} else {
		c.check(serviceName.MatchString(s.Name), name, "Service name must be valid per RFC 1123 and can contain only alphanumeric characters or dashes and must be no longer than 63 characters: %s", quote(s.Name))
		c.warn(slices.Contains(reservedName, strings.ToLower(s.Name)), name, "the service name %s has a meaning of its own in names such as web.ns.cluster.internal: the service is not found by it", quote(s.Name))
	}
	c.check(c.provider == "" || c.provider == s.Provider, at.Field("provider"), "Multiple service providers used: group services must use the same provider, have %q and %s", c.provider, quote(s.Provider))
	c.provider = cmp.Or(c.provider, s.Provider)
	key := [2]string{s.Name, s.PortLabel}
	c.check(!c.seen[key], at, "Service %s with port %s is defined twice in the group; give it another name", quote(s.Name), quote(s.PortLabel))
	c.seen[key] = true
	c.check(s.Address == "" || s.AddressMode == "auto", at.Field("address"), `Service address must only be set with address_mode "auto"`)
	_, err := netip.ParseAddr(s.Address)
	c.warn(s.Address != "" && err != nil && !strings.Contains(s.Address, "${"), at.Field("address"), "%s is no IP address: the service is listed, and its name is not resolved", quote(s.Address))
	c.place(at, s, task)
	c.port(at.Field("port"), s.PortLabel)
	c.checkRestart(at.Field("check_restart"), s.CheckRestart, nil)
	if s.Weights != nil {
		c.problemsOfWeights(at.Field("weights"), s.Weights)
	}
	if s.Identity != nil {
		c.check(len(s.Identity.Audience) > 0, at.Field("identity"), "Service identity must provide at least one target aud value")
		c.identity(at.Field("identity"), s.Identity)
	}
	c.connect(at.Field("connect"), s, task)
	c.check(len(s.Checks) <= maxChecks, at, "The service has %d checks, the limit is %d", len(s.Checks), maxChecks)
	for i := range s.Checks {
		path := at.Index("check", i)
		c.serviceCheck(path, s, &s.Checks[i])
		c.providedCheck(path, s, &s.Checks[i])
		script := s.Checks[i].Type == CheckScript && task == nil && s.TaskName == "" && s.Checks[i].TaskName == ""
		c.check(!script, path, "Service %s: a script check in a group's service must specify the task parameter; write the task that it runs in", quote(s.Name))
	}
}

func (c *serviceCheck) problemsOfWeights(at Path, w *ServiceWeights) {
	c.check(w.Passing >= 1, at.Field("passing"), "Service passing weight must be > 0; got %d", w.Passing)
	c.check(w.Warning >= 0, at.Field("warning"), "Service warning weight must be >= 0; got %d", w.Warning)
}

// place checks which task a service belongs to, and what services there may have.
func (c *serviceCheck) place(at Path, s *Service, task *Task) {
	c.check(task == nil || s.TaskName == "" || s.TaskName == task.Name, at.Field("task"), "Service %s is another task's and can not refer to task %s; remove task", quote(s.Name), quote(s.TaskName))
	c.taskExists(at.Field("task"), s.TaskName)
	for _, check := range s.Checks {
		c.taskExists(at.Field("task"), check.TaskName)
	}
	if task == nil {
		c.check(s.AddressMode != "driver", at.Field("address_mode"), `service %s cannot use address_mode="driver", only services defined in a "task" block can use this mode`, quote(s.Name))
		if named := c.group.Task(s.TaskName); named != nil {
			c.warn(named.ShutdownDelay == 0 && c.group.ShutdownDelay == 0, at.Field("task"),
				"the service goes with task %s, which has no shutdown_delay: it may be asked while the task ends", quote(s.TaskName))
		}
		return
	}
	c.check(!strings.HasPrefix(s.AddressMode, "alloc"), at.Field("address_mode"), `service %s cannot use address_mode=%q, only services defined in a "group" block can use this mode`, quote(s.Name), s.AddressMode)
}

func (c *serviceCheck) taskExists(at Path, name string) {
	if name != "" && c.group.Task(name) == nil {
		var known []string
		for i := range c.group.Tasks {
			known = append(known, c.group.Tasks[i].Name)
		}
		c.check(false, at, "Service refers to task %s, which the group does not have%s", quote(name), didYouMean(name, known))
	}
}

// port checks a reference to a port of the group; a number names itself.
func (c *serviceCheck) port(at Path, label string) {
	if label == "" || strings.Contains(label, "${") || c.ports[label] {
		return
	}
	if number, err := strconv.Atoi(label); err == nil {
		c.check(number > 0 && number <= maxPort, at, "Port %d is not between 1 and 65535", number)
		return
	}
	c.check(false, at, `port label %s referenced by services does not exist; write port %s {} into the group's network%s`, quote(label), quote(label), didYouMean(label, names(c.ports)))
}

// checkRestart says what is wrong with the policy r, but for what it inherits of another, nil for none: that is said there.
func (c *serviceCheck) checkRestart(at Path, r, inherited *CheckRestart) {
	if r == nil {
		return
	}
	c.check(r.Limit >= 0 || inherited != nil && r.Limit == inherited.Limit, at.Field("limit"), "limit must be greater than or equal to 0 but found %d", r.Limit)
	c.check(r.Grace >= 0 || inherited != nil && r.Grace == inherited.Grace, at.Field("grace"), "grace period cannot be negative: %s", r.Grace)
}

// serviceCheck is what all providers ask of a check.
func (c *serviceCheck) serviceCheck(at Path, s *Service, k *Check) {
	c.short(at.Field("name"), "check name", k.Name)
	switch k.Type {
	case CheckHTTP:
		c.check(k.Path != "", at, `http type must have http path; write one such as path = "/health"`)
		c.check(!strings.Contains(k.Path, "://"), at.Field("path"), "Path must be relative to the service, such as /health; have %s", quote(k.Path))
		c.check(k.Method == "" || httpMethod.MatchString(k.Method), at.Field("method"), "Method %s is not one of HTTP's; write GET", quote(k.Method))
	case CheckScript:
		c.check(k.Command != "", at, "script type must have a valid script path; write command")
		c.check(k.SuccessBeforePassing == 0 && k.FailuresBeforeCritical == 0 && k.FailuresBeforeWarning == 0, at, "success_before_passing, failures_before_critical and failures_before_warning are not for script checks")
	case "":
		c.check(false, at, `missing check type; write type = "http" or "tcp"`)
	}
	c.check(k.Interval != 0, at, `missing required value interval; write one such as interval = "10s"`)
	c.check(k.Interval == 0 || k.Interval >= minCheckTime, at.Field("interval"), "interval (%s) cannot be lower than %s", k.Interval, minCheckTime)
	c.check(k.Timeout != 0, at, `missing required value timeout; write one such as timeout = "2s"`)
	c.check(k.Timeout == 0 || k.Timeout >= minCheckTime, at.Field("timeout"), "timeout (%s) is lower than required minimum timeout %s", k.Timeout, minCheckTime)
	c.idle(at, k)
	c.check(k.Type == "" || k.Type == CheckScript || k.PortLabel != "" || s.PortLabel != "" || k.Expose, at, "%s check without a port; write port in the service or in the check", quote(k.Type))
	c.port(at.Field("port"), k.PortLabel)
	c.check(k.SuccessBeforePassing >= 0, at.Field("success_before_passing"), "success_before_passing must be non-negative; have %d", k.SuccessBeforePassing)
	c.check(k.FailuresBeforeCritical >= 0, at.Field("failures_before_critical"), "failures_before_critical must be non-negative; have %d", k.FailuresBeforeCritical)
	c.check(k.FailuresBeforeWarning >= 0, at.Field("failures_before_warning"), "failures_before_warning must be non-negative; have %d", k.FailuresBeforeWarning)
	c.check(utf8.RuneCountInString(k.Notes) <= maxNotes, at.Field("notes"), "notes must not be longer than %d characters", maxNotes)
	c.checkRestart(at.Field("check_restart"), k.CheckRestart, s.CheckRestart)
	c.check(k.CheckRestart == nil || k.CheckRestart.Limit == 0 || k.OnUpdate != OnUpdateIgnore, at.Field("on_update"), `on_update = "ignore" and check_restart exclude one another; remove one`)
	c.check(k.CheckRestart == nil || k.CheckRestart.Limit == 0 || k.CheckRestart.IgnoreWarnings || k.OnUpdate != OnUpdateIgnoreWarnings, at.Field("on_update"),
		`on_update = "ignore_warnings" does not go with a check_restart that counts them; write ignore_warnings = true into it`)
}

// idle warns of what is written in a check and has no effect on one of its type.
func (c *serviceCheck) idle(at Path, k *Check) {
	for _, setting := range []struct {
		field   string
		written bool
		types   []string
	}{
		{"path", k.Path != "", []string{CheckHTTP}},
		{"method", k.Method != "", []string{CheckHTTP}},
		{"protocol", k.Protocol != "", []string{CheckHTTP}},
		{"header", len(k.Header) > 0, []string{CheckHTTP}},
		{"body", k.Body != "", []string{CheckHTTP}},
		{"tls_skip_verify", k.TLSSkipVerify, []string{CheckHTTP, CheckGRPC}},
		{"command", k.Command != "", []string{CheckScript}},
		{"args", len(k.Args) > 0, []string{CheckScript}},
		{"grpc_service", k.GRPCService != "", []string{CheckGRPC}},
		{"grpc_use_tls", k.GRPCUseTLS, []string{CheckGRPC}},
	} {
		c.warn(setting.written && k.Type != "" && !slices.Contains(setting.types, k.Type), at.Field(setting.field),
			"%s has no effect on a check of type %s, but on one of type %s", setting.field, quote(k.Type), oneOf(setting.types))
	}
}

// providedCheck is what the provider nomad asks of a check.
func (c *serviceCheck) providedCheck(at Path, s *Service, k *Check) {
	sidecar := s.Connect != nil && s.Connect.SidecarService != nil
	c.check(!k.Expose || s.Provider == ProviderNomad || sidecar, at.Field("expose"), "exposed service check requires use of a sidecar_service in the group's service")
	if s.Provider != ProviderNomad {
		return
	}
	only := func(ok bool, field string) {
		c.check(ok, at.Field(field), `%s may only be set for Consul service checks; remove it, or write provider = "consul"`, field)
	}
	switch k.Type {
	case CheckGRPC, CheckScript:
		c.check(false, at.Field("type"), `invalid check type (%q), must be one of "http" or "tcp" with provider "nomad"`, k.Type)
	}
	only(!k.Expose, "expose")
	only(k.OnUpdate != OnUpdateIgnoreWarnings, "on_update")
	only(k.AddressMode != "driver", "address_mode")
	only(k.SuccessBeforePassing == 0, "success_before_passing")
	only(k.FailuresBeforeCritical == 0, "failures_before_critical")
	only(k.FailuresBeforeWarning == 0, "failures_before_warning")
	only(k.CheckRestart == nil || !k.CheckRestart.IgnoreWarnings, "check_restart")
}
