package nomadapi

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// awaitDeployment follows the newest deployment of a version of the job by blocking reads until it has succeeded.
func awaitDeployment(t *testing.T, client *api.Client, id string, version uint64) {
	t.Helper()
	query := &api.QueryOptions{WaitTime: 10 * time.Second}
	var last *api.Deployment
	for begin := time.Now(); time.Since(begin) < patience; {
		deployment, meta, err := client.Jobs().LatestDeployment(id, query)
		if err != nil {
			t.Fatalf("read newest deployment: %v", err)
		}
		if deployment != nil && deployment.JobVersion == version && deployment.Status == api.DeploymentStatusSuccessful {
			return
		}
		last, query.WaitIndex = deployment, meta.LastIndex
	}
	t.Fatalf("no deployment of version %d succeeds: %+v", version, last)
}

// TestAJobsVersions scales a job, reverts it, names its versions and reads what they were made from.
func TestAJobsVersions(t *testing.T) {
	client := connect(t)
	jobs := client.Jobs()
	id := fmt.Sprintf("versions/%d", os.Getpid())
	job := counter(id)
	job.TaskGroups[0].Scaling = &api.ScalingPolicy{Min: new(int64(1)), Max: new(int64(3)), Enabled: new(true)}
	options := &api.RegisterOptions{Submission: &api.JobSubmission{Source: "job \"" + id + "\" {}", Format: "hcl2",
		VariableFlags: map[string]string{"word": "a b&c"}, Variables: "count = 1\n"}}
	if _, _, err := jobs.RegisterOpts(job, options, nil); err != nil {
		t.Fatalf("register: %v", err)
	}
	t.Cleanup(func() { jobs.Deregister(id, true, nil) })
	awaitDeployment(t, client, id, 0)

	scaled, _, err := jobs.Scale(id, "app", new(2), "more", false, map[string]any{"by": "test"}, nil)
	if err != nil || scaled.EvalID == "" {
		t.Fatalf("scale: %+v, %v", scaled, err)
	}
	awaitDeployment(t, client, id, 1)
	status, _, err := jobs.ScaleStatus(id, nil)
	if err != nil {
		t.Fatalf("read scaling: %v", err)
	}
	if group := status.TaskGroups["app"]; group.Desired != 2 || group.Running != 2 || len(group.Events) != 1 || group.Events[0].PreviousCount != 1 ||
		*group.Events[0].EvalID != scaled.EvalID || group.Events[0].Meta["by"] != "test" {
		t.Errorf("scaling is %+v", group)
	}
	if _, _, err := jobs.Scale(id, "app", new(9), "", false, nil, nil); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("scale beyond the bounds: %v", err)
	}
	policies, _, err := client.Scaling().ListPolicies(&api.QueryOptions{Params: map[string]string{"job": id}})
	if err != nil || len(policies) != 1 || policies[0].Type != "horizontal" || policies[0].Target["Group"] != "app" {
		t.Fatalf("policies: %+v, %v", policies, err)
	}
	if policy, _, err := client.Scaling().GetPolicy(policies[0].ID, nil); err != nil || *policy.Min != 1 || *policy.Max != 3 || !*policy.Enabled || policy.Target["Job"] != id {
		t.Errorf("policy: %+v, %v", policy, err)
	}

	if _, err := jobs.TagVersion(id, 0, "first", "as it began", nil); err != nil {
		t.Errorf("tag: %v", err)
	}
	reverted, _, err := jobs.Revert(id, 0, new(uint64(1)), nil, "", "")
	if err != nil || reverted.EvalID == "" {
		t.Fatalf("revert: %+v, %v", reverted, err)
	}
	if _, _, err := jobs.Revert(id, 0, new(uint64(1)), nil, "", ""); err == nil || !strings.Contains(err.Error(), "enforcing version 1") {
		t.Errorf("revert what is another by now: %v", err)
	}
	versions, diffs, _, err := jobs.Versions(id, true, nil)
	if err != nil || len(versions) != 3 || len(diffs) != 2 || *versions[0].TaskGroups[0].Count != 1 || *versions[1].TaskGroups[0].Count != 2 || diffs[0].Type != "Edited" {
		t.Errorf("versions: %d, differences: %+v, %v", len(versions), diffs, err)
	}
	if tagged, _, err := jobs.VersionByTag(id, "first", nil); err != nil || *tagged.Version != 0 || tagged.VersionTag.Description != "as it began" {
		t.Errorf("find the version by its name: %+v, %v", tagged, err)
	}
	if _, err := jobs.UntagVersion(id, "first", nil); err != nil {
		t.Errorf("unset the name: %v", err)
	}
	if _, _, err := jobs.Stable(id, 2, true, nil); err != nil {
		t.Errorf("mark as stable: %v", err)
	}
	source, _, err := jobs.Submission(id, 2, nil)
	if err != nil || source.Source != options.Submission.Source || source.VariableFlags["word"] != "a b&c" || source.Variables != "count = 1\n" {
		t.Errorf("read what it was made from: %+v, %v", source, err)
	}
	if eval, _, err := jobs.EvaluateWithOpts(id, api.EvalOptions{ForceReschedule: true}, nil); err != nil || eval == "" {
		t.Errorf("evaluate: %q, %v", eval, err)
	}
}
