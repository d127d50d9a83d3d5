package server

import (
	"cmp"
	"crypto/sha256"
	"iter"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/state"
)

func (h *apiHandler) scalingEndpoints() map[api.Route]endpoint {
	return map[api.Route]endpoint{
		api.ScalingPoliciesList: {read: listScalingPolicies},
		api.ScalingPolicyRead:   {read: readScalingPolicy},
	}
}

// listScalingPolicies lists those of all jobs, or of the job and the type that the parameters name. A type may be written as its
// beginning: "vertical" is both.
func listScalingPolicies(r *request, sn *state.Snapshot) (reading, error) {
	return reading{[]state.Key{state.TableKey(state.Jobs)}, func(api.Meta) (any, error) {
		list := []api.ScalingPolicyStub{}
		for p := range scalingPolicies(sn, r.namespace) {
			wanted := cmp.Or(r.query.Get("job"), p.Target["Job"]) == p.Target["Job"] && strings.HasPrefix(p.Type, r.query.Get("type"))
			if wanted && r.withPrefix(p.ID.String()) {
				list = append(list, p.ScalingPolicyStub)
			}
		}
		slices.SortFunc(list, func(a, b api.ScalingPolicyStub) int { return a.ID.Compare(b.ID) })
		return list, nil
	}}, nil
}

func readScalingPolicy(r *request, sn *state.Snapshot) (reading, error) {
	for p := range scalingPolicies(sn, r.namespace) {
		if p.ID.String() == r.arg {
			return reading{[]state.Key{state.JobKey(p.Namespace, p.Target["Job"])}, func(api.Meta) (any, error) { return p, nil }}, nil
		}
	}
	return missing("policy", state.TableKey(state.Jobs)), nil
}

// scalingPolicies are what the jobs of a namespace (* is all) say that autoscalers may do. Stopped jobs are not scaled.
func scalingPolicies(sn *state.Snapshot, namespace string) iter.Seq[api.ScalingPolicy] {
	return func(yield func(api.ScalingPolicy) bool) {
		for job := range sn.Jobs(namespace, "") {
			if job.Stop {
				continue
			}
			for i := range job.TaskGroups {
				for _, p := range groupPolicies(job, &job.TaskGroups[i]) {
					if !yield(p) {
						return
					}
				}
			}
		}
	}
}

// groupPolicies are those of a group and of its tasks.
func groupPolicies(job *cluster.Job, g *cluster.TaskGroup) []api.ScalingPolicy {
	var all []api.ScalingPolicy
	add := func(task, kind string, enabled bool, p api.ScalingPolicy) {
		p.Namespace, p.Type, p.Enabled = job.Namespace, kind, enabled
		p.Target = map[string]string{"Namespace": job.Namespace, "Job": job.ID, "Group": g.Name}
		if task != "" {
			p.Target["Task"] = task
		}
		p.ID = policyID(job.Key(), kind, g.Name, task)
		p.CreateIndex, p.ModifyIndex = job.CreateIndex, job.JobModifyIndex
		all = append(all, p)
	}
	if s := g.Scaling; s != nil {
		add("", s.Type, s.Enabled, api.ScalingPolicy{Policy: s.Policy, Min: s.Min, Max: s.Max})
	}
	for i := range g.Tasks {
		for _, s := range g.Tasks[i].ScalingPolicies {
			add(g.Tasks[i].Name, s.Type, s.Enabled == nil || *s.Enabled, api.ScalingPolicy{Policy: s.Policy, Min: s.Min, Max: s.Max})
		}
	}
	return all
}

// policyID follows from what the policy is for, so that it is the same on every server and for every version of the job.
func policyID(job cluster.JobKey, parts ...string) cluster.ID {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{job.Namespace, job.ID}, parts...), "\x00")))
	return cluster.IDFrom([16]byte(sum[:16]), 0)
}
