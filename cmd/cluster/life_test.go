package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// This file is how the world lives: what becomes of a job that is registered or stopped.

func (w *world) register(body []byte) (any, error) {
	var req api.JobRegisterRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	job, err := cluster.DecodeJob(req.Job)
	if err != nil {
		return nil, err
	}
	key := job.Key()
	old := w.jobs[key]
	if req.EnforceIndex {
		var have uint64
		if len(old) > 0 {
			have = w.newest(key).JobModifyIndex
		}
		if have != req.JobModifyIndex {
			return nil, cluster.Errorf(cluster.CodeConflict, "Enforcing job modify index %d: job exists with conflicting job modify index: %d", req.JobModifyIndex, have)
		}
	}
	w.index++
	job.CreateIndex, job.Status = w.index, cluster.JobStatusRunning
	if len(old) > 0 {
		job.CreateIndex = old[0].CreateIndex
	}
	job.Version, job.JobModifyIndex, job.SubmitTime = uint64(len(old)), w.index, worldTime.Add(-time.Minute).UnixNano()
	w.jobs[key] = append(old, job)
	w.submissions[job.ID] = req.Submission
	if job.IsTemplate() {
		return api.JobRegisterResponse{JobModifyIndex: w.index}, nil
	}
	e := w.evaluate(job, cluster.TriggerJobRegister)
	w.steps = append(w.steps, w.plan(job, e)...)
	answer := api.JobRegisterResponse{EvalID: e.ID, EvalCreateIndex: w.index, JobModifyIndex: w.index}
	if job.Meta["warn"] != "" {
		answer.Warnings = "1 warning:\n\n* " + job.Meta["warn"]
	}
	return answer, nil
}

func (w *world) evaluate(job *cluster.Job, why string) *cluster.Evaluation {
	e := &cluster.Evaluation{ID: w.id(0x50), Namespace: job.Namespace, JobID: job.ID, Type: job.Type, Priority: job.Priority,
		TriggeredBy: why, Status: cluster.EvalPending, CreateTime: worldTime.Add(-time.Minute).UnixNano(), ModifyTime: worldTime.UnixNano(), CreateIndex: w.index}
	w.evals = append(w.evals, e)
	return e
}

// plan is the life of a job, step by step. A job whose meta says so fares badly.
func (w *world) plan(job *cluster.Job, e *cluster.Evaluation) []func() {
	if job.Meta["fate"] == "no room" {
		return []func(){func() { w.fail(job, e) }}
	}
	var allocs []*cluster.Allocation
	var d *cluster.Deployment
	steps := []func(){func() {
		e.Status = cluster.EvalComplete
		if job.Type == cluster.JobTypeService && job.Update.MaxParallel > 0 {
			d = w.deploy(job)
		}
		allocs = w.place(job, e, d)
	}}
	each := func(change func(a *cluster.Allocation)) {
		steps = append(steps, func() {
			for i, a := range allocs {
				next := *a
				change(&next)
				next.ModifyIndex, next.ModifyTime = w.index, worldTime.Add(-3*time.Second).UnixNano()
				for n := range w.allocs {
					if w.allocs[n] == a {
						w.allocs[n] = &next
					}
				}
				allocs[i] = &next
			}
		})
	}
	switch fate := job.Meta["fate"]; {
	case fate == "crash":
		each(func(a *cluster.Allocation) { w.end(a, cluster.ClientFailed, 7) })
		if job.Type == cluster.JobTypeService {
			steps = append(steps, func() { w.conclude(d, cluster.DeploymentFailed, "Failed due to unhealthy allocations") })
		}
		return steps
	case job.Type == cluster.JobTypeBatch:
		each(w.run)
		each(func(a *cluster.Allocation) { w.end(a, cluster.ClientComplete, 0) })
		return steps
	}
	each(w.run)
	if job.Type == cluster.JobTypeService && job.Update.MaxParallel > 0 {
		each(func(a *cluster.Allocation) {
			a.Health, a.HealthTime = cluster.HealthHealthy, worldTime.UnixNano()
			tally(d, a.TaskGroup, func(g *cluster.DeploymentGroup) { g.HealthyAllocs++ })
		})
		steps = append(steps, func() {
			w.conclude(d, cluster.DeploymentSuccessful, "Deployment completed successfully")
			job.Stable = true
		})
	}
	return steps
}

// fail plans nothing: one node lacks memory, the other the attribute.
func (w *world) fail(job *cluster.Job, e *cluster.Evaluation) {
	blocked := w.evaluate(job, cluster.TriggerQueuedAllocs)
	blocked.Status = cluster.EvalBlocked
	blocked.FailedTGAllocs = map[string]cluster.AllocMetric{job.TaskGroups[0].Name: {
		NodesEvaluated: 2, NodesFiltered: 1, NodesExhausted: 1, CoalescedFailures: job.TaskGroups[0].Count - 1,
		NodesAvailable: map[string]int{"dc1": 2}, ConstraintFiltered: map[string]int{"${attr.kernel.name} = plan9": 1},
		ClassExhausted: map[string]int{"big": 1}, DimensionExhausted: map[string]int{"memory": 1}}}
	e.Status, e.FailedTGAllocs, e.BlockedEval = cluster.EvalComplete, blocked.FailedTGAllocs, blocked.ID
}

func (w *world) deploy(job *cluster.Job) *cluster.Deployment {
	d := &cluster.Deployment{ID: w.id(0x60), Namespace: job.Namespace, JobID: job.ID, JobVersion: job.Version, JobCreateIndex: job.CreateIndex,
		Status: cluster.DeploymentRunning, StatusDescription: "Deployment is running", TaskGroups: map[string]cluster.DeploymentGroup{}}
	for i := range job.TaskGroups {
		d.TaskGroups[job.TaskGroups[i].Name] = cluster.DeploymentGroup{DesiredTotal: job.TaskGroups[i].Count, RequireProgressBy: worldTime.Add(10 * time.Minute)}
	}
	w.deployments = append(w.deployments, d)
	return d
}

func tally(d *cluster.Deployment, group string, change func(*cluster.DeploymentGroup)) {
	if d != nil {
		g := d.TaskGroups[group]
		change(&g)
		d.TaskGroups[group] = g
	}
}

func (w *world) conclude(d *cluster.Deployment, status, description string) {
	d.Status, d.StatusDescription = status, description
}

// place makes the allocations of a new version, on the nodes in turn, in the place of the old ones.
func (w *world) place(job *cluster.Job, e *cluster.Evaluation, d *cluster.Deployment) []*cluster.Allocation {
	var list []*cluster.Allocation
	for i := range job.TaskGroups {
		g := &job.TaskGroups[i]
		for n := range g.Count {
			node := w.nodes[n%len(w.nodes)]
			a := &cluster.Allocation{ID: w.id(0x80), EvalID: e.ID, Job: job, NodeID: node.ID, NodeName: node.Name, TaskGroup: g.Name, Index: int32(n),
				CreateIndex: w.index, ModifyIndex: w.index, CreateTime: worldTime.Add(-30 * time.Second).UnixNano(), ModifyTime: worldTime.Add(-30 * time.Second).UnixNano()}
			for _, network := range g.Networks {
				for p, port := range network.DynamicPorts {
					a.Ports = append(a.Ports, cluster.AllocatedPort{Label: port.Label, HostIP: "192.0.2.7", Value: int32(20000 + n + 10*p)})
				}
			}
			if d != nil {
				a.DeploymentID = d.ID
				tally(d, g.Name, func(g *cluster.DeploymentGroup) { g.PlacedAllocs++ })
			}
			list = append(list, a)
		}
	}
	for i, old := range w.allocs {
		if old.Job.Key() == job.Key() && !old.Terminal() {
			w.allocs[i] = w.halt(old, "alloc is being updated due to job update")
		}
	}
	w.allocs = append(w.allocs, list...)
	return list
}

func (w *world) run(a *cluster.Allocation) {
	a.ClientStatus, a.TaskStates = cluster.ClientRunning, nil
	for _, t := range a.Group().Tasks {
		at := worldTime.Add(-10 * time.Second).UnixNano()
		a.TaskStates = append(a.TaskStates, cluster.TaskState{Name: t.Name, State: cluster.TaskRunning, StartedAt: at, Events: []cluster.TaskEvent{
			{Type: cluster.EventReceived, Time: at - 3e9}, {Type: cluster.EventDriver, Time: at - 2e9, Details: &cluster.EventDetails{Message: "Downloading image"}},
			{Type: cluster.EventStarted, Time: at}}})
	}
}

func (w *world) end(a *cluster.Allocation, status cluster.ClientStatus, exit int) {
	if len(a.TaskStates) == 0 {
		w.run(a)
	}
	a.ClientStatus = status
	next := *a
	next.TaskStates = nil
	for _, t := range a.TaskStates {
		t.State, t.Failed, t.FinishedAt = cluster.TaskDead, exit != 0, worldTime.Add(-5*time.Second).UnixNano()
		t.Events = t.AddEvent(cluster.TaskEvent{Type: cluster.EventTerminated, Time: t.FinishedAt, Details: &cluster.EventDetails{ExitCode: exit}})
		next.TaskStates = append(next.TaskStates, t)
	}
	if exit != 0 {
		next = *next.WithDetails(func(r *cluster.AllocationRare) { r.ClientDescription = "Failed tasks" })
	}
	*a = next
}

// halt is the allocation once it has stopped.
func (w *world) halt(a *cluster.Allocation, why string) *cluster.Allocation {
	next := a.WithDetails(func(r *cluster.AllocationRare) { r.DesiredDescription = why })
	next.DesiredStatus, next.ClientStatus, next.ModifyIndex = cluster.DesiredStop, cluster.ClientComplete, w.index
	return next
}

func (w *world) deregister(key cluster.JobKey, purge bool) (any, error) {
	if len(w.jobs[key]) == 0 {
		return api.JobDeregisterResponse{}, nil
	}
	w.index++
	job := w.newest(key)
	if job.IsTemplate() {
		job.Stop, job.Status = true, cluster.JobStatusDead
		return api.JobDeregisterResponse{}, nil
	}
	e := w.evaluate(job, cluster.TriggerJobDeregister)
	stop := func() {
		e.Status = cluster.EvalComplete
		for i, a := range w.allocs {
			if a.Job.Key() == key && !a.ClientStatus.Terminal() {
				w.allocs[i] = w.halt(a, "alloc not needed as job is stopped")
			}
		}
	}
	stopped := *job
	stopped.Stop, stopped.Status = true, cluster.JobStatusDead
	w.jobs[key] = append(w.jobs[key], &stopped)
	if purge {
		delete(w.jobs, key)
	}
	w.steps = append(w.steps, stop)
	return api.JobDeregisterResponse{EvalID: e.ID, EvalCreateIndex: w.index}, nil
}

func (w *world) stopAlloc(id string) (any, error) {
	a, err := w.alloc(id)
	if err != nil {
		return nil, err
	}
	w.index++
	e := w.evaluate(a.Job, cluster.TriggerAllocStop)
	w.steps = append(w.steps, func() {
		e.Status = cluster.EvalComplete
		next := *a
		next.ID, next.EvalID, next.CreateIndex, next.ClientStatus, next.TaskStates = w.id(0x80), e.ID, w.index, cluster.ClientPending, nil
		old := w.halt(a, "alloc was stopped by user").WithDetails(func(r *cluster.AllocationRare) { r.NextAllocation = next.ID })
		for i := range w.allocs {
			if w.allocs[i].ID == a.ID {
				w.allocs[i] = old
			}
		}
		w.allocs = append(w.allocs, &next)
	})
	return api.AllocStopResponse{EvalID: e.ID}, nil
}

// logFile is how large a file of a task's output is before the next begins.
const logFile = 64

func (w *world) files() []cluster.FileEntry {
	var list []cluster.FileEntry
	w.eachFile(func(name, text string) { list = append(list, cluster.FileEntry{Name: name, Size: int64(len(text))}) })
	return list
}

func (w *world) eachFile(visit func(name, text string)) {
	for stream, text := range w.output {
		for n := 0; ; n++ {
			end := min(len(text), (n+1)*logFile)
			visit(stream+"."+strconv.Itoa(n), text[n*logFile:end])
			if end == len(text) {
				break
			}
		}
	}
}

// logs streams a task's output in small frames. With follow it waits at the end until the allocation has ended.
func (w *world) logs(reply http.ResponseWriter, id string, q url.Values) {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := q.Get("task") + "." + q.Get("type")
	text := w.output[name]
	at, _ := strconv.Atoi(q.Get("offset"))
	if q.Get("origin") == "end" {
		at = max(0, len(text)-at)
	}
	encoder := json.NewEncoder(reply)
	file := ""
	for {
		for text = w.output[name]; at < len(text); {
			end := min(at+10, len(text), (at/logFile+1)*logFile)
			f := cluster.FileFrame{Data: []byte(text[at:end]), Offset: int64(end - at/logFile*logFile)}
			if now := "alloc/logs/" + name + "." + strconv.Itoa(at/logFile); now != file {
				file, f.File = now, now
			}
			_ = encoder.Encode(f)
			at = end
			if w.cut > 0 && at >= w.cut {
				w.cut = 0
				reply.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			}
		}
		reply.(http.Flusher).Flush()
		a, err := w.alloc(id)
		if q.Get("follow") != "true" || err != nil || a.ClientStatus.Terminal() || w.closed {
			return
		}
		w.changed.Wait()
	}
}

// do changes the world from outside.
func (w *world) do(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	verb, rest, _ := strings.Cut(what, " ")
	switch verb {
	case "settle": // everything that is planned happens
		for len(w.steps) > 0 {
			step := w.steps[0]
			w.steps = w.steps[1:]
			w.index++
			step()
		}
	case "refuse":
		w.refuse = rest
	case "impede": // the node of that name says why it takes no new work
		name, why, _ := strings.Cut(rest, " ")
		for i, n := range w.nodes {
			if n.Name == name {
				next := *n
				next.Impediment = why
				w.nodes[i] = &next
			}
		}
	case "write":
		stream, text, _ := strings.Cut(rest, " ")
		w.output[stream] += strings.ReplaceAll(text, `\n`, "\n")
	case "cut":
		w.cut, _ = strconv.Atoi(rest)
	default:
		w.t.Errorf("the world does not know %q", what)
	}
	w.changed.Broadcast()
}

// dispatch launches a parameterized job.
func (w *world) dispatch(key cluster.JobKey, token string, body []byte) (any, error) {
	var req api.JobDispatchRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	parent, err := w.job(key)
	if err != nil {
		return nil, err
	}
	launch, err := parent.DispatchLaunch(cluster.Dispatch{Payload: req.Payload, Meta: req.Meta, Prefix: req.IdPrefixTemplate, Token: token, Priority: req.Priority}, worldTime, 0xabcd)
	if err != nil {
		return nil, err
	}
	if len(w.jobs[launch.Key()]) > 0 {
		return api.JobDispatchResponse{DispatchedJobID: launch.ID}, nil
	}
	return api.JobDispatchResponse{DispatchedJobID: launch.ID, EvalID: w.launch(launch), EvalCreateIndex: w.index}, nil
}

// force launches a periodic job.
func (w *world) force(key cluster.JobKey) (any, error) {
	parent, err := w.job(key)
	if err != nil {
		return nil, err
	}
	launch := parent.PeriodicLaunch(worldTime.Unix() + 7)
	return api.PeriodicForceResponse{EvalID: w.launch(launch), LaunchedJobID: launch.ID}, nil
}

func (w *world) launch(job *cluster.Job) cluster.ID {
	w.index++
	job.CreateIndex, job.JobModifyIndex, job.Status, job.SubmitTime = w.index, w.index, cluster.JobStatusRunning, worldTime.UnixNano()
	w.jobs[job.Key()] = []*cluster.Job{job}
	e := w.evaluate(job, cluster.TriggerPeriodicJob)
	w.steps = append(w.steps, w.plan(job, e)...)
	return e.ID
}
