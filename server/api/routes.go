package api

import "slices"

// The routes of jobs.
var (
	JobsList         = Route{Method: "GET", Path: "/v1/jobs", Needs: ListJobs}
	JobsRegister     = Route{Method: "PUT", Path: "/v1/jobs", Needs: SubmitJob, Kind: Write}
	JobsParse        = Route{Method: "PUT", Path: "/v1/jobs/parse", Needs: ParseJob, Kind: Local}
	JobValidate      = Route{Method: "PUT", Path: "/v1/validate/job", Needs: ReadJob, Kind: Local}
	JobRead          = Route{Method: "GET", Path: "/v1/job/{job}", Needs: ReadJob}
	JobRegister      = Route{Method: "PUT", Path: "/v1/job/{job}", Needs: SubmitJob, Kind: Write}
	JobPlan          = Route{Method: "PUT", Path: "/v1/job/{job}/plan", Needs: SubmitJob, Kind: Write}
	JobDeregister    = Route{Method: "DELETE", Path: "/v1/job/{job}", Needs: SubmitJob, Kind: Write}
	JobVersionsList  = Route{Method: "GET", Path: "/v1/job/{job}/versions", Needs: ReadJob}
	JobAllocsList    = Route{Method: "GET", Path: "/v1/job/{job}/allocations", Needs: ReadJob}
	JobEvalsList     = Route{Method: "GET", Path: "/v1/job/{job}/evaluations", Needs: ReadJob}
	JobDeploysList   = Route{Method: "GET", Path: "/v1/job/{job}/deployments", Needs: ReadJob}
	JobLatestDeploy  = Route{Method: "GET", Path: "/v1/job/{job}/deployment", Needs: ReadJob}
	JobSummaryRead   = Route{Method: "GET", Path: "/v1/job/{job}/summary", Needs: ReadJob}
	JobServicesList  = Route{Method: "GET", Path: "/v1/job/{job}/services", Needs: ReadJob}
	JobSubmissionGet = Route{Method: "GET", Path: "/v1/job/{job}/submission", Needs: ReadJob}
	JobEvaluate      = Route{Method: "PUT", Path: "/v1/job/{job}/evaluate", Needs: SubmitJob, Kind: Write}

	JobDispatch        = Route{Method: "PUT", Path: "/v1/job/{job}/dispatch", Needs: DispatchJob, Kind: Write}
	JobDispatchPayload = Route{Method: "PUT", Path: "/v1/job/{job}/dispatch/payload", Needs: DispatchJob, Kind: Write}
	JobPeriodicForce   = Route{Method: "PUT", Path: "/v1/job/{job}/periodic/force", Needs: SubmitJob, Kind: Write}
)

// The routes of allocations.
var (
	AllocsList        = Route{Method: "GET", Path: "/v1/allocations", Needs: ReadJob}
	AllocRead         = Route{Method: "GET", Path: "/v1/allocation/{alloc}", Needs: ReadJob}
	AllocStop         = Route{Method: "PUT", Path: "/v1/allocation/{alloc}/stop", Needs: AllocLifecycle, Kind: Write}
	AllocServicesList = Route{Method: "GET", Path: "/v1/allocation/{alloc}/services", Needs: ReadJob}
	AllocChecks       = Route{Method: "GET", Path: "/v1/allocation/{alloc}/checks", Needs: ReadJob, Kind: OnNode}
	AllocNodeChecks   = Route{Method: "GET", Path: "/v1/client/allocation/{alloc}/checks", Needs: ReadJob, Kind: OnNode}
	AllocStats        = Route{Method: "GET", Path: "/v1/client/allocation/{alloc}/stats", Needs: ReadJob, Kind: OnNode}
	AllocRestart      = Route{Method: "PUT", Path: "/v1/client/allocation/{alloc}/restart", Needs: AllocLifecycle, Kind: OnNode}
	AllocSignal       = Route{Method: "PUT", Path: "/v1/client/allocation/{alloc}/signal", Needs: AllocLifecycle, Kind: OnNode}
	AllocGC           = Route{Method: Any, Path: "/v1/client/allocation/{alloc}/gc", Needs: SubmitJob, Kind: OnNode}
	FSList            = Route{Method: "GET", Path: "/v1/client/fs/ls/{alloc}", Needs: ReadFS, Kind: OnNode}
	FSStat            = Route{Method: "GET", Path: "/v1/client/fs/stat/{alloc}", Needs: ReadFS, Kind: OnNode}
	FSCat             = Route{Method: "GET", Path: "/v1/client/fs/cat/{alloc}", Needs: ReadFS, Kind: OnNode}
	FSReadAt          = Route{Method: "GET", Path: "/v1/client/fs/readat/{alloc}", Needs: ReadFS, Kind: OnNode}
	FSStream          = Route{Method: "GET", Path: "/v1/client/fs/stream/{alloc}", Needs: ReadFS, Kind: OnNode}
	FSLogs            = Route{Method: "GET", Path: "/v1/client/fs/logs/{alloc}", Needs: ReadLogs, Kind: OnNode}
)

// The routes of nodes.
var (
	NodesList       = Route{Method: "GET", Path: "/v1/nodes", Needs: ReadNode, Global: true}
	NodeRead        = Route{Method: "GET", Path: "/v1/node/{node}", Needs: ReadNode, Global: true}
	NodeAllocsList  = Route{Method: "GET", Path: "/v1/node/{node}/allocations", Needs: ReadNode, Global: true}
	NodeEligibility = Route{Method: "PUT", Path: "/v1/node/{node}/eligibility", Needs: WriteNode, Kind: Write, Global: true}
	NodeStats       = Route{Method: "GET", Path: "/v1/client/stats", Needs: ReadNode, Kind: OnNode, Global: true}
	NodeGC          = Route{Method: Any, Path: "/v1/client/gc", Needs: WriteNode, Kind: OnNode, Global: true}
)

// The routes that only a node's own agent may call, for itself.
var (
	SelfRegister = Route{Method: "PUT", Path: "/v1/internal/node/{node}/register", Needs: ActAsNode, Kind: Write, Global: true}
	SelfAllocs   = Route{Method: "GET", Path: "/v1/internal/node/{node}/allocations", Needs: ActAsNode, Global: true}
	SelfReport   = Route{Method: "PUT", Path: "/v1/internal/node/{node}/report", Needs: ActAsNode, Kind: Write, Global: true}
)

// The routes of evaluations and deployments.
var (
	EvalsList        = Route{Method: "GET", Path: "/v1/evaluations", Needs: ReadJob}
	EvalsCount       = Route{Method: "GET", Path: "/v1/evaluations/count", Needs: ReadJob}
	EvalRead         = Route{Method: "GET", Path: "/v1/evaluation/{eval}", Needs: ReadJob}
	EvalAllocsList   = Route{Method: "GET", Path: "/v1/evaluation/{eval}/allocations", Needs: ReadJob}
	DeploysList      = Route{Method: "GET", Path: "/v1/deployments", Needs: ReadJob}
	DeployRead       = Route{Method: "GET", Path: "/v1/deployment/{deployment}", Needs: ReadJob}
	DeployAllocsList = Route{Method: "GET", Path: "/v1/deployment/allocations/{deployment}", Needs: ReadJob}
)

// The routes of services, namespaces and searching.
var (
	ServicesList    = Route{Method: "GET", Path: "/v1/services", Needs: ReadJob}
	ServiceRead     = Route{Method: "GET", Path: "/v1/service/{service}", Needs: ReadJob}
	NamespacesList  = Route{Method: "GET", Path: "/v1/namespaces", Needs: ReadNamespace, Global: true}
	NamespaceCreate = Route{Method: "PUT", Path: "/v1/namespace", Needs: WriteNamespace, Kind: Write, Global: true}
	NamespaceRead   = Route{Method: "GET", Path: "/v1/namespace/{name}", Needs: ReadNamespace, Global: true}
	NamespaceWrite  = Route{Method: "PUT", Path: "/v1/namespace/{name}", Needs: WriteNamespace, Kind: Write, Global: true}
	NamespaceDelete = Route{Method: "DELETE", Path: "/v1/namespace/{name}", Needs: WriteNamespace, Kind: Write, Global: true}
	SearchPrefix    = Route{Method: "PUT", Path: "/v1/search", Needs: ListJobs, Kind: Local}
)

// The routes of the servers and agents themselves.
var (
	RegionsList  = Route{Method: "GET", Path: "/v1/regions", Kind: Local, Global: true}
	StatusLeader = Route{Method: "GET", Path: "/v1/status/leader", Kind: Local, Global: true}
	StatusPeers  = Route{Method: "GET", Path: "/v1/status/peers", Kind: Local, Global: true}
	AgentSelf    = Route{Method: "GET", Path: "/v1/agent/self", Needs: ReadAgent, Kind: Local, Global: true}
	AgentHealth  = Route{Method: "GET", Path: "/v1/agent/health", Kind: Local, Global: true}
	AgentMembers = Route{Method: "GET", Path: "/v1/agent/members", Needs: ReadAgent, Kind: Local, Global: true}
	MetricsRead  = Route{Method: "GET", Path: "/v1/metrics", Needs: ReadAgent, Kind: Local, Global: true}
	SystemGC     = Route{Method: "PUT", Path: "/v1/system/gc", Needs: WriteOperator, Kind: Write, Global: true}
)

// Routes is the table: every route that is known, also those that this version has only a refusal for.
func Routes() []Route {
	return slices.Concat(laterRoutes(), joinRoutes(), operatorRoutes(), jobChangeRoutes(), []Route{ScalingPoliciesList, ScalingPolicyRead}, []Route{
		JobsList, JobsRegister, JobsParse, JobValidate, JobRead, JobRegister, JobDeregister, JobVersionsList,
		JobAllocsList, JobEvalsList, JobDeploysList, JobLatestDeploy, JobSummaryRead, JobServicesList,
		JobSubmissionGet, JobEvaluate, JobPlan, JobDispatch, JobDispatchPayload, JobPeriodicForce,
	}, []Route{
		AllocsList, AllocRead, AllocStop, AllocServicesList, AllocChecks, AllocNodeChecks, AllocStats, AllocRestart,
		AllocSignal, AllocGC, FSList, FSStat, FSCat, FSReadAt, FSStream, FSLogs,
	}, []Route{
		NodesList, NodeRead, NodeAllocsList, NodeEligibility, NodeDrain, NodeEvaluate, NodePurge, NodeStats, NodeGC,
		SelfRegister, SelfAllocs, SelfReport,
	}, []Route{
		EvalsList, EvalsCount, EvalRead, EvalAllocsList, DeploysList, DeployRead, DeployAllocsList,
		ServicesList, ServiceRead, NamespacesList, NamespaceCreate, NamespaceRead, NamespaceWrite, NamespaceDelete,
		SearchPrefix,
	}, []Route{
		RegionsList, StatusLeader, StatusPeers, AgentSelf, AgentHealth, AgentMembers, MetricsRead, SystemGC,
	})
}

// laterRoutes are routes that existing clients know and this version does not have.
func laterRoutes() []Route {
	var routes []Route
	for _, group := range []struct {
		what  string
		needs Capability
		paths []string
	}{
		{"actions", ReadJob, []string{"/v1/job/{job}/actions", "/v1/job/{job}/action"}},
		{"statuses of several jobs", ListJobs, []string{"/v1/jobs/statuses"}},
		{"node pools", ReadNode, []string{"/v1/node/pools", "/v1/node/pool/{pool}"}},
		{"metadata and identities of nodes", WriteNode, []string{"/v1/client/metadata", "/v1/client/identity", "/v1/client/identity/renew"}},
		{"exec", AllocLifecycle, []string{"/v1/client/allocation/{alloc}/exec"}},
		{"pausing a task", AllocLifecycle, []string{"/v1/client/allocation/{alloc}/pause"}},
		{"moving an allocation's data", ReadFS, []string{"/v1/client/allocation/{alloc}/snapshot"}},
		{"steering a deployment", SubmitJob, []string{"/v1/deployment/promote/{deployment}", "/v1/deployment/fail/{deployment}",
			"/v1/deployment/pause/{deployment}", "/v1/deployment/unblock/{deployment}", "/v1/deployment/allocation-health/{deployment}"}},
		{"variables", ReadJob, []string{"/v1/vars", "/v1/var/{path}"}},
		{"fuzzy search", ListJobs, []string{"/v1/search/fuzzy"}},
		{"the stream of events", ReadJob, []string{"/v1/event/stream"}},
		{"access control", NeedsNothing, []string{"/v1/acl/{path}"}},
		{"volumes", ReadJob, []string{"/v1/volumes", "/v1/volumes/{path}", "/v1/volume/{path}", "/v1/plugins", "/v1/plugin/{path}"}},
		{"steering an agent over the API", WriteOperator, []string{"/v1/agent/servers", "/v1/agent/join", "/v1/agent/force-leave", "/v1/agent/monitor",
			"/v1/agent/monitor/export", "/v1/agent/reload", "/v1/agent/host", "/v1/agent/pprof/{profile}", "/v1/agent/schedulers",
			"/v1/agent/schedulers/config", "/v1/agent/keyring/{verb}"}},
		{"operator routes", WriteOperator, []string{"/v1/operator/{path}", "/v1/system/reconcile/summaries"}},
		{"features of the enterprise edition", NeedsNothing, []string{"/v1/sentinel/{path}", "/v1/quota", "/v1/quota/{path}", "/v1/quotas",
			"/v1/recommendation", "/v1/recommendation/{path}", "/v1/recommendations"}},
	} {
		for _, path := range group.paths {
			routes = append(routes, Route{Method: Any, Path: path, Needs: group.needs, Kind: Local, Global: true, Later: group.what})
		}
	}
	// Only listing evaluations is here; deleting them shares the path.
	return append(routes,
		Route{Method: "DELETE", Path: EvalsList.Path, Needs: WriteOperator, Kind: Local, Global: true, Later: "deleting evaluations"},
		Route{Method: "DELETE", Path: "/v1/service/{service}", Needs: SubmitJob, Kind: Local, Global: true, Later: "deleting a registration by hand"})
}
