// Package scheduler decides what to do for an evaluation: Schedule takes a value that holds the state and
// returns a cluster.Plan (root plan.go: Plan, Stop, Placement, InPlaceUpdate are nouns shared with the state store).
package scheduler
