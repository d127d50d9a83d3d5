package cluster

import (
	"net/netip"
	"time"
)

// Record is what a node says of itself to all others, with no server in between: how it is reached, and the endpoints
// of the services that it runs. A record is replaced, never modified. Its JSON is what RecordParts writes.
type Record struct {
	Node       ID         `json:"-"`
	Name       string     `json:"n,omitzero"`
	Datacenter string     `json:"c,omitzero"`
	Address    netip.Addr `json:"a,omitzero"` // of the node itself: what its name means in the DNS
	RPC        string     `json:"r,omitzero"` // host:port of port 4647
	HTTP       string     `json:"h,omitzero"` // host:port of the API for people's tools, "" if others cannot reach it
	TLS        bool       `json:"t,omitzero"` // HTTP is https
	Server     bool       `json:"s,omitzero"` // keeps the replicated state, or wants to
	Client     bool       `json:"l,omitzero"` // runs allocations
	Version    string     `json:"v,omitzero"` // of the program
	Commands   int        `json:"k,omitzero"` // servers: the newest kind of command in the log that the program understands
	Epoch      uint64     `json:"e,omitzero"` // servers: how often the cluster was re-formed after a lost quorum, as far as the server knows
	Restarting bool       `json:"b,omitzero"` // it said that it ends now and will be back soon
	Left       bool       `json:"x,omitzero"` // it said that it leaves for good
	Index      uint64     `json:"i,omitzero"` // servers: of the state that Down is from
	Down       []ID       `json:"-"`          // servers: nodes that the leader has decided to be down
	Endpoints  []Endpoint `json:"-"`
}

// Endpoint is one address of a service on a node, be its checks passing or not.
type Endpoint struct {
	Alloc     ID         `json:"-"`
	Namespace string     `json:"-"`
	Service   string     `json:"s"`
	Tags      []string   `json:"t,omitempty"`
	Address   netip.Addr `json:"a,omitzero"`
	Port      uint16     `json:"p,omitzero"`
	Passing   bool       `json:"o,omitzero"`
}

// MemberState is whether gossip has a node.
type MemberState uint8

// The states of members.
const (
	MemberAlive MemberState = iota + 1
	MemberDead              // it does not answer; it may come back
	MemberLeft              // it said goodbye
)

// Member is a node as gossip knows it: what it said of itself last, and whether it is there.
type Member struct {
	Record
	State MemberState
	Since time.Time // when State became so; by a clock that does not jump, where this process has seen it
}
