package state

import (
	"iter"
	"slices"
)

const (
	leafBits = 5
	leafSize = 1 << leafBits
	midBits  = 6 // a mid marks its own leaves in one word
	midSize  = 1 << midBits
	rootSpan = leafSize * midSize
)

type leaf[T any] [leafSize]*T

type mid[T any] struct {
	batch  uint64 // the batch that made this copy and may change it
	own    uint64 // bit i: leaf i was made by that batch too
	leaves [midSize]*leaf[T]
}

// vector is a persistent array of pointers. One writer changes it in place between two freezes, copying what a
// frozen copy shares; frozen copies never change. The zero vector is empty.
type vector[T any] struct {
	mids   []*mid[T]
	batch  uint64
	shared bool // mids belongs to a frozen copy as well
}

// at is the value at i, nil if there is none.
func (v *vector[T]) at(i uint32) *T {
	m := i / rootSpan
	if int(m) >= len(v.mids) || v.mids[m] == nil {
		return nil
	}
	l := v.mids[m].leaves[i/leafSize%midSize]
	if l == nil {
		return nil
	}
	return l[i%leafSize]
}

func (v *vector[T]) set(i uint32, value *T) {
	if v.shared {
		v.mids, v.shared = slices.Clone(v.mids), false
	}
	for int(i/rootSpan) >= len(v.mids) {
		v.mids = append(v.mids, nil)
	}
	m := v.mids[i/rootSpan]
	if m == nil {
		m = &mid[T]{batch: v.batch}
		v.mids[i/rootSpan] = m
	} else if m.batch != v.batch {
		copied := *m
		copied.batch, copied.own = v.batch, 0
		m = &copied
		v.mids[i/rootSpan] = m
	}
	at := i / leafSize % midSize
	l := m.leaves[at]
	if l == nil {
		l = new(leaf[T])
	} else if m.own>>at&1 == 0 {
		copied := *l
		l = &copied
	}
	m.leaves[at], m.own = l, m.own|1<<at
	l[i%leafSize] = value
}

// freeze is a copy that later changes leave alone.
func (v *vector[T]) freeze() vector[T] {
	frozen := vector[T]{mids: v.mids}
	v.batch++
	v.shared = true
	return frozen
}

// all goes through the values in ascending order of their places.
func (v *vector[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, m := range v.mids {
			if m == nil {
				continue
			}
			for _, l := range m.leaves {
				if l == nil {
					continue
				}
				for _, value := range l {
					if value != nil && !yield(value) {
						return
					}
				}
			}
		}
	}
}
