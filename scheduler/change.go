package scheduler

import (
	"encoding/json"
	"maps"
	"reflect"

	"github.com/a43e60e4/cluster"
)

// destructive reports whether an allocation of the old version's group must be replaced to follow the new version: something
// changed that is marked for it in the types of the job. Where it is false the allocation takes the new version in place, if its
// node still fits. The group must exist in both.
func destructive(old, new *cluster.Job, group string) bool {
	a, b := old.Group(group), new.Group(group)
	if len(a.Tasks) != len(b.Tasks) || replaces(reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()) {
		return true
	}
	for i := range a.Tasks {
		was, is := &a.Tasks[i], b.Task(a.Tasks[i].Name)
		if is == nil || replaces(reflect.ValueOf(was).Elem(), reflect.ValueOf(is).Elem()) ||
			!maps.Equal(old.TaskMeta(a, was), new.TaskMeta(b, is)) {
			return true
		}
	}
	return false
}

var taskSlice = reflect.TypeFor[[]cluster.Task]()

// replaces reports whether a noun and its successor differ in what is marked. Tasks are compared by name: see destructive.
func replaces(was, is reflect.Value) bool {
	for _, f := range cluster.Fields(was.Type()) {
		a, b := was.Field(f.Index), is.Field(f.Index)
		switch {
		case f.Replace:
			if !same(a.Interface(), b.Interface()) {
				return true
			}
		case f.Noun() == nil || f.Type == taskSlice:
		case a.Kind() == reflect.Struct:
			if replaces(a, b) {
				return true
			}
		case a.Kind() == reflect.Slice:
			for i := range max(a.Len(), b.Len()) {
				if replaces(at(a, i), at(b, i)) {
					return true
				}
			}
		case a.Kind() == reflect.Pointer && !(a.IsNil() && b.IsNil()):
			if replaces(target(a), target(b)) {
				return true
			}
		}
	}
	return false
}

// at is the element of a list, an empty one beyond its end.
func at(list reflect.Value, i int) reflect.Value {
	if i < list.Len() {
		return list.Index(i)
	}
	return reflect.Zero(list.Type().Elem())
}

// target is what a pointer leads to, an empty one for nil.
func target(pointer reflect.Value) reflect.Value {
	if pointer.IsNil() {
		return reflect.Zero(pointer.Type().Elem())
	}
	return pointer.Elem()
}

// same compares parts of jobs. A free-form value that came from a job file and one that came over the wire or out of a
// snapshot may hold the same number in different types, so what differs is compared once more as text.
func same(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	left, lerr := json.Marshal(a)
	right, rerr := json.Marshal(b)
	return lerr == nil && rerr == nil && string(left) == string(right)
}
