package api

import (
	"net/url"
	"strings"
)

// Capability is what a caller must be allowed to do to use a route.
type Capability string

// The capabilities. Those of a namespace are asked for in the namespace of the request.
const (
	NeedsNothing   Capability = "" // anybody who can connect
	ListJobs       Capability = "list-jobs"
	ReadJob        Capability = "read-job"
	SubmitJob      Capability = "submit-job"
	ParseJob       Capability = "parse-job"
	DispatchJob    Capability = "dispatch-job"
	ScaleJob       Capability = "scale-job"
	ReadJobScaling Capability = "read-job-scaling"
	AllocLifecycle Capability = "alloc-lifecycle"
	ReadLogs       Capability = "read-logs"
	ReadFS         Capability = "read-fs"
	ReadNode       Capability = "node:read"
	WriteNode      Capability = "node:write"
	ReadAgent      Capability = "agent:read"
	ReadNamespace  Capability = "namespace:read"
	WriteNamespace Capability = "namespace:write"
	WriteOperator  Capability = "operator:write"
	ActAsNode      Capability = "node:self"   // only the node that the request is about
	ActAsServer    Capability = "server:self" // only servers, for themselves
	Trust          Capability = "trust"       // says who belongs to the cluster: people and servers, no other node
)

// Kind is how the server treats a route.
type Kind uint8

// The kinds of routes.
const (
	Read   Kind = iota // answered from the state; consistent by default, blocks with ?index, ?stale answers locally
	Write              // changes the state; goes to the leader
	Local              // answered by the server that was asked, without the state's headers
	OnNode             // answered by a node's agent; a server passes it on
)

// Route is one operation of the API. Routes are comparable values; the server keys its handlers by them.
type Route struct {
	Method string // GET, PUT (POST is the same), DELETE, or ANY
	Path   string // {name} stands for one segment or more; a literal that follows is matched from the end
	Needs  Capability
	Kind   Kind
	Global bool   // the namespace of a request means nothing
	Later  string // what this version lacks to answer it; "" for all that it can do
}

// URL is the route's path with its {names} replaced in order, each escaped.
func (r Route) URL(args ...string) string {
	var b strings.Builder
	rest := r.Path
	for _, arg := range args {
		before, after, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		b.WriteString(before)
		b.WriteString(url.PathEscape(arg))
		_, rest, _ = strings.Cut(after, "}")
	}
	return b.String() + rest
}

// Match reports whether the decoded path is one of the route's, and the value of its {name}, "" if it has none. Of a route with
// two names it is both with what stands between them; see Split.
func (r Route) Match(path string) (arg string, ok bool) {
	before, after, variable := strings.Cut(r.Path, "{")
	if !variable {
		return "", path == r.Path
	}
	_, suffix, _ := strings.Cut(after, "}")
	between := ""
	if i := strings.Index(suffix, "{"); i >= 0 {
		between, suffix = suffix[:i], suffix[strings.Index(suffix, "}")+1:]
	}
	if !strings.HasPrefix(path, before) || !strings.HasSuffix(path, suffix) || len(path) <= len(before)+len(suffix) {
		return "", false
	}
	arg = path[len(before) : len(path)-len(suffix)]
	if between == "" {
		return arg, true
	}
	first, second := r.Split(arg)
	return arg, first != "" && second != ""
}

// MatchSent is Match for a path as it was sent, whose escapes say where a {name} ends: each is one segment, as URL writes it. So a job
// whose ID ends like a route, "team/plan", is not mistaken for that route's.
func (r Route) MatchSent(path string) (arg string, ok bool) {
	if arg, ok = r.Match(path); !ok {
		return "", false
	}
	first, second := arg, ""
	if strings.Count(r.Path, "{") > 1 {
		first, second = r.Split(arg)
	}
	between := arg[len(first) : len(arg)-len(second)]
	one, err := url.PathUnescape(first)
	two, bad := url.PathUnescape(second)
	if err != nil || bad != nil || strings.Contains(first+second, "/") {
		return "", false
	}
	return one + between + two, true
}

// Split is what Match found for a route with two names, apart. The first may hold what stands between them.
func (r Route) Split(arg string) (first, second string) {
	parts := strings.FieldsFunc(r.Path, func(c rune) bool { return c == '{' || c == '}' })
	i := strings.LastIndex(arg, parts[2])
	if i < 0 {
		return arg, ""
	}
	return arg[:i], arg[i+len(parts[2]):]
}

// Any is the Method of routes that do not care about it.
const Any = "ANY"

// Accepts reports whether the route is for the method.
func (r Route) Accepts(method string) bool {
	return method == r.Method || r.Method == Any || method == "POST" && r.Method == "PUT"
}
