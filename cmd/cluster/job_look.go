package main

import (
	"strconv"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) jobAllocs() *cli.Command {
	return p.command(verb{
		name: "allocs", short: "list the allocations of a job", args: "ID", min: 1, max: 1,
		example: "cluster job allocs web\ncluster job allocs -all -json web",
		flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag(),
			&cli.BoolFlag{Name: "all", Usage: "also allocations of an earlier job of the same ID"}},
		run: func(c *call) error {
			client, key, err := c.namedJob()
			if err != nil {
				return err
			}
			q := api.Query{Namespace: key.Namespace}
			if c.asObject() {
				q.Params = map[string][]string{"all": {strconv.FormatBool(c.Bool("all"))}}
				return c.printObject(client, api.JobAllocsList.URL(key.ID), q)
			}
			allocs, _, err := client.JobAllocations(c.ctx(), key.ID, c.Bool("all"), q)
			if err != nil {
				return err
			}
			if len(allocs) == 0 {
				c.out.line("No allocations placed")
				return nil
			}
			c.out.allocations(allocs, c.Bool("verbose"))
			return nil
		},
	})
}

func (p *program) jobDeployments() *cli.Command {
	return p.command(verb{
		name: "deployments", short: "list the deployments of a job", args: "ID", min: 1, max: 1,
		example: "cluster job deployments web\ncluster job deployments -latest web",
		flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag(),
			&cli.BoolFlag{Name: "latest", Usage: "only the newest, with all it says"},
			&cli.BoolFlag{Name: "all", Usage: "also deployments of an earlier job of the same ID"}},
		run: listJobDeployments,
	})
}

func listJobDeployments(c *call) error {
	client, key, err := c.namedJob()
	if err != nil {
		return err
	}
	q := api.Query{Namespace: key.Namespace}
	switch {
	case c.asObject() && c.Bool("latest"):
		return c.printObject(client, api.JobLatestDeploy.URL(key.ID), q)
	case c.Bool("latest"):
		deployment, _, err := client.JobDeployment(c.ctx(), key.ID, q)
		if err != nil {
			return err
		}
		if deployment == nil {
			c.out.line("No deployments found")
			return nil
		}
		c.out.deployment(deployment, c.Bool("verbose"), true)
		return nil
	}
	q.Params = map[string][]string{"all": {strconv.FormatBool(c.Bool("all"))}}
	if c.asObject() {
		return c.printObject(client, api.JobDeploysList.URL(key.ID), q)
	}
	list, _, err := client.JobDeployments(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	c.out.deployments(list, c.Bool("verbose"))
	return nil
}

func (o *output) deployments(list []*cluster.Deployment, verbose bool) {
	if len(list) == 0 {
		o.line("No deployments found")
		return
	}
	rows := [][]string{{"ID", "Job ID", "Job Version", "Status", "Description"}}
	for _, d := range list {
		rows = append(rows, []string{short(d.ID, verbose), d.JobID, strconv.FormatUint(d.JobVersion, 10), d.Status, d.StatusDescription})
	}
	o.table(rows)
}
