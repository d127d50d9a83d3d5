package cluster

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
)

// TaskDirs are the directories of a task as the task itself sees them.
type TaskDirs struct{ Alloc, Local, Secrets string }

// Scope is what `${…}` in a job may name once the allocation has a node: the environment of its task and the values
// of the node. The zero Scope names nothing.
type Scope struct {
	env  map[string]string
	node *Node
}

// GroupScope is what the services of the allocation's group may name.
func (a *Allocation) GroupScope(n *Node) Scope {
	env := newEnvironment()
	a.describe(env, n)
	if group := a.Group(); group != nil {
		env.meta(a.Job.offered(), a.Job.Meta, group.Meta)
	}
	return Scope{env.vars, n}
}

// TaskScope is what the named task and its services may name: all of the task's environment, in which the task's own
// `env` wins. A task that the group does not have is a task without settings.
func (a *Allocation) TaskScope(n *Node, name string, dirs TaskDirs) Scope {
	env := newEnvironment()
	a.describe(env, n)
	var task Task
	group := a.Group()
	if group != nil {
		if found := group.Task(name); found != nil {
			task = *found
		}
		env.meta(a.Job.offered(), a.Job.Meta, group.Meta, task.Meta)
	}
	env.set("TASK_NAME", name)
	env.set("ALLOC_DIR", dirs.Alloc)
	env.set("TASK_DIR", dirs.Local)
	env.set("SECRETS_DIR", dirs.Secrets)
	env.set("CPU_LIMIT", strconv.Itoa(task.Resources.CPU))
	env.set("MEMORY_LIMIT", strconv.Itoa(task.Resources.MemoryMB))
	scope := Scope{env.vars, n}
	own := make(map[string]string, len(task.Env))
	for key, value := range task.Env {
		own[key] = scope.Interpolate(value)
	}
	maps.Copy(scope.env, own)
	return scope
}

// Env is the environment of the scope's task. It is the caller's.
func (s Scope) Env() map[string]string { return maps.Clone(s.env) }

// Interpolate is the text with every `${name}` replaced that the scope knows; others stay as they are.
// Names are those of environment variables, then those of node values; `${env["NAME"]}` is a variable too.
func (s Scope) Interpolate(text string) string {
	if !strings.Contains(text, "${") {
		return text
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "${")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		const longest = 512 // of a name; a bound, so that much text without ends takes no more than one pass
		name, _, closed := strings.Cut(after[:min(len(after), longest)], "}")
		value, known := "", false
		if closed {
			value, known = s.lookup(name)
		}
		if !known {
			b.WriteString("${")
			text = after
			continue
		}
		b.WriteString(value)
		text = after[len(name)+1:]
	}
}

// InterpolateValue is the value, as JSON has values, with every string in it interpolated, at any depth.
// Keys stay. The value given is not modified.
func (s Scope) InterpolateValue(value any) any {
	switch value := value.(type) {
	case string:
		return s.Interpolate(value)
	case []any:
		out := make([]any, len(value))
		for i := range value {
			out[i] = s.InterpolateValue(value[i])
		}
		return out
	case []string:
		out := make([]string, len(value))
		for i := range value {
			out[i] = s.Interpolate(value[i])
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(value))
		for key := range value {
			out[key] = s.InterpolateValue(value[key])
		}
		return out
	case map[string]string:
		out := make(map[string]string, len(value))
		for key := range value {
			out[key] = s.Interpolate(value[key])
		}
		return out
	case []map[string]any:
		out := make([]map[string]any, len(value))
		for i := range value {
			out[i], _ = s.InterpolateValue(value[i]).(map[string]any)
		}
		return out
	}
	return value
}

func (s Scope) lookup(name string) (string, bool) {
	if inner, ok := strings.CutPrefix(name, `env["`); ok {
		if inner, ok = strings.CutSuffix(inner, `"]`); ok {
			value, known := s.env[inner]
			return value, known
		}
	}
	if !isReference(name) {
		return "", false
	}
	if value, known := s.env[name]; known {
		return value, true
	}
	if strings.HasPrefix(name, "NOMAD_") || strings.HasPrefix(name, "CLUSTER_") {
		value, known := s.env[cleanVariable(name)]
		return value, known
	}
	if s.node == nil {
		return "", false
	}
	if name == "node.region" {
		return GlobalRegion, true
	}
	if inner, ok := strings.CutPrefix(name, "node."); ok && (strings.HasPrefix(inner, "attr.") || strings.HasPrefix(inner, "meta.")) {
		name = inner
	}
	return s.node.Resolve("${" + name + "}")
}

func isReference(name string) bool {
	for _, r := range name {
		if !isWord(r) && r != '.' && r != '-' {
			return false
		}
	}
	return name != ""
}

func isWord(r rune) bool {
	return r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// cleanVariable is the name with everything replaced that a shell would not take in the name of a variable.
func cleanVariable(name string) string {
	return strings.Map(func(r rune) rune {
		if isWord(r) {
			return r
		}
		return '_'
	}, name)
}

// environment collects the variables that the cluster gives to a task.
type environment struct{ vars map[string]string }

func newEnvironment() environment { return environment{make(map[string]string, 80)} }

// set adds a variable under both of its names.
func (e environment) set(name, value string) {
	e.vars["NOMAD_"+name] = value
	e.vars["CLUSTER_"+name] = value
}

// meta adds the metadata of all levels, of which later ones win, upper-cased and as written.
func (e environment) meta(levels ...map[string]string) {
	merged := map[string]string{}
	for _, level := range levels {
		maps.Copy(merged, level)
	}
	for key, value := range merged {
		e.set("META_"+cleanVariable(strings.ToUpper(key)), value)
	}
	for key, value := range merged { // what is written in this spelling wins over what became it
		e.set("META_"+cleanVariable(key), value)
	}
}

// offered are the keys that a dispatched job could have been given, each empty: so a task finds a variable for each of them.
func (j *Job) offered() map[string]string {
	if !j.Dispatched || j.ParameterizedJob == nil {
		return nil
	}
	empty := make(map[string]string, len(j.ParameterizedJob.MetaOptional))
	for _, key := range j.ParameterizedJob.MetaOptional {
		empty[key] = ""
	}
	return empty
}

// describe adds what all tasks of the allocation are told. A nil node is a node without a name.
func (a *Allocation) describe(e environment, n *Node) {
	e.set("ALLOC_ID", a.ID.String())
	e.set("SHORT_ALLOC_ID", a.ID.Short())
	e.set("ALLOC_NAME", a.Name())
	e.set("ALLOC_INDEX", strconv.Itoa(int(a.Index)))
	e.set("GROUP_NAME", a.TaskGroup)
	e.set("JOB_ID", a.Job.ID)
	e.set("JOB_NAME", a.Job.Name)
	if a.Job.ParentID != "" {
		e.set("JOB_PARENT_ID", a.Job.ParentID)
	}
	e.set("NAMESPACE", a.Namespace())
	e.set("REGION", GlobalRegion)
	if n != nil {
		e.set("DC", n.Datacenter)
	}
	for _, port := range a.Ports {
		label, ip := cleanVariable(port.Label), port.address(n)
		host, inside := strconv.Itoa(int(port.Value)), strconv.Itoa(int(port.Value))
		if port.To > 0 {
			inside = strconv.Itoa(int(port.To))
		}
		e.set("IP_"+label, ip)
		e.set("HOST_IP_"+label, ip)
		e.set("PORT_"+label, inside)
		e.set("ALLOC_PORT_"+label, inside)
		e.set("HOST_PORT_"+label, host)
		e.set("ADDR_"+label, net.JoinHostPort(ip, host))
		e.set("HOST_ADDR_"+label, net.JoinHostPort(ip, host))
	}
}

// address is the IP address at which the port is reached: the one that it was given, unless the node has that no more.
func (p AllocatedPort) address(n *Node) string {
	if n == nil {
		return p.HostIP
	}
	if ip := net.ParseIP(p.HostIP); ip != nil && !ip.IsUnspecified() && (n.hasAddress(p.HostIP) || n.Address() == "") {
		return p.HostIP
	}
	return n.Address()
}

// PortsOn are the allocation's ports with the addresses at which they are reached now.
func (a *Allocation) PortsOn(n *Node) []AllocatedPort {
	ports := slices.Clone(a.Ports)
	for i, p := range ports {
		ports[i].HostIP = p.address(n)
	}
	return ports
}
