package main

import (
	"fmt"
	"net"
	"runtime"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server"
	"github.com/a43e60e4/cluster/server/api"
)

// apiVersion is the release of the ecosystem whose API this is: tools look at it before they use newer routes.
const apiVersion = "2.0.6"

// leadership is who leads, as far as this agent knows: an agent that is no server does not.
func (r *running) leadership() server.Leadership {
	if r.server == nil {
		return server.Leadership{}
	}
	return r.server.Leadership()
}

// self is the answer of /v1/agent/self.
func (r *running) self() api.Agent {
	leadership := r.leadership()
	stats := map[string]map[string]string{
		"runtime": {
			"arch": runtime.GOARCH, "version": runtime.Version(), "kernel.name": runtime.GOOS,
			"goroutines": strconv.Itoa(runtime.NumGoroutine()), "max_procs": strconv.Itoa(runtime.GOMAXPROCS(0)),
			"cpu_count": strconv.Itoa(runtime.NumCPU()),
		},
	}
	if r.server != nil {
		stats["nomad"] = map[string]string{
			"server": "true", "leader": strconv.FormatBool(leadership.Self), "leader_addr": leadership.Address,
			"bootstrap": strconv.FormatBool(r.agent.Bootstrap), "known_regions": "1",
		}
		stats["raft"] = r.server.Stats()
	}
	if r.client != nil {
		counters := r.client.Counters()
		stats["client"] = map[string]string{
			"node_id": r.client.ID().String(), "known_servers": strings.Join(r.serverAddresses(), ","),
			"num_allocations": fmt.Sprint(counters.Living), "heartbeat_ttl": "2s", "last_heartbeat": "0s",
		}
	}
	return api.Agent{
		Config: map[string]any{
			"Name": r.agent.Name, "Region": r.agent.Region, "Datacenter": r.agent.Datacenter, "DataDir": string(r.dir),
			"BindAddr": r.agent.Bind, "LogLevel": r.agent.LogLevel, "DevMode": r.agent.Dev,
			"AdvertiseAddrs": map[string]string{"HTTP": r.doors[0].Addr().String(), "RPC": r.advertise},
			"Server":         map[string]any{"Enabled": r.server != nil, "BootstrapExpect": 1},
			"Client":         map[string]any{"Enabled": r.client != nil, "NodeClass": r.agent.Client.NodeClass, "Meta": r.agent.Client.Meta},
			"ACL":            map[string]any{"Enabled": false},
			"Version":        map[string]string{"Version": apiVersion, "Revision": "", "VersionPrerelease": "", "VersionMetadata": "cluster-" + version},
		},
		Member: r.member(r.ownMember(), leadership.ID),
		Stats:  stats,
	}
}

// serverAddresses are where port 4647 of the servers is.
func (r *running) serverAddresses() []string {
	var all []string
	for _, id := range r.directory.Servers() {
		if address, ok := r.directory.Address(id); ok {
			all = append(all, address)
		}
	}
	return all
}

// ownMember is this node as gossip has it, or will.
func (r *running) ownMember() cluster.Member {
	return cluster.Member{Record: r.record(), State: cluster.MemberAlive}
}

// memberStatus is how the API calls the states of members.
var memberStatus = map[cluster.MemberState]string{cluster.MemberAlive: "alive", cluster.MemberDead: "failed", cluster.MemberLeft: "left"}

// member is a server as the API shows it.
func (r *running) member(m cluster.Member, leader cluster.ID) api.Member {
	host, port, _ := net.SplitHostPort(m.RPC)
	number, _ := strconv.ParseUint(port, 10, 16)
	return api.Member{
		Name: fmt.Sprintf("%s.%s", m.Name, cluster.GlobalRegion), Addr: host, Port: uint16(number), Status: memberStatus[m.State],
		Tags: map[string]string{
			"id": m.Node.String(), "role": "nomad", "region": cluster.GlobalRegion, "dc": m.Datacenter, "build": apiVersion,
			"port": port, "rpc_addr": host, "vsn": "1", "raft_vsn": "3", "bootstrap": "1",
			"leader": strconv.FormatBool(m.Node == leader), "cluster": m.Version,
		},
		ProtocolMin: 1, ProtocolMax: 5, ProtocolCur: 2, DelegateMin: 2, DelegateMax: 5, DelegateCur: 4,
	}
}

// members is the answer of /v1/agent/members: the servers that gossip knows.
func (r *running) members() api.Members {
	answer := api.Members{ServerName: r.agent.Name, ServerRegion: r.agent.Region, ServerDC: r.agent.Datacenter, Members: []api.Member{}}
	leader := r.leadership().ID
	for _, m := range r.directory.Members() {
		if m.Server {
			answer.Members = append(answer.Members, r.member(m, leader))
		}
	}
	return answer
}

// health is the answer of /v1/agent/health.
func (r *running) health() api.Health {
	var h api.Health
	if r.server != nil {
		h.Server = &api.HealthState{OK: true, Message: "ok"}
		if r.leadership().ID.IsZero() {
			h.Server = &api.HealthState{Message: "No cluster leader"}
		}
	}
	if r.client != nil {
		h.Client = &api.HealthState{OK: true, Message: "ok"}
		if status := r.control.status(); status != cluster.NodeStatusReady {
			h.Client = &api.HealthState{Message: "the servers do not count this node as ready"}
		}
	}
	return h
}
