package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) jobDispatch() *cli.Command {
	return p.command(verb{
		name: "dispatch", short: "launch a parameterized job, and follow the launch until it is complete", args: "ID [FILE|-]", min: 1, max: 2,
		long: "The launch is a job of its own. The payload, at most 16 KB, is read from a file or, for \"-\", from standard input.\n" +
			"Status as for \"job run\".",
		example: "cluster job dispatch -meta input=film.mkv encode\n" +
			"cluster job dispatch -detach -idempotency-token night-2026-05-01 encode settings.json\n" +
			"cluster job dispatch -payload - -id-prefix-template night encode",
		flags: []cli.Flag{detachFlag(), verboseFlag(),
			&cli.StringSliceFlag{Name: "meta", Usage: "give the launch `KEY=VALUE`; may be repeated"},
			&cli.StringFlag{Name: "payload", Usage: "the payload's `FILE`, - for standard input, as the second argument"},
			&cli.StringFlag{Name: "idempotency-token", Usage: "with the same `TOKEN` there is one launch, however often this is run"},
			&cli.StringFlag{Name: "id-prefix-template", Usage: "begin the launch's own part of its ID with `TEXT`"},
			&cli.StringFlag{Name: "priority", Usage: "launch with priority `N`, 1 to 100, instead of the job's"},
			&cli.BoolFlag{Name: "wait", Usage: "follow until the launch is complete, as without"}},
		run: dispatchJob,
	})
}

func dispatchJob(c *call) error {
	req := api.JobDispatchRequest{Meta: map[string]string{}, IdPrefixTemplate: c.String("id-prefix-template")}
	for _, text := range c.StringSlice("meta") {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" {
			return fmt.Errorf("read flag -meta %q: want -meta KEY=VALUE", clip(text))
		}
		req.Meta[key] = value
	}
	var err error
	if text := c.String("priority"); text != "" {
		if req.Priority, err = strconv.Atoi(text); err != nil || req.Priority < 1 || req.Priority > 100 {
			return fmt.Errorf("read flag -priority %q: want a number from 1 to 100", clip(text))
		}
	}
	if c.NArg() > 1 && c.String("payload") != "" {
		return fmt.Errorf("read payload: it is given twice, as %q and with -payload: leave one out", clip(c.Args().Get(1)))
	}
	if name := cmp.Or(c.Args().Get(1), c.String("payload")); name != "" {
		if req.Payload, _, err = readFile(c, name); err != nil {
			return fmt.Errorf("read payload: %w", err)
		}
		if len(req.Payload) > cluster.MaxPayload {
			return fmt.Errorf("read payload %s: it is over the limit of %d KB: put it where the task can fetch it, and dispatch its name", clip(name), cluster.MaxPayload>>10)
		}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	key, err := c.jobKey(client, c.Args().First())
	if err != nil {
		return err
	}
	answer, err := client.DispatchJob(c.ctx(), key.ID, req, c.String("idempotency-token"), api.Query{Namespace: key.Namespace})
	if err != nil {
		return err
	}
	return c.launched(client, cluster.JobKey{Namespace: key.Namespace, ID: answer.DispatchedJobID}, "Dispatched Job ID", answer.EvalID)
}

// launched tells of a launch and follows it, unless the user wants no more. Without an evaluation it was there already, or
// runs nothing itself.
func (c *call) launched(client *api.Client, key cluster.JobKey, title string, eval cluster.ID) error {
	pairs := []pair{{title, key.ID}}
	if !eval.IsZero() {
		pairs = append(pairs, pair{"Evaluation ID", eval.String()})
	}
	c.out.pairs(pairs)
	if c.Bool("detach") {
		return nil
	}
	job, _, err := client.Job(c.ctx(), key.ID, api.Query{Namespace: key.Namespace})
	if err != nil {
		return err
	}
	if job.IsTemplate() {
		c.nextLaunch(job)
		return nil
	}
	c.out.line("")
	return c.follow(client, following{job: job, eval: eval, goal: placed, whole: c.Bool("verbose")})
}

// registered tells of a job that runs nothing itself.
func (c *call) registered(job *cluster.Job) {
	c.out.line("Job registration successful")
	c.nextLaunch(job)
}

// nextLaunch says when the clock launches the job, if it does.
func (c *call) nextLaunch(job *cluster.Job) {
	if next, ok := c.out.nextLaunch(job); ok {
		c.out.line("Approximate next launch time: %s", next)
	}
}

// nextLaunch is when the clock launches the job, in words; ok is false if it does not.
func (o *output) nextLaunch(job *cluster.Job) (text string, ok bool) {
	if !job.ByClock() {
		return "", false
	}
	slots, err := job.Periodic.Schedule()
	if err != nil {
		return "", false
	}
	next := slots.Next(o.now())
	if next.IsZero() {
		return "never again", true
	}
	return next.In(o.now().Location()).Format(time.RFC3339) + " (" + o.ago(next.UnixNano()) + ")", true
}

func (p *program) jobForce() *cli.Command {
	return p.command(verb{
		name: "force", short: "launch a periodic job now, and follow the launch until it is complete", args: "ID", min: 1, max: 1,
		long:    "The schedule goes on as if nothing had been; prohibit_overlap does not hold up a launch by hand.",
		example: "cluster job periodic force nightly\ncluster job periodic force -detach nightly",
		flags:   []cli.Flag{detachFlag(), verboseFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			key, err := c.jobKey(client, c.Args().First())
			if err != nil {
				return err
			}
			answer, err := client.ForceJob(c.ctx(), key.ID, api.Query{Namespace: key.Namespace})
			if err != nil {
				return err
			}
			return c.launched(client, cluster.JobKey{Namespace: key.Namespace, ID: answer.LaunchedJobID}, "Launched Job ID", answer.EvalID)
		},
	})
}

// mostLaunches is how many launches are listed with their parent, the newest.
const mostLaunches = 20

// showTemplate shows what there is of a job that runs nothing itself: its launches.
func showTemplate(c *call, client *api.Client, job *cluster.Job) error {
	q := api.Query{Namespace: job.Namespace}
	summary, _, err := client.JobSummary(c.ctx(), job.ID, q)
	if err != nil {
		return err
	}
	if p := job.ParameterizedJob; job.IsParameterized() {
		c.out.heading("Parameterized Job")
		c.out.pairs([]pair{{"Payload", p.Payload}, {"Required Metadata", strings.Join(p.MetaRequired, ", ")}, {"Optional Metadata", strings.Join(p.MetaOptional, ", ")}})
	}
	if l := summary.Launches; l != nil {
		c.out.heading("Periodic Job")
		c.out.launches(job, l)
	}
	c.out.heading("Children Job Summary")
	n := summary.Children
	c.out.table([][]string{{"Pending", "Running", "Dead"}, {strconv.Itoa(n.Pending), strconv.Itoa(n.Running), strconv.Itoa(n.Dead)}})
	q.Prefix = job.ID + "/"
	list, _, err := client.Jobs(c.ctx(), q)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(j api.JobListStub) bool { return j.ParentID != job.ID })
	slices.SortStableFunc(list, func(a, b api.JobListStub) int { return cmp.Compare(b.SubmitTime, a.SubmitTime) })
	title := "Previously Launched Jobs"
	if job.IsParameterized() {
		title = "Dispatched Jobs"
	}
	c.out.heading(title)
	if len(list) == 0 {
		c.out.line("No launches")
		return nil
	}
	rows := [][]string{{"ID", "Status", "Submit Date"}}
	for _, j := range list[:min(len(list), mostLaunches)] {
		rows = append(rows, []string{j.ID, jobStatus(j.Status, j.Stop), c.out.moment(j.SubmitTime)})
	}
	c.out.table(rows)
	if more := len(list) - mostLaunches; more > 0 {
		c.out.line("and %d older ones: `cluster operator api '/v1/jobs?prefix=%s/'` lists all", more, job.ID)
	}
	return nil
}

// launches shows how a schedule has gone so far.
func (o *output) launches(job *cluster.Job, l *cluster.Launches) {
	slot := func(at int64) string {
		if at == 0 {
			return ""
		}
		return o.moment(at * int64(time.Second))
	}
	next, ok := o.nextLaunch(job)
	switch {
	case ok:
	case job.Stop:
		next = "never: the job is stopped"
	default:
		next = "never: the schedule rests"
	}
	crons := append(slices.Clone(job.Periodic.Specs), job.Periodic.Spec)
	pairs := []pair{{"Schedule", strings.TrimSpace(strings.Join(crons, "  ")) + " (" + cmp.Or(job.Periodic.TimeZone, "UTC") + ")"},
		{"Next Launch", next}, {"Last Launch", slot(l.Last)}}
	if l.Missed > 0 {
		pairs = append(pairs, pair{"Missed", fmt.Sprintf("%d, with no server to launch them; the last were from %s to %s", l.Missed, slot(l.LastMissed.From), slot(l.LastMissed.To))})
	}
	if l.Skipped > 0 {
		pairs = append(pairs, pair{"Skipped", fmt.Sprintf("%d, while a launch ran; the last was %s", l.Skipped, slot(l.LastSkipped))})
	}
	o.pairs(pairs)
}

// stoppedTemplate says what goes on of a job that runs nothing itself.
func stoppedTemplate(c *call, client *api.Client, job *cluster.Job) {
	c.out.line("Job %q has stopped", job.ID)
	list, _, err := client.Jobs(c.ctx(), api.Query{Namespace: job.Namespace, Prefix: job.ID + "/"})
	if err != nil {
		return
	}
	list = slices.DeleteFunc(list, func(j api.JobListStub) bool { return j.ParentID != job.ID || j.Status == cluster.JobStatusDead })
	if len(list) > 0 {
		c.out.line("%d of its launches go on, such as %s: `%s` ends it", len(list), list[0].ID, c.jobCommand("stop", cluster.JobKey{Namespace: job.Namespace, ID: list[0].ID}))
	}
}

// kindOf is a job's type as lists show it.
func kindOf(j api.JobListStub) string {
	switch {
	case j.ParameterizedJob:
		return j.Type + "/parameterized"
	case j.Periodic:
		return j.Type + "/periodic"
	}
	return j.Type
}
