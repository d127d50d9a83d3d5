package main

import (
	"errors"
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
		example: "cluster job history web\ncluster job history -json web\ncluster job history -p web\ncluster job history -p -version 5 -diff-version 3 web\ncluster job history -version 3 -full web",
		flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print the list of versions as the API has them; with -version that one; with -p what each changed, too"}, templateFlag(),
			&cli.BoolFlag{Name: "p", Usage: "show what each version changed"},
			&cli.StringFlag{Name: "diff-version", Usage: "with -p: compare with version `N` instead of the one before"},
			&cli.StringFlag{Name: "diff-tag", Usage: "with -p: compare with the version that has the tag `NAME`"},
			&cli.StringFlag{Name: "version", Usage: "only version `N`, or the one with the tag N"},
			&cli.BoolFlag{Name: "full", Usage: "the list of versions as the API has them, as -json"}},
		run: showHistory,
	})
}

func showHistory(c *call) error {
	against := c.String("diff-version") + c.String("diff-tag")
	switch {
	case c.String("diff-version") != "" && c.String("diff-tag") != "":
		return errors.New("compare versions: -diff-version and -diff-tag exclude each other")
	case against != "" && !c.Bool("p"):
		return errors.New("compare versions: -diff-version and -diff-tag go with -p alone")
	case c.Bool("p") && c.Bool("full"):
		return errors.New("list versions: -p and -full exclude each other")
	}
	client, key, err := c.namedJob()
	if err != nil {
		return err
	}
	q := api.Query{Namespace: key.Namespace}
	one := c.String("version")
	versions, _, err := client.JobVersions(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	var only, base *cluster.Job
	if one != "" {
		if only, err = c.chooseVersion(key, versions, one); err != nil {
			return err
		}
		versions = []*cluster.Job{only}
	}
	if c.Bool("p") {
		if against != "" {
			if base, err = c.version(client, key, against); err != nil {
				return err
			}
		}
		return c.showChanges(client, key, only, base)
	}
	switch {
	case c.asObject() && only != nil:
		return c.object(only)
	case c.asObject(), c.Bool("full"):
		return c.object(versions)
	}
	c.out.versions(versions)
	return nil
}

// version finds a version by its number or its tag.
func (c *call) version(client *api.Client, key cluster.JobKey, text string) (*cluster.Job, error) {
	versions, _, err := client.JobVersions(c.ctx(), key.ID, api.Query{Namespace: key.Namespace})
	if err != nil {
		return nil, err
	}
	return c.chooseVersion(key, versions, text)
}

// showChanges shows what each version (or only the one) changed since the one before it or, if base is not nil, since that.
func (c *call) showChanges(client *api.Client, key cluster.JobKey, only, base *cluster.Job) error {
	all, err := client.JobDiffs(c.ctx(), key.ID, base, api.Query{Namespace: key.Namespace})
	if err != nil {
		return err
	}
	if c.asObject() {
		return c.object(changesOf(all, only))
	}
	d := differences{output: c.out}
	for i, version := range all.Versions {
		if only != nil && version.Version != only.Version {
			continue
		}
		c.out.versions([]*cluster.Job{version})
		switch {
		case base != nil && base.Version == version.Version:
			c.out.line("\nThe others are compared with this one\n")
		case i >= len(all.Diffs):
			c.out.line("\nThere is none before it to compare with\n")
		case all.Diffs[i].Type == cluster.DiffNone:
			c.out.line("\nIt differs in nothing\n")
		default:
			c.out.line("")
			d.job(all.Diffs[i])
			c.out.line("")
		}
	}
	return nil
}

// changesOf is what there is of the one version; of all, if it is nil.
func changesOf(all api.JobVersions, only *cluster.Job) api.JobVersions {
	if only == nil {
		return all
	}
	i := slices.IndexFunc(all.Versions, func(j *cluster.Job) bool { return j.Version == only.Version })
	if i < 0 { // it was forgotten meanwhile
		i = len(all.Versions)
	}
	all.Versions = all.Versions[i:min(i+1, len(all.Versions))]
	all.Diffs = all.Diffs[min(i, len(all.Diffs)):min(i+1, len(all.Diffs))]
	return all
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
