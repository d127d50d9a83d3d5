// Package dns answers names: those of the cluster from a catalog alone, with no server and no leader, and all others,
// for clients on this machine, by asking the resolvers that the machine has.
//
// In the zone, cluster.internal unless configured otherwise, names read from the right:
//
//	<service>.cluster.internal                     A, AAAA, SRV; of the default namespace
//	<service>.<namespace>.ns.cluster.internal      the same, of another
//	<tag>.tag.<service>[.<namespace>.ns]….         only endpoints with that tag
//	_<service>._tcp[.<namespace>.ns]….             SRV, as RFC 2782 writes it; _udp is the same
//	<name or ID>.node.cluster.internal             the node's address
//	<address in hex>.addr.node.cluster.internal    that address, if it is one of the cluster's: what SRV refers to
//
// and addresses of nodes and endpoints have PTR records. Endpoints of the own node come first, and each answer begins
// at another one.
//
// A packet of a name in the zone is answered in place by the goroutine that has read it, from an answer that was packed
// when the name was first asked for after the last change of the catalog. See answer.go.
package dns
