package server

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func listJobVersions(r *request, sn *state.Snapshot) (reading, error) {
	diffs, err := r.flag("diffs")
	if err != nil {
		return reading{}, err
	}
	key := state.JobKey(r.namespace, r.arg)
	versions := sn.JobVersions(r.namespace, r.arg)
	if len(versions) == 0 {
		return missing("job", key), nil
	}
	if !diffs {
		return reading{[]state.Key{key}, func(meta api.Meta) (any, error) { return api.JobVersions{Versions: versions, Meta: meta}, nil }}, nil
	}
	base, err := r.baseline(versions)
	if err != nil {
		return reading{}, err
	}
	return reading{[]state.Key{key}, func(meta api.Meta) (any, error) {
		return api.JobVersions{Versions: versions, Diffs: versionDiffs(versions, base), Meta: meta}, nil
	}}, nil
}

// baseline is the version that all are to be compared with, nil if each is with the one before it.
func (r *request) baseline(versions []*cluster.Job) (*cluster.Job, error) {
	tag, number := r.query.Get("diff_tag"), r.query.Get("diff_version")
	if tag == "" && number == "" {
		return nil, nil
	}
	wanted := func(j *cluster.Job) bool { return j.VersionTag != nil && j.VersionTag.Name == tag }
	if tag == "" {
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, cluster.Errorf(cluster.CodeInvalid, "read diff_version %.100q: want a number", number)
		}
		wanted = func(j *cluster.Job) bool { return j.Version == n }
	}
	i := slices.IndexFunc(versions, wanted)
	if i < 0 {
		return nil, cluster.Errorf(cluster.CodeNotFound, "compare versions of job %.128q: there is no version %.100q", r.arg, cmp.Or(tag, number))
	}
	return versions[i], nil
}

// versionDiffs compares versions, which come the newest first.
func versionDiffs(versions []*cluster.Job, base *cluster.Job) []*cluster.JobDiff {
	diffs := []*cluster.JobDiff{}
	for i, version := range versions {
		older := base
		if base == nil {
			if i == len(versions)-1 {
				break
			}
			older = versions[i+1]
		}
		diffs = append(diffs, cluster.Diff(older, version, true))
	}
	return diffs
}
