// Package state is the replicated store: what the servers agree on. Commands change it one log entry at a time,
// on every server alike; snapshots show it, each an immutable value that costs nothing to take.
//
// A Store has one writer, the Raft state machine, and any number of readers. The writer applies an entry to its own
// working copy, which shares all unchanged parts with what readers hold, and publishes the result by one atomic
// pointer. Nothing in Apply asks the clock, throws dice or depends on the order of a map; it compares and stores, and
// leaves judgement to whoever proposed the command.
//
// Allocations live in a vector of slots, and an allocation's ID carries its slot, so that finding one needs no index.
// Nodes and jobs list the slots of theirs. All else is few and lies in ordered trees.
//
// Values given out (jobs, allocations, nodes and so on) are shared by all readers and must not be modified.
package state
