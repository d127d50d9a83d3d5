package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/gossip/gossiptest"
	"github.com/a43e60e4/cluster/agent/supervise"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/server/api"
)

var bubbleSeed = flag.Uint64("bubble.seed", 0, "live through the hour of this seed alone")

// bubble is a machine in memory and the agent on it: time is fake, the log and the journals lie on a real disk. The
// tasks outlive the agent, as a supervisor's do.
type bubble struct {
	t       testing.TB
	dice    *rand.Rand
	dir     dataDir
	log     *strings.Builder
	doors   map[string]*loopback // by address, of the agent that runs now
	client  *api.Client
	end     func() // ends the agent
	machine *memoryMachine
	jobs    map[string]*cluster.Job // as they should be; those that were stopped are not here
}

// memoryMachine runs tasks that do nothing but live, and watches that there are never too many of them.
type memoryMachine struct {
	t     testing.TB
	mu    sync.Mutex // guards what follows
	tasks map[string]*memoryTask
	ticks map[string]int // how often each launch of the job tick ran; its tasks end at once
	limit map[string]int // the most instances of a job that may ever live at once, now
	lazy  time.Duration  // how long a task takes to end when it is asked to
}

type memoryTask struct {
	job   string
	born  time.Time
	asked time.Time // to end; zero: not yet
	exit  driver.Exit
	done  chan struct{} // closed when it has ended
}

func (k *memoryTask) alive() bool {
	select {
	case <-k.done:
		return false
	default:
		return true
	}
}

func (m *memoryMachine) Fingerprint(context.Context) cluster.DriverState {
	return cluster.DriverState{Detected: true, Healthy: true}
}

func (m *memoryMachine) Start(_ context.Context, t driver.Task, _ func(string)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tasks[t.ID] != nil {
		return nil
	}
	task := &memoryTask{job: t.JobID, born: time.Now(), done: make(chan struct{})}
	m.tasks[t.ID] = task
	if strings.HasPrefix(t.JobID, "tick/") {
		task.exit.At = time.Now()
		close(task.done)
		m.ticks[t.JobID]++
		return nil
	}
	if living := m.livingLocked(t.JobID); living > m.limit[t.JobID] {
		m.t.Errorf("%d instances of %s live at once, allowed are %d", living, t.JobID, m.limit[t.JobID])
	}
	return nil
}

func (m *memoryMachine) livingLocked(job string) (n int) {
	for _, task := range m.tasks {
		if task.job == job && task.alive() {
			n++
		}
	}
	return n
}

func (m *memoryMachine) living(job string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.livingLocked(job)
}

func (m *memoryMachine) task(id string) *memoryTask {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tasks[id]
}

func (m *memoryMachine) Wait(ctx context.Context, id string) (driver.Exit, error) {
	task := m.task(id)
	if task == nil {
		return driver.Exit{}, driver.ErrUnknown
	}
	select {
	case <-task.done:
		return task.exit, nil
	case <-ctx.Done():
		return driver.Exit{}, context.Cause(ctx)
	}
}

// endTask ends a task, if it lives.
func (m *memoryMachine) endTask(task *memoryTask, exit driver.Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if task.alive() {
		exit.At = time.Now()
		task.exit = exit
		close(task.done)
	}
}

func (m *memoryMachine) Signal(_ context.Context, id, _ string) error {
	task := m.task(id)
	if task == nil {
		return driver.ErrUnknown
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	task.asked = time.Now()
	time.AfterFunc(m.lazy, func() { m.endTask(task, driver.Exit{Signal: 15}) })
	return nil
}

func (m *memoryMachine) Destroy(_ context.Context, id string) error {
	if task := m.task(id); task != nil {
		m.endTask(task, driver.Exit{Signal: 9})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.tasks, id)
	return nil
}

func (m *memoryMachine) Stats(context.Context, string) (driver.Stats, error) {
	return driver.Stats{}, driver.ErrUnknown
}

// crash ends some task of the machine as if it had failed.
func (m *memoryMachine) crash(dice *rand.Rand) {
	m.mu.Lock()
	var ids []string
	for id, task := range m.tasks {
		if task.alive() {
			ids = append(ids, id)
		}
	}
	m.mu.Unlock()
	if len(ids) > 0 {
		slices.Sort(ids)
		m.endTask(m.task(ids[dice.IntN(len(ids))]), driver.Exit{Code: 1})
	}
}

// noSupervisor is a parent that tasks in memory do not need.
type noSupervisor struct{}

func (noSupervisor) Mode() supervise.Mode        { return supervise.Mode{} }
func (noSupervisor) Ready(context.Context) error { return nil }
func (noSupervisor) Hear(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// start runs the agent, built as `cluster agent` builds it, until end is called.
func (b *bubble) start() {
	b.t.Helper()
	b.doors = map[string]*loopback{}
	config := defaultAgentConfig(false, machine{hostname: "bubble"})
	config.Bootstrap, config.Bind, config.DataDir = true, "127.0.0.1", string(b.dir)
	config.Server.Enabled, config.Client.Enabled = roleOn, roleOn
	config.Client.CPUTotalCompute, config.Client.MemoryTotalMB, config.Client.DiskTotalMB = 4000, 4000, 100_000
	r, err := openAgent(b.t.Context(), machineConfig{agent: config, dir: b.dir, logger: slog.New(slog.NewTextHandler(b.log, nil)),
		supervisor: noSupervisor{}, drivers: map[string]driver.Driver{"raw_exec": b.machine}, listen: b.listen,
		packets: gossiptest.New(1).Open(netip.MustParseAddrPort("127.0.0.1:4648")), nameless: true})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	client, err := api.New(api.Config{HTTP: b.doors["127.0.0.1:4646"].client()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.client = client
	b.end = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("run agent: %v", err)
		}
		client.Close()
	}
}

func (b *bubble) listen(_, address string) (net.Listener, error) {
	b.doors[address] = newLoopback(address)
	return b.doors[address], nil
}

// wish is a job as it should be, with a new text, so that its tasks are replaced.
func (b *bubble) wish(id string) *cluster.Job {
	job := cluster.DefaultJob(cluster.JobTypeService)
	job.ID, job.Name, job.Datacenters = id, id, []string{"*"}
	group := cluster.DefaultGroup(&job)
	group.Name, group.Count = "app", 1+b.dice.IntN(4)
	group.RestartPolicy.Attempts, group.RestartPolicy.Interval, group.RestartPolicy.Delay = b.dice.IntN(3), time.Minute, time.Second
	group.RestartPolicy.Mode = "fail"
	group.ReschedulePolicy.Unlimited, group.ReschedulePolicy.Delay = true, 5*time.Second
	group.ReschedulePolicy.DelayFunction = "constant"
	task := cluster.DefaultTask(&group)
	task.Name, task.Driver = "main", "raw_exec"
	task.Config = map[string]any{"command": fmt.Sprintf("/bin/app-%d", b.dice.IntN(1000))}
	task.Resources.CPU, task.Resources.MemoryMB = 100, 100
	group.Tasks = []cluster.Task{task}
	job.Update.MaxParallel = 1 + b.dice.IntN(2)
	job.TaskGroups = []cluster.TaskGroup{group}
	return &job
}

// register hands in a job and says what it may have from now on: what either version wants, and the surplus of a rollout.
func (b *bubble) register(job *cluster.Job) {
	b.t.Helper()
	b.machine.mu.Lock()
	before := b.machine.livingLocked(job.ID)
	if old := b.jobs[job.ID]; old != nil {
		before = max(before, old.TaskGroups[0].Count)
	}
	b.machine.limit[job.ID] = max(before, job.TaskGroups[0].Count) + job.Update.MaxParallel
	b.machine.mu.Unlock()
	if _, err := b.client.RegisterJob(b.t.Context(), job, api.RegisterOptions{}); err != nil {
		b.t.Fatalf("register %s: %v", job.ID, err)
	}
	b.jobs[job.ID] = job
}

// tick registers a job that is launched every minute.
func (b *bubble) tick() {
	job := b.wish("tick")
	job.Type, job.Periodic = cluster.JobTypeBatch, &cluster.PeriodicConfig{Enabled: true, Specs: []string{"* * * * *"}}
	job.Update = cluster.UpdateStrategy{}
	job.TaskGroups[0].Count, job.TaskGroups[0].Update, job.TaskGroups[0].Migrate = 1, nil, nil
	job.TaskGroups[0].ReschedulePolicy, job.TaskGroups[0].RestartPolicy = nil, cluster.RestartPolicy{Attempts: 0, Interval: time.Hour, Delay: time.Second, Mode: "fail"}
	if _, err := b.client.RegisterJob(b.t.Context(), job, api.RegisterOptions{}); err != nil {
		b.t.Fatalf("register tick: %v", err)
	}
}

// ticked stops that job, and reports whether each of its slots has run once or was told as missed.
func (b *bubble) ticked() {
	ctx := b.t.Context()
	if _, err := b.client.DeregisterJob(ctx, "tick", false, api.Query{}); err != nil {
		b.t.Fatalf("stop tick: %v", err)
	}
	<-time.After(10 * time.Second) // for the last launch to end
	summary, _, err := b.client.JobSummary(ctx, "tick", api.Query{})
	if err != nil {
		b.t.Fatalf("read tick: %v", err)
	}
	launches, began := summary.Launches, time.Unix(0, summary.Launches.Since).Unix()
	slots := int(launches.Last/60 - began/60)
	b.t.Logf("%d slots, %d of them missed", slots, launches.Missed)
	if len(b.machine.ticks)+int(launches.Missed) != slots || summary.Children.Dead != len(b.machine.ticks) || len(b.machine.ticks) < 50 {
		b.t.Errorf("of %d slots %d ran and %d were missed: %+v", slots, len(b.machine.ticks), launches.Missed, summary)
	}
	for id, times := range b.machine.ticks {
		if times != 1 {
			b.t.Errorf("%s ran %d times", id, times)
		}
	}
}

// act does one thing of many.
func (b *bubble) act() {
	id := fmt.Sprintf("job-%d", b.dice.IntN(4))
	switch n := b.dice.IntN(10); {
	case n < 3:
		b.register(b.wish(id))
	case n < 4 && b.jobs[id] != nil:
		if _, err := b.client.DeregisterJob(b.t.Context(), id, b.dice.IntN(2) == 0, api.Query{}); err != nil {
			b.t.Fatalf("stop %s: %v", id, err)
		}
		delete(b.jobs, id)
	case n < 8:
		b.machine.crash(b.dice)
	case n < 9:
		b.end()
		for range b.dice.IntN(3) {
			b.rest(20)
			b.machine.crash(b.dice)
		}
		b.start()
	default:
		b.machine.mu.Lock()
		b.machine.lazy = time.Duration(b.dice.IntN(4000)) * time.Millisecond
		b.machine.mu.Unlock()
	}
}

// rest lets up to that many seconds pass.
func (b *bubble) rest(seconds int) {
	<-time.After(time.Duration(b.dice.IntN(seconds*1000)) * time.Millisecond)
}

// unsettled says what is not yet as it should be, "" if everything is.
func (b *bubble) unsettled() string {
	ctx := b.t.Context()
	for n := range 4 {
		id, count := fmt.Sprintf("job-%d", n), 0
		if job := b.jobs[id]; job != nil {
			count = job.TaskGroups[0].Count
		}
		if living := b.machine.living(id); living != count {
			return fmt.Sprintf("%d instances of %s live, wanted are %d", living, id, count)
		}
		allocs, _, err := b.client.JobAllocations(ctx, id, true, api.Query{})
		if err != nil {
			return err.Error()
		}
		running := 0
		for i := range allocs {
			if allocs[i].ClientStatus == cluster.ClientRunning {
				running++
			}
		}
		if running != count {
			return fmt.Sprintf("%d allocations of %s are said to run, wanted are %d", running, id, count)
		}
	}
	evals, _, err := b.client.Evaluations(ctx, api.Query{})
	if err != nil {
		return err.Error()
	}
	for _, eval := range evals {
		if !eval.Done() {
			return fmt.Sprintf("evaluation %s of %s is %s", eval.ID, eval.JobID, eval.Status)
		}
	}
	return ""
}

// TestAnHourOfChangesAndCrashes lives through an hour of fake time in which jobs are registered, changed and stopped, tasks
// crash, and the agent is started anew. It shows that there are never more instances than wanted (and a rollout's
// surplus), that a job which is launched by the clock runs once in each slot or tells that it was missed, that all comes to
// rest as it should be, and that no goroutine is left.
func TestAnHourOfChangesAndCrashes(t *testing.T) {
	seeds := []uint64{1, rand.Uint64()}
	if *bubbleSeed != 0 {
		seeds = []uint64{*bubbleSeed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			log, dir := new(strings.Builder), t.TempDir()
			defer func() {
				if t.Failed() {
					t.Logf("again with -bubble.seed=%d; the agent's log:\n%s", seed, log)
				}
			}()
			synctest.Test(t, func(t *testing.T) { liveAnHour(t, seed, dir, log) })
		})
	}
}

func liveAnHour(t *testing.T, seed uint64, path string, log *strings.Builder) {
	dir, err := openDataDir(path)
	if err != nil {
		t.Fatal(err)
	}
	b := &bubble{t: t, dice: rand.New(rand.NewPCG(seed, 0)), dir: dir, log: log, jobs: map[string]*cluster.Job{},
		machine: &memoryMachine{t: t, tasks: map[string]*memoryTask{}, limit: map[string]int{}, ticks: map[string]int{}, lazy: time.Second}}
	b.start()
	b.tick()
	for began := time.Now(); time.Since(began) < time.Hour; b.rest(60) {
		b.act()
	}
	b.ticked()
	last := ""
	for range 20 {
		<-time.After(time.Minute)
		if last = b.unsettled(); last == "" {
			break
		}
	}
	if last != "" {
		t.Errorf("twenty minutes after the last change %s", last)
	}
	if warnings := strings.Count(log.String(), "level=WARN") + strings.Count(log.String(), "level=ERROR") -
		strings.Count(log.String(), "launches missed"); warnings > 0 {
		t.Errorf("the agent logged %d warnings or errors", warnings)
	}
	b.end()
	for _, task := range b.machine.tasks {
		b.machine.endTask(task, driver.Exit{})
	}
}
