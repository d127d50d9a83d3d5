// Package cluster holds the nouns of a cluster (jobs, allocations, nodes, evaluations,
// deployments, services) and the pure rules that belong to them.
//
// It knows the standard library and three small libraries alone; every other package speaks in its types.
package cluster

//go:generate go run ./jobspec/reference
