package server

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
)

// AskCopies asks servers, all at once, how far their copies of the state go. What is missing in the answer did not answer, and
// why stands in the errors.
func AskCopies(ctx context.Context, dialer *link.Dialer, servers []cluster.ID, epoch uint64) (map[cluster.ID]Progress, map[cluster.ID]error) {
	answers, errs := make([]Progress, len(servers)), make([]error, len(servers))
	group := new(errgroup.Group)
	for i, id := range servers {
		group.Go(func() error {
			answers[i], errs[i] = AskProgress(ctx, dialer, id, epoch)
			return nil
		})
	}
	group.Wait()
	found, failed := map[cluster.ID]Progress{}, map[cluster.ID]error{}
	for i, id := range servers {
		if errs[i] != nil {
			failed[id] = errs[i]
		} else {
			found[id] = answers[i]
		}
	}
	return found, failed
}

// View is the copy as people see it.
func (p Progress) View() *api.Copy {
	moment := func(ns int64) time.Time {
		if ns == 0 {
			return time.Time{}
		}
		return time.Unix(0, ns).UTC()
	}
	return &api.Copy{Epoch: cluster.EpochNumber(p.Epoch), LastIndex: p.Last, LastTerm: p.LogTerm, LastAt: moment(p.LastAt), Heard: moment(p.Heard),
		Leader: p.Leader, Voters: p.Voters, Outdated: p.Known > p.Epoch}
}

// Compare orders copies by what they hold: negative if p is older than o.
func (p Progress) Compare(o Progress) int {
	return cmp.Or(cmp.Compare(p.Epoch, o.Epoch), cmp.Compare(p.LogTerm, o.LogTerm), cmp.Compare(p.Last, o.Last))
}

// judgeRecovery reports why the cluster must not be re-formed from the copy of that server, nil if it may be.
func judgeRecovery(copies []Progress, from cluster.ID, older bool) error {
	i := slices.IndexFunc(copies, func(p Progress) bool { return p.Node == from })
	if i < 0 {
		return cluster.Errorf(cluster.CodeUnavailable, "recover: server %s does not answer", from)
	}
	chosen := copies[i]
	for _, p := range copies {
		if !p.Leader.IsZero() && p.Epoch >= chosen.Known {
			return cluster.Errorf(cluster.CodeRejected, "recover: server %s leads, by the word of server %s: nothing is lost, and there is nothing to recover", p.Leader, p.Node)
		}
	}
	if chosen.Last == 0 {
		return cluster.Errorf(cluster.CodeRejected, "recover: server %s has no copy of the state", from)
	}
	newest := slices.MaxFunc(copies, Progress.Compare)
	if newest.Compare(chosen) > 0 && !older {
		return cluster.Errorf(cluster.CodeRejected, "recover: server %s has a newer copy (epoch %d, term %d, last index %d) than server %s (epoch %d, term %d, last index %d): "+
			"recover from that one, or write -older to give up what only it knows", newest.Node, cluster.EpochNumber(newest.Epoch), newest.LogTerm, newest.Last,
			from, cluster.EpochNumber(chosen.Epoch), chosen.LogTerm, chosen.Last)
	}
	return nil
}

// Recover re-forms the cluster from this server's copy: once begun, Run ends with ErrAnew, and the server begins anew as
// the only one that decides, in a new epoch.
func (s *Server) Recover(ctx context.Context, older bool) (*api.RecoverResponse, error) {
	self := s.config.Identity.ID()
	others := s.others()
	found, _ := AskCopies(ctx, s.config.Dialer, others, s.Epoch())
	copies := []Progress{s.Progress()}
	newest, _ := s.newestEpoch()
	for _, p := range found {
		copies = append(copies, p)
		newest = max(newest, p.Epoch, p.Known)
	}
	newest = max(newest, copies[0].Known)
	if err := judgeRecovery(copies, self, older); err != nil {
		return nil, err
	}
	epoch := cluster.NextEpoch(newest, rand.Uint32())
	if err := s.epochs.decide(&epochPurpose{Epoch: epoch, Reform: true, Behind: others}); err != nil {
		return nil, err
	}
	s.logger.Warn("the cluster is re-formed from this server's copy of the state", "epoch", cluster.EpochNumber(epoch), "index", copies[0].Last)
	return &api.RecoverResponse{Server: self, Epoch: cluster.EpochNumber(epoch)}, nil
}
