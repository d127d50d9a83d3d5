package nomadapi

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// once is a batch job whose one task ends at once.
func once(id string) *api.Job {
	job := api.NewBatchJob(id, id, "global", 50)
	job.AddDatacenter("*")
	task := api.NewTask("main", "raw_exec").SetConfig("command", "/bin/true")
	return job.AddTaskGroup(api.NewTaskGroup("app", 1).AddTask(task))
}

// waitDead waits until the job is done, and reads it.
func waitDead(t *testing.T, client *api.Client, id string) *api.Job {
	t.Helper()
	query := &api.QueryOptions{WaitTime: 10 * time.Second}
	for begin := time.Now(); time.Since(begin) < patience; {
		job, meta, err := client.Jobs().Info(id, query)
		if err != nil {
			t.Fatalf("read job: %v", err)
		}
		if *job.Status == "dead" {
			return job
		}
		query.WaitIndex = meta.LastIndex
	}
	t.Fatalf("job %s does not end", id)
	return nil
}

func TestAParameterizedJobIsDispatched(t *testing.T) {
	client := connect(t)
	jobs, id := client.Jobs(), fmt.Sprintf("nomadapi/dispatch-%d", os.Getpid())
	job := once(id)
	job.ParameterizedJob = &api.ParameterizedJobConfig{Payload: "optional", MetaRequired: []string{"input"}, MetaOptional: []string{"size"}}
	registered, _, err := jobs.Register(job, nil)
	if err != nil || registered.EvalID != "" || registered.JobModifyIndex == 0 {
		t.Fatalf("register: %+v, %v", registered, err)
	}
	t.Cleanup(func() { jobs.Deregister(id, true, nil) })
	dispatched, _, err := jobs.Dispatch(id, map[string]string{"input": "x"}, []byte("hello\x00"), "night", nil)
	if err != nil || dispatched.EvalID == "" || dispatched.JobCreateIndex == 0 || !strings.HasPrefix(dispatched.DispatchedJobID, id+"/dispatch-night-") {
		t.Fatalf("dispatch: %+v, %v", dispatched, err)
	}
	launch := waitDead(t, client, dispatched.DispatchedJobID)
	if !launch.Dispatched || *launch.ParentID != id || string(launch.Payload) != "hello\x00" || launch.Meta["input"] != "x" {
		t.Errorf("launch: %+v", launch)
	}
	token := &api.WriteOptions{IdempotencyToken: "once"}
	first, _, err := jobs.Dispatch(id, map[string]string{"input": "x"}, nil, "", token)
	if err != nil {
		t.Fatalf("dispatch with a token: %v", err)
	}
	if again, _, err := jobs.Dispatch(id, map[string]string{"input": "x"}, nil, "", token); err != nil || again.DispatchedJobID != first.DispatchedJobID {
		t.Errorf("dispatch with the same token: %+v, %v", again, err)
	}
	if _, _, err := jobs.Dispatch(id, map[string]string{"input": "x", "other": "y"}, nil, "", nil); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("dispatch with unknown meta: %v", err)
	}
	waitDead(t, client, first.DispatchedJobID)
	summary, _, err := jobs.Summary(id, nil)
	if err != nil || summary.Children == nil || summary.Children.Dead != 2 {
		t.Errorf("summary: %+v, %v", summary, err)
	}
	list, _, err := jobs.PrefixList(id)
	if err != nil || len(list) != 3 || !list[0].ParameterizedJob || list[1].ParentID != id {
		t.Errorf("list: %+v, %v", list, err)
	}
	if eval, _, err := jobs.Deregister(id, false, nil); err != nil || eval != "" {
		t.Errorf("stop: %q, %v", eval, err)
	}
}

func TestAPeriodicJobIsForcedAndLaunchedByTheClock(t *testing.T) {
	client := connect(t)
	jobs, id := client.Jobs(), fmt.Sprintf("nomadapi/periodic-%d", os.Getpid())
	job := once(id)
	job.AddPeriodicConfig(&api.PeriodicConfig{Enabled: new(true), Specs: []string{"*/2 * * * * * *"}, SpecType: new("cron"), TimeZone: new("Europe/Berlin")})
	registered, _, err := jobs.Register(job, nil)
	if err != nil || registered.EvalID != "" {
		t.Fatalf("register: %+v, %v", registered, err)
	}
	t.Cleanup(func() { jobs.Deregister(id, true, nil) })
	eval, _, err := jobs.PeriodicForce(id, nil)
	if err != nil || eval == "" {
		t.Fatalf("force: %q, %v", eval, err)
	}
	forced, _, err := client.Evaluations().Info(eval, nil)
	if err != nil || forced.TriggeredBy != "periodic-job" || !strings.HasPrefix(forced.JobID, id+"/periodic-") {
		t.Fatalf("evaluation: %+v, %v", forced, err)
	}
	waitDead(t, client, forced.JobID)
	query := &api.QueryOptions{WaitTime: 10 * time.Second}
	for begin := time.Now(); ; {
		summary, meta, err := jobs.Summary(id, query)
		if err != nil || summary.Children == nil || time.Since(begin) > patience {
			t.Fatalf("summary: %+v, %v", summary, err)
		}
		if summary.Children.Dead >= 3 {
			break
		}
		query.WaitIndex = meta.LastIndex
	}
	if read, _, err := jobs.Info(id, nil); err != nil || *read.Status != "running" || !read.IsPeriodic() {
		t.Errorf("read: %+v, %v", read, err)
	}
}
