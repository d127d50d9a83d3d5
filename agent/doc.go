// Package agent is a node's life: it says what the machine has (fingerprint.go), follows what the servers want of it
// (node.go), runs allocations (runner.go) and reports what became of them (reports.go).
//
// What is known of an allocation is a record (record.go), kept on disk by the journal (journal.go). What to do with it
// is decided by [next] alone, one step at a time; facts that come back change the record by the pure methods of
// record.go. An agent that is killed at any point goes on from the journal: before a task is started its attempt is on
// record, and an end that was seen is on record before it is acted on.
package agent
