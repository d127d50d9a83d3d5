package main

import (
	"fmt"
	"net"
	"runtime"
	"strconv"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// apiVersion is the release of the ecosystem whose API this is: tools look at it before they use newer routes.
const apiVersion = "2.0.6"

// self is the answer of /v1/agent/self.
func (r *running) self() api.Agent {
	leadership := r.server.Leadership()
	stats := map[string]map[string]string{
		"nomad": {
			"server": "true", "leader": strconv.FormatBool(leadership.Self), "leader_addr": leadership.Address,
			"bootstrap": strconv.FormatBool(r.agent.Bootstrap), "known_regions": "1",
		},
		"raft": r.server.Stats(),
		"runtime": {
			"arch": runtime.GOARCH, "version": runtime.Version(), "kernel.name": runtime.GOOS,
			"goroutines": strconv.Itoa(runtime.NumGoroutine()), "max_procs": strconv.Itoa(runtime.GOMAXPROCS(0)),
			"cpu_count": strconv.Itoa(runtime.NumCPU()),
		},
	}
	if r.client != nil {
		counters := r.client.Counters()
		stats["client"] = map[string]string{
			"node_id": r.client.ID().String(), "known_servers": leadership.Address,
			"num_allocations": fmt.Sprint(counters.Living), "heartbeat_ttl": "2s", "last_heartbeat": "0s",
		}
	}
	return api.Agent{
		Config: map[string]any{
			"Name": r.agent.Name, "Region": r.agent.Region, "Datacenter": r.agent.Datacenter, "DataDir": string(r.dir),
			"BindAddr": r.agent.Bind, "LogLevel": r.agent.LogLevel, "DevMode": r.agent.Dev,
			"AdvertiseAddrs": map[string]string{"HTTP": r.doors[0].Addr().String(), "RPC": leadership.Address},
			"Server":         map[string]any{"Enabled": true, "BootstrapExpect": 1},
			"Client":         map[string]any{"Enabled": r.client != nil, "NodeClass": r.agent.Client.NodeClass, "Meta": r.agent.Client.Meta},
			"ACL":            map[string]any{"Enabled": false},
			"Version":        map[string]string{"Version": apiVersion, "Revision": "", "VersionPrerelease": "", "VersionMetadata": "cluster-" + version},
		},
		Member: r.member(),
		Stats:  stats,
	}
}

// member is this server as others see it.
func (r *running) member() api.Member {
	leadership := r.server.Leadership()
	address := r.server.Address()
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.ParseUint(port, 10, 16)
	return api.Member{
		Name: fmt.Sprintf("%s.%s", r.agent.Name, cluster.GlobalRegion), Addr: host, Port: uint16(number), Status: "alive",
		Tags: map[string]string{
			"id": r.id.String(), "role": "nomad", "region": r.agent.Region, "dc": r.agent.Datacenter, "build": apiVersion,
			"port": port, "rpc_addr": host, "vsn": "1", "raft_vsn": "3", "bootstrap": "1",
			"leader": strconv.FormatBool(leadership.Self), "cluster": version,
		},
		ProtocolMin: 1, ProtocolMax: 5, ProtocolCur: 2, DelegateMin: 2, DelegateMax: 5, DelegateCur: 4,
	}
}

// members is the answer of /v1/agent/members: the servers that this agent knows.
func (r *running) members() api.Members {
	self := r.member()
	return api.Members{ServerName: r.agent.Name, ServerRegion: r.agent.Region, ServerDC: r.agent.Datacenter, Members: []api.Member{self}}
}

// health is the answer of /v1/agent/health.
func (r *running) health() api.Health {
	server := api.HealthState{OK: true, Message: "ok"}
	if r.server.Leadership().ID.IsZero() {
		server = api.HealthState{Message: "No cluster leader"}
	}
	h := api.Health{Server: &server}
	if r.client != nil {
		client := api.HealthState{OK: true, Message: "ok"}
		if node := r.server.Snapshot().Node(r.id); node == nil || node.Status != cluster.NodeStatusReady {
			client = api.HealthState{Message: "the servers do not count this node as ready"}
		}
		h.Client = &client
	}
	return h
}
