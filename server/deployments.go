package server

import (
	"slices"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) deploymentEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.DeploysList:      {read: listDeployments},
		api.DeployRead:       {read: readDeployment},
		api.DeployAllocsList: {read: listDeploymentAllocs},
	}
}

// deploymentView is the deployment as the wire shows it.
func deploymentView(d *cluster.Deployment) api.DeploymentView {
	return api.DeploymentView{Deployment: d}
}

func listDeployments(r *request, sn *state.Snapshot) (reading, error) {
	deployments := sn.Deployments()
	if r.list.prefix != "" {
		deployments = slices.Values(sn.DeploymentsByPrefix(r.list.prefix))
	}
	asked := where(deployments, func(d *cluster.Deployment) bool { return r.inNamespace(d.Namespace) })
	views := lister[cluster.Deployment, api.DeploymentView]{
		at:   func(d *cluster.Deployment) cursor { return r.byAge(d.CreateIndex, d.ID) },
		view: deploymentView,
	}
	return reading{[]state.Key{state.TableKey(state.Deployments)}, func(api.Meta) (any, error) { return views.list(r, asked) }}, nil
}

func readDeployment(r *request, sn *state.Snapshot) (reading, error) {
	id, err := r.id("deployment")
	if err != nil {
		return reading{}, err
	}
	if d := sn.Deployment(id); d != nil {
		return constant(deploymentView(d), state.DeploymentKey(id)), nil
	}
	return missing("deployment", state.DeploymentKey(id)), nil
}

func listDeploymentAllocs(r *request, sn *state.Snapshot) (reading, error) {
	id, err := r.id("deployment")
	if err != nil {
		return reading{}, err
	}
	keys := []state.Key{state.DeploymentKey(id)}
	if d := sn.Deployment(id); d != nil {
		keys = append(keys, state.JobAllocsKey(d.Namespace, d.JobID))
	}
	return allocReading(r, sn.AllocsByDeployment(id), keys...)
}
