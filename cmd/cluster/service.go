package main

import (
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) serviceList() *cli.Command {
	return p.command(verb{
		name: "list", short: "list the services that something offers", example: "cluster service list",
		flags: []cli.Flag{jsonFlag(), templateFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if c.asObject() {
				return c.printObject(client, api.ServicesList.Path, api.Query{})
			}
			lists, _, err := client.Services(c.ctx(), api.Query{})
			if err != nil {
				return err
			}
			several := c.setting("namespace", "NAMESPACE", "") == cluster.AllNamespaces
			rows := [][]string{{"Service Name", "Tags"}}
			if several {
				rows[0] = slices.Insert(rows[0], 1, "Namespace")
			}
			for _, l := range lists {
				for _, s := range l.Services {
					row := []string{s.ServiceName, tags(s.Tags)}
					if several {
						row = slices.Insert(row, 1, l.Namespace)
					}
					rows = append(rows, row)
				}
			}
			if len(rows) == 1 {
				c.out.line("No services found")
				return nil
			}
			c.out.table(rows)
			return nil
		},
	})
}

func (p *program) serviceInfo() *cli.Command {
	return p.command(verb{
		name: "info", short: "list the endpoints of a service whose checks pass", args: "NAME", min: 1, max: 1,
		example: "cluster service info web", flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			name := c.Args().First()
			if c.asObject() {
				return c.printObject(client, api.ServiceRead.URL(name), api.Query{})
			}
			list, _, err := client.Service(c.ctx(), name, api.Query{})
			if err != nil {
				return err
			}
			if len(list) == 0 {
				return cluster.Errorf(cluster.CodeNotFound, "find service %q: nothing offers it now, or its checks do not pass: `cluster service list` lists what there is", clip(name))
			}
			rows := [][]string{{"Job ID", "Address", "Tags", "Node ID", "Alloc ID"}}
			for _, s := range list {
				rows = append(rows, []string{s.JobID, net.JoinHostPort(s.Address, strconv.Itoa(s.Port)), tags(s.Tags),
					short(s.NodeID, c.Bool("verbose")), short(s.AllocID, c.Bool("verbose"))})
			}
			c.out.table(rows)
			return nil
		},
	})
}

func tags(list []string) string { return "[" + strings.Join(list, ",") + "]" }
