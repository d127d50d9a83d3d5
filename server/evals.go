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
	related, err := r.flag("related")
	if err != nil {
		return reading{}, err
	}
	eval := sn.Eval(id)
	switch {
	case eval == nil:
		return missing("eval", state.EvalKey(id)), nil
	case related:
		return constant(api.EvaluationView{Evaluation: eval, RelatedEvals: relatives(sn, eval)}, state.EvalKey(id)), nil
	}
	return constant(eval, state.EvalKey(id)), nil
}

// relatives are the other evaluations of the job that are tied to the one, directly or through others, oldest first.
func relatives(sn *state.Snapshot, eval *cluster.Evaluation) []*cluster.Evaluation {
	all := slices.Collect(sn.EvalsByJob(eval.Namespace, eval.JobID))
	family := map[cluster.ID]bool{eval.ID: true}
	for grown := true; grown; {
		grown = false
		for _, e := range all {
			kin := []cluster.ID{e.ID, e.NextEval, e.PreviousEval, e.BlockedEval}
			if !slices.ContainsFunc(kin, func(id cluster.ID) bool { return family[id] }) {
				continue
			}
			for _, id := range kin {
				if !id.IsZero() && !family[id] {
					family[id], grown = true, true
				}
			}
		}
	}
	return slices.DeleteFunc(all, func(e *cluster.Evaluation) bool { return e.ID == eval.ID || !family[e.ID] })
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
