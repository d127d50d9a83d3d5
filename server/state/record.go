package state

import (
	"time"

	"github.com/a43e60e4/cluster"
)

// Here is how the nouns are written inside commands and snapshots. Jobs, nodes and namespaces are JSON of their fields
// (the types below take the API's own JSON methods away at the top, so that the wire may change without the log);
// what comes by the thousand is binary.

type plainJob cluster.Job
type plainNode cluster.Node
type plainNamespace cluster.Namespace

func encodeJob(e *encoder, j *cluster.Job) { e.json((*plainJob)(j)) }

func decodeJob(d *decoder) *cluster.Job {
	j := new(cluster.Job)
	d.json((*plainJob)(j))
	return j
}

func encodeNode(e *encoder, n *cluster.Node) { e.json((*plainNode)(n)) }

func decodeNode(d *decoder) *cluster.Node {
	n := new(cluster.Node)
	d.json((*plainNode)(n))
	return n
}

func encodeNamespace(e *encoder, n *cluster.Namespace) { e.json((*plainNamespace)(n)) }

func decodeNamespace(d *decoder) *cluster.Namespace {
	n := new(cluster.Namespace)
	d.json((*plainNamespace)(n))
	return n
}

func encodeEval(e *encoder, v *cluster.Evaluation) {
	e.rawID(v.ID)
	e.string(v.Namespace)
	e.int(int64(v.Priority))
	e.string(v.Type)
	e.string(v.TriggeredBy)
	e.string(v.JobID)
	e.uint(v.JobModifyIndex)
	e.id(v.NodeID)
	e.uint(v.NodeModifyIndex)
	e.id(v.DeploymentID)
	e.string(v.Status)
	e.string(v.StatusDescription)
	e.time(v.WaitUntil)
	e.id(v.NextEval)
	e.id(v.PreviousEval)
	e.id(v.BlockedEval)
	e.bool(len(v.FailedTGAllocs) > 0)
	if len(v.FailedTGAllocs) > 0 {
		e.json(v.FailedTGAllocs)
	}
	encodeMap(e, v.QueuedAllocations, func(n int) { e.int(int64(n)) })
	e.uint(v.SnapshotIndex)
	e.uint(v.CreateIndex)
	e.uint(v.ModifyIndex)
	e.time(v.CreateTime)
	e.time(v.ModifyTime)
}

func decodeEval(d *decoder, v *cluster.Evaluation) {
	v.ID = d.rawID()
	v.Namespace = d.string()
	v.Priority = int(d.small())
	v.Type = d.string()
	v.TriggeredBy = d.string()
	v.JobID = d.string()
	v.JobModifyIndex = d.uint()
	v.NodeID = d.id()
	v.NodeModifyIndex = d.uint()
	v.DeploymentID = d.id()
	v.Status = d.string()
	v.StatusDescription = d.string()
	v.WaitUntil = d.time()
	v.NextEval = d.id()
	v.PreviousEval = d.id()
	v.BlockedEval = d.id()
	if d.bool() {
		d.json(&v.FailedTGAllocs)
	}
	v.QueuedAllocations = decodeMap(d, func() int { return int(d.small()) })
	v.SnapshotIndex = d.uint()
	v.CreateIndex = d.uint()
	v.ModifyIndex = d.uint()
	v.CreateTime = d.time()
	v.ModifyTime = d.time()
}

func encodeEvals(e *encoder, evals []cluster.Evaluation) {
	encodeSlice(e, evals, func(v *cluster.Evaluation) { encodeEval(e, v) })
}

func decodeEvals(d *decoder) []cluster.Evaluation {
	return decodeSlice(d, func(v *cluster.Evaluation) { decodeEval(d, v) })
}

func encodeDeployment(e *encoder, v *cluster.Deployment) {
	e.rawID(v.ID)
	e.string(v.Namespace)
	e.string(v.JobID)
	e.uint(v.JobVersion)
	e.uint(v.JobModifyIndex)
	e.uint(v.JobSpecModifyIndex)
	e.uint(v.JobCreateIndex)
	encodeMap(e, v.TaskGroups, func(g cluster.DeploymentGroup) {
		e.int(int64(g.ProgressDeadline))
		e.bool(!g.RequireProgressBy.IsZero())
		if !g.RequireProgressBy.IsZero() {
			e.int(g.RequireProgressBy.UnixNano())
		}
		e.int(int64(g.DesiredTotal))
		e.int(int64(g.PlacedAllocs))
		e.int(int64(g.HealthyAllocs))
		e.int(int64(g.UnhealthyAllocs))
		e.bool(g.AutoRevert)
		e.bool(g.AutoPromote)
		e.bool(g.Promoted)
		encodeSlice(e, g.PlacedCanaries, func(id *cluster.ID) { e.rawID(*id) })
		e.int(int64(g.DesiredCanaries))
	})
	e.string(v.Status)
	e.string(v.StatusDescription)
	e.uint(v.CreateIndex)
	e.uint(v.ModifyIndex)
	e.time(v.CreateTime)
	e.time(v.ModifyTime)
}

func decodeDeployment(d *decoder, v *cluster.Deployment) {
	v.ID = d.rawID()
	v.Namespace = d.string()
	v.JobID = d.string()
	v.JobVersion = d.uint()
	v.JobModifyIndex = d.uint()
	v.JobSpecModifyIndex = d.uint()
	v.JobCreateIndex = d.uint()
	v.TaskGroups = decodeMap(d, func() (g cluster.DeploymentGroup) {
		g.ProgressDeadline = time.Duration(d.int())
		if d.bool() {
			g.RequireProgressBy = time.Unix(0, d.int()).UTC()
		}
		g.DesiredTotal = int(d.small())
		g.PlacedAllocs = int(d.small())
		g.HealthyAllocs = int(d.small())
		g.UnhealthyAllocs = int(d.small())
		g.AutoRevert = d.bool()
		g.AutoPromote = d.bool()
		g.Promoted = d.bool()
		g.PlacedCanaries = decodeSlice(d, func(id *cluster.ID) { *id = d.rawID() })
		g.DesiredCanaries = int(d.small())
		return g
	})
	v.Status = d.string()
	v.StatusDescription = d.string()
	v.CreateIndex = d.uint()
	v.ModifyIndex = d.uint()
	v.CreateTime = d.time()
	v.ModifyTime = d.time()
}

func encodePorts(e *encoder, ports []cluster.AllocatedPort) {
	encodeSlice(e, ports, func(p *cluster.AllocatedPort) {
		e.string(p.Label)
		e.string(p.HostIP)
		e.int(int64(p.Value))
		e.int(int64(p.To))
	})
}

func decodePorts(d *decoder) []cluster.AllocatedPort {
	n := d.count()
	if n == 0 {
		return nil
	}
	ports := make([]cluster.AllocatedPort, 0, min(n, 64))
	for range n {
		if d.err != nil {
			return nil
		}
		p := cluster.AllocatedPort{Label: d.string(), HostIP: d.string(), Value: d.small(), To: d.small()}
		if p.Value < 0 || p.Value > cluster.MaxPort {
			d.fail("port %d is out of range", p.Value)
		}
		ports = append(ports, p)
	}
	return ports
}

func encodeReschedules(e *encoder, events []cluster.RescheduleEvent) {
	encodeSlice(e, events, func(r *cluster.RescheduleEvent) {
		e.time(r.RescheduleTime)
		e.id(r.PrevAllocID)
		e.id(r.PrevNodeID)
		e.int(r.Delay)
	})
}

func decodeReschedules(d *decoder) []cluster.RescheduleEvent {
	return decodeSlice(d, func(r *cluster.RescheduleEvent) {
		*r = cluster.RescheduleEvent{RescheduleTime: d.time(), PrevAllocID: d.id(), PrevNodeID: d.id(), Delay: d.int()}
	})
}

// A task's flags, one bit each.
const (
	taskFailed = 1 << iota
	taskStarted
	taskFinished
	taskRestarted
)

func taskFlags(t *cluster.TaskState) (flags byte) {
	if t.Failed {
		flags |= taskFailed
	}
	if t.StartedAt != 0 {
		flags |= taskStarted
	}
	if t.FinishedAt != 0 {
		flags |= taskFinished
	}
	if t.Restarts != 0 || t.LastRestart != 0 {
		flags |= taskRestarted
	}
	return flags
}

func encodeTasks(e *encoder, tasks []cluster.TaskState) {
	encodeSlice(e, tasks, func(t *cluster.TaskState) {
		e.string(t.Name)
		e.byte(byte(t.State))
		flags := taskFlags(t)
		e.byte(flags)
		if flags&taskStarted != 0 {
			e.int(t.StartedAt - e.base)
		}
		if flags&taskFinished != 0 {
			e.int(t.FinishedAt - e.base)
		}
		if flags&taskRestarted != 0 {
			e.time(t.LastRestart)
			e.uint(uint64(t.Restarts))
		}
		encodeSlice(e, t.Events, func(v *cluster.TaskEvent) { encodeEvent(e, v) })
	})
}

func decodeTasks(d *decoder) []cluster.TaskState {
	n := d.count()
	if n == 0 {
		return nil
	}
	tasks := make([]cluster.TaskState, 0, min(n, 16))
	for range n {
		if d.err != nil {
			return nil
		}
		t := cluster.TaskState{Name: d.string(), State: cluster.TaskPhase(d.byte())}
		flags := d.byte()
		t.Failed = flags&taskFailed != 0
		if flags&taskStarted != 0 {
			t.StartedAt = d.int() + d.base
		}
		if flags&taskFinished != 0 {
			t.FinishedAt = d.int() + d.base
		}
		if flags&taskRestarted != 0 {
			t.LastRestart = d.time()
			restarts := d.uint()
			t.Restarts = uint32(min(restarts, 1<<32-1))
		}
		t.Events = decodeEvents(d)
		if t.State > cluster.TaskDead {
			d.fail("task state %d is not known", t.State)
		}
		tasks = append(tasks, t)
	}
	return tasks
}

const eventDetailed = 0x80

func encodeEvent(e *encoder, v *cluster.TaskEvent) {
	if v.Details == nil {
		e.byte(byte(v.Type) &^ eventDetailed)
		e.int(v.Time - e.base)
		return
	}
	e.byte(byte(v.Type) | eventDetailed)
	e.int(v.Time - e.base)
	e.string(v.Details.Message)
	e.int(int64(v.Details.ExitCode))
	e.int(int64(v.Details.Signal))
	e.bool(v.Details.OOMKilled)
	e.int(int64(v.Details.StartDelay))
	e.int(int64(v.Details.Timeout))
	e.bool(v.Details.FailsTask)
}

func decodeEvents(d *decoder) []cluster.TaskEvent {
	n := d.count()
	if n == 0 {
		return nil
	}
	events := make([]cluster.TaskEvent, 0, min(n, 64))
	for range n {
		if d.err != nil {
			return nil
		}
		kind := d.byte()
		v := cluster.TaskEvent{Type: cluster.EventType(kind &^ eventDetailed), Time: d.int() + d.base}
		if kind&eventDetailed != 0 {
			v.Details = &cluster.EventDetails{
				Message: d.string(), ExitCode: int(d.int()), Signal: int(d.int()), OOMKilled: d.bool(),
				StartDelay: time.Duration(d.int()), Timeout: time.Duration(d.int()), FailsTask: d.bool(),
			}
		}
		events = append(events, v)
	}
	return events
}
