package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) jobStatus(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "list jobs, or show one with its allocations", args: "[ID]", max: 1,
		example: "cluster job status\ncluster job status web\ncluster job status -json web",
		flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag(),
			&cli.BoolFlag{Name: "short", Usage: "only the header"},
			&cli.BoolFlag{Name: "evals", Usage: "also the evaluations"},
			&cli.BoolFlag{Name: "all-allocs", Usage: "also allocations of an earlier job of the same ID"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if c.NArg() == 0 {
				return listJobs(c, client)
			}
			key, err := c.jobKey(client, c.Args().First())
			if err != nil {
				return err
			}
			return showJob(c, client, key)
		},
	})
}

// jobStatus is a job's status for people: one that was stopped is not merely dead.
func jobStatus(status string, stop bool) string {
	if stop {
		return status + " (stopped)"
	}
	return status
}

func listJobs(c *call, client *api.Client) error {
	if c.asObject() {
		return c.printObject(client, api.JobsList.Path, api.Query{})
	}
	list, _, err := client.Jobs(c.ctx(), api.Query{})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		c.out.line("No running jobs")
		return nil
	}
	several := c.setting("namespace", "NAMESPACE", "") == cluster.AllNamespaces
	rows := [][]string{{"ID", "Type", "Priority", "Status", "Submit Date"}}
	if several {
		rows[0] = slices.Insert(rows[0], 1, "Namespace")
	}
	for _, j := range list {
		row := []string{j.ID, kindOf(j), strconv.Itoa(j.Priority), jobStatus(j.Status, j.Stop), c.out.moment(j.SubmitTime)}
		if several {
			row = slices.Insert(row, 1, j.Namespace)
		}
		rows = append(rows, row)
	}
	c.out.table(rows)
	return nil
}

func showJob(c *call, client *api.Client, key cluster.JobKey) error {
	q := api.Query{Namespace: key.Namespace}
	if c.asObject() {
		return c.printObject(client, api.JobRead.URL(key.ID), q)
	}
	job, _, err := client.Job(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	c.out.jobHeader(job)
	if c.Bool("short") {
		return nil
	}
	if job.IsTemplate() {
		return showTemplate(c, client, job)
	}
	summary, _, err := client.JobSummary(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	c.out.heading("Summary")
	c.out.summary(summary)
	evals, _, err := client.JobEvaluations(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	if c.Bool("evals") {
		c.out.heading("Evaluations")
		c.out.evaluations(evals, c.Bool("verbose"))
	}
	if blocked := blockedEvaluation(evals); blocked != nil && !job.Stop {
		c.out.heading("Placement Failure")
		for _, line := range placementFailures(blocked) {
			c.out.line("%s", line)
		}
	}
	deployment, _, err := client.JobDeployment(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	if deployment != nil {
		c.out.heading("Latest Deployment")
		c.out.deployment(deployment, c.Bool("verbose"), false)
	}
	allocs, _, err := client.JobAllocations(c.ctx(), key.ID, c.Bool("all-allocs"), q)
	if err != nil {
		return err
	}
	c.out.heading("Allocations")
	if len(allocs) == 0 {
		c.out.line("No allocations placed")
		return nil
	}
	c.out.allocations(allocs, c.Bool("verbose"))
	return nil
}

func (o *output) jobHeader(j *cluster.Job) {
	o.pairs([]pair{
		{"ID", j.ID}, {"Name", j.Name}, {"Submit Date", o.moment(j.SubmitTime)}, {"Type", j.Type},
		{"Priority", strconv.Itoa(j.Priority)}, {"Datacenters", strings.Join(j.Datacenters, ",")}, {"Namespace", j.Namespace},
		{"Node Pool", j.NodePool}, {"Version", strconv.FormatUint(j.Version, 10)}, {"Status", jobStatus(j.Status, j.Stop)},
		{"Periodic", strconv.FormatBool(j.IsPeriodic())}, {"Parameterized", strconv.FormatBool(j.IsParameterized())},
	})
}

func (o *output) summary(s *cluster.JobSummary) {
	rows := [][]string{{"Task Group", "Queued", "Starting", "Running", "Failed", "Complete", "Lost", "Unknown"}}
	for _, name := range slices.Sorted(maps.Keys(s.Summary)) {
		g := s.Summary[name]
		row := []string{name}
		for _, n := range []int{g.Queued, g.Starting, g.Running, g.Failed, g.Complete, g.Lost, g.Unknown} {
			row = append(row, strconv.Itoa(n))
		}
		rows = append(rows, row)
	}
	o.table(rows)
}

func (o *output) allocations(list []api.AllocListStub, verbose bool) {
	rows := [][]string{{"ID", "Node ID", "Node Name", "Task Group", "Version", "Desired", "Status", "Created", "Modified"}}
	slices.SortStableFunc(list, func(a, b api.AllocListStub) int { return int(b.CreateIndex) - int(a.CreateIndex) })
	for _, a := range list {
		rows = append(rows, []string{short(a.ID, verbose), short(a.NodeID, verbose), a.NodeName, a.TaskGroup,
			strconv.FormatUint(a.JobVersion, 10), a.DesiredStatus.String(), a.ClientStatus.String(),
			o.ago(a.CreateTime), o.ago(a.ModifyTime)})
	}
	o.table(rows)
}

// blockedEvaluation is the evaluation that waits for room, nil if none does.
func blockedEvaluation(evals []*cluster.Evaluation) *cluster.Evaluation {
	for _, e := range evals {
		if e.Status == cluster.EvalBlocked {
			return e
		}
	}
	return nil
}

func (p *program) jobInspect(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "print a job as the API has it, or the file that it was made from", args: "ID", min: 1, max: 1,
		example: "cluster job inspect web\ncluster job inspect -version 3 web\ncluster job inspect -hcl web",
		flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON, as without"},
			&cli.StringFlag{Name: "t", Usage: "print the job by a Go `TEMPLATE`"},
			&cli.BoolFlag{Name: "hcl", Usage: "print the job file that was submitted"},
			&cli.BoolFlag{Name: "with-vars", Usage: "with -hcl: and then the values that its variables were given, as comments"},
			&cli.StringFlag{Name: "version", Usage: "look at version `N` instead of the newest"}},
		run: inspectJob,
	})
}

func inspectJob(c *call) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	key, err := c.jobKey(client, c.Args().First())
	if err != nil {
		return err
	}
	q := api.Query{Namespace: key.Namespace}
	job, _, err := client.Job(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	if text := c.String("version"); text != "" {
		if job, err = jobVersion(c, client, key, text); err != nil {
			return err
		}
	}
	switch {
	case c.Bool("with-vars") && !c.Bool("hcl"):
		return errors.New("print values of variables: -with-vars goes with -hcl alone")
	case c.String("t") != "":
		return c.object(job)
	case !c.Bool("hcl"):
		return c.out.json(map[string]any{"Job": job})
	}
	submission, _, err := client.JobSubmission(c.ctx(), key.ID, job.Version, q)
	if err != nil {
		return err
	}
	c.out.text(strings.TrimRight(submission.Source, "\n"))
	if c.Bool("with-vars") {
		c.out.variables(submission)
	}
	return nil
}

func jobVersion(c *call, client *api.Client, key cluster.JobKey, text string) (*cluster.Job, error) {
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read flag -version %q: want a number", clip(text))
	}
	versions, _, err := client.JobVersions(c.ctx(), key.ID, api.Query{Namespace: key.Namespace})
	if err != nil {
		return nil, err
	}
	for _, j := range versions {
		if j.Version == number {
			return j, nil
		}
	}
	return nil, cluster.Errorf(cluster.CodeNotFound, "find version %d of job %q: `%s` lists what there is", number, key.ID, c.jobCommand("history", key))
}
