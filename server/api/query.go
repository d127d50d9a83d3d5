package api

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/a43e60e4/cluster"
)

// The headers of the API.
const (
	HeaderToken       = "X-Nomad-Token"
	HeaderIndex       = "X-Nomad-Index"
	HeaderLastContact = "X-Nomad-LastContact" // milliseconds
	HeaderKnownLeader = "X-Nomad-KnownLeader"
	HeaderNextToken   = "X-Nomad-NextToken"
	HeaderRequestID   = cluster.HeaderRequestID
)

// MaxWait is the longest that a read may block, and what it blocks for when it does not say.
const MaxWait = 5 * time.Minute

// MaxBody is the largest request body in bytes; a job may be no larger either.
const MaxBody = 1 << 20

// Query is what a request asks beyond its path. The zero value asks for everything, consistently and at once.
type Query struct {
	Index     uint64        // with a value the read blocks until the answer is newer than this
	Wait      time.Duration // how long it blocks at most; 0 is MaxWait
	Stale     bool          // any server may answer from what it has
	Prefix    string        // of the ID (or name)
	Filter    string        // an expression on the stored object
	PerPage   int           // 0: everything in one answer
	NextToken string        // Meta.NextToken of the page before
	Namespace string        // "" is the client's; cluster.AllNamespaces for lists
	Reverse   bool          // newest first
	Params    url.Values    // what one route alone knows
}

// Meta is what an answer says of the state that it was made from.
type Meta struct {
	Index       uint64        // pass it as Query.Index to wait for the next change
	LastContact time.Duration // how long ago the answering server heard of its leader
	KnownLeader bool
	NextToken   string // "" after the last page
}

// values is the query as a URL has it.
func (q Query) values() url.Values {
	v := url.Values{}
	for key, values := range q.Params {
		v[key] = values
	}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	if q.Index > 0 {
		v.Set("index", strconv.FormatUint(q.Index, 10))
	}
	if q.Wait > 0 {
		v.Set("wait", q.Wait.String())
	}
	if q.Stale {
		v.Set("stale", "true")
	}
	if q.PerPage > 0 {
		v.Set("per_page", strconv.Itoa(q.PerPage))
	}
	if q.Reverse {
		v.Set("reverse", "true")
	}
	set("prefix", q.Prefix)
	set("filter", q.Filter)
	set("next_token", q.NextToken)
	set("namespace", q.Namespace)
	return v
}

// with is the query with one more parameter, unless the value is empty.
func (q Query) with(key, value string) Query {
	if value == "" {
		return q
	}
	params := url.Values{}
	for k, v := range q.Params {
		params[k] = v
	}
	params.Set(key, value)
	q.Params = params
	return q
}

// readMeta is the Meta of an answer's headers; what is missing or malformed stays zero.
func readMeta(h http.Header) Meta {
	var m Meta
	m.Index, _ = strconv.ParseUint(h.Get(HeaderIndex), 10, 64)
	if ms, err := strconv.ParseInt(h.Get(HeaderLastContact), 10, 64); err == nil {
		m.LastContact = time.Duration(ms) * time.Millisecond
	}
	m.KnownLeader = h.Get(HeaderKnownLeader) == "true"
	m.NextToken = h.Get(HeaderNextToken)
	return m
}

// Write puts the Meta into the headers of an answer.
func (m Meta) Write(h http.Header) {
	h.Set(HeaderIndex, strconv.FormatUint(m.Index, 10))
	h.Set(HeaderLastContact, strconv.FormatInt(m.LastContact.Milliseconds(), 10))
	h.Set(HeaderKnownLeader, strconv.FormatBool(m.KnownLeader))
	if m.NextToken != "" {
		h.Set(HeaderNextToken, m.NextToken)
	}
}

// codeOf is the code of an answer that is an error.
func codeOf(status int, h http.Header) cluster.Code {
	switch code := cluster.Code(h.Get(cluster.HeaderError)); code {
	case cluster.CodeInvalid, cluster.CodeRejected, cluster.CodeNotFound, cluster.CodeForbidden, cluster.CodeConflict,
		cluster.CodeUnavailable, cluster.CodeTooLarge, cluster.CodeMethod:
		return code
	}
	switch status {
	case http.StatusBadRequest:
		return cluster.CodeInvalid
	case http.StatusUnauthorized, http.StatusForbidden:
		return cluster.CodeForbidden
	case http.StatusNotFound:
		return cluster.CodeNotFound
	case http.StatusMethodNotAllowed:
		return cluster.CodeMethod
	case http.StatusConflict:
		return cluster.CodeConflict
	case http.StatusRequestEntityTooLarge:
		return cluster.CodeTooLarge
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return cluster.CodeUnavailable
	}
	return cluster.CodeInternal
}
