package server

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// overtakings is how often a change is decided anew because somebody else changed the job meanwhile.
const overtakings = 5

// whileOvertaken decides a change of the job on the newest state, again if that was overtaken before the change was stored.
func (h *apiHandler) whileOvertaken(decide func(*state.Snapshot) (written, error)) (done written, err error) {
	for range overtakings {
		if done, err = decide(h.Core.Snapshot()); cluster.CodeOf(err) != cluster.CodeConflict {
			return done, err
		}
	}
	return done, err
}

// sameJob refuses a body that names another job than the path.
func (r *request) sameJob(named string) error {
	if named != "" && named != r.arg {
		return cluster.Errorf(cluster.CodeInvalid, "Job ID does not match: the path has %.128q, the body %.128q", r.arg, named)
	}
	return nil
}

// registered is the answer to a change of a job that is planned.
func registered(result state.Result) written { return written{registerResponse(result), result.Index} }

func registerResponse(result state.Result) api.JobRegisterResponse {
	answer := api.JobRegisterResponse{EvalID: result.EvalID, JobModifyIndex: result.JobModifyIndex,
		Meta: api.Meta{Index: result.Index, KnownLeader: true}}
	if !result.EvalID.IsZero() {
		answer.EvalCreateIndex = result.Index
	}
	return answer
}

// unknownJob is jobNotFound with the status that existing clients know of changes of a job.
func unknownJob() error { return &statusError{http.StatusInternalServerError, jobNotFound()} }

// revertJob registers an older version of a job as its next one.
func (h *apiHandler) revertJob(r *request) (written, error) {
	var req api.JobRevertRequest
	if err := r.decode("revert", &req); err != nil {
		return written{}, err
	}
	if err := r.sameJob(req.JobID); err != nil {
		return written{}, err
	}
	if result, done := h.answered(r); done {
		return registered(result), nil
	}
	return h.whileOvertaken(func(sn *state.Snapshot) (written, error) {
		job := sn.Job(r.namespace, r.arg)
		if job == nil {
			return written{}, unknownJob()
		}
		if prior := req.EnforcePriorVersion; prior != nil && *prior != job.Version {
			return written{}, cluster.Errorf(cluster.CodeRejected, "Current job has version %d; enforcing version %d", job.Version, *prior)
		}
		if req.JobVersion == job.Version {
			return written{}, cluster.Errorf(cluster.CodeRejected, "can't revert to current version")
		}
		old := sn.JobVersion(r.namespace, r.arg, req.JobVersion)
		if old == nil {
			return written{}, cluster.Errorf(cluster.CodeRejected, "job %q in namespace %q at version %d not found", job.ID, job.Namespace, req.JobVersion)
		}
		return h.registerAgain(r, job, old, sn.Submission(r.namespace, r.arg, req.JobVersion))
	})
}

// registerAgain registers a version of a job anew, with its text, unless the job has changed since it was read.
func (h *apiHandler) registerAgain(r *request, job, version *cluster.Job, source *state.Submission) (written, error) {
	next := *version
	next.Status, next.StatusDescription, next.Stable, next.VersionTag = "", "", false, nil
	if err := admitJob(&next); err != nil {
		return written{}, err
	}
	now := time.Now()
	result, err := h.Core.Apply(r.Context(), &state.RegisterJob{
		At: now.UnixNano(), RequestID: r.requestID(), Job: &next, Eval: evalOf(&next, cluster.TriggerJobRegister, now),
		EnforceIndex: true, JobModifyIndex: job.JobModifyIndex, Source: source,
	})
	if err != nil {
		return written{}, err
	}
	return registered(result), nil
}

// evalOf is an evaluation of a job's change; a job that is only a template for others has none.
func evalOf(job *cluster.Job, trigger string, now time.Time) *cluster.Evaluation {
	if job.IsTemplate() {
		return nil
	}
	return new(newEval(cluster.IDFrom(dice(), 0), job, trigger, now))
}

// jobVersion is the version of the request's job that the number names, or, with latest, the newest.
func (r *request) jobVersion(sn *state.Snapshot, id string, number uint64, latest bool) (state.JobVersion, error) {
	job := sn.Job(r.namespace, id)
	if job == nil {
		return state.JobVersion{}, jobNotFound()
	}
	if latest {
		number = job.Version
	}
	return state.JobVersion{Namespace: job.Namespace, ID: job.ID, CreateIndex: job.CreateIndex, Version: number}, nil
}

// markStable says whether a version of a job proved good.
func (h *apiHandler) markStable(r *request) (written, error) {
	var req api.JobStableRequest
	if err := r.decode("stability", &req); err != nil {
		return written{}, err
	}
	if err := r.sameJob(req.JobID); err != nil {
		return written{}, err
	}
	version, err := r.jobVersion(h.Core.Snapshot(), r.arg, req.JobVersion, false)
	if err != nil {
		return written{}, err
	}
	result, err := h.Core.Apply(r.Context(), &state.MarkVersion{At: time.Now().UnixNano(), RequestID: r.requestID(), Version: version, Stable: &req.Stable})
	if err != nil {
		return written{}, err
	}
	return written{api.IndexResponse{Meta: api.Meta{Index: result.Index, KnownLeader: true}}, result.Index}, nil
}

// maxTag bounds the name of a version, maxTagDescription what is said of it.
const (
	maxTag            = 64
	maxTagDescription = 1000
)

// tagJob gives a version of a job a name.
func (h *apiHandler) tagJob(r *request) (written, error) {
	var req api.JobTagRequest
	if err := r.decode("tag", &req); err != nil {
		return written{}, err
	}
	id, name := r.route.Split(r.arg)
	if len(name) > maxTag || len(req.Description) > maxTagDescription {
		return written{}, cluster.Errorf(cluster.CodeInvalid, "tag a version of job %.128q: a name has up to %d bytes, a description up to %d",
			id, maxTag, maxTagDescription)
	}
	version, err := r.jobVersion(h.Core.Snapshot(), id, req.Version, req.Latest)
	if err != nil {
		return written{}, err
	}
	return h.mark(r, &state.MarkVersion{Version: version, Tag: &cluster.JobVersionTag{Name: name, Description: req.Description}})
}

// untagJob takes the name from the version of a job that has it.
func (h *apiHandler) untagJob(r *request) (written, error) {
	if result, done := h.answered(r); done {
		return written{api.JobTagResponse{Meta: api.Meta{Index: result.Index, KnownLeader: true}}, result.Index}, nil
	}
	id, name := r.route.Split(r.arg)
	sn := h.Core.Snapshot()
	for _, job := range sn.JobVersions(r.namespace, id) {
		if job.VersionTag != nil && job.VersionTag.Name == name {
			version, err := r.jobVersion(sn, id, job.Version, false)
			if err != nil {
				return written{}, err
			}
			return h.mark(r, &state.MarkVersion{Version: version, Untag: true})
		}
	}
	return written{}, cluster.Errorf(cluster.CodeNotFound, "tag %.128q not found on job %.128q: `cluster job history %[2]s` lists what there is", name, id)
}

// mark carries out what is said of a version and answers with the name that it has.
func (h *apiHandler) mark(r *request, command *state.MarkVersion) (written, error) {
	command.At, command.RequestID = time.Now().UnixNano(), r.requestID()
	result, err := h.Core.Apply(r.Context(), command)
	if err != nil {
		return written{}, err
	}
	answer := api.JobTagResponse{Meta: api.Meta{Index: result.Index, KnownLeader: true}}
	if v := h.Core.Snapshot().JobVersion(command.Version.Namespace, command.Version.ID, command.Version.Version); v != nil && v.VersionTag != nil {
		answer.JobVersionTag = *v.VersionTag
	}
	return written{answer, result.Index}, nil
}

// scaleJob changes how many instances of a group are wanted, or notes something about that.
func (h *apiHandler) scaleJob(r *request) (written, error) {
	var req api.JobScaleRequest
	if err := r.decode("scaling", &req); err != nil {
		return written{}, err
	}
	if err := r.sameJob(req.Target["Job"]); err != nil {
		return written{}, err
	}
	switch {
	case req.Target["Group"] == "":
		return written{}, cluster.Errorf(cluster.CodeInvalid, "scale job %.128q: a task group is missing: want Target with a Group", r.arg)
	case req.Error && req.Count != nil:
		return written{}, cluster.Errorf(cluster.CodeInvalid, "scale job %.128q: an event that tells of an error has no count", r.arg)
	}
	if result, done := h.answered(r); done {
		return registered(result), nil
	}
	change := func(sn *state.Snapshot) (written, error) { return h.scale(r, sn, &req) }
	if req.JobModifyIndex != 0 {
		return change(h.Core.Snapshot())
	}
	return h.whileOvertaken(change)
}

// scale decides a scaling on one state.
func (h *apiHandler) scale(r *request, sn *state.Snapshot, req *api.JobScaleRequest) (written, error) {
	job := sn.Job(r.namespace, r.arg)
	if job == nil {
		return written{}, jobNotFound()
	}
	if req.JobModifyIndex != 0 && req.JobModifyIndex != job.JobModifyIndex {
		return written{}, cluster.Errorf(cluster.CodeConflict, "Enforcing job modify index %d: job exists with conflicting job modify index: %d",
			req.JobModifyIndex, job.JobModifyIndex)
	}
	name := req.Target["Group"]
	if job.Group(name) == nil {
		return written{}, cluster.Errorf(cluster.CodeInvalid, "task group %.128q specified for scaling does not exist in job", name)
	}
	command := &state.ScaleJob{RequestID: r.requestID(), Namespace: job.Namespace, ID: job.ID, Group: name, JobModifyIndex: job.JobModifyIndex,
		Event: cluster.ScalingEvent{Count: req.Count, Message: req.Message, Error: req.Error, Meta: req.Meta}}
	now := time.Now()
	command.At = now.UnixNano()
	if req.Count != nil {
		if err := checkScaling(sn, job, name, *req.Count); err != nil {
			return written{}, err
		}
		command.Eval = evalOf(job, cluster.TriggerJobScaling, now)
	}
	result, err := h.Core.Apply(r.Context(), command)
	if err != nil {
		return written{}, err
	}
	return registered(result), nil
}

// checkScaling says why a group's count may not become another one now, nil if it may.
func checkScaling(sn *state.Snapshot, job *cluster.Job, name string, count int64) error {
	group := job.Group(name)
	if err := group.CheckCount(count); err != nil {
		return err
	}
	if job.Stop {
		return cluster.Errorf(cluster.CodeInvalid, "scale job %q: it is stopped: run it first", job.ID)
	}
	if d := sn.LatestDeployment(job.Namespace, job.ID); d != nil && d.Active() {
		return cluster.Errorf(cluster.CodeInvalid, "job scaling blocked due to active deployment")
	}
	next := *job
	next.TaskGroups = slices.Clone(job.TaskGroups)
	next.Group(name).Count = int(count)
	return admitJob(&next)
}

// readJobScaling counts the instances of a job's groups.
func readJobScaling(r *request, sn *state.Snapshot) (reading, error) {
	return ofJob(r, sn, func(job *cluster.Job) any {
		scaling := api.JobScaling{JobID: job.ID, Namespace: job.Namespace, JobCreateIndex: job.CreateIndex, JobModifyIndex: job.JobModifyIndex,
			JobStopped: job.Stop, TaskGroups: map[string]api.GroupScaling{}}
		events := sn.ScalingEvents(job.Namespace, job.ID)
		for i := range job.TaskGroups {
			g := &job.TaskGroups[i]
			scaling.TaskGroups[g.Name] = api.GroupScaling{Desired: g.Count, Events: orEmpty(events[g.Name])}
		}
		for a := range sn.AllocsByJob(job.Namespace, job.ID) {
			g, wanted := scaling.TaskGroups[a.TaskGroup]
			if !wanted || a.Terminal() || a.Job.CreateIndex != job.CreateIndex {
				continue
			}
			g.Placed++
			if a.ClientStatus == cluster.ClientRunning {
				g.Running++
			}
			switch a.Health {
			case cluster.HealthHealthy:
				g.Healthy++
			case cluster.HealthUnhealthy:
				g.Unhealthy++
			}
			scaling.TaskGroups[a.TaskGroup] = g
		}
		return scaling
	}, state.JobAllocsKey(r.namespace, r.arg))
}

// evaluateJob plans a job again. By force its failed instances give up their places, whatever their policy says: the
// plan fills what is empty.
func (h *apiHandler) evaluateJob(r *request) (written, error) {
	var req api.JobEvaluateRequest
	if err := r.decodeIfAny("evaluation", &req); err != nil {
		return written{}, err
	}
	if err := r.sameJob(req.JobID); err != nil {
		return written{}, err
	}
	sn := h.Core.Snapshot()
	job := sn.Job(r.namespace, r.arg)
	switch {
	case job == nil:
		return written{}, unknownJob()
	case job.IsTemplate():
		return written{}, cluster.Errorf(cluster.CodeRejected, "evaluate job %q: it is periodic or parameterized and runs nothing itself; evaluate one of its launches", job.ID)
	}
	var stops []cluster.Stop
	for a := range sn.AllocsByJob(job.Namespace, job.ID) {
		if req.EvalOptions.ForceReschedule && a.ClientStatus == cluster.ClientFailed && a.DesiredStatus == cluster.DesiredRun &&
			a.Details().NextAllocation.IsZero() && job.Group(a.TaskGroup) != nil {
			stops = append(stops, cluster.Stop{ID: a.ID, Description: "replaced at a user's wish"})
		}
	}
	now := time.Now()
	eval := newEval(cluster.IDFrom(dice(), 0), job, cluster.TriggerJobRegister, now)
	result, err := h.Core.Apply(r.Context(), &state.StopAllocs{
		At: now.UnixNano(), RequestID: r.requestID(), Stops: stops, Evals: []cluster.Evaluation{eval}})
	if err != nil {
		return written{}, err
	}
	result.JobModifyIndex = job.JobModifyIndex
	return registered(result), nil
}

// submission is the text of a job to be kept, nil if there is none or it is too long, and in the second case what to tell the
// caller.
func (h *apiHandler) submission(s *api.JobSubmission) (kept *state.Submission, warning string) {
	if s == nil || s.Source == "" {
		return nil, ""
	}
	size, most := len(s.Source)+len(s.Variables), cmp.Or(h.MaxSource, cluster.MaxJobSize)
	for name, value := range s.VariableFlags {
		size += len(name) + len(value)
	}
	if size > most {
		return nil, fmt.Sprintf("job source size of %s exceeds maximum of %s and will be discarded", bytesOf(size), bytesOf(max(most, 0)))
	}
	return &state.Submission{Source: s.Source, Format: s.Format, VariableFlags: maps.Clone(s.VariableFlags), Variables: s.Variables}, ""
}

// bytesOf is a size for people.
func bytesOf(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f kB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
