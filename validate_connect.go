package cluster

import (
	"fmt"
	"strings"
)

// connect checks the part of a service in the mesh.
func (c *serviceCheck) connect(at Path, s *Service, task *Task) {
	m := s.Connect
	if m == nil {
		return
	}
	kinds := 0
	for _, is := range []bool{m.Native, m.SidecarService != nil, m.Gateway != nil} {
		if is {
			kinds++
		}
	}
	c.check(kinds == 1, at, "Consul Connect must be exclusively native, make use of a sidecar, or represent a Gateway: write one of native = true, sidecar_service and gateway")
	c.check(s.Provider != ProviderNomad, at, "Service with provider nomad cannot include Connect blocks")
	c.check(!m.Native || task != nil || s.TaskName != "", at, "Service %s is Connect Native and requires setting the task", quote(s.Name))
	c.warn(task != nil && (m.SidecarService != nil || m.Gateway != nil), at, "sidecars and gateways belong to services of the group")
	if m.SidecarService != nil && task == nil {
		networks := c.group.Networks
		c.check(len(networks) == 1, at, "Consul Connect sidecars require exactly 1 network, found %d in group %s", len(networks), quote(c.group.Name))
		if len(networks) == 1 {
			mode := networks[0].Mode
			c.check(mode == "bridge" || strings.HasPrefix(mode, "cni/"), at, "Consul Connect sidecar requires bridge network, found %s in group %s; write mode = \"bridge\"", quote(mode), quote(c.group.Name))
		}
		c.sidecar(at.Field("sidecar_service"), m.SidecarService)
	}
	if m.Gateway != nil {
		c.gateway(at.Field("gateway"), m.Gateway)
	}
	if t := m.SidecarTask; t != nil {
		if t.Resources != nil {
			c.sidecarResources(at.Field("sidecar_task").Field("resources"), t.Resources)
		}
		c.check(t.KillTimeout >= 0, at.Field("sidecar_task").Field("kill_timeout"), "KillTimeout must be a positive value, have %s", t.KillTimeout)
		c.delay(at.Field("sidecar_task"), t.ShutdownDelay)
	}
}

// sidecarResources checks what the task of a proxy asks for, which may be no memory at all: the proxy has defaults.
func (c *serviceCheck) sidecarResources(at Path, r *Resources) {
	written := *r
	if written.CPU == 0 && written.Cores == 0 {
		written.CPU = 1
	}
	c.resources(at, &written)
}

func (c *serviceCheck) sidecar(at Path, s *SidecarService) {
	if s.Proxy == nil {
		return
	}
	at = at.Field("proxy")
	for i, u := range s.Proxy.Upstreams {
		path := at.Index("upstreams", i)
		c.warn(u.DestinationName == "", path, "an upstream without destination_name leads nowhere")
		c.check(u.LocalBindPort >= 0 && u.LocalBindPort <= maxPort, path.Field("local_bind_port"), "Port %d is not between 0 and 65535", u.LocalBindPort)
	}
	if s.Proxy.Expose != nil {
		for i, e := range s.Proxy.Expose.Paths {
			path := at.Field("expose").Index("path", i)
			c.check(e.LocalPathPort >= 0 && e.LocalPathPort <= maxPort, path.Field("local_path_port"), "Port %d is not between 0 and 65535", e.LocalPathPort)
			c.warn(!strings.HasPrefix(e.Path, "/"), path.Field("path"), "a path begins with /")
		}
	}
}

// upstreams checks that no two services of a group listen for their upstreams at the same address.
func (v *validator) upstreams(at Path, g *TaskGroup) {
	seen := map[string]string{}
	for i := range g.Services {
		s := &g.Services[i]
		if s.Connect == nil || s.Connect.SidecarService == nil || s.Connect.SidecarService.Proxy == nil {
			continue
		}
		for _, u := range s.Connect.SidecarService.Proxy.Upstreams {
			address := fmt.Sprintf("%s:%d", u.LocalBindAddress, u.LocalBindPort)
			other, taken := seen[address]
			v.check(!taken || u.LocalBindPort == 0, at.Index("service", i), "Consul Connect services %s and %s use the same address for upstreams (%s)", quote(other), quote(s.Name), quote(address))
			seen[address] = s.Name
		}
	}
}

func (c *serviceCheck) gateway(at Path, g *ConnectGateway) {
	kinds := 0
	for _, is := range []bool{g.Ingress != nil, g.Terminating != nil, g.Mesh != nil} {
		if is {
			kinds++
		}
	}
	c.check(kinds == 1, at, "One Consul Gateway Configuration must be set: write one of ingress, terminating and mesh")
	if g.Ingress != nil {
		path := at.Field("ingress")
		c.check(len(g.Ingress.Listeners) > 0, path, "Consul Ingress Gateway requires at least one listener")
		for i, l := range g.Ingress.Listeners {
			where := path.Index("listener", i)
			c.check(l.Port > 0 && l.Port <= maxPort, where, "Consul Ingress Gateway listener requires valid port, have %d", l.Port)
			c.check(len(l.Services) > 0, where, "Consul Ingress Gateway listener requires one or more services")
			for k, s := range l.Services {
				c.check(s.Name != "", where.Index("service", k), "Consul Ingress Gateway service requires a name")
			}
		}
	}
	if g.Terminating != nil {
		path := at.Field("terminating")
		c.check(len(g.Terminating.Services) > 0, path, "Consul Terminating Gateway requires at least one service")
		for i, s := range g.Terminating.Services {
			where := path.Index("service", i)
			c.check(s.Name != "", where, "Linked service requires a name")
			c.check((s.CertFile == "") == (s.KeyFile == ""), where, "Linked service TLS Cert and Key must both be set")
		}
	}
}
