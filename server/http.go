package server

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/scheduler"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

// core is what the HTTP API needs of the server around it. All methods may be called concurrently.
type core interface {
	// Snapshot is the newest state that this server knows.
	Snapshot() *state.Snapshot
	// Store is this server's copy of the state, for waiting.
	Store() *state.Store
	// Apply commits a command and returns what came of it, with the error that refused it.
	Apply(context.Context, state.Command) (state.Result, error)
	// Barrier returns when Snapshot shows everything that was committed before the call.
	Barrier(context.Context) error
	// Leadership is who leads, as far as this server knows.
	Leadership() Leadership
	// Reach is the way to the API of another server or, for /v1/client/ routes, of a node. Its error is told to the caller as it is.
	Reach(cluster.ID) (Carry, error)
}

// keeper is what the leader does for nodes, its housekeeping, and its planning.
type keeper interface {
	// Register stores what a node says of itself and renews its lease.
	Register(context.Context, *cluster.Node) error
	// Report takes in what a node found its allocations to be.
	Report(ctx context.Context, node cluster.ID, updates []cluster.AllocUpdate) error
	// Collect forgets what is over, however young.
	Collect(context.Context) error
	// Preview plans the evaluation of a job that is not registered.
	Preview(*state.Snapshot, *cluster.Job, *cluster.Evaluation) scheduler.Preview
}

// Leadership is who leads the cluster, as one server knows it.
type Leadership struct {
	ID          cluster.ID      // zero if nobody is known to lead
	Address     string          // of port 4647
	Self        bool            // this server leads and may answer consistently
	Term        context.Context // ends when this server stops leading; nil if it does not lead, or for ever
	LastContact time.Duration
	Peers       []string // addresses of all servers
	Refusal     string   // why this server answers nothing from its state, "" if it does
	Trouble     error    // why this server can neither lead nor follow: it cannot write its log; nil if it can
}

// HTTPConfig is what the API is made of.
type HTTPConfig struct {
	Core    core
	Keeper  keeper
	Logger  *slog.Logger
	Version string
	// MaxSource is how many bytes the text of a job may have to be kept with it; 0: as many as a job may, less than 0: none is kept.
	MaxSource int
	Self      func() api.Agent   // for /v1/agent/self
	Members   func() api.Members // for /v1/agent/members
	// Cluster is for /v1/agent/cluster.
	Cluster func(context.Context) api.ClusterView
	// Leave is for /v1/agent/leave: it returns before the agent ends. nil: this agent cannot leave.
	Leave  func(context.Context, api.LeaveRequest) error
	Health func() api.Health // for /v1/agent/health
	// Another is another server that answers, none of those; zero if there is none. It is asked when this one knows no leader. nil: there
	// are no others.
	Another func(ctx context.Context, vain []cluster.ID) cluster.ID
	Figures func() []Figure // of the rest of the agent, for /v1/metrics; called at every reading; nil: none
}

// apiHandler is the HTTP API. What holds for all routes happens in ServeHTTP and answer, once.
type apiHandler struct {
	HTTPConfig
	policy   policy
	routes   routeTable
	meters   meters
	patience time.Duration // how long a request waits for a leader
	refusals quietness     // about nodes
}

// NewHandler makes the HTTP API of a server. It may be used by several http.Servers at once; see HTTPServer.
func NewHandler(c HTTPConfig) http.Handler { return newAPIHandler(c) }

func newAPIHandler(c HTTPConfig) *apiHandler {
	h := &apiHandler{HTTPConfig: c, policy: allowAll, patience: leaderPatience}
	h.routes = newRouteTable(h.endpoints())
	h.meters = newMeters(c)
	return h
}

// endpoint is how one route is answered: exactly one of the functions is set, according to the route's kind.
type endpoint struct {
	read  func(*request, *state.Snapshot) (reading, error)
	write func(*request) (written, error)
	local func(*request) (any, error)
	node  func(*request) (cluster.ID, error) // whose agent answers
	raw   func(*request, http.ResponseWriter) error
}

// maxURL is the longest path and query that is looked at.
const maxURL = 16 << 10

// ServeHTTP answers one request.
func (h *apiHandler) ServeHTTP(rw http.ResponseWriter, hr *http.Request) {
	w := &reply{ResponseWriter: rw, control: http.NewResponseController(rw)}
	began := time.Now()
	w.beginBody(hr)
	route := "unknown"
	defer func() {
		if fault := recover(); fault != nil {
			if fault == http.ErrAbortHandler {
				panic(fault)
			}
			h.Logger.Error("request crashed: this is a bug", "method", hr.Method, "path", hr.URL.Path, "err", fault, "stack", string(debug.Stack()))
			if w.status != 0 {
				panic(http.ErrAbortHandler) // half an answer must not look like a whole one
			}
			h.fail(w, hr, cluster.Errorf(cluster.CodeInternal, "answer %s: the server hit a bug of its own; its log has the details", hr.URL.Path))
		}
		h.meters.answered(route, w.code(), time.Since(began)-w.waited)
	}()
	if err := Guard(hr); err != nil {
		h.fail(w, hr, err)
		return
	}
	if hr.URL.Path == "/" {
		http.Redirect(w, hr, "/ui/", http.StatusTemporaryRedirect)
		return
	}
	found, err := h.routes.find(hr.Method, hr.URL)
	if err != nil {
		h.fail(w, hr, err)
		return
	}
	route = found.route.Path
	if err := h.serve(w, hr, found); err != nil {
		h.fail(w, hr, err)
	}
}

// serve does what all routes have in common and then what the one is for.
func (h *apiHandler) serve(w *reply, hr *http.Request, found match) error {
	r, err := h.newRequest(w, hr, found)
	if err != nil {
		return err
	}
	if err := h.judge(r); err != nil {
		return err
	}
	if r.route.Later != "" {
		return later(r.route.Later)
	}
	if e := found.endpoint; e.write != nil || e.read != nil && !r.stale {
		return h.byLeader(w, r, e)
	}
	if e := found.endpoint; e.node != nil {
		return h.onNode(w, r, e)
	}
	if err := h.checkNamespace(r); err != nil {
		return err
	}
	switch e := found.endpoint; {
	case e.read != nil:
		if refusal := h.Core.Leadership().Refusal; refusal != "" {
			return cluster.Errorf(cluster.CodeUnavailable, "%s", refusal)
		}
		return h.read(w, r, e)
	case e.local != nil:
		value, err := e.local(r)
		if err != nil {
			return err
		}
		return w.json(r, value)
	case e.raw != nil:
		return e.raw(r, w)
	}
	return cluster.Errorf(cluster.CodeRejected, "answer %s: this agent is no server and cannot do that", hr.URL.Path)
}

// written is what came of a write: the answer's body (nil prints null) and the index of the change.
type written struct {
	value any
	index uint64
}

func (h *apiHandler) write(w *reply, r *request, e endpoint) error {
	done, err := e.write(r)
	if err != nil {
		return err
	}
	if done.index > 0 {
		w.Header().Set(api.HeaderIndex, formatIndex(done.index))
	}
	return w.json(r, done.value)
}

// answered is what came of the request when it came before, if it did. What a change is checked against may be otherwise since
// then, by that very change: whoever repeats it for a lost answer is told what came of it, not that it is too late.
func (h *apiHandler) answered(r *request) (state.Result, bool) {
	return h.Core.Snapshot().Answered(r.requestID(), time.Now().UnixNano())
}

// match is a route that fits a request, and the value of its {name}.
type match struct {
	route    api.Route
	endpoint endpoint
	arg      string
}

// routeTable finds routes. Those without a {name} are looked up, the others tried from the most to the least specific.
type routeTable struct {
	exact    map[string][]match
	patterns []match
}

func newRouteTable(endpoints map[api.Route]endpoint) routeTable {
	t := routeTable{exact: map[string][]match{}}
	for _, route := range api.Routes() {
		m := match{route: route, endpoint: endpoints[route]}
		if strings.Contains(route.Path, "{") {
			t.patterns = append(t.patterns, m)
		} else {
			t.exact[route.Path] = append(t.exact[route.Path], m)
		}
	}
	sortBySpecificity(t.patterns)
	return t
}

// find is the route of a request. The most specific path that fits decides, first of those that fit as it was sent, then of those that do
// with its escapes resolved; then the method must be one of its own.
func (t *routeTable) find(method string, target *url.URL) (match, error) {
	candidates, arg := t.exact[target.Path], ""
	if len(candidates) == 0 {
		candidates, arg = t.fitting(target.EscapedPath(), api.Route.MatchSent)
	}
	if len(candidates) == 0 {
		candidates, arg = t.fitting(target.Path, api.Route.Match)
	}
	if len(candidates) == 0 {
		return match{}, &statusError{http.StatusNotFound, nil}
	}
	for _, m := range candidates {
		if m.route.Accepts(method) {
			m.arg = arg
			return m, nil
		}
	}
	return match{}, cluster.Errorf(cluster.CodeMethod, "Invalid method")
}

// fitting are the routes of the most specific path that fits, and the value of its {name}.
func (t *routeTable) fitting(path string, fits func(api.Route, string) (string, bool)) (found []match, arg string) {
	for i := range t.patterns {
		if len(found) > 0 && t.patterns[i].route.Path != found[0].route.Path {
			break
		}
		if value, ok := fits(t.patterns[i].route, path); ok {
			found, arg = append(found, t.patterns[i]), value
		}
	}
	return found, arg
}

// HTTPServer is an http.Server for the handler with limits for callers that are slow or say nothing. Requests end
// with ctx, so that blocking reads do not hold up the shutdown.
func HTTPServer(ctx context.Context, handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext:       baseContext(ctx),
	}
}
