// Package cluster holds the nouns of a cluster (jobs, allocations, nodes, evaluations,
// deployments, services) and the pure rules that belong to them.
//
// It knows the standard library and two small parsers alone; every other package speaks in its types.
package cluster
