package scheduler

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

func TestNextDelay(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	exponential := cluster.ReschedulePolicy{Delay: 30 * time.Second, DelayFunction: "exponential", MaxDelay: 5 * time.Minute, Unlimited: true}
	fibonacci := exponential
	fibonacci.DelayFunction = "fibonacci"
	constant := cluster.ReschedulePolicy{Delay: 5 * time.Second, DelayFunction: "constant", Unlimited: true}
	for _, row := range []struct {
		name   string
		policy cluster.ReschedulePolicy
		runs   time.Duration // of each instance before it fails
		want   []time.Duration
	}{
		{"exponential", exponential, time.Second, seconds(30, 60, 120, 240, 300, 300, 300)},
		{"fibonacci", fibonacci, time.Second, seconds(30, 30, 60, 90, 150, 240, 300, 300)},
		{"constant", constant, time.Second, seconds(5, 5, 5)},
		// Whoever ran longer than the cap begins anew, but only once the cap was reached.
		{"exponential, long runs", exponential, time.Hour, seconds(30, 60, 120, 240, 30, 60, 120, 240, 30)},
		{"fibonacci, long runs", fibonacci, time.Hour, seconds(30, 30, 60, 90, 150, 240, 30, 30, 60)},
		{"none", cluster.ReschedulePolicy{}, time.Second, seconds(-1)},
		{"two in an hour", cluster.ReschedulePolicy{Attempts: 2, Interval: time.Hour, Delay: 5 * time.Second, DelayFunction: "constant"},
			time.Minute, seconds(5, 5, -1)},
		{"two in a minute", cluster.ReschedulePolicy{Attempts: 2, Interval: time.Minute, Delay: 5 * time.Second, DelayFunction: "constant"},
			time.Minute, seconds(5, 5, 5, 5)},
	} {
		var events []cluster.RescheduleEvent
		failed := start
		for i, want := range row.want {
			delay, again := nextDelay(&row.policy, failed, events)
			if !again {
				delay = -time.Second
			}
			if delay != want {
				t.Errorf("%s: failure %d waits %s, want %s", row.name, i+1, delay, want)
				break
			}
			replaced := failed.Add(delay)
			events = append(events, cluster.RescheduleEvent{RescheduleTime: replaced.UnixNano(), Delay: int64(delay)})
			failed = replaced.Add(row.runs)
		}
	}
}

func seconds(values ...int) []time.Duration {
	spans := make([]time.Duration, len(values))
	for i, v := range values {
		spans[i] = time.Duration(v) * time.Second
	}
	return spans
}

// A line of allocations remembers as many replacements as its policy counts, not all.
func TestReschedulesAreBounded(t *testing.T) {
	w := newWorld()
	w.addNode([]string{"n1"})
	w.setJob("service / web max_parallel=0")
	w.settle()
	for range 12 {
		w.report(w.find("web[0]"), cluster.ClientFailed, cluster.HealthUnknown)
		w.settle()
		w.now = w.now.Add(2 * time.Hour)
		for _, e := range w.evals {
			if e.Status == cluster.EvalPending {
				w.plan(e)
				break
			}
		}
	}
	if n := len(w.find("web[0]").Details().Reschedules); n != keptReschedules {
		t.Errorf("%d events are kept, want %d", n, keptReschedules)
	}
}

// fullJob has something in every field that a change may touch.
func fullJob() *cluster.Job {
	j := cluster.DefaultJob(cluster.JobTypeService)
	j.ID = "job"
	g := cluster.DefaultGroup(&j)
	g.Name, g.Count = "web", 2
	g.Networks = []cluster.Network{{ReservedPorts: []cluster.Port{{Label: "http", Value: 80}}, DynamicPorts: []cluster.Port{{Label: "db"}}}}
	g.Services = []cluster.Service{{Name: "web"}}
	task := cluster.DefaultTask(&g)
	task.Name, task.Driver, task.Config = "main", "docker", map[string]any{"image": "a", "args": []any{"x"}, "size": 1}
	task.Env = map[string]string{"K": "v"}
	side := cluster.DefaultTask(&g)
	side.Name, side.Driver = "side", "raw_exec"
	g.Tasks = []cluster.Task{task, side}
	j.TaskGroups = []cluster.TaskGroup{g}
	return &j
}

func TestDestructive(t *testing.T) {
	for name, row := range map[string]struct {
		edit func(*cluster.Job, *cluster.TaskGroup, *cluster.Task)
		want bool
	}{
		"nothing":  {func(*cluster.Job, *cluster.TaskGroup, *cluster.Task) {}, false},
		"count":    {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.Count = 9 }, false},
		"services": {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.Services[0].Name = "x" }, false},
		"restart":  {func(_ *cluster.Job, g *cluster.TaskGroup, t *cluster.Task) { t.RestartPolicy.Attempts = 9 }, false},
		"update":   {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.Update.MaxParallel = 9 }, false},
		"constraint": {func(j *cluster.Job, _ *cluster.TaskGroup, _ *cluster.Task) {
			j.Constraints = make([]cluster.Constraint, 1)
		}, false},
		"spread":         {func(j *cluster.Job, _ *cluster.TaskGroup, _ *cluster.Task) { j.Spreads = make([]cluster.Spread, 1) }, false},
		"kill timeout":   {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.KillTimeout = time.Hour }, false},
		"kill signal":    {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.KillSignal = "SIGHUP" }, false},
		"shutdown delay": {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.ShutdownDelay = time.Hour }, false},
		"log size":       {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.LogConfig.MaxFiles = 1 }, false},
		"logs off":       {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.LogConfig.Disabled = true }, true},
		"task order": {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) {
			g.Tasks[0], g.Tasks[1] = g.Tasks[1], g.Tasks[0]
		}, false},
		"one task less":   {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.Tasks = g.Tasks[:1] }, true},
		"another task":    {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.Tasks[1].Name = "x" }, true},
		"disk":            {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.EphemeralDisk.SizeMB = 1 }, true},
		"driver":          {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Driver = "x" }, true},
		"user":            {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.User = "x" }, true},
		"cpu":             {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Resources.CPU++ }, true},
		"memory":          {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Resources.MemoryMB++ }, true},
		"memory at most":  {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Resources.MemoryMaxMB++ }, true},
		"secrets' folder": {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Resources.SecretsMB++ }, true},
		"cores":           {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Resources.Cores++ }, true},
		"device": {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) {
			t.Resources.Devices = make([]cluster.RequestedDevice, 1)
		}, true},
		"numa": {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Resources.NUMA = new(cluster.NUMA) }, true},
		"task's network": {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) {
			t.Resources.Networks = make([]cluster.Network, 1)
		}, true},
		"iops":             {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Resources.IOPS = 9 }, false},
		"environment":      {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Env["K"] = "w" }, true},
		"config":           {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Config["image"] = "b" }, true},
		"number type":      {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Config["size"] = json.Number("1") }, false},
		"nested config":    {func(_ *cluster.Job, _ *cluster.TaskGroup, t *cluster.Task) { t.Config["args"] = []any{"y"} }, true},
		"static port":      {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.Networks[0].ReservedPorts[0].Value = 81 }, true},
		"dynamic port":     {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.Networks[0].DynamicPorts[0].To = 81 }, true},
		"no network":       {func(_ *cluster.Job, g *cluster.TaskGroup, _ *cluster.Task) { g.Networks = nil }, true},
		"job meta":         {func(j *cluster.Job, _ *cluster.TaskGroup, _ *cluster.Task) { j.Meta = map[string]string{"a": "b"} }, true},
		"meta further out": {func(j *cluster.Job, _ *cluster.TaskGroup, _ *cluster.Task) { j.Meta = map[string]string{"K": "over"} }, false},
	} {
		base := func() *cluster.Job {
			j := fullJob()
			for i := range j.TaskGroups[0].Tasks {
				j.TaskGroups[0].Tasks[i].Meta = map[string]string{"K": "v"}
			}
			return j
		}
		changed := base()
		row.edit(changed, &changed.TaskGroups[0], &changed.TaskGroups[0].Tasks[0])
		if got := destructive(base(), changed, "web"); got != row.want {
			t.Errorf("%s: destructive is %t", name, got)
		}
	}
}

// Whoever checks a plan again finds what the plan took, and gets back what was there when it is gone.
func TestNodeUsage(t *testing.T) {
	w := newWorld()
	w.addNode([]string{"n1", "cpu=1000", "memory=1000", "disk=1000"})
	w.setJob("service / web count=1 cpu=600 memory=100 disk=100 static=http:80 dynamic=db")
	in := w.input(w.newEval())
	empty := in.Nodes[0]
	plan := Schedule(in)
	w.apply(&plan)
	place := &plan.Places[0]
	full := w.input(nil).Nodes[0]
	if lack := empty.Lacks(place); lack != "" {
		t.Errorf("an empty node lacks %s", lack)
	}
	if lack := full.Lacks(place); lack != "cpu" {
		t.Errorf("a full node lacks %q, want cpu", lack)
	}
	room := full
	room.Used = cluster.Capacity{}
	if lack, want := room.Lacks(place), "network: reserved port collision http=80"; lack != want {
		t.Errorf("a node with room lacks %q, want %q", lack, want)
	}
	if with := empty.With(place); with.Used != full.Used || with.Ports.String() != full.Ports.String() {
		t.Errorf("With gives %v %s, the stored allocation %v %s", with.Used, with.Ports, full.Used, full.Ports)
	}
	if again := full.Minus(w.allocs[0]); again.Used != (cluster.Capacity{}) || len(again.Ports) != 0 {
		t.Errorf("Minus leaves %v %s", again.Used, again.Ports)
	}
	w.report(w.allocs[0], cluster.ClientComplete, cluster.HealthUnknown)
	if ended := w.input(nil).Nodes[0]; ended.Used != (cluster.Capacity{}) || len(ended.Ports) != 0 {
		t.Errorf("an ended allocation takes %v %s", ended.Used, ended.Ports)
	}
}

func TestPortsAreChosen(t *testing.T) {
	for _, row := range []struct{ node, group, want, lack string }{
		{"n1 dynamic=20000-20001", "dynamic=a dynamic=b", "a=2000x b=2000x", ""},
		{"n1 dynamic=20000-20001", "dynamic=a dynamic=b dynamic=c", "", "network: no free dynamic port"},
		{"n1 dynamic=20000-20003 reserved=20000-20002", "dynamic=a", "a=20003", ""},
		{"n1 dynamic=20000-20003 reserved=20000-20002", "dynamic=a static=b:20003", "", "network: no free dynamic port"},
		{"n1 dynamic=20000-20001 reserved=22", "dynamic=a static=b:20001", "b=20001 a=20000", ""},
		{"n1 reserved=22,80-90", "static=ssh:22", "", "network: reserved port collision ssh=22"},
	} {
		w := newWorld()
		w.addNode(strings.Fields(row.node))
		w.setJob("batch / web " + row.group)
		plan := w.settle()
		got, lack := "", ""
		for _, place := range plan.Places {
			for i, port := range place.Ports {
				if i > 0 {
					got += " "
				}
				value := strconv.Itoa(int(port.Value))
				if row.want == "a=2000x b=2000x" {
					value = value[:4] + "x"
				}
				got += port.Label + "=" + value
				if port.To != port.Value {
					t.Errorf("%s listens on %d, want %d", port.Label, port.To, port.Value)
				}
			}
		}
		for lack = range plan.Eval.FailedTGAllocs["web"].DimensionExhausted {
		}
		if got != row.want || lack != row.lack {
			t.Errorf("%s on %s: %q, %q; want %q, %q", row.group, row.node, got, lack, row.want, row.lack)
		}
	}
}

func TestAwaitsRoom(t *testing.T) {
	for _, row := range []struct {
		node, job string
		want      bool
	}{
		{"n1 cpu=100", "batch / web cpu=200", true},
		{"n1", "batch / web count=2 constraint=distinct_hosts", true},
		{"n1 meta.rack=r1", "batch / web count=2 constraint=distinct_property|meta.rack|1", true},
		{"n1 meta.rack=r1", "batch constraint=distinct_property|meta.rack|2 / web count=2 / api", true},
		{"n1", "batch / web constraint=meta.rack|=|r1", false},
		{"n1 sick=raw_exec", "batch / web", false},
		{"n1 dc=dc9", "batch dc=dc1 / web", false},
	} {
		w := newWorld()
		w.addNode(strings.Fields(row.node))
		w.setJob(row.job)
		plan := w.settle()
		if len(plan.Evals) != 1 || AwaitsRoom(&plan.Evals[0]) != row.want {
			t.Errorf("%s on %s: %t is wrong\n%s", row.job, row.node, !row.want, w.describe(&plan))
		}
	}
}
