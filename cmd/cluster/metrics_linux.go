package main

import (
	"strconv"

	"github.com/a43e60e4/cluster/server"
)

// figures is what /v1/metrics shows besides the API and the state: the replication, and the client part where there is
// one. Whatever is lost, dropped or tried again is among it.
func (r *running) figures() []server.Figure {
	var figures []server.Figure
	if r.server != nil {
		figures = append(raftFigures(r.server.Stats()), r.strangers.Figures()...)
	}
	if r.client == nil {
		return figures
	}
	c := r.client.Counters()
	total := func(name, help string, value uint64) server.Figure {
		return server.Figure{Name: "cluster_client_" + name + "_failures_total", Help: help, Total: true, Value: float64(value)}
	}
	return append(figures,
		server.Figure{Name: "cluster_client_allocations", Help: "Allocations on this node's disk.", Value: float64(c.Allocations)},
		server.Figure{Name: "cluster_client_allocations_living", Help: "Allocations on this node whose tasks have not all ended.", Value: float64(c.Living)},
		total("lease", "Registrations and heartbeats that failed and were tried again.", c.LeaseFailures),
		total("follow", "Questions for assignments that failed and were asked again.", c.FollowFailures),
		total("report", "Reports that failed and were sent again.", c.ReportFailures),
		total("journal", "Writes of the journal that failed and were tried again.", c.JournalFailures),
		total("driver", "Starts, signals, watches and destroys that drivers refused.", c.DriverFailures),
	)
}

// raftFigures are those of the replication's statistics that are numbers worth watching. What is missing or no number
// is left out.
func raftFigures(stats map[string]string) []server.Figure {
	var figures []server.Figure
	for _, one := range []struct{ key, help string }{
		{"term", "Elections that this server has heard of."},
		{"num_peers", "Other servers that vote."},
		{"last_log_index", "Index of the newest entry in this server's log."},
		{"commit_index", "Index of the newest entry that is decided, as far as this server knows."},
		{"applied_index", "Index of the newest entry handed to the state."},
		{"fsm_pending", "Entries that are decided and wait for the state."},
		{"last_snapshot_index", "Index of the newest snapshot on this server's disk."},
	} {
		if value, err := strconv.ParseFloat(stats[one.key], 64); err == nil {
			figures = append(figures, server.Figure{Name: "cluster_raft_" + one.key, Help: one.help, Value: value})
		}
	}
	return figures
}
