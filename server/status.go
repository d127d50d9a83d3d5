package server

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// endpoints are the answers to all routes.
func (h *apiHandler) endpoints() map[api.Route]endpoint {
	all := map[api.Route]endpoint{}
	for _, some := range []map[api.Route]endpoint{
		h.jobEndpoints(), h.scalingEndpoints(), h.launchEndpoints(), h.allocEndpoints(), h.nodeEndpoints(), h.drainEndpoints(), h.evalEndpoints(), h.deploymentEndpoints(),
		h.serviceEndpoints(), h.namespaceEndpoints(), h.statusEndpoints(), h.joinEndpoints(), h.operatorEndpoints(),
	} {
		maps.Copy(all, some)
	}
	return all
}

func (h *apiHandler) statusEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.RegionsList:  {local: func(*request) (any, error) { return []string{cluster.GlobalRegion}, nil }},
		api.StatusLeader: {local: func(*request) (any, error) { return h.Core.Leadership().Address, nil }},
		api.StatusPeers:  {local: func(*request) (any, error) { return orEmpty(h.Core.Leadership().Peers), nil }},
		api.AgentSelf:    {local: func(*request) (any, error) { return h.Self(), nil }},
		api.AgentMembers: {local: func(*request) (any, error) { return h.Members(), nil }},
		api.AgentHealth:  {local: h.health},
		api.MetricsRead:  {raw: h.metrics},
		api.SearchPrefix: {local: h.search},
		api.SystemGC:     {write: func(r *request) (written, error) { return written{}, h.Keeper.Collect(r.Context()) }},
	}
}

// health answers 200 if the halves of the agent that were asked for are well.
func (h *apiHandler) health(r *request) (any, error) {
	health := h.Health()
	if asked := r.query["type"]; len(asked) > 0 {
		if !slices.Contains(asked, "server") {
			health.Server = nil
		}
		if !slices.Contains(asked, "client") {
			health.Client = nil
		}
	}
	for _, half := range []*api.HealthState{health.Server, health.Client} {
		if half != nil && !half.OK {
			text, err := json.Marshal(health)
			if err != nil {
				return nil, err
			}
			return nil, cluster.Errorf(cluster.CodeUnavailable, "%s", text)
		}
	}
	return health, nil
}
