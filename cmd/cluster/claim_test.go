package main

import (
	"slices"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

func TestOfTwoWithOneIDOneYields(t *testing.T) {
	original := claimant{At: "10.0.0.1:4647", Started: 100, Nonce: 1}
	for _, c := range []struct {
		name string
		copy claimant
	}{
		{"a copy that started first", claimant{Moved: 50, Started: 50}},
		{"a copy that started later", claimant{Moved: 150, Started: 150}},
		{"a copy on a machine whose clock is years behind", claimant{Moved: 1, Started: 1}},
		{"a copy that nothing tells from the original, started later", claimant{Started: 101}},
		{"a copy that nothing tells from the original, started at the same instant", claimant{Started: 100, Nonce: 2}},
	} {
		if !c.copy.yields(original) || original.yields(c.copy) {
			t.Errorf("%s: it yields %v, the original %v", c.name, c.copy.yields(original), original.yields(c.copy))
		}
	}
	if original.yields(original) {
		t.Error("a node yields to itself")
	}
}

func TestAStartLooksForOthersAsLongAsItMust(t *testing.T) {
	for _, c := range []struct {
		name   string
		search search
		want   claimStep
	}{
		{"nobody has answered yet", search{others: 3}, claimSearch},
		{"all have answered", search{others: 3, asked: true}, claimTake},
		{"nobody answers", search{others: 3, elapsed: claimTime}, claimTake},
		{"another answers", search{others: 3, found: "10.0.0.1:4647"}, claimYield},
		{"moved, all have answered", search{moved: true, others: 3, asked: true, elapsed: claimTime}, claimSearch},
		{"moved, nobody came", search{moved: true, others: 3, asked: true, elapsed: movedTime}, claimTake},
		{"moved, the original came at last", search{moved: true, others: 3, asked: true, elapsed: movedTime, found: "10.0.0.1:4647"}, claimYield},
		{"moved, nobody else is known", search{moved: true, asked: true}, claimTake},
		{"another starts too", search{others: 3, asked: true, rival: true, elapsed: claimTime}, claimSearch},
		{"another started too and did not come", search{others: 3, asked: true, rival: true, rivalAt: time.Second, elapsed: time.Second + movedTime}, claimTake},
		{"moved, and another starts too", search{moved: true, others: 3, asked: true, rival: true, rivalAt: time.Second, elapsed: movedTime}, claimSearch},
	} {
		if got := c.search.step(); got != c.want {
			t.Errorf("%s: step %d, want %d", c.name, got, c.want)
		}
	}
}

// TestTheCopyGivesWayInWhicheverOrder lets an original and its copy start at any times within some seconds, by the rule.
func TestTheCopyGivesWayInWhicheverOrder(t *testing.T) {
	const boot = 500 * time.Millisecond // from taking the ID to answering
	for head := -4 * time.Second; head <= 3500*time.Millisecond; head += 100 * time.Millisecond {
		answers := max(0, head) + claimTime + boot // of the original, which starts that much after the copy
		copied := search{moved: true, others: 2, asked: true}
		began := max(0, -head)
		for copied.step() == claimSearch {
			copied.elapsed += 250 * time.Millisecond
			if began+copied.elapsed >= answers {
				copied.found = "10.0.0.1:4647"
			}
		}
		if copied.step() != claimYield {
			t.Errorf("a copy that starts %v before its original takes the ID", head)
		}
	}
}

func TestWhoStartsIsRememberedForAMoment(t *testing.T) {
	var s sightings
	now := time.Unix(1000, 0)
	id, other := cluster.ID{1}, cluster.ID{2}
	a, b := claimant{At: "a:1", Nonce: 1}, claimant{At: "b:1", Nonce: 2}
	if others := s.hear(id, a, now); len(others) > 0 {
		t.Errorf("the first hears of %v", others)
	}
	if others := s.hear(id, b, now.Add(time.Second)); !slices.Equal(others, []claimant{a}) {
		t.Errorf("the second hears of %v", others)
	}
	if others := s.hear(other, b, now); len(others) > 0 {
		t.Errorf("another ID hears of %v", others)
	}
	restarted := claimant{At: "a:1", Nonce: 3}
	if others := s.hear(id, restarted, now.Add(2*time.Second)); !slices.Equal(others, []claimant{b}) {
		t.Errorf("a restart hears of %v", others)
	}
	moved := claimant{At: "c:1", Nonce: 3}
	if others := s.hear(id, moved, now.Add(2*time.Second)); !slices.Equal(others, []claimant{b}) {
		t.Errorf("one that goes on at another address hears of %v", others)
	}
	if others := s.hear(id, a, now.Add(time.Minute)); len(others) > 0 {
		t.Errorf("a minute later it hears of %v", others)
	}
	for i := range 3 * maxClaimants {
		s.hear(id, claimant{Nonce: uint64(10 + i), At: string(rune('k' + i))}, now.Add(time.Minute))
	}
	if len(s.all[id]) > maxClaimants || len(s.all) != 1 {
		t.Errorf("%d are remembered, of %d IDs", len(s.all[id]), len(s.all))
	}
}
