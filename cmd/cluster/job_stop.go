package main

import (
	"errors"
	"fmt"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) jobStop(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "end jobs, and follow until all their allocations have ended", args: "ID…", min: 1, max: -1,
		long: "By the beginning of an ID it asks first; without a terminal it wants the whole ID, or -yes. Interrupting it ends the following, not\n" +
			"the stopping. `cluster job start` begins a stopped job again.",
		example: "cluster job stop web\ncluster job stop web worker\ncluster job stop -yes we\ncluster job stop -purge web",
		flags: []cli.Flag{detachFlag(), verboseFlag(),
			&cli.BoolFlag{Name: "purge", Usage: "forget the job and its history; the ID must be written out"},
			&cli.BoolFlag{Name: "yes", Usage: "ask nothing, and stop or purge also by the beginning of an ID"},
			&cli.StringFlag{Name: "eval-priority", Usage: "plan with priority `N`, 1 to 100, instead of the job's"},
			&cli.BoolFlag{Name: "no-shutdown-delay", Usage: "end tasks at once (the servers say if they cannot)"},
			&cli.BoolFlag{Name: "global", Usage: "in all regions: there is one"}},
		run: stopJobs,
	})
}

func detachFlag() cli.Flag {
	return &cli.BoolFlag{Name: "detach", Usage: "return at once, print the evaluation's ID"}
}

// stopJobs stops the jobs that are named, all or, if one cannot be found, none.
func stopJobs(c *call) error {
	q, err := c.stopping()
	if err != nil {
		return err
	}
	client, jobs, err := c.namedJobs()
	if err != nil {
		return err
	}
	for i, typed := range c.Args().Slice() {
		if err := c.confirmStop(typed, jobs[i].ID); err != nil {
			return err
		}
	}
	evals := make([]cluster.ID, len(jobs))
	for i, job := range jobs {
		q.Namespace = job.Namespace
		answer, err := client.DeregisterJob(c.ctx(), job.ID, c.Bool("purge"), q)
		if err != nil {
			return fmt.Errorf("stop job %q: %w", job.ID, err)
		}
		evals[i] = answer.EvalID
	}
	return c.followEach(jobs, func(i int) error {
		job := *jobs[i]
		switch {
		case job.IsTemplate():
			stoppedTemplate(c, client, &job)
			return nil
		case c.Bool("detach"):
			c.out.line("Evaluation ID: %s", evals[i])
			return nil
		}
		job.Stop = true
		return c.follow(client, following{job: &job, eval: evals[i], goal: stopped, whole: c.Bool("verbose")})
	})
}

// confirmStop makes sure that the job is meant which was found. The beginning of an ID may be that of another job than the one that somebody
// has in mind: of one that is there in place of it.
func (c *call) confirmStop(typed, id string) error {
	if id == typed || c.Bool("yes") {
		return nil
	}
	if c.Bool("purge") {
		return fmt.Errorf("purge job %q: this forgets job %q for good: write its whole ID, or -yes", clip(typed), id)
	}
	if _, terminal := c.program.terminal(); !terminal {
		return fmt.Errorf("stop job %q: this stops job %q: write its whole ID, or -yes", clip(typed), id)
	}
	if !c.askYes(fmt.Sprintf("Stop job %q?", id)) {
		return errors.New("stop job: ended as asked; nothing was stopped")
	}
	return nil
}

// stopping is what the flags say of how jobs are stopped.
func (c *call) stopping() (api.Query, error) {
	q := api.Query{Params: map[string][]string{}}
	priority, err := c.evalPriority()
	if err != nil {
		return q, err
	}
	if priority > 0 {
		q.Params["eval_priority"] = []string{fmt.Sprint(priority)}
	}
	if c.Bool("no-shutdown-delay") {
		q.Params["no_shutdown_delay"] = []string{"true"}
	}
	return q, nil
}

// namedJobs are the jobs that the arguments name.
func (c *call) namedJobs() (*api.Client, []*cluster.Job, error) {
	client, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	var jobs []*cluster.Job
	for _, typed := range c.Args().Slice() {
		key, err := c.jobKey(client, typed)
		if err != nil {
			return nil, nil, err
		}
		job, _, err := client.Job(c.ctx(), key.ID, api.Query{Namespace: key.Namespace})
		if err != nil {
			return nil, nil, err
		}
		jobs = append(jobs, job)
	}
	return client, jobs, nil
}

// followEach follows one job after the other. It ends with the first one's failure that failed, after the last; the user ends it at once.
func (c *call) followEach(jobs []*cluster.Job, follow func(int) error) error {
	var failed error
	for i, job := range jobs {
		if len(jobs) > 1 {
			c.out.heading(fmt.Sprintf("Job %q", job.ID))
		}
		err := follow(i)
		if c.ctx().Err() != nil {
			return err
		}
		if exit, ok := errors.AsType[*exitStatus](err); err != nil && i < len(jobs)-1 && (!ok || exit.cause != nil) {
			c.out.fail(err)
		}
		if failed == nil {
			failed = err
		}
	}
	return failed
}

func (p *program) jobStart() *cli.Command {
	return p.command(verb{
		name: "start", short: "begin stopped jobs again, as they were, and follow until they run", args: "ID…", min: 1, max: -1,
		long: "A job that was purged is forgotten: run its file. Status: 0 done, 1 error, 2 not placed or failed; 130 when interrupted: the jobs\n" +
			"go on.",
		example: "cluster job start web\ncluster job start -detach web worker",
		flags:   []cli.Flag{detachFlag(), verboseFlag()},
		run:     startJobs,
	})
}

// startJobs registers stopped jobs again, all or, if one is not stopped, none.
func startJobs(c *call) error {
	client, jobs, err := c.namedJobs()
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if !job.Stop {
			return fmt.Errorf("start job %q: it is not stopped: `%s` restarts its instances, `%s` plans it again", job.ID, c.jobCommand("restart", job.Key()), c.jobCommand("eval", job.Key()))
		}
	}
	evals := make([]cluster.ID, len(jobs))
	for i, job := range jobs {
		q := api.Query{Namespace: job.Namespace}
		source, _, err := client.JobSubmission(c.ctx(), job.ID, job.Version, q)
		if err != nil && cluster.CodeOf(err) != cluster.CodeNotFound {
			return err
		}
		next := *job
		next.Stop = false
		answer, err := client.RegisterJob(c.ctx(), &next, api.RegisterOptions{Submission: source, CheckIndex: &job.JobModifyIndex})
		if err != nil {
			return fmt.Errorf("start job %q: %w", job.ID, err)
		}
		evals[i] = answer.EvalID
	}
	return c.followEach(jobs, func(i int) error {
		if jobs[i].IsTemplate() {
			next := *jobs[i]
			next.Stop = false
			c.registered(&next)
			return nil
		}
		return c.followJob(client, jobs[i].Key(), evals[i])
	})
}
