package server

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// request is one call of a route, its common parameters read.
type request struct {
	*http.Request
	control   *http.ResponseController // of the connection
	route     api.Route
	arg       string // the value of the route's {name}
	query     url.Values
	namespace string // cluster.AllNamespaces only for lists
	caller    Caller
	text      []byte // the body, once rewindable has read it
	index     uint64 // of a blocking read; 0: answer at once
	wait      time.Duration
	stale     bool
	pretty    bool
	list      listing
}

// listing is what a request wants of a list.
type listing struct {
	prefix  string
	filter  string
	perPage int // 0: all
	next    string
	reverse bool
}

func (h *apiHandler) newRequest(w *reply, hr *http.Request, found match) (*request, error) {
	query, err := url.ParseQuery(hr.URL.RawQuery)
	if err != nil {
		return nil, cluster.Errorf(cluster.CodeInvalid, "read query: %w", err)
	}
	r := &request{Request: hr, control: w.control, route: found.route, arg: found.arg, query: query, caller: callerOf(hr)}
	r.namespace = cmp.Or(query.Get("namespace"), cluster.DefaultNamespace)
	pretty, asked := query["pretty"]
	r.pretty = asked && pretty[0] != "0"
	if err := checkRegion(query.Get("region")); err != nil {
		return nil, err
	}
	if r.stale, err = staleness(query); err != nil {
		return nil, err
	}
	if err := r.readBlocking(); err != nil {
		return nil, err
	}
	return r, r.readListing()
}

// checkRegion refuses regions other than the one.
func checkRegion(name string) error {
	if name == "" || name == cluster.GlobalRegion {
		return nil
	}
	return cluster.Errorf(cluster.CodeRejected, "No path to region %.100q: there is one region, %q", name, cluster.GlobalRegion)
}

func staleness(query url.Values) (bool, error) {
	values, asked := query["stale"]
	if !asked {
		return false, nil
	}
	switch values[0] {
	case "", "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, cluster.Errorf(cluster.CodeInvalid, "Expect `true` or `false` for \"stale\" query string parameter, got %.100q", values[0])
}

func (r *request) readBlocking() error {
	r.wait = api.MaxWait
	if text := r.query.Get("wait"); text != "" {
		wait, err := time.ParseDuration(text)
		if err != nil || wait < 0 {
			return cluster.Errorf(cluster.CodeInvalid, "Invalid wait time")
		}
		if wait > 0 {
			r.wait = min(wait, api.MaxWait)
		}
	}
	if text := r.query.Get("index"); text != "" {
		index, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return cluster.Errorf(cluster.CodeInvalid, "Invalid index")
		}
		r.index = index
	}
	return nil
}

func (r *request) readListing() error {
	r.list = listing{prefix: r.query.Get("prefix"), filter: r.query.Get("filter"), next: r.query.Get("next_token")}
	if text := r.query.Get("per_page"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return cluster.Errorf(cluster.CodeInvalid, "Invalid per_page: want a number, have %.100q", text)
		}
		r.list.perPage = int(n)
	}
	var err error
	r.list.reverse, err = r.flag("reverse")
	return err
}

// flag is the value of a parameter that is true or false; absent is false.
func (r *request) flag(name string) (bool, error) {
	text := r.query.Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, cluster.Errorf(cluster.CodeInvalid, "Failed to parse value of %q (%.100q) as a bool: want true or false", name, text)
	}
	return value, nil
}

// id is the ID that the route names; what says what of.
func (r *request) id(what string) (cluster.ID, error) {
	id, err := cluster.ParseID(strings.ToLower(r.arg))
	if err != nil || id.IsZero() {
		return cluster.ID{}, cluster.Errorf(cluster.CodeNotFound, "%s not found", what)
	}
	return id, nil
}

// checkNamespace refuses names that are no namespace, and "all" where one is meant.
func (h *apiHandler) checkNamespace(r *request) error {
	switch {
	case r.route.Global, r.route == api.JobsRegister, r.route == api.JobRegister, r.route == api.JobValidate, r.route == api.JobPlan:
		return nil // these look at the namespace themselves, if at all
	case r.namespace != cluster.AllNamespaces:
		return knownNamespace(h.Core.Snapshot().Namespace(r.namespace) != nil, r.namespace)
	case strings.HasPrefix(r.route.Path, "/v1/job/"), strings.HasPrefix(r.route.Path, "/v1/service/"):
		return cluster.Errorf(cluster.CodeInvalid, "read namespace: %q stands for all of them and works for lists alone; name one", cluster.AllNamespaces)
	}
	return nil // lists of everything, and what has an ID of its own
}

func knownNamespace(known bool, name string) error {
	if known {
		return nil
	}
	return cluster.Errorf(cluster.CodeRejected, "nonexistent namespace %.128q: create it first, or choose another with -namespace", name)
}

// guardLoopback refuses what a web page in a browser of this machine could send to a listener that trusts everybody
// who can reach it: requests under a foreign name, and requests made by a foreign page.
func guardLoopback(hr *http.Request) error {
	local, ok := hr.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || hr.TLS != nil || !local.IP.IsLoopback() {
		return nil
	}
	if !isLoopbackHost(hr.Host) {
		return cluster.Errorf(cluster.CodeForbidden,
			"refuse host %.100q: this address answers to localhost and 127.0.0.1 alone, without TLS", hr.Host)
	}
	if origin := hr.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != hr.Host {
			return cluster.Errorf(cluster.CodeForbidden, "refuse origin %.100q: pages of other sites may not use this API", origin)
		}
	}
	return nil
}

// isLoopbackHost reports whether the Host header names this machine's loopback address.
func isLoopbackHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

// baseContext gives every connection of a server the same context.
func baseContext(ctx context.Context) func(net.Listener) context.Context {
	return func(net.Listener) context.Context { return ctx }
}

// sortBySpecificity puts the routes first that fix more of the path: the longer beginning, then the longer end.
func sortBySpecificity(routes []match) {
	parts := func(m match) (before, after int) {
		b, rest, _ := strings.Cut(m.route.Path, "{")
		_, a, _ := strings.Cut(rest, "}")
		return len(b), len(a)
	}
	slices.SortStableFunc(routes, func(x, y match) int {
		xb, xa := parts(x)
		yb, ya := parts(y)
		return cmp.Or(yb-xb, ya-xa, strings.Compare(x.route.Path, y.route.Path))
	})
}
