package cluster

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// networks checks a group's ports and returns their labels.
func (v *validator) networks(at Path, g *TaskGroup) map[string]bool {
	ports := portCheck{v, map[string]bool{}, map[hostPort]string{}}
	for i := range g.Networks {
		path := at.Index("network", i)
		v.network(path, &g.Networks[i])
		v.warn(i > 0, path, "a group has one network: the mode of the first one counts, and the ports of all")
		ports.network(path, &g.Networks[i])
	}
	all := maps.Clone(ports.labels)
	for t := range g.Tasks {
		task := at.Label("task", g.Tasks[t].Name).Field("resources")
		ports := portCheck{v, maps.Clone(ports.labels), ports.static} // other tasks may have the same labels
		for i := range g.Tasks[t].Resources.Networks {
			path := task.Index("network", i)
			v.network(path, &g.Tasks[t].Resources.Networks[i])
			ports.network(path, &g.Tasks[t].Resources.Networks[i])
		}
		maps.Copy(all, ports.labels)
	}
	v.publishes(at, g)
	return all
}

// publishes warns where ports of a group reach none of its containers.
func (v *validator) publishes(at Path, g *TaskGroup) {
	if len(g.Networks) == 0 || len(g.Networks[0].ReservedPorts)+len(g.Networks[0].DynamicPorts) == 0 || g.Networks[0].Mode != "" && g.Networks[0].Mode != "host" {
		return
	}
	for i := range g.Tasks {
		t := &g.Tasks[i]
		if t.Driver != "docker" || t.Config["ports"] != nil || t.Config["port_map"] != nil || t.Config["network_mode"] != nil || len(t.Resources.Networks) > 0 {
			return
		}
	}
	first := slices.Concat(g.Networks[0].ReservedPorts, g.Networks[0].DynamicPorts)[0].Label
	v.warn(len(g.Tasks) > 0, at.Index("network", 0), `no container of the group publishes its ports: write ports = [%.*q] into the config of the task that listens there`, maxQuoted, first)
}

var hostname = regexp.MustCompile(`^(?i:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*(?i:[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)\.?$`)

func (v *validator) network(at Path, n *Network) {
	mode, isCNI := n.Mode, strings.HasPrefix(n.Mode, "cni/")
	known := []string{"host", "bridge", "none", "driver"}
	v.warn(mode != "" && !isCNI && !slices.Contains(known, mode) && !strings.Contains(mode, "${"), at.Field("mode"),
		`no node knows the network mode %s; write "host", "bridge", "none" or "cni/<name>"%s`, quote(mode), didYouMean(mode, known))
	if n.Hostname != "" && !strings.Contains(n.Hostname, "${") {
		v.check(len(n.Hostname) <= 253 && hostname.MatchString(n.Hostname), at.Field("hostname"), "Hostname is not a valid DNS name: %s", quote(n.Hostname))
	}
	if n.CNI != nil {
		for _, key := range names(n.CNI.Args) {
			v.check(!strings.Contains(key+n.CNI.Args[key], ";"), at.Field("cni").Field("args"), `invalid ";" character in CNI argument %s`, quote(key))
		}
		v.warn(!isCNI && mode != "bridge", at.Field("cni"), `the arguments are for networks of mode "bridge" or "cni/<name>"`)
	}
	for _, port := range slices.Concat(n.ReservedPorts, n.DynamicPorts) {
		path := at.Label("port", port.Label).Field("ignore_collision")
		v.check(!port.IgnoreCollision || mode == "" || mode == "host", path, "collision may not be ignored on non-host network mode %s", quote(mode))
		v.warn(port.IgnoreCollision && port.Value == 0, path, "a port that is chosen collides with none")
	}
}

// portCheck is a check of all ports of a group.
type portCheck struct {
	*validator
	labels map[string]bool
	static map[hostPort]string // their labels
}

type hostPort struct {
	network string
	port    int
}

func (c *portCheck) network(at Path, n *Network) {
	for _, port := range slices.Concat(n.ReservedPorts, n.DynamicPorts) {
		where := at.Label("port", port.Label)
		c.port(where, port)
		c.check(!c.labels[port.Label], where, "Port label %s already in use by the group's network; give each port a label of its own", quote(port.Label))
		c.labels[port.Label] = true
		if port.Value > 0 && !port.IgnoreCollision {
			key := hostPort{cmp.Or(port.HostNetwork, "default"), port.Value}
			other, taken := c.static[key]
			c.check(!taken, where.Field("static"), "Static port %d already reserved by port %s; choose another", port.Value, quote(other))
			c.static[key] = port.Label
		}
	}
}

var portLabel = regexp.MustCompile(`^[a-zA-Z0-9_-]*$`)

func (v *validator) port(at Path, p Port) {
	v.name(at, "port label", p.Label)
	v.check(!strings.ContainsAny(p.Label, "\x00="), at, "Port label %s becomes part of the names of variables: write letters, digits and underscores", quote(p.Label))
	v.warn(!portLabel.MatchString(p.Label), at, "the variables of port %s have an underscore for each character that is no letter or digit", quote(p.Label))
	v.check(p.Value >= 0 && p.Value <= maxPort, at.Field("static"), "Static port %d is not between 1 and 65535", p.Value)
	v.check(p.To <= maxPort, at.Field("to"), "Port %s cannot be mapped to a port (%d) greater than 65535", quote(p.Label), p.To)
	v.check(p.To >= -1, at.Field("to"), "Port %s cannot be mapped to a negative port (%d)", quote(p.Label), p.To)
}
