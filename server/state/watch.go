package state

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/a43e60e4/cluster"
)

type keyKind uint8

const (
	keyTable keyKind = iota
	keyJob           // the four of a job, in the order of jobChange
	keyJobAllocs
	keyJobEvals
	keyJobDeployments
	keyNode
	keyNodeAllocs
	keyAlloc
	keyEval
	keyDeployment
	keyService
	keyNamespace
	keyMeta
)

// Key names something that can be waited for.
type Key struct {
	kind  keyKind
	table Table
	id    cluster.ID
	name  cluster.JobKey
}

// TableKey is any change in a table.
func TableKey(t Table) Key { return Key{kind: keyTable, table: t} }

// JobKey is any change of a job itself, its status included.
func JobKey(namespace, id string) Key { return jobKey(jobItself, namespace, id) }

// JobAllocsKey is any change of a job's allocations.
func JobAllocsKey(namespace, id string) Key { return jobKey(jobAllocs, namespace, id) }

// JobEvalsKey is any change of a job's evaluations.
func JobEvalsKey(namespace, id string) Key { return jobKey(jobEvals, namespace, id) }

// JobDeploymentsKey is any change of a job's deployments.
func JobDeploymentsKey(namespace, id string) Key { return jobKey(jobDeployments, namespace, id) }

func jobKey(what jobChange, namespace, id string) Key {
	return Key{kind: keyJob + keyKind(what), name: cluster.JobKey{Namespace: namespace, ID: id}}
}

// NodeKey is any change of a node itself.
func NodeKey(id cluster.ID) Key { return Key{kind: keyNode, id: id} }

// NodeAllocsKey is any change of a node's allocations by the servers: new ones, stops, restarts, deletions. The
// node's own reports are none.
func NodeAllocsKey(id cluster.ID) Key { return Key{kind: keyNodeAllocs, id: id} }

// AllocKey is any change of an allocation.
func AllocKey(id cluster.ID) Key { return Key{kind: keyAlloc, id: id} }

// EvalKey is any change of an evaluation.
func EvalKey(id cluster.ID) Key { return Key{kind: keyEval, id: id} }

// DeploymentKey is any change of a deployment, its counts included.
func DeploymentKey(id cluster.ID) Key { return Key{kind: keyDeployment, id: id} }

// ServiceKey is any change of a service's endpoints.
func ServiceKey(namespace, name string) Key {
	return Key{kind: keyService, name: cluster.JobKey{Namespace: namespace, ID: name}}
}

// NamespaceKey is any change of a namespace.
func NamespaceKey(name string) Key { return Key{kind: keyNamespace, name: cluster.JobKey{ID: name}} }

// MetaKey is any change of what SetMeta stores under the key.
func MetaKey(key string) Key { return Key{kind: keyMeta, name: cluster.JobKey{ID: key}} }

// KeyIndex is the index of the key's last change. For what is not there it is the index at which anything of its
// table last went, so that waiting for it to appear works, and a key's index never falls.
func (sn *Snapshot) KeyIndex(key Key) uint64 {
	switch key.kind {
	case keyTable:
		return sn.tables[key.table].changed
	case keyJob, keyJobAllocs, keyJobEvals, keyJobDeployments:
		if entry := sn.job(key.name.Namespace, key.name.ID); entry != nil {
			return entry.changed[key.kind-keyJob]
		}
		return sn.tables[Jobs].removed
	case keyNode, keyNodeAllocs:
		return sn.nodeIndex(key)
	case keyAlloc:
		if a := sn.Alloc(key.id); a != nil {
			return a.ModifyIndex
		}
		return sn.tables[Allocs].removed
	case keyEval:
		if eval := sn.Eval(key.id); eval != nil {
			return eval.ModifyIndex
		}
		return sn.tables[Evals].removed
	case keyDeployment:
		if d := sn.Deployment(key.id); d != nil {
			return d.ModifyIndex
		}
		return sn.tables[Deployments].removed
	case keyService:
		return sn.Service(key.name.Namespace, key.name.ID).Index
	case keyNamespace:
		if ns := sn.Namespace(key.name.ID); ns != nil {
			return ns.ModifyIndex
		}
		return sn.tables[Namespaces].removed
	case keyMeta:
		if entry, ok := sn.meta.get(key.name.ID); ok {
			return entry.index
		}
		return sn.tables[Meta].removed
	}
	return 0
}

func (sn *Snapshot) nodeIndex(key Key) uint64 {
	entry := sn.node(key.id)
	switch {
	case entry == nil:
		return sn.tables[Nodes].removed
	case key.kind == keyNode:
		return entry.changed
	}
	return entry.allocsChanged
}

// Wait returns the newest snapshot as soon as the index of one of the keys is above the given one, or the state was
// replaced by a restore. When ctx ends first it returns the newest snapshot with the context's error.
func (s *Store) Wait(ctx context.Context, index uint64, keys ...Key) (*Snapshot, error) {
	if sn := s.Snapshot(); sn.changed(keys, index) {
		return sn, nil
	}
	me := &waiter{wake: make(chan struct{}, 1)}
	s.watch.add(me, keys)
	defer s.watch.drop(me, keys)
	for {
		// The writer publishes before it looks for waiters, so nothing falls between this look and the wait.
		if sn := s.Snapshot(); sn.changed(keys, index) || me.restored.Load() {
			return sn, nil
		}
		select {
		case <-me.wake:
		case <-ctx.Done():
			return s.Snapshot(), context.Cause(ctx)
		}
	}
}

func (sn *Snapshot) changed(keys []Key, index uint64) bool {
	return slices.ContainsFunc(keys, func(key Key) bool { return sn.KeyIndex(key) > index })
}

// waiter is one call of Wait.
type waiter struct {
	wake     chan struct{} // holds one wish to look again
	restored atomic.Bool   // return whatever the indexes say
}

func (wt *waiter) rouse() {
	select {
	case wt.wake <- struct{}{}:
	default:
	}
}

// watch knows who waits for what.
type watch struct {
	mu      sync.Mutex // guards waiters and perKind
	waiters map[Key][]*waiter
	perKind [keyMeta + 1]int
}

func (w *watch) add(me *waiter, keys []Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiters == nil {
		w.waiters = make(map[Key][]*waiter)
	}
	for _, key := range keys {
		w.waiters[key] = append(w.waiters[key], me)
		w.perKind[key.kind]++
	}
}

func (w *watch) drop(me *waiter, keys []Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, key := range keys {
		list := w.waiters[key]
		if i := slices.Index(list, me); i >= 0 {
			list = slices.Delete(list, i, i+1)
			w.perKind[key.kind]--
		}
		if w.waiters[key] = list; len(list) == 0 {
			delete(w.waiters, key)
		}
	}
}

// notify rouses those who wait for something that was touched.
func (w *watch) notify(t *touched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiters) == 0 {
		return
	}
	for i := range t.keys {
		if key := t.keys[i]; w.perKind[key.kind] > 0 {
			w.rouseLocked(key)
		}
	}
	if w.perKind[keyAlloc] > 0 {
		for _, id := range t.allocs {
			w.rouseLocked(AllocKey(id))
		}
	}
	if w.perKind[keyTable] > 0 {
		for table, changed := range t.tables {
			if changed {
				w.rouseLocked(TableKey(Table(table)))
			}
		}
	}
}

func (w *watch) rouseLocked(key Key) {
	for _, wt := range w.waiters[key] {
		wt.rouse()
	}
}

// rouseAll makes every waiter return.
func (w *watch) rouseAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, list := range w.waiters {
		for _, wt := range list {
			wt.restored.Store(true)
			wt.rouse()
		}
	}
}

// touched collects what a batch changed.
type touched struct {
	tables [tables]bool
	keys   []Key
	allocs []cluster.ID
}

func (t *touched) add(key Key) { t.keys = append(t.keys, key) }

func (t *touched) reset() { *t = touched{keys: t.keys[:0], allocs: t.allocs[:0]} }
