package server

import (
	"cmp"
	"hash/fnv"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) serviceEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.ServicesList: {read: listServices},
		api.ServiceRead:  {read: readService},
	}
}

func listServices(r *request, sn *state.Snapshot) (reading, error) {
	return reading{[]state.Key{state.TableKey(state.Services)}, func(api.Meta) (any, error) {
		lists := []api.ServiceList{}
		for service := range sn.Services(r.namespace) {
			if len(lists) == 0 || lists[len(lists)-1].Namespace != service.Namespace {
				lists = append(lists, api.ServiceList{Namespace: service.Namespace})
			}
			last := &lists[len(lists)-1]
			last.Services = append(last.Services, api.ServiceStub{ServiceName: service.Name, Tags: tagsOf(registrations(sn, service.Name, service.Endpoints()))})
		}
		return lists, nil
	}}, nil
}

// tagsOf are the tags of all endpoints, each once.
func tagsOf(endpoints []*cluster.ServiceRegistration) []string {
	tags := []string{}
	for _, e := range endpoints {
		tags = append(tags, e.Tags...)
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// registrations are the endpoints of the service of that name.
func registrations(sn *state.Snapshot, name string, endpoints iter.Seq2[*cluster.Allocation, int]) []*cluster.ServiceRegistration {
	var found []*cluster.ServiceRegistration
	seen := map[cluster.ID]bool{}
	for alloc := range endpoints {
		if seen[alloc.ID] {
			continue
		}
		seen[alloc.ID] = true
		for _, registration := range cluster.Registrations(alloc, sn.Node(alloc.NodeID)) {
			if registration.ServiceName == name {
				found = append(found, &registration)
			}
		}
	}
	return found
}

func readService(r *request, sn *state.Snapshot) (reading, error) {
	pick, err := chooser(r.query.Get("choose"))
	if err != nil {
		return reading{}, err
	}
	endpoints := lister[cluster.ServiceRegistration, *cluster.ServiceRegistration]{
		at:   func(e *cluster.ServiceRegistration) cursor { return cursor{namespace: e.Namespace, id: e.ID} },
		view: func(e *cluster.ServiceRegistration) *cluster.ServiceRegistration { return e },
	}
	return reading{[]state.Key{state.ServiceKey(r.namespace, r.arg)}, func(api.Meta) (any, error) {
		service := sn.Service(r.namespace, r.arg)
		found, err := endpoints.list(r, slices.Values(registrations(sn, service.Name, service.Endpoints())))
		if err != nil {
			return nil, err
		}
		found.items = pick(found.items.([]*cluster.ServiceRegistration))
		return found, nil
	}}, nil
}

// chooser reads "n|key": of the endpoints n are picked by rendezvous hashing of the key, so that equal keys get
// equal endpoints and few of them change when one comes or goes. "" picks all.
func chooser(text string) (func([]*cluster.ServiceRegistration) []*cluster.ServiceRegistration, error) {
	if text == "" {
		return func(all []*cluster.ServiceRegistration) []*cluster.ServiceRegistration { return all }, nil
	}
	number, key, ok := strings.Cut(text, "|")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n <= 0 || key == "" {
		return nil, cluster.Errorf(cluster.CodeInvalid, "read choose %.100q: want a number, a bar and a key, such as 2|client-7", text)
	}
	return func(all []*cluster.ServiceRegistration) []*cluster.ServiceRegistration {
		score := func(e *cluster.ServiceRegistration) uint64 {
			h := fnv.New64a()
			h.Write([]byte(e.ID + "|" + key))
			return h.Sum64()
		}
		slices.SortFunc(all, func(a, b *cluster.ServiceRegistration) int {
			return cmp.Or(cmp.Compare(score(b), score(a)), strings.Compare(a.ID, b.ID))
		})
		return all[:min(n, len(all))]
	}, nil
}
