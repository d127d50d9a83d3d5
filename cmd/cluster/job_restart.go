package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) jobRestart() *cli.Command {
	return p.command(verb{
		name: "restart", short: "restart the instances of a job, some at a time", args: "ID", min: 1, max: 1,
		long: "Instances that run are restarted where they are, or, with -reschedule, stopped and replaced by others, which may be elsewhere.\n" +
			"A batch begins when all of the one before run again. Status: 0 all run again, 1 otherwise; 130 when interrupted: the rest is left alone.",
		example: "cluster job restart web\ncluster job restart -batch-size 25% -batch-wait 30s web\n" +
			"cluster job restart -group api -task server -on-error fail web\ncluster job restart -reschedule -batch-wait ask web",
		flags: []cli.Flag{verboseFlag(),
			&cli.BoolFlag{Name: "all-tasks", Usage: "also tasks that have ended"},
			&cli.StringFlag{Name: "batch-size", Value: "1", Usage: "restart `N` instances at a time, or N% of them"},
			&cli.StringFlag{Name: "batch-wait", Value: "0", Usage: "wait `TIME` between batches, or ask"},
			&cli.StringSliceFlag{Name: "group", Usage: "only instances of `GROUP`; may be repeated"},
			&cli.StringSliceFlag{Name: "task", Usage: "only the tasks of the name `TASK`; may be repeated"},
			&cli.StringFlag{Name: "on-error", Value: "ask", Usage: "`ask|fail` when an instance does not come back; without a terminal it is fail"},
			&cli.BoolFlag{Name: "reschedule", Usage: "stop the instances, and let others take their places"},
			&cli.BoolFlag{Name: "yes", Usage: "ask nothing, and go on after errors"}},
		run: restartJob,
	})
}

// restarting is how instances are to be restarted.
type restarting struct {
	batch      func(total int) int // how many at a time
	wait       time.Duration       // between batches
	ask        bool                // … instead
	groups     []string            // empty: all
	tasks      []string            // empty: those that run
	all        bool                // also tasks that have ended
	reschedule bool
	onward     bool // after an error
	whole      bool // IDs are printed in full
}

// restarting is what the flags ask for.
func (c *call) restarting() (r restarting, err error) {
	r = restarting{groups: c.StringSlice("group"), tasks: c.StringSlice("task"), all: c.Bool("all-tasks"), reschedule: c.Bool("reschedule"),
		onward: c.Bool("yes"), whole: c.Bool("verbose")}
	if r.batch, err = batchSize(c.String("batch-size")); err != nil {
		return r, err
	}
	if text := c.String("batch-wait"); text == "ask" {
		r.ask = !r.onward
	} else if r.wait, err = time.ParseDuration(text); err != nil || r.wait < 0 {
		return r, fmt.Errorf("read flag -batch-wait %q: want a time such as 30s, or ask", clip(text))
	}
	_, terminal := c.program.terminal()
	switch {
	case !slices.Contains([]string{"ask", "fail"}, c.String("on-error")):
		return r, fmt.Errorf("read flag -on-error %q: want ask or fail", clip(c.String("on-error")))
	case r.reschedule && (r.all || len(r.tasks) > 0):
		return r, errors.New("restart job: -reschedule replaces whole instances: leave -task and -all-tasks out")
	case r.all && len(r.tasks) > 0:
		return r, errors.New("restart job: -all-tasks and -task exclude each other")
	case r.ask && !terminal:
		return r, errors.New("restart job: nobody can be asked without a terminal: write -batch-wait TIME, or -yes")
	}
	return r, nil
}

// batchSize reads "3" or "25%"; a percentage is rounded up.
func batchSize(text string) (func(total int) int, error) {
	digits, percent := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || percent && n > 100 {
		return nil, fmt.Errorf("read flag -batch-size %q: want a number of instances, or of percent from 1%% to 100%%", clip(text))
	}
	return func(total int) int {
		if percent {
			return max(1, (total*n+99)/100)
		}
		return n
	}, nil
}

func restartJob(c *call) error {
	r, err := c.restarting()
	if err != nil {
		return err
	}
	client, key, err := c.namedJob()
	if err != nil {
		return err
	}
	q := api.Query{Namespace: key.Namespace}
	job, _, err := client.Job(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	if err := r.check(job); err != nil {
		return err
	}
	stubs, _, err := client.JobAllocations(c.ctx(), key.ID, false, q)
	if err != nil {
		return err
	}
	list := r.choose(stubs)
	if len(list) == 0 {
		c.out.line("No allocations of job %q run that could be restarted", key.ID)
		return nil
	}
	return c.restartBatches(client, r, slices.Collect(slices.Chunk(list, r.batch(len(list)))))
}

// check refuses names of groups and tasks that the job does not have.
func (r *restarting) check(job *cluster.Job) error {
	for _, name := range r.groups {
		if job.Group(name) == nil {
			return fmt.Errorf("restart job %q: it has no group %q, but %s", job.ID, clip(name), strings.Join(groupNames(job), ", "))
		}
	}
	for _, name := range r.tasks {
		known := slices.ContainsFunc(job.TaskGroups, func(g cluster.TaskGroup) bool {
			return g.Task(name) != nil && (len(r.groups) == 0 || slices.Contains(r.groups, g.Name))
		})
		if !known {
			return fmt.Errorf("restart job %q: none of its groups has a task %q", job.ID, clip(name))
		}
	}
	return nil
}

// choose are the allocations to be restarted, those of a group together and the oldest first.
func (r *restarting) choose(stubs []api.AllocListStub) []api.AllocListStub {
	var list []api.AllocListStub
	for _, a := range stubs {
		runs := a.DesiredStatus == cluster.DesiredRun && a.ClientStatus == cluster.ClientRunning
		if runs && (len(r.groups) == 0 || slices.Contains(r.groups, a.TaskGroup)) && len(r.tasksOf(a)) > 0 {
			list = append(list, a)
		}
	}
	slices.SortStableFunc(list, func(a, b api.AllocListStub) int {
		if d := strings.Compare(a.TaskGroup, b.TaskGroup); d != 0 {
			return d
		}
		return int(a.CreateIndex) - int(b.CreateIndex)
	})
	return list
}

// tasksOf are the tasks of an allocation that will be restarted.
func (r *restarting) tasksOf(a api.AllocListStub) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a.TaskStates)) {
		wanted := len(r.tasks) == 0 || slices.Contains(r.tasks, name)
		if wanted && (r.all || a.TaskStates[name].State == cluster.TaskRunning) {
			names = append(names, name)
		}
	}
	return names
}

// restartBatches restarts one batch after the other.
func (c *call) restartBatches(client *api.Client, r restarting, batches [][]api.AllocListStub) error {
	status := c.jobCommand("status", cluster.JobKey{Namespace: batches[0][0].Namespace, ID: batches[0][0].JobID})
	failed, back, total := 0, 0, 0
	for _, batch := range batches {
		total += len(batch)
	}
	again := "runs again"
	if r.reschedule {
		again = "is replaced"
	}
	returned := func(a api.AllocListStub) {
		back++
		c.out.line("%s: Allocation %q %s (%d of %d)", c.out.clock(), short(a.ID, r.whole), again, back, total)
	}
	for i, batch := range batches {
		if i > 0 {
			if err := c.betweenBatches(r); err != nil {
				if c.ctx().Err() != nil {
					c.out.line("Restarting ended after batch %d of %d; the rest was left alone", i, len(batches))
				}
				return err
			}
		}
		c.out.line("%s: Restarting batch %d of %d: %s", c.out.clock(), i+1, len(batches), r.names(batch))
		problems := c.restartBatch(client, r, batch, returned)
		if c.ctx().Err() != nil {
			c.out.line("Restarting ended after batch %d of %d at most; the rest was left alone", i+1, len(batches))
			return &exitStatus{status: exitInterrupted}
		}
		for _, err := range problems {
			c.out.fail(err)
		}
		failed += len(problems)
		if len(problems) > 0 && i < len(batches)-1 && !r.onward && !c.goOn() {
			return fmt.Errorf("restart job: stopped after batch %d of %d; the rest was left alone: see `%s`", i+1, len(batches), status)
		}
	}
	if failed > 0 {
		return fmt.Errorf("restart job: %d allocations did not come back: see `%s`", failed, status)
	}
	c.out.line("%s: All of them run again", c.out.clock())
	return nil
}

func (r *restarting) names(batch []api.AllocListStub) string {
	var names []string
	for _, a := range batch {
		names = append(names, short(a.ID, r.whole))
	}
	return strings.Join(names, ", ")
}

// goOn asks whether to go on after an error; where nobody can be asked, or nobody is to be, the answer is no.
func (c *call) goOn() bool {
	_, terminal := c.program.terminal()
	return terminal && c.String("on-error") == "ask" && c.askYes("Go on with the next batch?")
}

// betweenBatches waits or asks; an error ends the work.
func (c *call) betweenBatches(r restarting) error {
	if r.ask {
		if !c.askYes("Go on with the next batch?") {
			return errors.New("restart job: ended as asked; the rest was left alone")
		}
		return nil
	}
	if r.wait > 0 {
		c.out.line("%s: Waiting %s before the next batch", c.out.clock(), r.wait)
	}
	select {
	case <-time.After(r.wait):
	case <-c.ctx().Done():
		return &exitStatus{status: exitInterrupted}
	}
	return nil
}

// askYes puts a question to the user until it is answered; the end of the input and an interruption are a no.
func (c *call) askYes(question string) bool {
	for {
		fmt.Fprintf(c.out.w, "%s [y/n] ", question)
		lines := make(chan string, 1)
		go func() { lines <- readLine(c.program.stdin) }() // a read cannot be interrupted: it ends with its line, or with the program
		select {
		case line := <-lines:
			switch strings.ToLower(strings.TrimSpace(line)) {
			case "y", "yes":
				return true
			case "n", "no":
				return false
			}
			if line == "" {
				return false
			}
		case <-c.ctx().Done():
			c.out.line("")
			return false
		}
	}
}

// readLine reads up to the end of a line and not a byte more; "" is the end of the input.
func readLine(in io.Reader) string {
	var line []byte
	for one := make([]byte, 1); len(line) < 100; {
		n, err := in.Read(one)
		line = append(line, one[:n]...)
		if err != nil || n == 1 && one[0] == '\n' {
			break
		}
	}
	return string(line)
}

// restartBatch restarts allocations at the same time and waits until they run again, each of which it tells, one at a time. It returns what
// went wrong.
func (c *call) restartBatch(client *api.Client, r restarting, batch []api.AllocListStub, returned func(api.AllocListStub)) []error {
	problems := make([]error, len(batch))
	var group sync.WaitGroup
	var telling sync.Mutex // guards what returned does
	for i, a := range batch {
		group.Go(func() {
			err := r.restart(c.ctx(), client, a)
			if err != nil {
				problems[i] = fmt.Errorf("restart allocation %s: %w", short(a.ID, r.whole), err)
				return
			}
			telling.Lock()
			defer telling.Unlock()
			returned(a)
		})
	}
	group.Wait()
	return slices.DeleteFunc(problems, func(err error) bool { return err == nil })
}

func (r *restarting) restart(ctx context.Context, client *api.Client, a api.AllocListStub) error {
	q := api.Query{Namespace: a.Namespace}
	if r.reschedule {
		answer, err := client.StopAllocation(ctx, a.ID, q)
		if err != nil {
			return err
		}
		return awaitReplacement(ctx, client, a, answer.EvalID)
	}
	names := r.tasksOf(a)
	for _, name := range names {
		req := cluster.AllocRestartRequest{TaskName: name}
		if len(r.tasks) == 0 {
			req = cluster.AllocRestartRequest{AllTasks: r.all}
		}
		if err := client.RestartAllocation(ctx, a.ID, req, q); err != nil {
			return err
		}
		if len(r.tasks) == 0 {
			break // that was all of them
		}
	}
	return awaitAllocation(ctx, client, a.ID, func(now *cluster.Allocation) bool {
		return !slices.ContainsFunc(names, func(name string) bool { return !startedAnew(lastStart(a.TaskStates[name].Events), now, name) })
	})
}

// lastStart is when a task was started last, as far as is remembered, in unix nanoseconds.
func lastStart(events []cluster.TaskEventView) int64 {
	for _, e := range slices.Backward(events) {
		if cluster.ParseEventType(e.Type) == cluster.EventStarted {
			return e.Time
		}
	}
	return 0
}

// startedAnew reports whether a task was started later than at the given time, and did not fail.
func startedAnew(before int64, a *cluster.Allocation, task string) bool {
	for i := range a.TaskStates {
		if t := &a.TaskStates[i]; t.Name == task && !t.Failed && t.State != cluster.TaskPending {
			return slices.ContainsFunc(t.Events, func(e cluster.TaskEvent) bool { return e.Type == cluster.EventStarted && e.Time > before })
		}
	}
	return false
}

// awaitAllocation waits until an allocation is as it should be. One that ends instead is an error.
func awaitAllocation(ctx context.Context, client *api.Client, id cluster.ID, there func(*cluster.Allocation) bool) error {
	q := api.Query{Namespace: cluster.AllNamespaces, Wait: watchLength}
	for {
		a, meta, err := client.Allocation(ctx, id, q)
		switch {
		case err != nil:
			return err
		case there(a):
			return nil
		case a.ClientStatus.Terminal() || a.ServerTerminal():
			return fmt.Errorf("it is %s%s", a.ClientStatus, inBrackets(a.Details().ClientDescription))
		}
		q.Index = meta.Index
	}
}

// awaitReplacement waits until another allocation runs in the place of one that was stopped.
func awaitReplacement(ctx context.Context, client *api.Client, old api.AllocListStub, eval cluster.ID) error {
	q := api.Query{Namespace: old.Namespace, Wait: watchLength}
	for {
		e, meta, err := client.Evaluation(ctx, eval, q)
		if err != nil {
			return err
		}
		if e.Done() {
			if lacking, none := e.FailedTGAllocs[old.TaskGroup]; none {
				return fmt.Errorf("nothing could take its place: %s", strings.Join(placementReasons(lacking), ", "))
			}
			break
		}
		q.Index = meta.Index
	}
	q.Index = 0
	for {
		a, meta, err := client.Allocation(ctx, old.ID, q)
		if err != nil {
			return err
		}
		if next := a.Details().NextAllocation; !next.IsZero() {
			return awaitAllocation(ctx, client, next, func(a *cluster.Allocation) bool { return a.ClientStatus == cluster.ClientRunning })
		}
		q.Index = meta.Index
	}
}
