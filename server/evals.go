package server

import (
	"slices"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) evalEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.EvalsList:      {read: listEvals},
		api.EvalsCount:     {read: countEvals},
		api.EvalRead:       {read: readEval},
		api.EvalAllocsList: {read: listEvalAllocs},
	}
}

// evalList lists the evaluations that the request asks for.
func evalList(r *request, sn *state.Snapshot) (page, error) {
	evals := sn.Evals()
	if r.list.prefix != "" {
		evals = slices.Values(sn.EvalsByPrefix(r.list.prefix))
	}
	status, job := r.query.Get("status"), r.query.Get("job")
	asked := where(evals, func(e *cluster.Evaluation) bool {
		return r.inNamespace(e.Namespace) && (status == "" || e.Status == status) && (job == "" || e.JobID == job)
	})
	return lister[cluster.Evaluation, *cluster.Evaluation]{
		at:   func(e *cluster.Evaluation) cursor { return r.byAge(e.CreateIndex, e.ID) },
		view: func(e *cluster.Evaluation) *cluster.Evaluation { return e },
	}.list(r, asked)
}

func listEvals(r *request, sn *state.Snapshot) (reading, error) {
	return reading{[]state.Key{state.TableKey(state.Evals)}, func(api.Meta) (any, error) { return evalList(r, sn) }}, nil
}

func countEvals(r *request, sn *state.Snapshot) (reading, error) {
	return reading{[]state.Key{state.TableKey(state.Evals)}, func(meta api.Meta) (any, error) {
		all := *r
		all.list.perPage, all.list.next = 0, ""
		found, err := evalList(&all, sn)
		if err != nil {
			return nil, err
		}
		return api.CountResponse{Count: len(found.items.([]*cluster.Evaluation)), Meta: meta}, nil
	}}, nil
}

func readEval(r *request, sn *state.Snapshot) (reading, error) {
	id, err := r.id("eval")
	if err != nil {
		return reading{}, err
	}
	if eval := sn.Eval(id); eval != nil {
		return constant(eval, state.EvalKey(id)), nil
	}
	return missing("eval", state.EvalKey(id)), nil
}

func listEvalAllocs(r *request, sn *state.Snapshot) (reading, error) {
	id, err := r.id("eval")
	if err != nil {
		return reading{}, err
	}
	keys := []state.Key{state.EvalKey(id)}
	if eval := sn.Eval(id); eval != nil {
		keys = append(keys, state.JobAllocsKey(eval.Namespace, eval.JobID))
	}
	return allocReading(r, sn.AllocsByEval(id), keys...)
}
