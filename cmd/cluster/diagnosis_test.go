package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// serversFrom reads servers from words such as "a:V b:- c:old": V votes and answers, - is a voter that does not answer, old answers with a
// copy of an older epoch than it knows of, n has no vote. The newest epoch is given.
func serversFrom(text string, epoch uint64, leader string) *api.ClusterView {
	view := &api.ClusterView{Epoch: epoch}
	var voters []cluster.ID
	for i, word := range strings.Fields(text) {
		name, what, _ := strings.Cut(word, ":")
		id := cluster.ID{byte(i + 1)}
		s := api.ServerView{ID: id, Name: name, Address: fmt.Sprintf("10.0.0.%d:4647", i+1), Status: "alive"}
		if what != "n" {
			voters = append(voters, id)
		}
		switch what {
		case "-":
			s.Status = "failed"
		case "old":
			s.Copy = &api.Copy{Epoch: epoch - 1, LastIndex: 10, Outdated: true}
		default:
			s.Copy = &api.Copy{Epoch: epoch, LastIndex: 20}
		}
		if name == leader {
			view.Leader = id
		}
		view.Servers = append(view.Servers, s)
	}
	for i := range view.Servers {
		if k := view.Servers[i].Copy; k != nil {
			k.Voters = voters
		}
	}
	return view
}

func TestDiagnosis(t *testing.T) {
	for _, c := range []struct {
		servers string
		epoch   uint64
		leader  string
		healthy bool
		want    string // a part of the text, "" for no text
	}{
		{"a:V b:V c:V", 0, "a", true, ""},
		{"a:V b:V c:-", 0, "a", true, "2 of 3 voters answer; missing: c (10.0.0.3:4647)"},
		{"a:V b:V c:-", 0, "a", true, "If one more is lost"},
		{"a:V b:V c:V d:V e:-", 0, "a", true, "4 of 5 voters"},
		{"a:V b:V c:-", 0, "", false, "No leader yet: 2 of 3 voters answer"},
		{"a:V b:- c:-", 0, "", false, "No leader: 1 of 3 voters answer, which is no majority"},
		{"a:V b:- c:-", 0, "", false, "Bring one of these back, and the cluster goes on by itself: b (10.0.0.2:4647), c (10.0.0.3:4647)"},
		{"a:V b:- c:-", 0, "", false, "`cluster recover` on a (10.0.0.1:4647)"},
		{"a:- b:- c:-", 0, "", false, "No server answers, of 3 that are known"},
		{"", 0, "", false, "No server is known"},
		{"a:- b:old c:old", 2, "", false, "re-formed as epoch 2, and no server of that answers"},
		{"a:- b:old c:old", 2, "", false, "b (10.0.0.2:4647) has a copy of epoch 1 and answers nothing"},
		{"a:V b:old", 2, "a", true, "has a copy of epoch 1"},
		{"a:V b:n", 0, "a", true, ""},
	} {
		lines, healthy := diagnosis(serversFrom(c.servers, c.epoch, c.leader))
		text := strings.Join(lines, "\n")
		if healthy != c.healthy || !strings.Contains(text, c.want) || c.want == "" && text != "" {
			t.Errorf("%s, led by %q: healthy %t\n%s\nwant %q", c.servers, c.leader, healthy, text, c.want)
		}
	}
}
