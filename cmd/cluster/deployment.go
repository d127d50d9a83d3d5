package main

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) deploymentList() *cli.Command {
	return p.command(verb{
		name: "list", short: "list deployments", example: "cluster deployment list",
		flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			q := api.Query{Reverse: true}
			if c.asObject() {
				return c.printObject(client, api.DeploysList.Path, q)
			}
			list, _, err := client.Deployments(c.ctx(), q)
			if err != nil {
				return err
			}
			c.out.deployments(list, c.Bool("verbose"))
			return nil
		},
	})
}

func (p *program) deploymentStatus() *cli.Command {
	return p.command(verb{
		name: "status", short: "show how far a deployment is", args: "ID", min: 1, max: 1,
		example: "cluster deployment status 9b8c7d6e", flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := c.deploymentID(client, c.Args().First())
			if err != nil {
				return err
			}
			return showDeployment(c, client, id)
		},
	})
}

func showDeployment(c *call, client *api.Client, id cluster.ID) error {
	q := api.Query{Namespace: c.lookup()}
	if c.asObject() {
		return c.printObject(client, api.DeployRead.URL(id.String()), q)
	}
	d, _, err := client.Deployment(c.ctx(), id, q)
	if err != nil {
		return err
	}
	c.out.deployment(d, c.Bool("verbose"), true)
	return nil
}

// deployment prints a deployment; whole adds which job it is of.
func (o *output) deployment(d *cluster.Deployment, verbose, whole bool) {
	list := []pair{{"ID", short(d.ID, verbose)}}
	if whole {
		list = append(list, pair{"Job ID", d.JobID}, pair{"Job Version", strconv.FormatUint(d.JobVersion, 10)})
	}
	o.pairs(append(list, pair{"Status", d.Status}, pair{"Description", d.StatusDescription}))
	o.heading("Deployed")
	o.table(o.deployed(d))
}

func (o *output) deployed(d *cluster.Deployment) [][]string {
	rows := [][]string{{"Task Group", "Desired", "Placed", "Healthy", "Unhealthy", "Progress Deadline"}}
	for _, name := range slices.Sorted(maps.Keys(d.TaskGroups)) {
		g := d.TaskGroups[name]
		deadline := "N/A"
		if !g.RequireProgressBy.IsZero() {
			deadline = g.RequireProgressBy.In(o.now().Location()).Format(time.DateTime)
		}
		rows = append(rows, []string{name, strconv.Itoa(g.DesiredTotal), strconv.Itoa(g.PlacedAllocs),
			strconv.Itoa(g.HealthyAllocs), strconv.Itoa(g.UnhealthyAllocs), deadline})
	}
	return rows
}
