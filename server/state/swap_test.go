package state

import (
	"encoding/hex"
	"maps"
	"slices"
	"testing"

	"github.com/a43e60e4/cluster"
)

func TestFactsAreSwappedTogetherOrNotAtAll(t *testing.T) {
	s := newStore(t)
	s.do(&SetMeta{Key: "token/1", Value: []byte("one use")})
	s.do(&SwapMeta{Swaps: []MetaSwap{{Key: "token/1", Old: []byte("one use"), New: []byte("none")}, {Key: "member/1", New: []byte("a")}}})
	s.refused(cluster.CodeConflict, `change "token/1": it has changed meanwhile`,
		&SwapMeta{Swaps: []MetaSwap{{Key: "member/2", New: []byte("b")}, {Key: "token/1", Old: []byte("one use"), New: []byte("none")}}})
	s.refused(cluster.CodeConflict, `change "member/1": it has changed meanwhile`, &SwapMeta{Swaps: []MetaSwap{{Key: "member/1", New: []byte("c")}}})
	s.refused(cluster.CodeConflict, `change "member/3": it has changed meanwhile`, &SwapMeta{Swaps: []MetaSwap{{Key: "member/3", Old: []byte{}, New: []byte("c")}}})
	s.do(&SwapMeta{Swaps: []MetaSwap{{Key: "token/1", Old: []byte("none")}}})
	if got := maps.Collect(s.Snapshot().Metas("")); len(got) != 1 || string(got["member/1"]) != "a" {
		t.Errorf("facts are %q", got)
	}
}

func TestFactsAreListedByPrefix(t *testing.T) {
	s := newStore(t)
	for _, key := range []string{"a", "b/2", "b/1", "b", "c"} {
		s.do(&SetMeta{Key: key, Value: []byte{1}})
	}
	var keys []string
	for key := range s.Snapshot().Metas("b/") {
		keys = append(keys, key)
	}
	if !slices.Equal(keys, []string{"b/1", "b/2"}) {
		t.Errorf("listed %q", keys)
	}
}

// The bytes of a command, once released, never change.
func TestSwapsAreWrittenAsEver(t *testing.T) {
	text, err := Encode(&SwapMeta{At: 1, RequestID: "r", Swaps: []MetaSwap{{Key: "k", Old: []byte{1}, New: []byte{}}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(text), "12010c0201720100016b0101010100"; got != want {
		t.Errorf("written as %s, was %s", got, want)
	}
}
