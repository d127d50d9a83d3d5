package server

import (
	"regexp"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) namespaceEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.NamespacesList:  {read: listNamespaces},
		api.NamespaceRead:   {read: readNamespace},
		api.NamespaceCreate: {write: h.writeNamespace},
		api.NamespaceWrite:  {write: h.writeNamespace},
		api.NamespaceDelete: {write: h.deleteNamespace},
	}
}

func namespaceView(n *cluster.Namespace) api.NamespaceView { return api.NamespaceView{Namespace: n} }

func listNamespaces(r *request, sn *state.Snapshot) (reading, error) {
	views := lister[cluster.Namespace, api.NamespaceView]{
		at:     func(n *cluster.Namespace) cursor { return cursor{id: n.Name} },
		view:   namespaceView,
		sorted: true,
	}
	asked := where(sn.Namespaces(), func(n *cluster.Namespace) bool { return r.withPrefix(n.Name) })
	return reading{[]state.Key{state.TableKey(state.Namespaces)}, func(api.Meta) (any, error) { return views.list(r, asked) }}, nil
}

func readNamespace(r *request, sn *state.Snapshot) (reading, error) {
	if n := sn.Namespace(r.arg); n != nil {
		return constant(namespaceView(n), state.NamespaceKey(r.arg)), nil
	}
	return missing("Namespace", state.NamespaceKey(r.arg)), nil
}

var namespaceName = regexp.MustCompile(`^[a-zA-Z0-9-]{1,128}$`)

func (h *apiHandler) writeNamespace(r *request) (written, error) {
	var n cluster.Namespace
	if err := r.decode("namespace", &n); err != nil {
		return written{}, err
	}
	if r.arg != "" && n.Name == "" {
		n.Name = r.arg
	}
	if r.arg != "" && n.Name != r.arg {
		return written{}, cluster.Errorf(cluster.CodeInvalid, "write namespace %.128q: the path has %.128q; use the same name", n.Name, r.arg)
	}
	if !namespaceName.MatchString(n.Name) {
		return written{}, cluster.Errorf(cluster.CodeInvalid, "write namespace %.128q: a name has 1 to 128 letters, digits and dashes", n.Name)
	}
	result, err := h.Core.Apply(r.Context(), &state.UpsertNamespace{At: time.Now().UnixNano(), RequestID: r.requestID(), Namespace: &n})
	return written{index: result.Index}, err
}

func (h *apiHandler) deleteNamespace(r *request) (written, error) {
	result, err := h.Core.Apply(r.Context(), &state.DeleteNamespace{At: time.Now().UnixNano(), RequestID: r.requestID(), Name: r.arg})
	return written{index: result.Index}, err
}

var searchContexts = []string{"jobs", "allocs", "evals", "deployment", "nodes", "namespaces"}

// maxMatches is how many IDs a search names in each context.
const maxMatches = 20

// search finds what begins with a prefix.
func (h *apiHandler) search(r *request) (any, error) {
	var req api.SearchRequest
	if err := r.decode("search", &req); err != nil {
		return nil, err
	}
	contexts := searchContexts
	if req.Context != "" && req.Context != "all" {
		contexts = []string{req.Context}
	}
	sn := h.Core.Snapshot()
	response := api.SearchResponse{Matches: map[string][]string{}, Truncations: map[string]bool{},
		Meta: api.Meta{Index: max(sn.Index(), 1), KnownLeader: !h.Core.Leadership().ID.IsZero()}}
	for _, context := range contexts {
		found := r.searchIn(sn, context, req.Prefix)
		response.Truncations[context] = len(found) > maxMatches
		response.Matches[context] = found[:min(len(found), maxMatches)]
	}
	return response, nil
}

// searchIn lists what the context has with the prefix: one more than is shown where there are more.
func (r *request) searchIn(sn *state.Snapshot, context, prefix string) []string {
	found := []string{}
	add := func(namespace, id string) bool {
		if namespace == "" || r.inNamespace(namespace) {
			found = append(found, id)
		}
		return len(found) <= maxMatches
	}
	switch context {
	case "jobs":
		sn.Jobs(r.namespace, prefix)(func(j *cluster.Job) bool { return add(j.Namespace, j.ID) })
	case "allocs":
		slices.Values(sn.AllocsByPrefix(prefix))(func(a *cluster.Allocation) bool { return add(a.Namespace(), a.ID.String()) })
	case "evals":
		slices.Values(sn.EvalsByPrefix(prefix))(func(e *cluster.Evaluation) bool { return add(e.Namespace, e.ID.String()) })
	case "deployment":
		slices.Values(sn.DeploymentsByPrefix(prefix))(func(d *cluster.Deployment) bool { return add(d.Namespace, d.ID.String()) })
	case "nodes":
		slices.Values(sn.NodesByPrefix(prefix))(func(n *cluster.Node) bool { return add("", n.ID.String()) })
	case "namespaces":
		sn.Namespaces()(func(n *cluster.Namespace) bool {
			return len(n.Name) < len(prefix) || n.Name[:len(prefix)] != prefix || add("", n.Name)
		})
	}
	return found
}
