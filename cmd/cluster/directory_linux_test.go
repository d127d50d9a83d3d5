package main

import (
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/gossip"
)

// told is what a node says of itself, as gossip has it.
func told(n byte, record cluster.Record, state cluster.MemberState) gossip.Member {
	record.Node = cluster.ID{n}
	record.RPC = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 4647).String()
	var parts cluster.RecordParts
	return gossip.Member{ID: record.Node, Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 4648), State: state,
		Registration: 1, Edition: 1, Parts: parts.Update(record)}
}

// TestDirectoryBelievesServersAlone shows that a client can neither claim to be a server nor an epoch, that servers with an old copy are
// not asked, and that the newest epoch outlives a restart.
func TestDirectoryBelievesServersAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nodes.json")
	open := func() *directory {
		d, err := openDirectory(file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	d.certified(cluster.ID{1}, true)
	d.certified(cluster.ID{2}, true)
	d.certified(cluster.ID{3}, false)
	d.replace(&gossip.View{Version: 1, Members: []gossip.Member{
		told(1, cluster.Record{Server: true, Epoch: 0}, cluster.MemberAlive),
		told(2, cluster.Record{Server: true, Epoch: 5}, cluster.MemberAlive),
		told(3, cluster.Record{Server: true, Epoch: 9, Down: []cluster.ID{{1}}}, cluster.MemberAlive),
	}})
	if servers := d.Servers(); !slices.Equal(servers, []cluster.ID{{2}}) || d.NewestEpoch() != 5 {
		t.Errorf("servers %v, epoch %d", servers, d.NewestEpoch())
	}
	if m := d.Members()[2]; m.Server || m.Epoch != 0 || m.Down != nil {
		t.Errorf("a client is believed: %+v", m)
	}
	if d = open(); d.NewestEpoch() != 5 || len(d.Servers()) != 2 {
		t.Errorf("after a restart: servers %v, epoch %d", d.Servers(), d.NewestEpoch())
	}
}

// TestDirectoryKeepsWhereMembersWere shows that a member of which only others tell, after a restart in a cut, is still looked for where
// it was.
func TestDirectoryKeepsWhereMembersWere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nodes.json")
	heard := told(1, cluster.Record{}, cluster.MemberDead)
	heard.Address = netip.AddrPort{}
	for round, members := range [][]gossip.Member{{told(1, cluster.Record{}, cluster.MemberAlive)}, {heard}, {heard}} {
		d, err := openDirectory(file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		d.replace(&gossip.View{Version: 1, Members: members})
		if peers := d.Peers(); !slices.Equal(peers, []string{"10.0.0.1:4648"}) {
			t.Errorf("round %d: peers %q", round, peers)
		}
	}
}
