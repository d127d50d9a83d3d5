package main

import (
	"context"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server"
	"github.com/a43e60e4/cluster/server/api"
)

// view is the answer of /v1/agent/cluster: what gossip and each server that answers say.
func (r *running) view(ctx context.Context) api.ClusterView {
	view := api.ClusterView{Node: r.id, Name: r.agent.Name, Server: r.server != nil, Epoch: cluster.EpochNumber(r.directory.NewestEpoch()),
		Servers: []api.ServerView{}, Conflicts: r.gossip.Conflicts(), Namesakes: r.directory.Namesakes()}
	members := map[cluster.ID]cluster.Member{}
	var ids []cluster.ID
	for _, m := range r.directory.Members() {
		members[m.Node] = m
		if m.State != cluster.MemberLeft && !m.Left {
			view.Nodes++
			if m.State == cluster.MemberAlive {
				view.NodesAlive++
			}
		}
		if m.Server {
			ids = append(ids, m.Node)
		}
	}
	ids = append(ids, r.directory.Servers()...)
	if r.server != nil {
		ids = append(ids, r.id)
		ids = append(ids, r.server.Progress().Seats...)
	}
	slices.SortFunc(ids, cluster.ID.Compare)
	ids = slices.Compact(ids)
	copies, errs := r.copies(ctx, ids)
	var newest server.Progress
	for _, id := range ids {
		view.Servers = append(view.Servers, r.serverView(id, members, copies, errs))
		c, answers := copies[id]
		view.Epoch = max(view.Epoch, cluster.EpochNumber(c.Known))
		if answers && !c.Leader.IsZero() && (view.Leader.IsZero() || c.Compare(newest) > 0) {
			view.Leader, newest = c.Leader, c
		}
	}
	slices.SortStableFunc(view.Servers, func(a, b api.ServerView) int { return strings.Compare(a.Name, b.Name) })
	return view
}

// copies asks the servers how far their copies go; this one knows its own.
func (r *running) copies(ctx context.Context, ids []cluster.ID) (map[cluster.ID]server.Progress, map[cluster.ID]error) {
	epoch := uint64(0)
	others := slices.Clone(ids)
	if r.server != nil {
		epoch = r.server.Epoch()
		others = slices.DeleteFunc(others, func(id cluster.ID) bool { return id == r.id })
	}
	copies, errs := server.AskCopies(ctx, r.dialer, others, epoch)
	if r.server != nil {
		copies[r.id] = r.server.Progress()
	}
	return copies, errs
}

func (r *running) serverView(id cluster.ID, members map[cluster.ID]cluster.Member, copies map[cluster.ID]server.Progress, errs map[cluster.ID]error) api.ServerView {
	v := api.ServerView{ID: id, Status: "unknown"}
	v.Address, _ = r.directory.Address(id)
	if m, met := members[id]; met {
		v.Name, v.Version, v.Restarts, v.Status = m.Name, m.Version, m.Restarting && m.State == cluster.MemberDead, memberStatus[m.State]
		v.Since = m.Since.UTC()
		if m.Left {
			v.Status = "left"
		}
		if m.RPC != "" {
			v.Address = m.RPC
		}
	}
	if id == r.id {
		v.Name, v.Version, v.Address, v.Status = r.agent.Name, version, r.advertise, "alive"
	}
	if c, answers := copies[id]; answers {
		v.Copy = c.View()
	} else if err := errs[id]; err != nil {
		v.Err = err.Error()
	}
	return v
}
