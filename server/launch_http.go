package server

import (
	"encoding/binary"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// maxDispatch is the largest body of a dispatch: what is too long by a little is told apart from what is not read at all.
const maxDispatch = 4 * cluster.MaxPayload

func (h *apiHandler) launchEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.JobDispatch:        {write: h.dispatchJob},
		api.JobDispatchPayload: {write: h.dispatchPayload},
		api.JobPeriodicForce:   {write: h.forceJob},
	}
}

// dispatchJob launches a parameterized job.
func (h *apiHandler) dispatchJob(r *request) (written, error) {
	var req api.JobDispatchRequest
	if err := r.decodeIfAny("dispatch", &req); err != nil {
		return written{}, err
	}
	if req.JobID != "" && req.JobID != r.arg {
		return written{}, cluster.Errorf(cluster.CodeInvalid, "Job ID does not match: the path has %.128q, the body %.128q", r.arg, req.JobID)
	}
	return h.dispatch(r, cluster.Dispatch{Payload: req.Payload, Meta: req.Meta, Prefix: req.IdPrefixTemplate, Priority: req.Priority})
}

// dispatchPayload is dispatchJob with the payload as it is.
func (h *apiHandler) dispatchPayload(r *request) (written, error) {
	payload, err := r.body("payload", maxDispatch)
	if cluster.CodeOf(err) == cluster.CodeTooLarge {
		return written{}, cluster.Errorf(cluster.CodeTooLarge, "dispatch job %.128q: the payload exceeds the maximum size: the limit is %d bytes", r.arg, cluster.MaxPayload)
	}
	if err != nil {
		return written{}, err
	}
	return h.dispatch(r, cluster.Dispatch{Payload: payload})
}

func (h *apiHandler) dispatch(r *request, d cluster.Dispatch) (written, error) {
	if result, done := h.answered(r); done {
		return dispatched(result), nil
	}
	d.Token = r.query.Get("idempotency_token")
	job := h.Core.Snapshot().Job(r.namespace, r.arg)
	if job == nil {
		return written{}, jobNotFound()
	}
	now, seed := time.Now(), dice()
	launch, err := job.DispatchLaunch(d, now, binary.BigEndian.Uint32(seed[8:]))
	if err != nil {
		return written{}, err
	}
	command := &state.LaunchJob{At: now.UnixNano(), RequestID: r.requestID(), Namespace: job.Namespace, ParentID: job.ID,
		CreateIndex: job.CreateIndex, Job: launch}
	if !launch.IsTemplate() {
		eval := newEval(cluster.IDFrom(seed, 0), launch, cluster.TriggerJobRegister, now)
		command.Eval = &eval
	}
	result, err := h.Core.Apply(r.Context(), command)
	if err != nil {
		return written{}, err
	}
	return dispatched(result), nil
}

// dispatched is the answer to a launch of a parameterized job.
func dispatched(result state.Result) written {
	answer := api.JobDispatchResponse{DispatchedJobID: result.LaunchID, EvalID: result.EvalID, JobCreateIndex: result.JobModifyIndex,
		Meta: api.Meta{Index: result.Index, KnownLeader: true}}
	if !result.EvalID.IsZero() {
		answer.EvalCreateIndex = result.Index
	}
	return written{answer, result.Index}
}

// forceJob launches a periodic job now, beside its schedule.
func (h *apiHandler) forceJob(r *request) (written, error) {
	if result, done := h.answered(r); done {
		return forced(result), nil
	}
	return h.whileOvertaken(func(sn *state.Snapshot) (written, error) { return h.force(r, sn) })
}

// force decides a launch beside the schedule on one state.
func (h *apiHandler) force(r *request, snapshot *state.Snapshot) (written, error) {
	now, job := time.Now(), snapshot.Job(r.namespace, r.arg)
	if job == nil {
		return written{}, jobNotFound()
	}
	launch, err := forcedLaunch(snapshot, job, now)
	if err != nil {
		return written{}, err
	}
	eval := newEval(cluster.IDFrom(dice(), 0), launch, cluster.TriggerPeriodicJob, now)
	command := &state.LaunchJob{At: now.UnixNano(), RequestID: r.requestID(), Namespace: job.Namespace, ParentID: job.ID,
		CreateIndex: job.CreateIndex, Job: launch, Eval: &eval}
	if job.Periodic.ProhibitOverlap {
		command.Launches = snapshot.Launches(job.Namespace, job.ID) // a slot that is being launched is decided anew, and left out
	}
	result, err := h.Core.Apply(r.Context(), command)
	if err != nil {
		return written{}, err
	}
	return forced(result), nil
}

// forced is the answer to a launch of a periodic job beside its schedule.
func forced(result state.Result) written {
	return written{api.PeriodicForceResponse{EvalID: result.EvalID, EvalCreateIndex: result.Index, LaunchedJobID: result.LaunchID,
		Meta: api.Meta{Index: result.Index, KnownLeader: true}}, result.Index}
}

// forcedLaunch is the launch of a periodic job beside its schedule. It has the name of the next second that is no slot and
// has no launch, so that the schedule goes on as if nothing had been.
func forcedLaunch(snapshot *state.Snapshot, job *cluster.Job, now time.Time) (*cluster.Job, error) {
	switch {
	case !job.IsPeriodic():
		return nil, cluster.Errorf(cluster.CodeRejected, "launch job %q: it is not a periodic job; its file has no \"periodic\" block", job.ID)
	case job.IsParameterized():
		return nil, cluster.Errorf(cluster.CodeRejected, "launch job %q: it is parameterized as well; force the launches that \"job dispatch\" makes of it", job.ID)
	case job.Stop:
		return nil, cluster.Errorf(cluster.CodeRejected, "launch job %q: it is stopped; submit it again with \"job run\"", job.ID)
	}
	slot := func(int64) bool { return false } // a schedule that rests has none, and may be wrong
	if job.Periodic.Enabled {
		slots, err := job.Periodic.Schedule()
		if err != nil {
			return nil, err
		}
		slot = func(second int64) bool { return slots.Next(time.Unix(second-1, 0)).Unix() == second }
	}
	for second := now.Unix(); second < now.Unix()+60; second++ {
		launch := job.PeriodicLaunch(second)
		if !slot(second) && snapshot.Job(launch.Namespace, launch.ID) == nil {
			return launch, nil
		}
	}
	return nil, cluster.Errorf(cluster.CodeRejected, "launch job %q: its own schedule has every second of the next minute", job.ID)
}
