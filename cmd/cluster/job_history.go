package main

import (
	"slices"
	"strconv"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) jobHistory() *cli.Command {
	return p.command(verb{
		name: "history", short: "list the versions of a job", args: "ID", min: 1, max: 1,
		long: "Kept are the newest versions (6, unless the servers' job_tracked_versions says otherwise), those with a tag, those that an\n" +
			"allocation runs or ran, and the newest one that proved good (Stable).",
		example: "cluster job history web\ncluster job history -version 3 -full web",
		flags: []cli.Flag{jsonFlag(),
			&cli.StringFlag{Name: "version", Usage: "only version `N`, or the one with the tag N"},
			&cli.BoolFlag{Name: "full", Usage: "the versions as the API has them"}},
		run: showHistory,
	})
}

func showHistory(c *call) error {
	client, key, err := c.namedJob()
	if err != nil {
		return err
	}
	q := api.Query{Namespace: key.Namespace}
	one := c.String("version")
	if c.Bool("json") && one == "" {
		return c.printObject(client, api.JobVersionsList.URL(key.ID), q)
	}
	versions, _, err := client.JobVersions(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	if one != "" {
		wanted, err := chooseVersion(key.ID, versions, one)
		if err != nil {
			return err
		}
		versions = []*cluster.Job{wanted}
	}
	switch {
	case c.Bool("json"):
		return c.out.json(versions[0])
	case c.Bool("full"):
		return c.out.json(versions)
	}
	c.out.versions(versions)
	return nil
}

func (o *output) versions(versions []*cluster.Job) {
	tagged := slices.ContainsFunc(versions, func(j *cluster.Job) bool { return j.VersionTag != nil })
	rows := [][]string{{"Version", "Stable", "Stopped", "Submit Date"}}
	if tagged {
		rows[0] = append(rows[0], "Tag", "Description")
	}
	for _, j := range versions {
		row := []string{strconv.FormatUint(j.Version, 10), strconv.FormatBool(j.Stable), strconv.FormatBool(j.Stop), o.moment(j.SubmitTime)}
		if tag := j.VersionTag; tag != nil {
			row = append(row, tag.Name, firstLine(tag.Description))
		} else if tagged {
			row = append(row, none, none)
		}
		rows = append(rows, row)
	}
	o.table(rows)
}
