package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

// recoverPatience is how long the server whose copy was chosen may take to lead.
const recoverPatience = time.Minute

func (p *program) recover() *cli.Command {
	return p.command(verb{
		name: "recover", short: "make a cluster of one surviving server when its majority is lost for good",
		long: "It shows every copy of the state that it reaches. With -yes the cluster is re-formed from the newest: that server alone decides\n" +
			"then, in a new epoch. Servers that come back later put their old copies aside and follow, whatever their addresses are.\n" +
			"What only the lost servers knew is lost. Be sure that they do not run: two halves that cannot see one another must not both go on.",
		example: "cluster recover\ncluster recover -yes",
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "yes", Usage: "do it; otherwise only show what would be done"},
			&cli.BoolFlag{Name: "older", Usage: "from the copy of the agent asked, though another has a newer one"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			view, err := client.ClusterView(c.ctx())
			if err != nil {
				return err
			}
			chosen, err := c.chooseCopy(view)
			if err != nil {
				return err
			}
			if !c.Bool("yes") {
				c.out.line("\nNothing was changed. To go on from this copy: `cluster recover -yes`")
				return &exitStatus{status: exitError}
			}
			begun, err := client.Recover(c.ctx(), api.RecoverRequest{Server: chosen.ID, Older: c.Bool("older")})
			if err != nil {
				return err
			}
			return c.followRecovery(client, begun)
		},
	})
}

// chooseCopy shows the copies and says from which one the cluster would be re-formed.
func (c *call) chooseCopy(view *api.ClusterView) (*api.ServerView, error) {
	c.out.table(c.out.copyRows(view))
	if !view.Leader.IsZero() {
		return nil, fmt.Errorf("recover: server %s leads: nothing is lost, and there is nothing to recover", view.Leader.Short())
	}
	chosen := newestCopy(view)
	for i := range view.Servers {
		if s := &view.Servers[i]; c.Bool("older") && s.ID == view.Node && s.Copy != nil {
			chosen = s
		}
	}
	if chosen == nil || chosen.Copy.LastIndex == 0 {
		return nil, errors.New("recover: no server answers that has a copy of the state: start the agent of one, and run this there")
	}
	c.out.line("\nChosen: %s, last index %d, written %s", title(chosen), chosen.Copy.LastIndex, c.out.since(chosen.Copy.LastAt))
	for i := range view.Servers {
		if s := &view.Servers[i]; s.Copy == nil && s.Status != "left" {
			c.out.line("Not reached: %s; what only it knows will be lost, and it must not run on its own meanwhile", title(s))
		}
	}
	return chosen, nil
}

// copyRows lists the servers' copies.
func (o *output) copyRows(view *api.ClusterView) [][]string {
	rows := [][]string{{"Node", "ID", "Address", "Status", "Epoch", "Last Term", "Last Index", "Last Entry", "Last Leader"}}
	for i := range view.Servers {
		s := &view.Servers[i]
		row := []string{s.Name, s.ID.Short(), s.Address, s.Status, "no answer", "", "", "", ""}
		if k := s.Copy; k != nil {
			row = append(row[:4], strconv.FormatUint(k.Epoch, 10), strconv.FormatUint(k.LastTerm, 10), strconv.FormatUint(k.LastIndex, 10), o.since(k.LastAt), o.since(k.Heard))
		}
		rows = append(rows, row)
	}
	return rows
}

// since is how long ago a moment was.
func (o *output) since(at time.Time) string {
	if at.IsZero() {
		return none
	}
	return o.ago(at.UnixNano())
}

// followRecovery waits until the server whose copy was chosen leads.
func (c *call) followRecovery(client *api.Client, begun *api.RecoverResponse) error {
	c.out.line("Re-forming the cluster as epoch %d", begun.Epoch)
	ctx, cancel := context.WithTimeout(c.ctx(), recoverPatience)
	defer cancel()
	for ctx.Err() == nil {
		view, err := client.ClusterView(ctx)
		if err == nil && view.Leader == begun.Server && view.Epoch >= begun.Epoch {
			c.out.line("Server %s leads. Servers that come back follow it by themselves; those that never will are forgotten with `cluster operator member remove`", begun.Server.Short())
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	if c.ctx().Err() != nil {
		return c.ctx().Err()
	}
	return cluster.Errorf(cluster.CodeUnavailable, "recover: server %s does not lead after %s: look at its agent's log", begun.Server, recoverPatience)
}
