package main

import (
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

func TestNodesOfOneNameAreSaid(t *testing.T) {
	member := func(n byte, name string, state cluster.MemberState, left bool) cluster.Member {
		return cluster.Member{Record: cluster.Record{Node: cluster.ID{n}, Name: name, RPC: "10.0.0." + string('0'+n) + ":4647", Left: left}, State: state}
	}
	const alive = cluster.MemberAlive
	for _, c := range []struct {
		name    string
		members []cluster.Member
		want    string
	}{
		{"each has its own", []cluster.Member{member(1, "a", alive, false), member(2, "b", alive, false), member(3, "", alive, false), member(4, "", alive, false)}, ""},
		{"two are alike", []cluster.Member{member(2, "Web", alive, false), member(1, "web", alive, false), member(3, "b", alive, false)},
			"2 nodes have the same name web: 01000000 (10.0.0.1:4647), 02000000 (10.0.0.2:4647). web.node.cluster.internal means all of them: start others with another -name."},
		{"the other is dead", []cluster.Member{member(1, "a", alive, false), member(2, "a", cluster.MemberDead, false)}, ""},
		{"the other leaves", []cluster.Member{member(1, "a", alive, false), member(2, "a", alive, true)}, ""},
	} {
		if got := strings.Join(memberNamesakes(c.members), "\n"); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	list := []api.NodeListStub{{ID: cluster.ID{1}, Name: "a", Status: cluster.NodeStatusReady}, {ID: cluster.ID{2}, Name: "a", Status: cluster.NodeStatusDown}}
	if lines := listNamesakes(list); len(lines) > 0 {
		t.Errorf("a node and one that is down: %q", lines)
	}
	for i := range 30 {
		list = append(list, api.NodeListStub{ID: cluster.ID{byte(10 + i)}, Name: "A", Status: cluster.NodeStatusReady})
	}
	if lines := listNamesakes(list); len(lines) != 1 || !strings.HasPrefix(lines[0], "31 nodes have the same name a: 01000000") || !strings.Contains(lines[0], ", 11 more.") {
		t.Errorf("many: %q", lines)
	}
}

func TestNodesOfOneNameAreShown(t *testing.T) {
	s := newSession(t)
	s.world.nodes = append(s.world.nodes, s.world.node("n1", ""))
	const want = "2 nodes have the same name n1: 400001cd (192.0.2.7), 400003cd (192.0.2.7)."
	for _, args := range [][]string{{"node", "status"}, {"node", "status", "400003"}} {
		if out, status := s.run(args...); status != exitDone || !strings.Contains(out, "\n\n"+want) {
			t.Errorf("%q ends with %d:\n%s", args, status, out)
		}
	}
	if out, status := s.run("node", "status", "400002"); status != exitDone || strings.Contains(out, "same name") {
		t.Errorf("of a node with a name of its own is said:\n%s", out)
	}
	if out, status := s.run("node", "drain", "-enable", "-yes", "n1"); status != exitError || !strings.Contains(out, `find node "n1": 2 have that name, write the ID of one`) {
		t.Errorf("a name of two nodes is taken for one of them, status %d:\n%s", status, out)
	}
}
