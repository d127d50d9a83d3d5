package cluster

import "net/netip"

// Record is what a node says of itself to all others, with no server in between: how it is reached, and the endpoints
// of the services that it runs. A record is replaced, never modified.
type Record struct {
	Node       ID
	Name       string
	Datacenter string
	Address    netip.Addr // of the node itself: what its name means in the DNS
	RPC        string     // host:port of port 4647
	HTTP       string     // host:port of the API for people's tools, "" if others cannot reach it
	TLS        bool       // HTTP is https
	Server     bool       // keeps the replicated state, or wants to
	Client     bool       // runs allocations
	Version    string     // of the program
	Commands   int        // servers: the newest kind of command in the log that the program understands
	Epoch      uint64     // servers: how often the cluster was re-formed after a lost quorum, as far as the server knows
	Restarting bool       // it said that it ends now and will be back soon
	Left       bool       // it said that it leaves for good
	Index      uint64     // servers: of the state that Down is from
	Down       []ID       // servers: nodes that the leader has decided to be down
	Endpoints  []Endpoint
}

// Endpoint is one address of a service on a node, be its checks passing or not.
type Endpoint struct {
	Alloc     ID
	Namespace string
	Service   string
	Tags      []string
	Address   netip.Addr
	Port      uint16
	Passing   bool
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
	Since int64 // unix nanoseconds of this node's clock when State became so
}
