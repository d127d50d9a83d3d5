package server

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/jobspec"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// maxRegistration is the largest body of a registration: a job and the text that it was made from, each of which has
// its own limit, with room for escapes.
const maxRegistration = 4 * api.MaxBody

// registerJob decodes the job over its defaults, finds its namespace, checks it and stores it with a pending evaluation.
func (h *apiHandler) registerJob(r *request) (written, error) {
	var req api.JobRegisterRequest
	if err := r.decodeUpTo(maxRegistration, "job", &req); err != nil {
		return written{}, err
	}
	if !req.PreserveCounts && !req.PreserveResources {
		return h.register(r, h.Core.Snapshot(), &req)
	}
	return h.whileOvertaken(func(sn *state.Snapshot) (written, error) { return h.register(r, sn, &req) })
}

// register decides a registration on one state. What it keeps of the version before is that of the version which it follows.
func (h *apiHandler) register(r *request, sn *state.Snapshot, req *api.JobRegisterRequest) (written, error) {
	job, err := admissible(req.Job)
	if err != nil {
		return written{}, err
	}
	if err := r.place(job, req.Namespace, req.Region); err != nil {
		return written{}, err
	}
	old := sn.Job(job.Namespace, job.ID)
	job.KeepLaunch(old)
	if err := admitJob(job); err != nil {
		return written{}, err
	}
	if r.route == api.JobRegister && r.arg != job.ID {
		return written{}, misnamed(r.arg, job)
	}
	source, warning := h.submission(req.Submission)
	now := time.Now()
	command := &state.RegisterJob{At: now.UnixNano(), RequestID: r.requestID(), Job: job,
		EnforceIndex: req.EnforceIndex, JobModifyIndex: req.JobModifyIndex, Source: source}
	if req.PreserveCounts || req.PreserveResources {
		if err := keep(job, old, req); err != nil {
			return written{}, err
		}
		if !req.EnforceIndex {
			command.EnforceIndex, command.JobModifyIndex = true, modified(old)
		}
	}
	if !job.IsTemplate() { // which runs nothing itself
		eval := newEval(cluster.IDFrom(dice(), 0), job, cluster.TriggerJobRegister, now)
		if err := prioritise(&eval, req.EvalPriority); err != nil {
			return written{}, err
		}
		command.Eval = &eval
	}
	result, err := h.Core.Apply(r.Context(), command)
	if err != nil {
		return written{}, err
	}
	answer := registerResponse(result)
	answer.Warnings = strings.TrimSpace(append(job.Warnings(), cluster.Unread(req.Job)...).Lines() + "\n" + warning)
	return written{answer, result.Index}, nil
}

func misnamed(path string, job *cluster.Job) error {
	return cluster.Errorf(cluster.CodeInvalid, "Job ID does not match: the path has %.128q, the job %.128q", path, job.ID)
}

// prioritise gives the evaluation the priority that a user asked for; 0 leaves it the job's.
func prioritise(eval *cluster.Evaluation, priority int) error {
	if priority < 0 || priority > 100 {
		return cluster.Errorf(cluster.CodeInvalid, "read evaluation priority: want 1 to 100, have %d", priority)
	}
	if priority > 0 {
		eval.Priority = priority
	}
	return nil
}

// admissible is the job that the JSON describes, complete. What a job asks for and may not have is refused by a rule;
// JSON that is no job at all is bad input.
func admissible(raw json.RawMessage) (*cluster.Job, error) {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, cluster.Errorf(cluster.CodeInvalid, "Job must be specified")
	}
	job, err := cluster.DecodeJob(raw)
	if problems, ok := errors.AsType[cluster.Problems](err); ok {
		return nil, refuse(problems)
	}
	return job, err
}

// admitJob refuses a job that is not valid, or that asks for what it must not run without and cannot have.
func admitJob(job *cluster.Job) error {
	if err := validJob(job); err != nil {
		return err
	}
	missing, _ := job.Missing()
	return refuse(missing)
}

// validJob refuses a job that is not valid.
func validJob(job *cluster.Job) error {
	problems := job.Validate()
	if len(problems) == 0 && job.IsPeriodic() && job.Periodic.Enabled {
		if _, err := job.Periodic.Schedule(); err != nil {
			problems = cluster.Problems{{Path: "periodic", Text: err.Error()}}
		}
	}
	return refuse(problems)
}

// refuse is nil if there are no problems, else the refusal of the job that has them.
func refuse(problems cluster.Problems) error {
	if len(problems) == 0 {
		return nil
	}
	return cluster.Errorf(cluster.CodeRejected, "%w", problems)
}

// place settles the job's namespace and region: of the namespaces the query's goes before the body's and that before
// the job's own, of the regions the body's goes before all.
func (r *request) place(job *cluster.Job, namespace, region string) error {
	if region != "" {
		if err := checkRegion(region); err != nil {
			return err
		}
		job.Region = cluster.GlobalRegion
	}
	if asked := r.query.Get("namespace"); asked != "" {
		namespace = asked
	}
	if namespace != "" {
		job.Namespace = namespace
	}
	if job.Namespace == cluster.AllNamespaces {
		return cluster.Errorf(cluster.CodeInvalid, "read namespace: a job lives in one namespace, not in %q", cluster.AllNamespaces)
	}
	return nil
}

// keep gives the job what the request keeps of the old version, and refuses the job if it is not valid with that.
func keep(job, old *cluster.Job, req *api.JobRegisterRequest) error {
	if old == nil {
		return nil
	}
	if req.PreserveCounts {
		keepCounts(job, old)
	}
	if req.PreserveResources {
		keepResources(job, old)
	}
	if err := admitJob(job); err != nil {
		return cluster.Errorf(cluster.CodeOf(err), "keep counts or resources of version %d: %w", old.Version, err)
	}
	return nil
}

// modified is the index of the job's last registration, 0 if there is no such job.
func modified(job *cluster.Job) uint64 {
	if job == nil {
		return 0
	}
	return job.JobModifyIndex
}

// keepCounts gives the job's groups the counts that groups of the same names have in the old version.
func keepCounts(job, old *cluster.Job) {
	for i := range job.TaskGroups {
		if group := old.Group(job.TaskGroups[i].Name); group != nil {
			job.TaskGroups[i].Count = group.Count
		}
	}
}

// keepResources gives the job's tasks the resources that tasks of the same names have in the old version.
func keepResources(job, old *cluster.Job) {
	for i := range job.TaskGroups {
		group := old.Group(job.TaskGroups[i].Name)
		if group == nil {
			continue
		}
		for k := range job.TaskGroups[i].Tasks {
			if task := group.Task(job.TaskGroups[i].Tasks[k].Name); task != nil {
				job.TaskGroups[i].Tasks[k].Resources = task.Resources
			}
		}
	}
}

// deregisterJob stops a job. One that is not there is stopped already.
func (h *apiHandler) deregisterJob(r *request) (written, error) {
	purge, err := r.flag("purge")
	if err != nil {
		return written{}, err
	}
	if err := r.refuseFlags(map[string]string{"no_shutdown_delay": "stopping without the shutdown delay"}); err != nil {
		return written{}, err
	}
	priority, err := strconv.Atoi(cmp.Or(r.query.Get("eval_priority"), "0"))
	if err != nil {
		return written{}, cluster.Errorf(cluster.CodeInvalid, "read eval_priority %.100q: want a number", r.query.Get("eval_priority"))
	}
	if result, done := h.answered(r); done {
		return deregistered(result), nil
	}
	snapshot := h.Core.Snapshot()
	job := snapshot.Job(r.namespace, r.arg)
	if job == nil {
		index := max(snapshot.Index(), 1)
		return written{api.JobDeregisterResponse{Meta: api.Meta{Index: index, KnownLeader: true}}, index}, nil
	}
	now := time.Now()
	command := &state.DeregisterJob{At: now.UnixNano(), RequestID: r.requestID(), Namespace: job.Namespace, ID: job.ID, Purge: purge}
	if !job.IsTemplate() {
		eval := newEval(cluster.IDFrom(dice(), 0), job, cluster.TriggerJobDeregister, now)
		if err := prioritise(&eval, priority); err != nil {
			return written{}, err
		}
		command.Eval = &eval
	}
	result, err := h.Core.Apply(r.Context(), command)
	if err != nil {
		return written{}, err
	}
	return deregistered(result), nil
}

// deregistered is the answer to the end of a job.
func deregistered(result state.Result) written {
	response := api.JobDeregisterResponse{EvalID: result.EvalID, JobModifyIndex: result.JobModifyIndex,
		Meta: api.Meta{Index: result.Index, KnownLeader: true}}
	if !result.EvalID.IsZero() {
		response.EvalCreateIndex = result.Index
	}
	return written{response, result.Index}
}

// validateJob tells what is wrong with a job; that something is wrong is a good answer.
func (h *apiHandler) validateJob(r *request) (any, error) {
	var req api.JobValidateRequest
	if err := r.decodeUpTo(maxRegistration, "job", &req); err != nil {
		return nil, err
	}
	job, err := admissible(req.Job)
	var problems cluster.Problems
	if err != nil && !errors.As(err, &problems) {
		return nil, err
	}
	if job != nil {
		if err := r.place(job, "", ""); err != nil {
			return nil, err
		}
		problems = append(problems, job.Validate()...)
		if h.Core.Snapshot().Namespace(job.Namespace) == nil {
			problems = append(problems, cluster.Problem{Text: fmt.Sprintf("job %q is in nonexistent namespace %q", job.ID, job.Namespace)})
		}
	}
	response := api.JobValidateResponse{DriverConfigValidated: true}
	for _, problem := range problems {
		response.ValidationErrors = append(response.ValidationErrors, problem.String())
	}
	if len(problems) > 0 {
		response.Error = problems.Error()
	} else {
		missing, _ := job.Missing()
		response.Warnings = slices.Concat(missing, job.Warnings(), cluster.Unread(req.Job)).Lines()
	}
	return response, nil
}

// parseJob reads a job file. The job is complete whether the caller asked for that or not: there is one form of a job.
func parseJob(r *request) (any, error) {
	var req api.JobParseRequest
	if err := r.decodeUpTo(maxRegistration, "job", &req); err != nil {
		return nil, err
	}
	if req.JobHCL == "" {
		return nil, cluster.Errorf(cluster.CodeInvalid, "Job spec is empty")
	}
	config := jobspec.Config{File: jobspec.File{Name: "input.hcl", Text: []byte(req.JobHCL)}, Lenient: true}
	if req.Variables != "" {
		config.VariableFiles = []jobspec.File{{Name: "input.vars", Text: []byte(req.Variables)}}
	}
	parsed, err := jobspec.Parse(config)
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeOf(err), "Failed to parse job: %w", err)
	}
	return parsed.Job, nil
}
