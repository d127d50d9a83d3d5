package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/pki"
)

// Headers between nodes. They mean something from a certificate of the cluster alone, and whoever passes a request on writes them
// anew: what a person outside sets is never passed on.
const (
	headerOwn       = "X-Cluster-"          // begins all of them
	headerForwarded = "X-Cluster-Forwarded" // by servers: how the request came, forwarded or aside
	headerCaller    = "X-Cluster-Caller"    // by servers: the node that asks, or through which a person does; absent for people at a server
	headerPerson    = "X-Cluster-Person"    // a person asks, not the node that passes it on
	headerNode      = "X-Cluster-Node"      // by servers: the node whose agent is to answer, which runs what the request is about
)

// Caller is who sent a request: a node for itself, or a person.
type Caller struct {
	Node   cluster.ID // that asks for itself, by its certificate or from within its process; zero: a person asks
	Server bool       // Node is a server
	Via    cluster.ID // the client whose agent passes on what the person asks; zero: the person asks at a server
	By     cluster.ID // the server that sent the request on; zero: nobody did
	Token  string     // of a person
}

type callerKey struct{}

// AsNode makes requests with this context come from the node: for an agent in the server's own process.
func AsNode(ctx context.Context, node cluster.ID) context.Context {
	return context.WithValue(ctx, callerKey{}, Caller{Node: node})
}

// asServer makes requests with this context come from the server: for its own work in this process.
func asServer(ctx context.Context, id cluster.ID) context.Context {
	return context.WithValue(ctx, callerKey{}, Caller{Node: id, Server: true})
}

// callerOf is who sent the request. A certificate speaks for its own node, or for a person, if it says so: that gives the request
// less, never more. A server's speaks also for those whose requests it forwards.
func callerOf(hr *http.Request) Caller {
	if caller, ok := hr.Context().Value(callerKey{}).(Caller); ok {
		return caller
	}
	caller := Caller{Token: token(hr.Header)}
	if hr.TLS == nil || len(hr.TLS.PeerCertificates) == 0 {
		return caller
	}
	id, role, ok := pki.Identity(hr.TLS.PeerCertificates[0])
	if !ok {
		return caller
	}
	server := role == pki.RoleServer
	if server && hr.Header.Get(headerForwarded) != "" {
		caller.By = id
		id, _ = cluster.ParseID(hr.Header.Get(headerCaller))
		server = id == caller.By // it speaks for itself
	}
	if id.IsZero() || hr.Header.Get(headerPerson) != "" {
		caller.Via = id
		return caller
	}
	return Caller{Node: id, Server: server, By: caller.By}
}

func token(header http.Header) string {
	if token := header.Get(api.HeaderToken); token != "" {
		return token
	}
	bearer, _ := strings.CutPrefix(header.Get("Authorization"), "Bearer ")
	return strings.TrimSpace(bearer)
}

// machine is the node that asks, or through which a person does; zero for people at a server.
func (c Caller) machine() cluster.ID { return cmp.Or(c.Node, c.Via) }

// forward writes into the header of a request that a server forwards who asks.
func (c Caller) forward(header http.Header) {
	withoutOwn(header)
	header.Set(headerForwarded, forwarded)
	if id := c.machine(); !id.IsZero() {
		header.Set(headerCaller, id.String())
	}
	if c.Node.IsZero() {
		header.Set(headerPerson, "1")
	}
}

// withoutOwn removes what means something between nodes alone.
func withoutOwn(header http.Header) {
	for name := range header {
		if strings.HasPrefix(name, headerOwn) {
			delete(header, name)
		}
	}
}

// internalPrefix begins the paths that are for nodes and servers alone.
const internalPrefix = "/v1/internal/"

// PassOn is the request as an agent that is no server sends it to one, with its certificate. What a person asks is marked as that,
// so that it is not the node that asks; and what is for nodes alone is refused, because anybody on the machine can reach the agent.
func PassOn(hr *http.Request) (*http.Request, error) {
	person := callerOf(hr).Node.IsZero()
	if person && strings.HasPrefix(hr.URL.Path, internalPrefix) {
		return nil, cluster.Errorf(cluster.CodeForbidden, "Permission denied: only nodes may ask for what begins with %s", internalPrefix)
	}
	out := hr.Clone(hr.Context())
	withoutOwn(out.Header)
	if person {
		out.Header.Set(headerPerson, "1")
	}
	return named(out), nil
}

// maxRequestID is the length of the longest ID of a request that is kept.
const maxRequestID = 128

// named is the request with an ID of its own, if it may change something: then repeating it does no harm.
func named(hr *http.Request) *http.Request {
	if id := hr.Header.Get(api.HeaderRequestID); hr.Method == http.MethodGet || id != "" && len(id) <= maxRequestID {
		return hr
	}
	out := hr.Clone(hr.Context())
	out.Header.Set(api.HeaderRequestID, rand.Text())
	return out
}

// requestID names a write so that a repetition does no harm; "" where the caller gave none or one too long to keep. What is asked
// belongs to the name: proxies give one ID to all that follows from one call, and of two different requests none is a repetition.
func (r *request) requestID() string {
	id := r.Header.Get(api.HeaderRequestID)
	if id == "" || len(id) > maxRequestID {
		return ""
	}
	return id + "/" + r.wish()
}

// wish is a digest of what a request that goes to the leader asks for, the same wherever it is carried.
func (r *request) wish() string {
	digest := sha256.New()
	fmt.Fprintf(digest, "%s %q?%q\n", r.route.Method, r.URL.Path, r.URL.RawQuery)
	digest.Write(r.text)
	return hex.EncodeToString(digest.Sum(nil)[:8])
}

// policy says whether a person may use a route on the thing named, in the namespace.
type policy func(c Caller, route api.Route, arg, namespace string) error

// allowAll is the policy while there is no access control.
func allowAll(Caller, api.Route, string, string) error { return nil }

// authorise decides for all routes whether the caller may use this one: a node what is its own and nothing else, people all
// else by their policy.
func authorise(people policy, c Caller, route api.Route, arg, namespace string) error {
	switch {
	case route.Needs == api.ActAsServer:
		if !c.Server {
			return cluster.Errorf(cluster.CodeForbidden, "Permission denied: only a server may do this")
		}
		return nil
	case route.Needs == api.ActAsNode:
		if id, err := cluster.ParseID(arg); err != nil || id.IsZero() || id != c.Node {
			return cluster.Errorf(cluster.CodeForbidden, "Permission denied: only node %.36s itself may do this", arg)
		}
		return nil
	case !c.Node.IsZero():
		return cluster.Errorf(cluster.CodeForbidden, "Permission denied: node %s asks in its own name for what is for people: "+
			"if a person asked its agent, that is older than this server: upgrade it, or ask a server's agent", c.Node)
	case route.Needs == api.Trust && !c.Via.IsZero():
		return cluster.Errorf(cluster.CodeForbidden, "Permission denied: nobody may say through node %s who belongs to the cluster: run this on a server", c.Via)
	}
	return people(c, route, arg, namespace)
}

// judge lets the request pass or says why not. What a node is refused its operator should know: it is of another version, or in
// wrong hands.
func (h *apiHandler) judge(r *request) error {
	sn, c := h.Core.Snapshot(), r.caller
	for _, node := range []cluster.ID{c.Node, c.Via, c.By} {
		if err := checkTrusted(sn, node); err != nil {
			return err
		}
	}
	err := authorise(h.policy, c, r.route, r.arg, r.namespace)
	if err == nil || c.machine().IsZero() {
		return err
	}
	if more, speak := h.refusals.broken(time.Now()); speak {
		h.Logger.Warn("a node was refused", "node", c.machine(), "method", r.Method, "path", r.URL.Path, "err", err, "dropped", more)
	}
	return err
}
