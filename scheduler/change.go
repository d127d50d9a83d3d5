package scheduler

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"

	"github.com/a43e60e4/cluster"
)

// destructive reports whether an allocation of the old version's group must be replaced to follow the new version.
// Where it is false the allocation takes the new version in place, if its node still fits. The group must exist in both.
func destructive(old, new *cluster.Job, group string) bool {
	a, b := old.Group(group), new.Group(group)
	if len(a.Tasks) != len(b.Tasks) || a.EphemeralDisk != b.EphemeralDisk || !slices.EqualFunc(a.Networks, b.Networks, sameNetwork) {
		return true
	}
	for i := range a.Tasks {
		was, is := &a.Tasks[i], b.Task(a.Tasks[i].Name)
		if is == nil || was.Driver != is.Driver || was.User != is.User || was.Resources != is.Resources ||
			was.LogConfig.Disabled != is.LogConfig.Disabled || !maps.Equal(was.Env, is.Env) ||
			!maps.Equal(mergedMeta(old, a, was), mergedMeta(new, b, is)) || !sameConfig(was.Config, is.Config) {
			return true
		}
	}
	return false
}

func sameNetwork(a, b cluster.Network) bool {
	return a.Mode == b.Mode && slices.Equal(a.ReservedPorts, b.ReservedPorts) && slices.Equal(a.DynamicPorts, b.DynamicPorts)
}

// mergedMeta is what the task sees: the task's metadata over the group's over the job's.
func mergedMeta(j *cluster.Job, g *cluster.TaskGroup, t *cluster.Task) map[string]string {
	merged := make(map[string]string, len(j.Meta)+len(g.Meta)+len(t.Meta))
	for _, meta := range []map[string]string{j.Meta, g.Meta, t.Meta} {
		maps.Copy(merged, meta)
	}
	return merged
}

// sameConfig compares free-form values. One that came from a job file and one that came over the wire or out of a
// snapshot may hold the same number in different types, so what differs is compared once more as text.
func sameConfig(a, b map[string]any) bool {
	if len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b) {
		return true
	}
	left, lerr := json.Marshal(a)
	right, rerr := json.Marshal(b)
	return lerr == nil && rerr == nil && string(left) == string(right)
}
