package main

import (
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) leave() *cli.Command {
	return p.command(verb{
		name: "leave", short: "take the node of the agent asked out of its cluster for good",
		long: "What runs there is moved first, as by `cluster node drain`; a server hands over leadership and its seat. Then the agent and its\n" +
			"supervisor end, and the node is a member no more: to come back it joins anew, with a token. To stop an agent for a while, end it instead.",
		example: "cluster leave\ncluster leave -deadline 10m",
		flags: []cli.Flag{
			&cli.DurationFlag{Name: "deadline", Value: time.Hour, Usage: "after `TIME`, what still runs there ends at once"},
			&cli.BoolFlag{Name: "no-drain", Usage: "what runs there ends at once"},
			&cli.BoolFlag{Name: "force", Usage: "also if it is the last server, or no other server takes note of it; ends what runs there"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			force := c.Bool("force")
			if err := client.Leave(c.ctx(), api.LeaveRequest{Check: true, Force: force}); err != nil {
				return err
			}
			if !force && !c.Bool("no-drain") {
				if err := c.drainOwn(client); err != nil {
					return err
				}
			}
			if err := client.Leave(c.ctx(), api.LeaveRequest{Force: force}); err != nil {
				return err
			}
			c.out.line("This node has left its cluster; its agent ends")
			return nil
		},
	})
}

// drainOwn moves everything off the node of the agent asked, if it runs one, and waits for the end of that.
func (c *call) drainOwn(client *api.Client) error {
	id, err := ownNode(c, client)
	if cluster.CodeOf(err) == cluster.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	spec := &cluster.DrainSpec{Deadline: c.Duration("deadline")}
	if _, err := client.DrainNode(c.ctx(), id, api.NodeDrainRequest{DrainSpec: spec, Meta: map[string]string{"message": "the node leaves"}}); err != nil {
		return err
	}
	return c.followDrain(client, id)
}
