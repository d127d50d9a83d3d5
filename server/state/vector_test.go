package state

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestAFrozenVectorNeverChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v vector[int]
		type copied struct {
			vector vector[int]
			want   map[uint32]int
		}
		now := map[uint32]int{}
		var frozen []copied
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			// Places near the borders of leaves and mids.
			i := uint32(rapid.SampledFrom([]int{0, 1, 31, 32, 33, 2047, 2048, 5000}).Draw(t, "place"))
			value := rapid.IntRange(0, 9).Draw(t, "value")
			if value == 0 {
				v.set(i, nil)
				delete(now, i)
			} else {
				v.set(i, &value)
				now[i] = value
			}
			if rapid.Bool().Draw(t, "freeze") {
				frozen = append(frozen, copied{v.freeze(), maps.Clone(now)})
			}
		}
		for _, c := range append(frozen, copied{v, now}) {
			var got []int
			for value := range c.vector.all() {
				got = append(got, *value)
			}
			var want []int
			for _, i := range slices.Sorted(maps.Keys(c.want)) {
				want = append(want, c.want[i])
				if at := c.vector.at(i); at == nil || *at != c.want[i] {
					t.Fatalf("at %d", i)
				}
			}
			if !slices.Equal(got, want) || c.vector.at(9_000_000) != nil {
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	})
}

func TestTheLowestFreeSlotIsNext(t *testing.T) {
	var s slots
	for i := range uint32(200) {
		if s.next() != i {
			t.Fatalf("next is %d, want %d", s.next(), i)
		}
		s.take(i)
	}
	for _, free := range []uint32{150, 64, 63, 0} {
		s.free(free)
		if s.next() != free {
			t.Fatalf("next is %d, want %d", s.next(), free)
		}
	}
	for _, next := range []uint32{0, 63, 64, 150, 200} {
		if s.next() != next {
			t.Fatalf("next is %d, want %d", s.next(), next)
		}
		s.take(next)
	}
	if s.n != 201 {
		t.Fatalf("%d in use", s.n)
	}
}
