package gossip

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

func place1(at string, run uint64, alive bool, since int) place {
	return place{netip.MustParseAddrPort(at), version{1, run}, "", alive, time.Unix(int64(since), 0)}
}

// Where a member is: alive before dead, then the newest run, then who came last. Of dead places one is remembered.
func TestPlaces(t *testing.T) {
	const a, b, c = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"
	for _, test := range []struct {
		what  string
		moves []place
		want  []string
	}{
		{"dead is remembered", []place{place1(a, 1, true, 0), place1(a, 1, false, 1)}, []string{a}},
		{"restart elsewhere, newer run", []place{place1(a, 2, true, 5), place1(b, 3, true, 1)}, []string{b, a}},
		{"restart elsewhere, run forgotten", []place{place1(a, 1, true, 0), place1(b, 1, true, 1)}, []string{b, a}},
		{"the old one dies", []place{place1(a, 1, true, 0), place1(b, 2, true, 1), place1(a, 1, false, 2)}, []string{b}},
		{"the old one is heard of late", []place{place1(b, 2, true, 1), place1(a, 1, true, 2)}, []string{b, a}},
		{"all dead: the newest run", []place{place1(a, 1, true, 0), place1(b, 2, true, 1), place1(b, 2, false, 2), place1(a, 1, false, 3)}, []string{a}},
		{"dead, then elsewhere", []place{place1(a, 1, false, 0), place1(c, 2, true, 1)}, []string{c}},
	} {
		var e member
		for _, p := range test.moves {
			e.move(p)
		}
		var got []string
		for _, p := range e.places {
			got = append(got, p.at.String())
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.what, got, test.want)
		}
	}
}

func bare() *Gossip {
	return &Gossip{
		config: Config{ID: cluster.ID{1}}, members: map[cluster.ID]*member{}, tombs: map[cluster.ID]tomb{}, needs: map[cluster.ID]*need{},
		conflicts: map[string]bool{}, changed: make(chan struct{}), dirty: make(chan struct{}, 1),
	}
}

func TestGoodbyesAreForgottenAfterADay(t *testing.T) {
	g := bare()
	now := time.Now()
	goodbye := publication{certificate: []byte("c"), left: true}.next(nil, part{node: someNode, version: version{1, 1}})
	g.members[someNode] = &member{id: someNode, rec: record{base: goodbye}}
	g.judgeLocked(g.members[someNode])
	if s := g.members[someNode].state; s != cluster.MemberLeft {
		t.Fatalf("it is %v", s)
	}
	g.age(now.Add(23 * time.Hour))
	if len(g.members) != 1 {
		t.Error("forgotten before its time")
	}
	g.age(now.Add(25 * time.Hour))
	if len(g.members) != 0 || !g.buriedLocked(someNode, version{1, 1}) || g.buriedLocked(someNode, version{1, 2}) {
		t.Errorf("%d members, tombs %v", len(g.members), g.tombs)
	}
	g.age(now.Add(72 * time.Hour))
	if len(g.tombs) != 0 {
		t.Error("its tomb stays for ever")
	}
}

// The dead give way when there are too many members, the longest dead first; the living never do.
func TestMembersAreBounded(t *testing.T) {
	g := bare()
	id := func(i int) cluster.ID { return cluster.IDFrom([16]byte{2}, uint32(i)) }
	for i := range maxMembers {
		e := g.memberLocked(id(i))
		if i >= 2 {
			e.places = []place{place1("10.0.0.1:1", 1, true, 0)}
		}
		g.judgeLocked(e)
		e.since = time.Unix(int64(1000-i%2), 0)
	}
	if g.memberLocked(id(maxMembers)) == nil || g.members[id(1)] != nil || g.members[id(0)] == nil {
		t.Error("not the longest dead gave way")
	}
	g.judgeLocked(g.members[id(maxMembers)])
	if g.memberLocked(id(maxMembers+1)) == nil || g.memberLocked(id(maxMembers+2)) == nil {
		t.Error("no dead member gave way")
	}
	for i := range maxMembers + 3 {
		if e := g.members[id(i)]; e != nil && e.state != cluster.MemberAlive {
			e.places = []place{place1("10.0.0.1:1", 1, true, 0)}
			g.judgeLocked(e)
		}
	}
	if g.memberLocked(id(maxMembers+9)) != nil || len(g.members) != maxMembers {
		t.Errorf("%d members", len(g.members))
	}
}
