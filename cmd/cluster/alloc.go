package main

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) allocStatus(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "show an allocation, its tasks and what happened to them", args: "ID", min: 1, max: 1,
		example: "cluster alloc status 8d3c1f7a", flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag(),
			&cli.BoolFlag{Name: "short", Usage: "only the header and the tasks' states"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := c.allocID(client, c.Args().First())
			if err != nil {
				return err
			}
			return showAllocation(c, client, id)
		},
	})
}

func showAllocation(c *call, client *api.Client, id cluster.ID) error {
	q := api.Query{Namespace: c.lookup()}
	if c.asObject() {
		return c.printObject(client, api.AllocRead.URL(id.String()), q)
	}
	a, _, err := client.Allocation(c.ctx(), id, q)
	if err != nil {
		return err
	}
	c.out.allocationHeader(a, c.Bool("verbose"))
	if len(a.Ports) > 0 && !c.Bool("short") {
		c.out.heading("Allocation Addresses")
		rows := [][]string{{"Label", "Address", "To"}}
		for _, port := range a.Ports {
			to := ""
			if port.To != 0 {
				to = strconv.Itoa(int(port.To))
			}
			rows = append(rows, []string{port.Label, net.JoinHostPort(port.HostIP, strconv.Itoa(int(port.Value))), to})
		}
		c.out.table(rows)
	}
	group := a.Group()
	for i := range a.TaskStates {
		t := &a.TaskStates[i]
		if c.Bool("short") {
			c.out.heading(fmt.Sprintf("Task %q is %q", t.Name, t.State))
			continue
		}
		var task *cluster.Task
		if group != nil {
			task = group.Task(t.Name)
		}
		c.out.task(t, task)
	}
	if len(a.TaskStates) == 0 {
		c.out.heading("Tasks")
		c.out.line("The node has not reported any task yet")
	}
	if c.Bool("short") || a.ClientStatus != cluster.ClientRunning {
		return nil
	}
	checks, err := client.AllocationChecks(c.ctx(), id, api.Query{Namespace: a.Namespace()})
	if err != nil || len(checks) == 0 {
		return nil // the node may be away, or know no checks: the rest has been shown
	}
	c.out.heading("Service Checks")
	c.out.checks(checks)
	return nil
}

func (o *output) allocationHeader(a *cluster.Allocation, verbose bool) {
	rare := a.Details()
	health := "unset"
	switch a.Health {
	case cluster.HealthHealthy:
		health = "healthy"
	case cluster.HealthUnhealthy:
		health = "unhealthy"
	}
	list := []pair{
		{"ID", short(a.ID, verbose)}, {"Eval ID", short(a.EvalID, verbose)}, {"Name", a.Name()},
		{"Node ID", short(a.NodeID, verbose)}, {"Node Name", a.NodeName}, {"Job ID", a.JobID()},
		{"Job Version", strconv.FormatUint(a.Job.Version, 10)}, {"Client Status", a.ClientStatus.String()},
		{"Client Description", rare.ClientDescription}, {"Desired Status", a.DesiredStatus.String()},
		{"Desired Description", rare.DesiredDescription}, {"Created", o.ago(a.CreateTime)}, {"Modified", o.ago(a.ModifyTime)},
	}
	if !a.DeploymentID.IsZero() {
		list = append(list, pair{"Deployment ID", short(a.DeploymentID, verbose)}, pair{"Deployment Health", health})
	}
	for _, line := range []struct {
		key string
		id  cluster.ID
	}{{"Replacement Alloc ID", rare.NextAllocation}, {"Previous Alloc ID", rare.PreviousAllocation}, {"Follow-up Eval ID", rare.FollowupEvalID}} {
		if !line.id.IsZero() {
			list = append(list, pair{line.key, short(line.id, verbose)})
		}
	}
	o.pairs(list)
}

// task prints a task's state and diary; task may be nil.
func (o *output) task(t *cluster.TaskState, task *cluster.Task) {
	o.heading(fmt.Sprintf("Task %q is %q", t.Name, t.State))
	if task != nil {
		o.table([][]string{{"Driver", "CPU", "Memory"},
			{task.Driver, strconv.Itoa(task.Resources.CPU) + " MHz", megabytes(task.Resources.MemoryMB)}})
		o.line("")
	}
	o.pairs([]pair{
		{"Started At", o.moment(t.StartedAt)}, {"Finished At", o.moment(t.FinishedAt)},
		{"Total Restarts", strconv.Itoa(int(t.Restarts))}, {"Last Restart", o.moment(t.LastRestart)},
	})
	o.line("\n%s", o.bold("Recent Events"))
	rows := [][]string{{"Time", "Type", "Description"}}
	for _, e := range slices.Backward(t.Events) {
		rows = append(rows, []string{time.Unix(0, e.Time).In(o.now().Location()).Format(time.RFC3339), e.Type.String(), e.DisplayMessage()})
	}
	o.table(rows)
}

func (o *output) checks(checks map[string]cluster.CheckStatus) {
	rows := [][]string{{"Service", "Task", "Name", "Mode", "Status", "Output"}}
	for _, id := range slices.Sorted(maps.Keys(checks)) {
		check := checks[id]
		rows = append(rows, []string{check.Service, check.Task, check.Check, check.Mode, check.Status, firstLine(check.Output)})
	}
	o.table(rows)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if runes := []rune(line); len(runes) > 100 {
		return string(runes[:100]) + "…"
	}
	return line
}

func (p *program) allocStop() *cli.Command {
	return p.command(verb{
		name: "stop", short: "end an allocation; its job gets another in its place", args: "ID", min: 1, max: 1,
		example: "cluster alloc stop 8d3c1f7a",
		flags:   []cli.Flag{detachFlag(), verboseFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			a, err := c.allocation(client, c.Args().First())
			if err != nil {
				return err
			}
			answer, err := client.StopAllocation(c.ctx(), a.ID, api.Query{Namespace: a.Namespace()})
			if err != nil {
				return err
			}
			if c.Bool("detach") {
				c.out.line("Evaluation ID: %s", answer.EvalID)
				return nil
			}
			return c.follow(client, following{job: a.Job, eval: answer.EvalID, alloc: a.ID, goal: replaced, whole: c.Bool("verbose")})
		},
	})
}

func (p *program) allocRestart() *cli.Command {
	return p.command(verb{
		name: "restart", short: "start an allocation's tasks anew where they are", args: "ID [TASK]", min: 1, max: 2,
		example: "cluster alloc restart 8d3c1f7a\ncluster alloc restart 8d3c1f7a web",
		flags: []cli.Flag{&cli.BoolFlag{Name: "all-tasks", Usage: "also tasks that have ended"},
			&cli.StringFlag{Name: "task", Usage: "only `TASK`"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			a, err := c.allocation(client, c.Args().First())
			if err != nil {
				return err
			}
			task := c.String("task")
			if c.NArg() == 2 {
				task = c.Args().Get(1)
			}
			if task != "" && (a.Group() == nil || a.Group().Task(task) == nil) {
				return unknownTask(a, task)
			}
			if task != "" && c.Bool("all-tasks") {
				return fmt.Errorf("restart allocation %s: -all-tasks and task %q exclude each other", a.ID.Short(), task)
			}
			req := cluster.AllocRestartRequest{TaskName: task, AllTasks: c.Bool("all-tasks")}
			return client.RestartAllocation(c.ctx(), a.ID, req, api.Query{Namespace: a.Namespace()})
		},
	})
}

// unknownTask says which tasks there are.
func unknownTask(a *cluster.Allocation, task string) error {
	return cluster.Errorf(cluster.CodeNotFound, "find task %q of allocation %s: it has %s", clip(task), a.ID.Short(), strings.Join(taskNames(a), ", "))
}

func taskNames(a *cluster.Allocation) []string {
	var names []string
	if group := a.Group(); group != nil {
		for i := range group.Tasks {
			names = append(names, group.Tasks[i].Name)
		}
	}
	return names
}
