package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) evalList() *cli.Command {
	return p.command(verb{
		name: "list", short: "list evaluations", example: "cluster eval list\ncluster eval list -job web -status blocked",
		flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag(),
			&cli.StringFlag{Name: "job", Usage: "only those of job `ID`"},
			&cli.StringFlag{Name: "status", Usage: "only those that are `STATUS`"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			q := api.Query{Reverse: true, Params: map[string][]string{}}
			for _, name := range []string{"job", "status"} {
				if v := c.String(name); v != "" {
					q.Params.Set(name, v)
				}
			}
			if c.asObject() {
				return c.printObject(client, api.EvalsList.Path, q)
			}
			list, _, err := client.Evaluations(c.ctx(), q)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				c.out.line("No evaluations found")
				return nil
			}
			c.out.evaluations(list, c.Bool("verbose"))
			return nil
		},
	})
}

func (o *output) evaluations(list []*cluster.Evaluation, verbose bool) {
	rows := [][]string{{"ID", "Priority", "Triggered By", "Job ID", "Namespace", "Node ID", "Status", "Placement Failures"}}
	for _, e := range list {
		failures := "false"
		if len(e.FailedTGAllocs) > 0 {
			failures = "true"
		}
		if e.Status == cluster.EvalBlocked {
			failures = "N/A - In Progress"
		}
		rows = append(rows, []string{short(e.ID, verbose), strconv.Itoa(e.Priority), e.TriggeredBy, e.JobID, e.Namespace,
			short(e.NodeID, verbose), e.Status, failures})
	}
	o.table(rows)
}

func (p *program) evalStatus(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "show an evaluation and what it could not place", args: "ID", min: 1, max: 1,
		example: "cluster eval status 5e1d2c3b", flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := c.evalID(client, c.Args().First())
			if err != nil {
				return err
			}
			return showEvaluation(c, client, id)
		},
	})
}

func showEvaluation(c *call, client *api.Client, id cluster.ID) error {
	q := api.Query{Namespace: c.lookup()}
	if c.asObject() {
		return c.printObject(client, api.EvalRead.URL(id.String()), q)
	}
	e, _, err := client.Evaluation(c.ctx(), id, q)
	if err != nil {
		return err
	}
	verbose := c.Bool("verbose")
	c.out.pairs([]pair{
		{"ID", short(e.ID, verbose)}, {"Create Time", c.out.moment(e.CreateTime)}, {"Modify Time", c.out.moment(e.ModifyTime)},
		{"Status", e.Status}, {"Status Description", e.StatusDescription}, {"Type", e.Type}, {"TriggeredBy", e.TriggeredBy},
		{"Job ID", e.JobID}, {"Namespace", e.Namespace}, {"Priority", strconv.Itoa(e.Priority)},
		{"Placement Failures", strconv.FormatBool(len(e.FailedTGAllocs) > 0)},
		{"Previous Eval", short(e.PreviousEval, verbose)}, {"Next Eval", short(e.NextEval, verbose)},
		{"Blocked Eval", short(e.BlockedEval, verbose)},
	})
	if len(e.FailedTGAllocs) > 0 {
		c.out.heading("Failed Placements")
		for _, line := range placementFailures(e) {
			c.out.line("%s", line)
		}
	}
	allocs, _, err := client.EvaluationAllocations(c.ctx(), id, api.Query{Namespace: e.Namespace})
	if err != nil {
		return err
	}
	if len(allocs) > 0 {
		c.out.heading("Placed Allocations")
		c.out.allocations(allocs, verbose)
	}
	return nil
}

// placementFailures says group by group what an evaluation could not place and how many nodes lacked what.
func placementFailures(e *cluster.Evaluation) []string {
	var lines []string
	for _, group := range slices.Sorted(maps.Keys(e.FailedTGAllocs)) {
		m := e.FailedTGAllocs[group]
		plural := "s"
		if m.CoalescedFailures == 0 {
			plural = ""
		}
		lines = append(lines, fmt.Sprintf("Task Group %q (failed to place %d allocation%s):", group, m.CoalescedFailures+1, plural))
		for _, reason := range placementReasons(m) {
			lines = append(lines, "  * "+reason)
		}
	}
	return lines
}

// placementReasons is an AllocMetric in the sentences that existing tools print.
func placementReasons(m cluster.AllocMetric) []string {
	var reasons []string
	say := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	if m.NodesEvaluated == 0 {
		say("No nodes were eligible for evaluation")
		if m.NodePool != "" && m.NodesInPool == 0 {
			say("No nodes are in node pool %q", m.NodePool)
		}
	}
	for _, dc := range slices.Sorted(maps.Keys(m.NodesAvailable)) {
		if m.NodesAvailable[dc] == 0 {
			say("No nodes are available in datacenter %q", dc)
		}
	}
	for _, class := range slices.Sorted(maps.Keys(m.ClassFiltered)) {
		say("Class %q: %s excluded by filter", class, nodes(m.ClassFiltered[class]))
	}
	for _, constraint := range slices.Sorted(maps.Keys(m.ConstraintFiltered)) {
		say("Constraint \"%s\": %s excluded by filter", constraint, nodes(m.ConstraintFiltered[constraint]))
	}
	if m.NodesExhausted > 0 {
		say("Resources exhausted on %s", nodes(m.NodesExhausted))
	}
	for _, class := range slices.Sorted(maps.Keys(m.ClassExhausted)) {
		say("Class %q exhausted on %s", class, nodes(m.ClassExhausted[class]))
	}
	for _, dimension := range slices.Sorted(maps.Keys(m.DimensionExhausted)) {
		say("Dimension %q exhausted on %s", dimension, nodes(m.DimensionExhausted[dimension]))
	}
	return reasons
}

func nodes(n int) string {
	if n == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", n)
}
