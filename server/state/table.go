package state

import (
	"iter"

	"github.com/tidwall/btree"

	"github.com/a43e60e4/cluster"
)

// row is a key with its value.
type row[K, V any] struct {
	key   K
	value V
}

// table is an ordered persistent map for what is few: one writer, frozen copies that never change.
type table[K, V any] struct {
	tree   *btree.BTreeG[row[K, V]]
	frozen *table[K, V] // the newest frozen copy while nothing has changed since
}

func newTable[K, V any](compare func(a, b K) int) *table[K, V] {
	less := func(a, b row[K, V]) bool { return compare(a.key, b.key) < 0 }
	return &table[K, V]{tree: btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 16})}
}

func (t *table[K, V]) get(key K) (V, bool) {
	r, ok := t.tree.Get(row[K, V]{key: key})
	return r.value, ok
}

func (t *table[K, V]) set(key K, value V) {
	t.frozen = nil
	t.tree.Set(row[K, V]{key, value})
}

func (t *table[K, V]) remove(key K) {
	t.frozen = nil
	t.tree.Delete(row[K, V]{key: key})
}

// from goes through the rows in ascending order, beginning with the first key that is not below the given one.
func (t *table[K, V]) from(key K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t.tree.Ascend(row[K, V]{key: key}, func(r row[K, V]) bool { return yield(r.key, r.value) })
	}
}

func (t *table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t.tree.Scan(func(r row[K, V]) bool { return yield(r.key, r.value) })
	}
}

// values goes through the values in the order of their keys.
func (t *table[K, V]) values() iter.Seq[V] {
	return func(yield func(V) bool) {
		t.tree.Scan(func(r row[K, V]) bool { return yield(r.value) })
	}
}

// freeze is a copy that later changes leave alone.
func (t *table[K, V]) freeze() *table[K, V] {
	if t.frozen == nil {
		t.frozen = &table[K, V]{tree: t.tree.Copy()}
	}
	return t.frozen
}

// created orders objects by age.
type created struct {
	index uint64
	id    cluster.ID
}

func (a created) compare(b created) int {
	switch {
	case a.index < b.index:
		return -1
	case a.index > b.index:
		return 1
	}
	return compareIDs(a.id, b.id)
}
