package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func selfFlag() cli.Flag {
	return &cli.BoolFlag{Name: "self", Usage: "the node of the agent that answers"}
}

// targetNode is the node that the command is about.
func (c *call) targetNode(client *api.Client) (cluster.ID, error) {
	switch {
	case c.Bool("self") == (c.NArg() == 1):
		return cluster.ID{}, errors.New("find node: write its ID or name, or -self for the one of the agent that answers")
	case c.Bool("self"):
		return ownNode(c, client)
	}
	return c.nodeID(client, c.Args().First())
}

func (p *program) nodeEligibility() *cli.Command {
	return p.command(verb{
		name: "eligibility", short: "say whether new work may be placed on a node", args: "[ID|NAME]", max: 1,
		long:    "What runs on the node is left alone: `cluster node drain` moves that, too.",
		example: "cluster node eligibility -disable 4d2ba53b\ncluster node eligibility -enable -self",
		flags: []cli.Flag{selfFlag(),
			&cli.BoolFlag{Name: "enable", Usage: "new work may be placed there"},
			&cli.BoolFlag{Name: "disable", Usage: "no new work is placed there"}},
		run: func(c *call) error {
			if c.Bool("enable") == c.Bool("disable") {
				return errors.New("set eligibility: write either -enable or -disable")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := c.targetNode(client)
			if err != nil {
				return err
			}
			if _, err := client.SetNodeEligibility(c.ctx(), id, c.Bool("enable")); err != nil {
				return err
			}
			word := cluster.NodeIneligible
			if c.Bool("enable") {
				word = cluster.NodeEligible
			}
			c.out.line("Node %q is %s for new work", id.Short(), word)
			return nil
		},
	})
}

func (p *program) nodeDrain(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "move everything off a node, and keep new work from it", args: "[ID|NAME]", max: 1,
		long: "Services leave as their groups' migrate blocks say, each when it has a place elsewhere. Batch jobs may end where they are,\n" +
			"and system jobs go last. What is left at the deadline goes at once. The command follows the drain to its end; interrupting it\n" +
			"leaves the drain as it is. A drained node takes no new work until `-disable`, or `cluster node eligibility -enable`.",
		example: "cluster node drain -enable 4d2ba53b\ncluster node drain -enable -deadline 10m -m \"new disk\" -self\ncluster node drain -disable 4d2ba53b",
		flags: []cli.Flag{selfFlag(),
			&cli.BoolFlag{Name: "detach", Usage: "return at once; the drain goes on"},
			&cli.BoolFlag{Name: "enable", Usage: "begin the drain, or change it"},
			&cli.BoolFlag{Name: "disable", Usage: "end the drain, and let the node take new work"},
			&cli.BoolFlag{Name: "monitor", Usage: "only follow the drain that is under way"},
			&cli.DurationFlag{Name: "deadline", Value: time.Hour, Usage: "after `TIME`, what is left goes at once"},
			&cli.BoolFlag{Name: "force", Usage: "everything goes at once"},
			&cli.BoolFlag{Name: "no-deadline", Usage: "what is left may stay as long as it takes"},
			&cli.BoolFlag{Name: "ignore-system", Usage: "leave system jobs alone"},
			&cli.BoolFlag{Name: "keep-ineligible", Usage: "with -disable: the node still takes no new work"},
			&cli.StringFlag{Name: "m", Usage: "note `TEXT` with the drain, to say why"},
			&cli.StringSliceFlag{Name: "meta", Usage: "note `KEY=VALUE` with the drain; may be repeated"},
			&cli.BoolFlag{Name: "yes", Usage: "accepted for scripts: nothing is asked"}},
		run: func(c *call) error {
			req, err := c.drainRequest()
			if err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := c.targetNode(client)
			if err != nil {
				return err
			}
			if !c.Bool("monitor") {
				if _, err := client.DrainNode(c.ctx(), id, req); err != nil {
					return err
				}
			}
			switch {
			case c.Bool("disable") && req.MarkEligible:
				c.out.line("Node %q is not drained any more and takes new work", id.Short())
			case c.Bool("disable"):
				c.out.line("Node %q is not drained any more; it still takes no new work", id.Short())
			case c.Bool("enable"):
				c.out.line("Node %q drain strategy set", id.Short())
			}
			if c.Bool("disable") || c.Bool("detach") {
				return nil
			}
			return c.followDrain(client, id)
		},
	})
}

// drainRequest is what the flags ask for.
func (c *call) drainRequest() (api.NodeDrainRequest, error) {
	req := api.NodeDrainRequest{MarkEligible: c.Bool("disable") && !c.Bool("keep-ineligible")}
	given := func(names ...string) (set []string) {
		for _, name := range names {
			if c.IsSet(name) {
				set = append(set, "-"+name)
			}
		}
		return set
	}
	if len(given("enable", "disable", "monitor")) != 1 {
		return req, errors.New("drain node: write one of -enable, -disable and -monitor")
	}
	when := given("deadline", "force", "no-deadline")
	for _, rule := range []struct {
		flags []string
		with  string
	}{
		{append(when, given("ignore-system")...), "enable"},
		{given("keep-ineligible"), "disable"},
	} {
		if len(rule.flags) > 0 && !c.Bool(rule.with) {
			return req, fmt.Errorf("drain node: %s goes with -%s alone", rule.flags[0], rule.with)
		}
	}
	switch {
	case len(when) > 1:
		return req, fmt.Errorf("drain node: %s exclude one another: write one of them", strings.Join(when, " and "))
	case c.Duration("deadline") <= 0:
		return req, fmt.Errorf("read flag -deadline %s: want a time to wait, or write -force or -no-deadline", c.Duration("deadline"))
	}
	if c.Bool("enable") {
		req.DrainSpec = &cluster.DrainSpec{Deadline: c.Duration("deadline"), IgnoreSystemJobs: c.Bool("ignore-system")}
		switch {
		case c.Bool("force"):
			req.DrainSpec.Deadline = -1
		case c.Bool("no-deadline"):
			req.DrainSpec.Deadline = 0
		}
	}
	if text := c.String("m"); text != "" {
		req.Meta = map[string]string{"message": text}
	}
	for _, text := range c.StringSlice("meta") {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" {
			return req, fmt.Errorf("read flag -meta %q: want -meta KEY=VALUE", clip(text))
		}
		if req.Meta == nil {
			req.Meta = map[string]string{}
		}
		req.Meta[key] = value
	}
	return req, nil
}

// followDrain shows how a drain goes until it is over.
func (c *call) followDrain(client *api.Client, id cluster.ID) error {
	ctx, stop := context.WithCancel(c.ctx())
	wake := make(chan struct{}, 1)
	var watchers sync.WaitGroup
	for _, read := range []reader{
		func(ctx context.Context, q api.Query) (api.Meta, error) {
			_, meta, err := client.Node(ctx, id, q)
			return meta, err
		},
		func(ctx context.Context, q api.Query) (api.Meta, error) {
			_, meta, err := client.NodeAllocations(ctx, id, q)
			return meta, err
		},
	} {
		watchers.Go(func() { watch(ctx, wake, read) })
	}
	view := &drainView{id: id, zone: c.out.now().Location(), known: map[cluster.ID]string{}, waits: map[cluster.JobKey]string{}}
	err := c.attendDrain(ctx, client, view, wake)
	stop()
	watchers.Wait()
	if c.Context.Err() != nil {
		c.out.line("Following ended; the drain goes on: see `cluster node status %s`", id.Short())
		return &exitStatus{status: exitInterrupted}
	}
	return err
}

// attendDrain looks whenever it is woken and returns when the drain is over.
func (c *call) attendDrain(ctx context.Context, client *api.Client, v *drainView, wake <-chan struct{}) error {
	show := &show{out: c.out}
	var away time.Time // since when the agent is
	for {
		err := v.look(ctx, client)
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !passing(err):
			return err
		case err != nil && away.IsZero():
			away = time.Now()
			show.note(fmt.Sprintf("%v; trying again", c.explain(err)))
		case err != nil && time.Since(away) > patience:
			return fmt.Errorf("follow drain of node %s: %w; it goes on", v.id.Short(), err)
		case err == nil:
			away = time.Time{}
			for _, text := range v.news() {
				show.note(text)
			}
			if v.node.DrainStrategy == nil {
				lines, err := v.outcome()
				for _, text := range lines {
					show.note(text)
				}
				return err
			}
		}
		if err := show.wait(ctx, wake, lastPause, err != nil); err != nil {
			return err
		}
	}
}

// drainView is a node that is being drained, as it was seen last, and what has been said of it.
type drainView struct {
	id      cluster.ID
	zone    *time.Location
	node    *cluster.Node
	allocs  []*cluster.Allocation
	blocked []*cluster.Evaluation // of all jobs
	begun   bool                  // the first news have been told
	known   map[cluster.ID]string // the last news of each allocation that was there
	waits   map[cluster.JobKey]string
}

// look reads the node first: what it says to be over can then be seen to be over.
func (v *drainView) look(ctx context.Context, client *api.Client) error {
	var err error
	if v.node, _, err = client.Node(ctx, v.id, api.Query{}); err != nil {
		return err
	}
	v.blocked, _, err = client.Evaluations(ctx, api.Query{Namespace: cluster.AllNamespaces, Filter: `Status == "blocked"`})
	if err != nil {
		return err
	}
	if v.allocs, _, err = client.NodeAllocations(ctx, v.id, api.Query{}); err != nil {
		return err
	}
	slices.SortStableFunc(v.allocs, func(a, b *cluster.Allocation) int { return int(a.CreateIndex) - int(b.CreateIndex) })
	return nil
}

// news are the lines about what has changed since they were asked for last.
func (v *drainView) news() []string {
	var lines []string
	remaining, jobs := 0, map[cluster.JobKey]bool{}
	for _, a := range v.allocs {
		last, seen := v.known[a.ID]
		text := ""
		switch {
		case !a.Occupies():
			if !seen {
				continue // it was over before
			}
			text = fmt.Sprintf("Alloc %q (%s) has stopped", a.ID.Short(), a.Name())
		case a.ServerTerminal():
			text = fmt.Sprintf("Alloc %q (%s) is draining", a.ID.Short(), a.Name())
			if next := a.Details().NextAllocation; !next.IsZero() {
				text += fmt.Sprintf(", %q takes its place", next.Short())
			}
		default:
			remaining, jobs[a.Job.Key()] = remaining+1, true
		}
		if text != "" && text != last {
			lines = append(lines, text)
		}
		v.known[a.ID] = text
	}
	if !v.begun && v.node.DrainStrategy != nil {
		lines = append([]string{fmt.Sprintf("Node %q is being drained%s; allocations there: %d", v.id.Short(), drainEnd(v.node.DrainStrategy, v.zone), remaining)}, lines...)
	}
	v.begun = true
	for _, e := range v.blocked {
		key := cluster.JobKey{Namespace: e.Namespace, ID: e.JobID}
		text := fmt.Sprintf("Job %q waits for room", e.JobID)
		for _, group := range slices.Sorted(maps.Keys(e.FailedTGAllocs)) {
			text += fmt.Sprintf("; group %q: %s", group, strings.Join(placementReasons(e.FailedTGAllocs[group]), ", "))
		}
		if e.Status == cluster.EvalBlocked && jobs[key] && v.waits[key] != text {
			v.waits[key] = text
			lines = append(lines, text)
		}
	}
	return lines
}

// drainEnd says when a drain becomes a matter of force.
func drainEnd(d *cluster.DrainStrategy, zone *time.Location) string {
	switch {
	case d.Deadline < 0:
		return " at once"
	case d.Deadline == 0:
		return " without a deadline"
	}
	return " until " + d.ForceDeadline.In(zone).Format(time.DateTime)
}

// outcome is how the drain came to its end: an error unless it is complete.
func (v *drainView) outcome() ([]string, error) {
	if last := v.node.LastDrain; last == nil || last.Status != cluster.DrainStatusComplete {
		return nil, fmt.Errorf("follow drain of node %s: it is not being drained: that was ended, or never begun", v.id.Short())
	}
	stay := 0
	for _, a := range v.allocs {
		if a.Occupies() {
			stay++
		}
	}
	end := fmt.Sprintf("All allocations on node %q have stopped", v.id.Short())
	if stay > 0 {
		end = fmt.Sprintf("All allocations on node %q have stopped, but for %d of system jobs", v.id.Short(), stay)
	}
	return []string{fmt.Sprintf("Node %q drain complete", v.id.Short()), end}, nil
}
