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

// namedJob is the client of a command and the job that its first argument names.
func (c *call) namedJob() (*api.Client, cluster.JobKey, error) {
	client, err := c.client()
	if err != nil {
		return nil, cluster.JobKey{}, err
	}
	key, err := c.jobKey(client, c.Args().First())
	return client, key, err
}

// followJob follows a change of a job until the job runs as it should; with -detach it only names the evaluation.
func (c *call) followJob(client *api.Client, key cluster.JobKey, eval cluster.ID) error {
	if eval.IsZero() {
		c.out.line("Job %q was changed; it is a template for other jobs: nothing is placed now", key.ID)
		return nil
	}
	if c.Bool("detach") {
		c.out.line("Evaluation ID: %s", eval)
		return nil
	}
	job, _, err := client.Job(c.ctx(), key.ID, api.Query{Namespace: key.Namespace})
	if err != nil {
		return err
	}
	f := following{job: job, eval: eval, goal: placed, whole: c.Bool("verbose")}
	if job.Stop {
		f.goal = stopped
	}
	return c.follow(client, f)
}

func (p *program) jobRevert() *cli.Command {
	return p.command(verb{
		name: "revert", short: "go back to an older version of a job, and follow until it runs", args: "ID VERSION|TAG", min: 2, max: 2,
		long: "The older version becomes the newest one, under the next number, and is rolled out like any change.\n" +
			"Status: 0 done, 1 error, 2 not placed or failed; 130 when interrupted: the rollout goes on.",
		example: "cluster job revert web 3\ncluster job revert web golden",
		flags:   []cli.Flag{detachFlag(), verboseFlag()},
		run: func(c *call) error {
			client, key, err := c.namedJob()
			if err != nil {
				return err
			}
			q := api.Query{Namespace: key.Namespace}
			versions, _, err := client.JobVersions(c.ctx(), key.ID, q)
			if err != nil {
				return err
			}
			wanted, err := c.chooseVersion(key, versions, c.Args().Get(1))
			if err != nil {
				return err
			}
			answer, err := client.RevertJob(c.ctx(), api.JobRevertRequest{JobID: key.ID, JobVersion: wanted.Version, EnforcePriorVersion: &versions[0].Version}, q)
			if err != nil {
				return err
			}
			return c.followJob(client, key, answer.EvalID)
		},
	})
}

// chooseVersion finds the version that is named by its number or its tag. A number that is a tag, too, is the number.
func (c *call) chooseVersion(key cluster.JobKey, versions []*cluster.Job, text string) (*cluster.Job, error) {
	if j := findVersion(versions, text); j != nil {
		return j, nil
	}
	return nil, cluster.Errorf(cluster.CodeNotFound, "find version %q of job %q: `%s` lists the versions and tags there are", clip(text), key.ID, c.jobCommand("history", key))
}

// findVersion is the version that chooseVersion finds, nil if there is none.
func findVersion(versions []*cluster.Job, text string) *cluster.Job {
	number, err := strconv.ParseUint(text, 10, 64)
	for _, j := range versions {
		if err == nil && j.Version == number {
			return j
		}
	}
	for _, j := range versions {
		if j.VersionTag != nil && j.VersionTag.Name == text {
			return j
		}
	}
	return nil
}

func (p *program) jobScale() *cli.Command {
	return p.command(verb{
		name: "scale", short: "change how many instances of a group are wanted, and follow until they run", args: "ID [GROUP] COUNT", min: 2, max: 3,
		long: "GROUP may be left out where the job has one. The scaling block of the group says within what bounds; while a deployment of\n" +
			"the job goes on, scaling is refused. Status: 0 done, 1 error, 2 not placed or failed; 130 when interrupted: the change goes on.",
		example: "cluster job scale web 5\ncluster job scale web api 5\ncluster job scale -message \"sale begins\" web 20",
		flags: []cli.Flag{detachFlag(), verboseFlag(),
			&cli.StringFlag{Name: "check-index", Usage: "only if the job's modify index is still `N`"},
			&cli.StringFlag{Name: "message", Usage: "note `TEXT` with the change"}},
		run: scaleJob,
	})
}

func scaleJob(c *call) error {
	client, key, err := c.namedJob()
	if err != nil {
		return err
	}
	q := api.Query{Namespace: key.Namespace}
	job, _, err := client.Job(c.ctx(), key.ID, q)
	if err != nil {
		return err
	}
	words := c.Args().Slice()
	group := ""
	switch {
	case len(words) == 3:
		group = words[1]
	case len(job.TaskGroups) == 1:
		group = job.TaskGroups[0].Name
	default:
		return fmt.Errorf("scale job %q: it has %d groups: say which: %s", key.ID, len(job.TaskGroups), strings.Join(groupNames(job), ", "))
	}
	if job.Group(group) == nil {
		return fmt.Errorf("scale job %q: it has no group %q, but %s", key.ID, clip(group), strings.Join(groupNames(job), ", "))
	}
	count, err := strconv.ParseInt(words[len(words)-1], 10, 32)
	if err != nil || count < 0 {
		return fmt.Errorf("read count %q: want a number of instances, 0 or more", clip(words[len(words)-1]))
	}
	req := api.JobScaleRequest{Count: &count, Target: map[string]string{"Group": group}, Message: c.String("message")}
	if req.Message == "" {
		req.Message = "submitted using the command line"
	}
	index, err := c.checkIndex()
	if err != nil {
		return err
	}
	if index != nil {
		if req.JobModifyIndex = *index; *index == 0 {
			return errors.New("read flag -check-index 0: want the job's modify index, a number above 0: a job that is not there has no count")
		}
	}
	answer, err := client.ScaleJob(c.ctx(), key.ID, req, q)
	if err != nil {
		return c.explainScaling(err, key)
	}
	return c.followJob(client, key, answer.EvalID)
}

// explainScaling adds what to do about a deployment that is in the way.
func (c *call) explainScaling(err error, key cluster.JobKey) error {
	if err != nil && strings.Contains(err.Error(), "active deployment") {
		return fmt.Errorf("%w: wait until `%s` shows its end", err, c.jobCommand("status", key))
	}
	return explainIndex(err, c.jobCommand("inspect", key))
}

func groupNames(job *cluster.Job) []string {
	var names []string
	for i := range job.TaskGroups {
		names = append(names, job.TaskGroups[i].Name)
	}
	return names
}

func (p *program) jobScalingEvents() *cli.Command {
	return p.command(verb{
		name: "scaling-events", short: "list what happened to the counts of a job's groups", args: "ID", min: 1, max: 1,
		example: "cluster job scaling-events web", flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag()},
		run: func(c *call) error {
			client, key, err := c.namedJob()
			if err != nil {
				return err
			}
			q := api.Query{Namespace: key.Namespace}
			if c.asObject() {
				return c.printObject(client, api.JobScaleState.URL(key.ID), q)
			}
			scaling, _, err := client.JobScaling(c.ctx(), key.ID, q)
			if err != nil {
				return err
			}
			c.out.scalingEvents(scaling, c.Bool("verbose"))
			return nil
		},
	})
}

func (o *output) scalingEvents(s *api.JobScaling, verbose bool) {
	rows := [][]string{{"Time", "Task Group", "Count", "Previous Count", "Error", "Message", "Eval ID"}}
	for _, name := range slices.Sorted(maps.Keys(s.TaskGroups)) {
		for _, e := range s.TaskGroups[name].Events {
			count, eval := none, none
			if e.Count != nil {
				count = strconv.FormatInt(*e.Count, 10)
			}
			if e.EvalID != nil {
				eval = short(*e.EvalID, verbose)
			}
			rows = append(rows, []string{o.moment(e.Time), name, count, strconv.FormatInt(e.PreviousCount, 10),
				strconv.FormatBool(e.Error), firstLine(e.Message), eval})
		}
	}
	if len(rows) == 1 {
		o.line("Nothing has happened to the counts of job %q", s.JobID)
		return
	}
	o.table(rows)
}

func (p *program) jobEval() *cli.Command {
	return p.command(verb{
		name: "eval", short: "plan a job again, as it is", args: "ID", min: 1, max: 1,
		long:    "That happens by itself whenever something changes. By force, instances that have failed for good are replaced, whatever the job's policy says.",
		example: "cluster job eval web\ncluster job eval -force-reschedule web",
		flags: []cli.Flag{detachFlag(), verboseFlag(),
			&cli.BoolFlag{Name: "force-reschedule", Usage: "replace instances that have failed for good"}},
		run: func(c *call) error {
			client, key, err := c.namedJob()
			if err != nil {
				return err
			}
			answer, err := client.EvaluateJob(c.ctx(), key.ID, c.Bool("force-reschedule"), api.Query{Namespace: key.Namespace})
			if err != nil {
				return err
			}
			return c.followJob(client, key, answer.EvalID)
		},
	})
}

func (p *program) jobTagApply() *cli.Command {
	return p.command(verb{
		name: "apply", short: "give a version of a job a name, under which it is kept for good", args: "ID", min: 1, max: 1,
		long:    "A name belongs to one version of a job at a time. `cluster job revert` takes it in place of a number.",
		example: "cluster job tag apply -name golden web\ncluster job tag apply -name golden -version 3 -description \"before the sale\" web",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "the `NAME`"},
			&cli.StringFlag{Name: "description", Usage: "a `TEXT` that says why"},
			&cli.StringFlag{Name: "version", Usage: "name version `N` instead of the newest"}},
		run: func(c *call) error {
			client, key, err := c.namedJob()
			if err != nil {
				return err
			}
			if c.String("name") == "" {
				return errors.New("tag version: a name is missing: want -name NAME")
			}
			req := api.JobTagRequest{Latest: true, Description: c.String("description")}
			if text := c.String("version"); text != "" {
				req.Latest = false
				if req.Version, err = strconv.ParseUint(text, 10, 64); err != nil {
					return fmt.Errorf("read flag -version %q: want a number", clip(text))
				}
			}
			if _, err := client.TagJob(c.ctx(), key.ID, c.String("name"), req, api.Query{Namespace: key.Namespace}); err != nil {
				return err
			}
			which := "The newest version"
			if !req.Latest {
				which = fmt.Sprintf("Version %d", req.Version)
			}
			c.out.line("%s of job %q has the name %q now: `%s %s` goes back to it", which, key.ID, c.String("name"), c.jobCommand("revert", key), shellQuoted(c.String("name")))
			return nil
		},
	})
}

func (p *program) jobTagUnset() *cli.Command {
	return p.command(verb{
		name: "unset", short: "take its name from a version of a job", args: "ID", min: 1, max: 1,
		long:    "The version is forgotten then when enough newer ones have come.",
		example: "cluster job tag unset -name golden web",
		flags:   []cli.Flag{&cli.StringFlag{Name: "name", Usage: "the `NAME`"}},
		run: func(c *call) error {
			client, key, err := c.namedJob()
			if err != nil {
				return err
			}
			name := c.String("name")
			if name == "" {
				return errors.New("unset tag: a name is missing: want -name NAME")
			}
			if err := client.UntagJob(c.ctx(), key.ID, name, api.Query{Namespace: key.Namespace}); err != nil {
				return err
			}
			c.out.line("No version of job %q has the name %q any more", key.ID, name)
			return nil
		},
	})
}
