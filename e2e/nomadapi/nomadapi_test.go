package nomadapi

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// connect is the official client of the cluster that CLUSTER_ADDR names.
func connect(t *testing.T) *api.Client {
	t.Helper()
	address := os.Getenv("CLUSTER_ADDR")
	if address == "" {
		t.Skip("CLUSTER_ADDR is not set: start `cluster agent -dev` and set it to http://127.0.0.1:4646")
	}
	client, err := api.NewClient(&api.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// counter is a job whose one task writes numbered lines for ever. Its service has the name of the job's group.
func counter(id string) *api.Job {
	script := `i=0; while :; do i=$((i+1)); echo "line $i"; sleep 0.1; done`
	task := api.NewTask("main", "raw_exec").SetConfig("command", "/bin/sh").SetConfig("args", []string{"-c", script})
	job := api.NewServiceJob(id, id, "global", 50)
	job.AddDatacenter("*")
	group := api.NewTaskGroup("app", 1).AddTask(task)
	group.Networks = []*api.NetworkResource{{DynamicPorts: []api.Port{{Label: "http"}}}}
	group.Services = []*api.Service{{Name: serviceOf(id), Provider: "nomad", PortLabel: "http", Tags: []string{"lines"}}}
	group.Update = &api.UpdateStrategy{MinHealthyTime: new(100 * time.Millisecond)}
	return job.AddTaskGroup(group)
}

// serviceOf is the name of the job's service.
func serviceOf(job string) string {
	return strings.ReplaceAll(job, "/", "-")
}

// patience is how long anything here may take.
const patience = time.Minute

func TestAJobsLife(t *testing.T) {
	client := connect(t)
	id := fmt.Sprintf("nomadapi/%d", os.Getpid()) // a slash in the ID is an old trap
	job := counter(id)
	jobs := client.Jobs()

	validation, _, err := jobs.Validate(job, nil)
	if err != nil || len(validation.ValidationErrors) > 0 {
		t.Fatalf("validate: %+v, %v", validation, err)
	}
	planNew(t, client, job)
	registered, _, err := jobs.Register(job, nil)
	if err != nil || registered.EvalID == "" || registered.JobModifyIndex == 0 {
		t.Fatalf("register: %+v, %v", registered, err)
	}
	t.Cleanup(func() { jobs.Deregister(id, true, nil) })
	if _, _, err := jobs.EnforceRegister(job, 0, nil); err == nil || !strings.Contains(err.Error(), "Enforcing job modify index") {
		t.Errorf("register once more as new: %v", err)
	}

	alloc := waitRunning(t, client, id)
	planChange(t, client, id, registered.JobModifyIndex)
	readJob(t, client, id, registered)
	readAround(t, client, alloc)
	readService(t, client, alloc)
	followDeployment(t, client, id, alloc)
	readFiles(t, client, alloc)
	followLogs(t, client, alloc)
	alloc = drainNode(t, client, alloc)

	eval, _, err := jobs.Deregister(id, false, nil)
	if err != nil || eval == "" {
		t.Fatalf("deregister: %q, %v", eval, err)
	}
	waitStopped(t, client, alloc.ID)
	if _, _, err := jobs.Deregister(id, true, nil); err != nil {
		t.Fatalf("purge: %v", err)
	}
	if _, _, err := jobs.Info(id, nil); err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "job not found") {
		t.Errorf("read a purged job: %v", err)
	}
}

// planNew asks what the job would lead to that is not there yet.
func planNew(t *testing.T, client *api.Client, job *api.Job) {
	t.Helper()
	plan, _, err := client.Jobs().Plan(job, true, nil)
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	if plan.JobModifyIndex != 0 || plan.Diff.Type != "Added" || plan.Diff.ID != *job.ID || len(plan.FailedTGAllocs) > 0 {
		t.Errorf("plan a new job: %+v", plan)
	}
	if updates := plan.Annotations.DesiredTGUpdates["app"]; updates == nil || *updates != (api.DesiredUpdates{Place: 1}) {
		t.Errorf("plan a new job: counted are %+v", updates)
	}
	if group := plan.Diff.TaskGroups[0]; group.Updates["create"] != 1 || !slices.Equal(group.Tasks[0].Annotations, []string{"forces create"}) {
		t.Errorf("plan a new job: group is %+v", group)
	}
	if _, _, err := client.Jobs().Info(*job.ID, nil); err == nil {
		t.Error("plan registered the job")
	}
}

// planChange asks what changes of the job would lead to that runs.
func planChange(t *testing.T, client *api.Client, id string, index uint64) {
	t.Helper()
	same, _, err := client.Jobs().Plan(counter(id), true, nil)
	if err != nil || same.Diff.Type != "None" || same.JobModifyIndex != index || *same.Annotations.DesiredTGUpdates["app"] != (api.DesiredUpdates{Ignore: 1}) {
		t.Errorf("plan the same: %+v, %v", same, err)
	}
	changed := counter(id)
	changed.TaskGroups[0].Count = new(2)
	changed.TaskGroups[0].Tasks[0].Env = map[string]string{"NEW": "1"}
	plan, _, err := client.Jobs().Plan(changed, true, nil)
	if err != nil || plan.Diff.Type != "Edited" {
		t.Fatalf("plan a change: %+v, %v", plan, err)
	}
	if updates := plan.Annotations.DesiredTGUpdates["app"]; *updates != (api.DesiredUpdates{Place: 1, DestructiveUpdate: 1}) {
		t.Errorf("plan a change: counted are %+v", updates)
	}
	group := plan.Diff.TaskGroups[0]
	if f := group.Fields; len(f) != 1 || f[0].Name != "Count" || f[0].Old != "1" || f[0].New != "2" || !slices.Equal(f[0].Annotations, []string{"forces create"}) {
		t.Errorf("plan a change: fields of the group are %+v", f)
	}
	if f := group.Tasks[0].Fields; len(f) != 1 || f[0].Type != "Added" || f[0].Name != "Env[NEW]" || f[0].New != "1" ||
		!slices.Equal(group.Tasks[0].Annotations, []string{"forces create/destroy update"}) {
		t.Errorf("plan a change: task is %+v", group.Tasks[0])
	}
	without, _, err := client.Jobs().Plan(changed, false, nil)
	if err != nil || without.Diff != nil || without.Annotations == nil {
		t.Errorf("plan without differences: %+v, %v", without, err)
	}
}

// waitRunning follows the job's allocations by blocking reads until one runs.
func waitRunning(t *testing.T, client *api.Client, id string) *api.Allocation {
	t.Helper()
	query := &api.QueryOptions{WaitTime: 10 * time.Second}
	for begin := time.Now(); time.Since(begin) < patience; {
		stubs, meta, err := client.Jobs().Allocations(id, false, query)
		if err != nil {
			t.Fatalf("list allocations: %v", err)
		}
		if meta.LastIndex == 0 {
			t.Fatal("list allocations: no index")
		}
		for _, stub := range stubs {
			if stub.ClientStatus != api.AllocClientStatusRunning {
				continue
			}
			alloc, _, err := client.Allocations().Info(stub.ID, nil)
			if err != nil {
				t.Fatalf("read allocation: %v", err)
			}
			return alloc
		}
		query.WaitIndex = meta.LastIndex
	}
	t.Fatal("no allocation runs")
	return nil
}

func waitStopped(t *testing.T, client *api.Client, id string) {
	t.Helper()
	query := &api.QueryOptions{WaitTime: 10 * time.Second}
	for begin := time.Now(); time.Since(begin) < patience; {
		alloc, meta, err := client.Allocations().Info(id, query)
		if err != nil {
			t.Fatalf("read allocation: %v", err)
		}
		if alloc.ClientTerminalStatus() {
			return
		}
		query.WaitIndex = meta.LastIndex
	}
	t.Fatal("the allocation does not stop")
}

// readJob reads what hangs on the job.
func readJob(t *testing.T, client *api.Client, id string, registered *api.JobRegisterResponse) {
	t.Helper()
	jobs := client.Jobs()
	list, _, err := jobs.PrefixList(id)
	if err != nil || len(list) != 1 || list[0].ID != id || list[0].JobSummary == nil {
		t.Errorf("list jobs: %+v, %v", list, err)
	}
	job, _, err := jobs.Info(id, nil)
	if err != nil || *job.ID != id || *job.Status != "running" || *job.TaskGroups[0].Count != 1 {
		t.Errorf("read job: %+v, %v", job, err)
	}
	if filtered, _, err := jobs.List(&api.QueryOptions{Filter: fmt.Sprintf("ID == %q", id)}); err != nil || len(filtered) != 1 {
		t.Errorf("list jobs with a filter: %+v, %v", filtered, err)
	}
	summary, _, err := jobs.Summary(id, nil)
	if err != nil || summary.Summary["app"].Running != 1 {
		t.Errorf("read summary: %+v, %v", summary, err)
	}
	versions, _, _, err := jobs.Versions(id, false, nil)
	if err != nil || len(versions) != 1 {
		t.Errorf("list versions: %+v, %v", versions, err)
	}
	evals, _, err := jobs.Evaluations(id, nil)
	if err != nil || !slices.ContainsFunc(evals, func(e *api.Evaluation) bool { return e.ID == registered.EvalID }) {
		t.Errorf("list evaluations: %+v, %v", evals, err)
	}
	eval, _, err := client.Evaluations().Info(registered.EvalID, nil)
	if err != nil || eval.JobID != id || eval.TriggeredBy != "job-register" {
		t.Errorf("read evaluation: %+v, %v", eval, err)
	}
	deployment, _, err := jobs.LatestDeployment(id, nil)
	if err != nil || deployment == nil || deployment.JobID != id {
		t.Errorf("read newest deployment: %+v, %v", deployment, err)
	}
}

// readAround reads what is there besides jobs.
func readAround(t *testing.T, client *api.Client, alloc *api.Allocation) {
	t.Helper()
	if *alloc.Job.ID != alloc.JobID || alloc.TaskStates["main"] == nil || alloc.TaskStates["main"].StartedAt.IsZero() {
		t.Errorf("allocation is %+v", alloc)
	}
	nodes, _, err := client.Nodes().List(nil)
	if err != nil || !slices.ContainsFunc(nodes, func(n *api.NodeListStub) bool { return n.ID == alloc.NodeID && n.Status == "ready" }) {
		t.Errorf("list nodes: %+v, %v", nodes, err)
	}
	node, _, err := client.Nodes().Info(alloc.NodeID, nil)
	if err != nil || node.HTTPAddr == "" || node.NodeResources == nil || !node.Drivers["raw_exec"].Healthy {
		t.Errorf("read node: %+v, %v", node, err)
	}
	if allocs, _, err := client.Nodes().Allocations(alloc.NodeID, nil); err != nil || len(allocs) == 0 {
		t.Errorf("list node's allocations: %+v, %v", allocs, err)
	}
	if _, _, err := client.Allocations().PrefixList(alloc.ID[:8]); err != nil {
		t.Errorf("list allocations by prefix: %v", err)
	}
	if leader, err := client.Status().Leader(); err != nil || leader == "" {
		t.Errorf("leader: %q, %v", leader, err)
	}
	if regions, err := client.Regions().List(); err != nil || !slices.Equal(regions, []string{"global"}) {
		t.Errorf("regions: %v, %v", regions, err)
	}
	self, err := client.Agent().Self()
	if err != nil || self.Config["Version"] == nil || self.Stats["client"]["node_id"] == "" {
		t.Errorf("agent: %+v, %v", self, err)
	}
	if region, err := client.Agent().Region(); err != nil || region != "global" {
		t.Errorf("agent's region: %q, %v", region, err)
	}
	if members, err := client.Agent().Members(); err != nil || len(members.Members) == 0 {
		t.Errorf("members: %+v, %v", members, err)
	}
	if health, err := client.Agent().Health(); err != nil || !health.Server.Ok {
		t.Errorf("health: %+v, %v", health, err)
	}
	if namespaces, _, err := client.Namespaces().List(nil); err != nil || !slices.ContainsFunc(namespaces, func(n *api.Namespace) bool { return n.Name == "default" }) {
		t.Errorf("namespaces: %+v, %v", namespaces, err)
	}
	if metrics, _, err := client.Operator().MetricsSummary(nil); err != nil || len(metrics.Gauges) == 0 {
		t.Errorf("metrics: %+v, %v", metrics, err)
	}
}

// readService finds the job's endpoint by the service's name.
func readService(t *testing.T, client *api.Client, alloc *api.Allocation) {
	t.Helper()
	name := serviceOf(alloc.JobID)
	lists, _, err := client.Services().List(nil)
	if err != nil || len(lists) == 0 || !slices.ContainsFunc(lists[0].Services, func(s *api.ServiceRegistrationStub) bool { return s.ServiceName == name }) {
		t.Errorf("list services: %+v, %v", lists, err)
	}
	endpoints, _, err := client.Services().Get(name, nil)
	if err != nil || len(endpoints) != 1 {
		t.Fatalf("read service: %+v, %v", endpoints, err)
	}
	e := endpoints[0]
	if e.AllocID != alloc.ID || e.JobID != alloc.JobID || e.NodeID != alloc.NodeID || e.Port == 0 || e.Address == "" || !slices.Equal(e.Tags, []string{"lines"}) {
		t.Errorf("endpoint is %+v", e)
	}
	if ports := alloc.AllocatedResources.Shared.Ports; len(ports) != 1 || ports[0].Value != e.Port {
		t.Errorf("ports of the allocation are %+v, the endpoint's is %d", ports, e.Port)
	}
	if own, _, err := client.Jobs().Services(alloc.JobID, nil); err != nil || len(own) != 1 || own[0].ID != e.ID {
		t.Errorf("list the job's services: %+v, %v", own, err)
	}
	if own, _, err := client.Allocations().Services(alloc.ID, nil); err != nil || len(own) != 1 || own[0].ID != e.ID {
		t.Errorf("list the allocation's services: %+v, %v", own, err)
	}
}

// followDeployment follows the job's deployment by blocking reads until it has succeeded, and reads what hangs on it.
func followDeployment(t *testing.T, client *api.Client, id string, alloc *api.Allocation) {
	t.Helper()
	deployments := client.Deployments()
	query := &api.QueryOptions{WaitTime: 10 * time.Second}
	var last *api.Deployment
	for begin := time.Now(); last == nil || last.Status != api.DeploymentStatusSuccessful; {
		if time.Since(begin) > patience {
			t.Fatalf("the deployment does not succeed: %+v", last)
		}
		deployment, meta, err := deployments.Info(alloc.DeploymentID, query)
		if err != nil {
			t.Fatalf("read deployment: %v", err)
		}
		last, query.WaitIndex = deployment, meta.LastIndex
	}
	if group := last.TaskGroups["app"]; group == nil || group.DesiredTotal != 1 || group.HealthyAllocs != 1 {
		t.Errorf("deployment is %+v", last)
	}
	if list, _, err := deployments.PrefixList(last.ID[:8]); err != nil || len(list) != 1 || list[0].JobID != id {
		t.Errorf("list deployments: %+v, %v", list, err)
	}
	if own, _, err := client.Jobs().Deployments(id, false, nil); err != nil || len(own) != 1 || own[0].ID != last.ID {
		t.Errorf("list the job's deployments: %+v, %v", own, err)
	}
	if allocs, _, err := deployments.Allocations(last.ID, nil); err != nil || len(allocs) != 1 || allocs[0].ID != alloc.ID {
		t.Errorf("list the deployment's allocations: %+v, %v", allocs, err)
	}
	evals, _, err := client.Evaluations().List(&api.QueryOptions{Filter: fmt.Sprintf("JobID == %q", id)})
	if err != nil || !slices.ContainsFunc(evals, func(e *api.Evaluation) bool { return e.ID == alloc.EvalID }) {
		t.Errorf("list evaluations: %+v, %v", evals, err)
	}
	if allocs, _, err := client.Evaluations().Allocations(alloc.EvalID, nil); err != nil || len(allocs) != 1 || allocs[0].ID != alloc.ID {
		t.Errorf("list the evaluation's allocations: %+v, %v", allocs, err)
	}
}

// readFiles looks into the allocation's directory, and at what the allocation uses.
func readFiles(t *testing.T, client *api.Client, alloc *api.Allocation) {
	t.Helper()
	files, _, err := client.AllocFS().List(alloc, "alloc/logs", nil)
	if err != nil || !slices.ContainsFunc(files, func(f *api.AllocFileInfo) bool { return f.Name == "main.stdout.0" }) {
		t.Errorf("list files: %+v, %v", files, err)
	}
	if file, _, err := client.AllocFS().Stat(alloc, "alloc/logs/main.stdout.0", nil); err != nil || file.IsDir || file.FileMode == "" {
		t.Errorf("describe file: %+v, %v", file, err)
	}
	if _, err := client.AllocFS().Cat(alloc, "alloc/nothing", nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("read a file that is not there: %v", err)
	}
	usage, err := client.Allocations().Stats(alloc, nil)
	if err != nil || usage.Tasks["main"] == nil || usage.Tasks["main"].ResourceUsage.MemoryStats == nil {
		t.Errorf("statistics: %+v, %v", usage, err)
	}
	if host, err := client.Nodes().Stats(alloc.NodeID, nil); err != nil || host.Memory == nil || host.Memory.Total == 0 {
		t.Errorf("statistics of the node: %+v, %v", host, err)
	}
}

// followLogs reads the task's output from its beginning until some lines have come in order.
func followLogs(t *testing.T, client *api.Client, alloc *api.Allocation) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	frames, errs := client.AllocFS().Logs(alloc, true, "main", "stdout", "start", 0, ctx.Done(), nil)
	var text strings.Builder
	for !strings.Contains(text.String(), "line 5\n") {
		select {
		case frame, ok := <-frames:
			if !ok {
				t.Fatalf("follow logs: ended after %q", text.String())
			}
			text.Write(frame.Data)
		case err := <-errs:
			t.Fatalf("follow logs: %v after %q", err, text.String())
		case <-ctx.Done():
			t.Fatalf("follow logs: only %q came", text.String())
		}
	}
	if !strings.HasPrefix(text.String(), "line 1\nline 2\nline 3\n") {
		t.Errorf("logs begin with %.60q", cmp.Or(text.String(), "nothing"))
	}
}

// drainNode empties the allocation's node, follows that to its end, and opens the node again: another allocation runs then.
func drainNode(t *testing.T, client *api.Client, alloc *api.Allocation) *api.Allocation {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nodes := client.Nodes()
	begun, err := nodes.UpdateDrainOpts(alloc.NodeID, &api.DrainOptions{DrainSpec: &api.DrainSpec{Deadline: time.Second}, Meta: map[string]string{"message": "disk"}}, nil)
	if err != nil || begun.NodeModifyIndex == 0 {
		t.Fatalf("drain: %+v, %v", begun, err)
	}
	node, _, err := nodes.Info(alloc.NodeID, nil)
	if err != nil || !node.Drain && node.LastDrain.Status != api.DrainStatusComplete || node.SchedulingEligibility != api.NodeSchedulingIneligible || node.LastDrain.Meta["message"] != "disk" {
		t.Errorf("while it is drained: %+v, %v", node, err)
	}
	var said []string
	for message := range nodes.MonitorDrain(ctx, alloc.NodeID, begun.NodeModifyIndex, false) {
		said = append(said, message.String())
		if message.Level == api.MonitorMsgLevelError {
			t.Errorf("follow drain: %s", message)
		}
	}
	if text := strings.Join(said, "\n"); !strings.Contains(text, "complete") || !strings.Contains(text, "have stopped") {
		t.Errorf("follow drain: it says %s", text)
	}
	waitStopped(t, client, alloc.ID)
	if _, err := nodes.ToggleEligibility(alloc.NodeID, true, nil); err != nil {
		t.Errorf("make eligible: %v", err)
	}
	next := waitRunning(t, client, alloc.JobID)
	if _, _, err := nodes.ForceEvaluate(alloc.NodeID, nil); err != nil {
		t.Errorf("evaluate node: %v", err)
	}
	if _, _, err := nodes.Purge(alloc.NodeID, nil); err == nil || !strings.Contains(err.Error(), "it is ready") {
		t.Errorf("purge a node that lives: %v", err)
	}
	return next
}
