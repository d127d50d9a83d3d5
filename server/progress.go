package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/raft"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/link"
)

// Progress is how far a server's copy of the state goes, and whom it follows.
type Progress struct {
	Node    cluster.ID
	Applied uint64       // the newest entry that its state shows
	Last    uint64       // the newest entry that it has on disk
	LogTerm uint64       // in which that was written
	LastAt  int64        // when, by the clock of the leader that wrote it; 0 if that is not known. Unix nanoseconds
	Term    uint64       // of its newest election
	Epoch   uint64       // of its copy
	Known   uint64       // the newest epoch that it has heard of
	Leader  cluster.ID   // whom it follows, zero: nobody
	Seats   []cluster.ID // who has the log, as far as it knows
	Voters  []cluster.ID // of these those who decide
	Heard   int64        // when it heard of a leader last, 0: never since its start. Unix nanoseconds
}

// progressPath is where a server tells other nodes its Progress. A server that asks adds its own epoch.
const progressPath = "/v1/internal/progress"

// progressTimeout is what the answer may take.
const progressTimeout = time.Second

// Progress is how far this server's copy goes.
func (s *Server) Progress() Progress {
	r, epoch := s.replica.raft, s.epochs.now()
	p := Progress{Node: s.config.Identity.ID(), Applied: r.AppliedIndex(), Last: r.LastIndex(), Term: r.CurrentTerm(),
		Epoch: epoch.Epoch, Known: max(epoch.Known, epoch.Epoch), Leader: s.Leadership().ID}
	p.LogTerm, _ = strconv.ParseUint(r.Stats()["last_log_term"], 10, 64)
	var entry raft.Log
	if s.replica.bolt.GetLog(p.Last, &entry) == nil && !entry.AppendedAt.IsZero() {
		p.LastAt = entry.AppendedAt.UnixNano()
	}
	if at := r.LastContact(); !at.IsZero() {
		p.Heard = at.UnixNano()
	}
	if future := r.GetConfiguration(); future.Error() == nil {
		for _, member := range future.Configuration().Servers {
			id, err := cluster.ParseID(string(member.ID))
			if err != nil {
				continue
			}
			p.Seats = append(p.Seats, id)
			if member.Suffrage == raft.Voter {
				p.Voters = append(p.Voters, id)
			}
		}
	}
	return p
}

// ProgressHandler answers AskProgress. It is for nodes of the cluster alone.
func (s *Server) ProgressHandler() (path string, handler http.Handler) {
	return progressPath, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if epoch, err := strconv.ParseUint(r.URL.Query().Get("epoch"), 10, 64); err == nil && callerOf(r).Server {
			s.hearEpoch(epoch)
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(s.Progress())
	})
}

// AskProgress asks a server for its Progress. It tells it the epoch of the server that asks; other nodes say 0.
func AskProgress(ctx context.Context, dialer *link.Dialer, id cluster.ID, epoch uint64) (Progress, error) {
	ctx, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	var progress Progress
	err := dialer.Ask(ctx, id, fmt.Sprintf("%s?epoch=%d", progressPath, epoch), &progress)
	return progress, err
}
