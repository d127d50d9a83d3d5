// Package link is the wire between the nodes of a cluster: who a node is (its certificate and key on disk), port 4647
// (one listener, split by what the peer asks for), and the way to another node by its ID.
//
// Everything here speaks TLS 1.3 with certificates of the cluster's own authority on both sides; only a node that joins
// shows none. Addresses and host names prove nothing: the node ID in the certificate does.
package link

// The protocols of port 4647. A new version of one gets a new name beside the old.
const (
	ProtocolRaft  = "raft/1"   // servers that are members of the replicated log
	ProtocolHTTP1 = "http/1.1" // the API, for every node
	ProtocolBeat  = "beat/1"   // heartbeats: a byte each way, from nodes to servers
	ProtocolJoin  = "join/1"   // joining and renewing, for whoever has no valid certificate
)
