package server

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) jobEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.JobRevert:        {write: h.revertJob},
		api.JobStable:        {write: h.markStable},
		api.JobTag:           {write: h.tagJob},
		api.JobUntag:         {write: h.untagJob},
		api.JobScale:         {write: h.scaleJob},
		api.JobScaleState:    {read: readJobScaling},
		api.JobsList:         {read: listJobs},
		api.JobsRegister:     {write: h.registerJob},
		api.JobRegister:      {write: h.registerJob},
		api.JobPlan:          {write: h.planJob},
		api.JobsParse:        {local: parseJob},
		api.JobValidate:      {local: h.validateJob},
		api.JobRead:          {read: readJob},
		api.JobDeregister:    {write: h.deregisterJob},
		api.JobEvaluate:      {write: h.evaluateJob},
		api.JobVersionsList:  {read: listJobVersions},
		api.JobAllocsList:    {read: listJobAllocs},
		api.JobEvalsList:     {read: listJobEvals},
		api.JobDeploysList:   {read: listJobDeployments},
		api.JobLatestDeploy:  {read: readJobDeployment},
		api.JobSummaryRead:   {read: readJobSummary},
		api.JobServicesList:  {read: listJobServices},
		api.JobSubmissionGet: {read: readSubmission},
	}
}

func jobNotFound() error { return cluster.Errorf(cluster.CodeNotFound, "job not found") }

func listJobs(r *request, sn *state.Snapshot) (reading, error) {
	withMeta, err := r.flag("meta")
	if err != nil {
		return reading{}, err
	}
	jobs := lister[cluster.Job, api.JobListStub]{
		at:     func(j *cluster.Job) cursor { return cursor{namespace: j.Namespace, id: j.ID} },
		view:   func(j *cluster.Job) api.JobListStub { return jobStub(sn, j, withMeta) },
		sorted: true,
	}
	keys := []state.Key{state.TableKey(state.Jobs), state.TableKey(state.Allocs), state.TableKey(state.Evals)} // the last two count in summaries
	return reading{keys, func(api.Meta) (any, error) {
		return jobs.list(r, sn.Jobs(r.namespace, r.list.prefix))
	}}, nil
}

func jobStub(sn *state.Snapshot, j *cluster.Job, withMeta bool) api.JobListStub {
	stub := api.JobListStub{
		ID: j.ID, ParentID: j.ParentID, Periodic: j.IsPeriodic(), ParameterizedJob: j.IsParameterized(), Name: j.Name, Namespace: j.Namespace, Datacenters: j.Datacenters, NodePool: j.NodePool, Type: j.Type,
		Priority: j.Priority, Stop: j.Stop, Status: j.Status, StatusDescription: j.StatusDescription,
		JobSummary:  sn.JobSummary(j.Namespace, j.ID),
		CreateIndex: j.CreateIndex, ModifyIndex: j.ModifyIndex, JobModifyIndex: j.JobModifyIndex, SubmitTime: j.SubmitTime,
	}
	if withMeta {
		stub.Meta = j.Meta
	}
	return stub
}

// ofJob is a reading about one job that is there; what is not there can be waited for.
func ofJob(r *request, sn *state.Snapshot, value func(*cluster.Job) any, keys ...state.Key) (reading, error) {
	keys = append(keys, state.JobKey(r.namespace, r.arg))
	job := sn.Job(r.namespace, r.arg)
	if job == nil {
		return missing("job", keys...), nil
	}
	return reading{keys, func(api.Meta) (any, error) { return value(job), nil }}, nil
}

func readJob(r *request, sn *state.Snapshot) (reading, error) {
	return ofJob(r, sn, func(j *cluster.Job) any { return j })
}

func readJobSummary(r *request, sn *state.Snapshot) (reading, error) {
	return ofJob(r, sn, func(j *cluster.Job) any {
		return sn.JobSummary(j.Namespace, j.ID)
	}, state.JobAllocsKey(r.namespace, r.arg), state.JobEvalsKey(r.namespace, r.arg))
}

func listJobAllocs(r *request, sn *state.Snapshot) (reading, error) {
	all, err := r.flag("all")
	if err != nil {
		return reading{}, err
	}
	job := sn.Job(r.namespace, r.arg)
	allocs := where(sn.AllocsByJob(r.namespace, r.arg), func(a *cluster.Allocation) bool {
		return all || job == nil || a.Job.CreateIndex == job.CreateIndex
	})
	return allocReading(r, allocs, state.JobAllocsKey(r.namespace, r.arg))
}

func listJobEvals(r *request, sn *state.Snapshot) (reading, error) {
	return reading{[]state.Key{state.JobEvalsKey(r.namespace, r.arg)}, func(api.Meta) (any, error) {
		evals := slices.Collect(sn.EvalsByJob(r.namespace, r.arg))
		slices.Reverse(evals)
		return orEmpty(evals), nil
	}}, nil
}

func listJobDeployments(r *request, sn *state.Snapshot) (reading, error) {
	all, err := r.flag("all")
	if err != nil {
		return reading{}, err
	}
	return reading{[]state.Key{state.JobDeploymentsKey(r.namespace, r.arg)}, func(api.Meta) (any, error) {
		job := sn.Job(r.namespace, r.arg)
		views := []api.DeploymentView{}
		for d := range sn.DeploymentsByJob(r.namespace, r.arg) {
			if all || job == nil || d.JobCreateIndex == job.CreateIndex {
				views = append(views, deploymentView(d))
			}
		}
		slices.Reverse(views)
		return views, nil
	}}, nil
}

func readJobDeployment(r *request, sn *state.Snapshot) (reading, error) {
	return reading{[]state.Key{state.JobDeploymentsKey(r.namespace, r.arg)}, func(api.Meta) (any, error) {
		if d := sn.LatestDeployment(r.namespace, r.arg); d != nil {
			return deploymentView(d), nil
		}
		return nil, nil
	}}, nil
}

func listJobServices(r *request, sn *state.Snapshot) (reading, error) {
	return ofJob(r, sn, func(j *cluster.Job) any {
		found := []cluster.ServiceRegistration{}
		for a := range sn.AllocsByJob(j.Namespace, j.ID) {
			found = append(found, cluster.Registrations(a, sn.Node(a.NodeID))...)
		}
		return found
	}, state.JobAllocsKey(r.namespace, r.arg))
}

func readSubmission(r *request, sn *state.Snapshot) (reading, error) {
	version, err := strconv.ParseUint(r.query.Get("version"), 10, 64)
	if err != nil {
		return reading{}, cluster.Errorf(cluster.CodeInvalid, "read submission: want ?version= with a number, have %.100q", r.query.Get("version"))
	}
	key := state.JobKey(r.namespace, r.arg)
	source, job := sn.Submission(r.namespace, r.arg, version), sn.JobVersion(r.namespace, r.arg, version)
	if source == nil || job == nil {
		return missing("job source", key), nil
	}
	return constant(api.JobSubmission{
		Source: source.Source, Format: source.Format, VariableFlags: source.VariableFlags, Variables: source.Variables,
		Namespace: job.Namespace, JobID: job.ID, Version: job.Version, JobModifyIndex: job.JobModifyIndex,
	}, key), nil
}

// orEmpty is the slice, printed as [] where it has nothing.
func orEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// later is the refusal of what this version does not have.
func later(what string) error {
	return &statusError{http.StatusNotImplemented, cluster.Errorf(cluster.CodeRejected, "%s: this version does not have it yet", what)}
}

// refuseFlags refuses what parameters ask for that this version does not have, given by name.
func (r *request) refuseFlags(features map[string]string) error {
	for name, feature := range features {
		asked, err := r.flag(name)
		if err != nil {
			return err
		}
		if asked {
			return later(feature)
		}
	}
	return nil
}

// withPrefix reports whether a name begins with the request's prefix.
func (r *request) withPrefix(name string) bool { return strings.HasPrefix(name, r.list.prefix) }
