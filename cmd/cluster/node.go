package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) nodeStatus(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "list nodes, or show one with its allocations", args: "[ID|NAME]", max: 1,
		example: "cluster node status\ncluster node status -self\ncluster node status 4d2ba53b",
		flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag(),
			selfFlag(),
			&cli.BoolFlag{Name: "quiet", Usage: "print IDs alone"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			switch {
			case c.Bool("self"):
				id, err := ownNode(c, client)
				if err != nil {
					return err
				}
				return showNode(c, client, id)
			case c.NArg() == 0:
				return listNodes(c, client)
			}
			id, err := c.nodeID(client, c.Args().First())
			if err != nil {
				return err
			}
			return showNode(c, client, id)
		},
	})
}

// ownNode is the node that the agent which answers runs.
func ownNode(c *call, client *api.Client) (cluster.ID, error) {
	self, err := client.AgentSelf(c.ctx())
	if err != nil {
		return cluster.ID{}, err
	}
	id, err := cluster.ParseID(self.Stats["client"]["node_id"])
	if err != nil || id.IsZero() {
		return cluster.ID{}, cluster.Errorf(cluster.CodeNotFound, "find node of agent %s: it runs none: leave out -self", c.address())
	}
	return id, nil
}

func listNodes(c *call, client *api.Client) error {
	if c.asObject() {
		return c.printObject(client, api.NodesList.Path, api.Query{})
	}
	list, _, err := client.Nodes(c.ctx(), api.Query{})
	if err != nil {
		return err
	}
	if c.Bool("quiet") {
		for _, n := range list {
			c.out.line("%s", n.ID)
		}
		return nil
	}
	if len(list) == 0 {
		c.out.line("No nodes registered")
		return nil
	}
	verbose := c.Bool("verbose")
	rows := [][]string{{"ID", "Node Pool", "DC", "Name", "Class", "Drain", "Eligibility", "Status"}}
	if verbose {
		rows[0] = append(rows[0], "Address", "Version")
	}
	for _, n := range list {
		row := []string{short(n.ID, verbose), n.NodePool, n.Datacenter, n.Name, n.NodeClass, strconv.FormatBool(n.Drain),
			n.SchedulingEligibility, n.Status}
		if verbose {
			row = append(row, n.Address, n.Version)
		}
		rows = append(rows, row)
	}
	c.out.table(rows)
	remarks := listNamesakes(list)
	for _, n := range list {
		if n.Impediment != "" {
			remarks = append(remarks, fmt.Sprintf("Node %s (%s) takes no new work: %s", n.Name, short(n.ID, verbose), n.Impediment))
		}
	}
	c.out.remarks(remarks)
	return nil
}

// remarks prints lines below a table, if there are any.
func (o *output) remarks(lines []string) {
	if len(lines) > 0 {
		o.line("")
	}
	for _, text := range lines {
		o.line("%s", text)
	}
}

func showNode(c *call, client *api.Client, id cluster.ID) error {
	if c.asObject() {
		return c.printObject(client, api.NodeRead.URL(id.String()), api.Query{})
	}
	n, _, err := client.Node(c.ctx(), id, api.Query{})
	if err != nil {
		return err
	}
	allocs, _, err := client.NodeAllocations(c.ctx(), id, api.Query{})
	if err != nil {
		return err
	}
	c.out.node(n, allocs, c.Bool("verbose"))
	list, _, err := client.Nodes(c.ctx(), api.Query{})
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(other api.NodeListStub) bool { return !strings.EqualFold(other.Name, n.Name) })
	c.out.remarks(listNamesakes(list))
	return nil
}

func (o *output) node(n *cluster.Node, allocs []*cluster.Allocation, verbose bool) {
	header := []pair{
		{"ID", short(n.ID, verbose)}, {"Name", n.Name}, {"Node Pool", n.NodePool}, {"Class", n.NodeClass}, {"DC", n.Datacenter},
		{"Address", n.Address()}, {"Drain", strconv.FormatBool(n.DrainStrategy != nil)}, {"Eligibility", n.SchedulingEligibility}, {"Status", n.Status},
		{"Drivers", strings.Join(usableDrivers(n), ",")},
	}
	if n.Impediment != "" {
		header = append(header, pair{"Impediment", "takes no new work: " + n.Impediment})
	}
	if last := n.LastDrain; last != nil {
		text := last.Status + ", " + o.ago(last.UpdatedAt.UnixNano())
		if n.DrainStrategy != nil {
			text = last.Status + drainEnd(n.DrainStrategy, o.now().Location())
		}
		for _, key := range slices.Sorted(maps.Keys(last.Meta)) {
			text += fmt.Sprintf(", %s: %s", key, last.Meta[key])
		}
		header = append(header, pair{"Last Drain", text})
	}
	o.pairs(header)
	var used cluster.Capacity
	for _, a := range allocs {
		if group := a.Group(); a.Occupies() && group != nil {
			used = used.Plus(group.Resources())
		}
	}
	has := n.Schedulable()
	o.heading("Allocated Resources")
	o.table([][]string{{"CPU", "Memory", "Disk"}, {
		strconv.Itoa(used.CPU) + "/" + strconv.Itoa(has.CPU) + " MHz",
		megabytes(used.MemoryMB) + "/" + megabytes(has.MemoryMB),
		megabytes(used.DiskMB) + "/" + megabytes(has.DiskMB),
	}})
	if len(n.Events) > 0 {
		o.heading("Node Events")
		rows := [][]string{{"Time", "Subsystem", "Message"}}
		for _, e := range slices.Backward(n.Events) {
			when := e.Timestamp
			if t, err := time.Parse(time.RFC3339, e.Timestamp); err == nil {
				when = o.moment(t.UnixNano())
			}
			rows = append(rows, []string{when, e.Subsystem, e.Message})
		}
		o.table(rows)
	}
	if verbose {
		o.drivers(n)
		o.heading("Attributes")
		var list []pair
		for _, key := range slices.Sorted(maps.Keys(n.Attributes)) {
			list = append(list, pair{key, n.Attributes[key]})
		}
		o.pairs(list)
	}
	o.heading("Allocations")
	if len(allocs) == 0 {
		o.line("No allocations placed")
		return
	}
	stubs := make([]api.AllocListStub, len(allocs))
	for i, a := range allocs {
		stubs[i] = api.StubOf(a)
	}
	o.allocations(stubs, verbose)
}

// drivers prints what each driver says of itself, also those that are not there.
func (o *output) drivers(n *cluster.Node) {
	o.heading("Drivers")
	rows := [][]string{{"Driver", "Detected", "Healthy", "Message"}}
	for _, name := range slices.Sorted(maps.Keys(n.Drivers)) {
		d := n.Drivers[name]
		rows = append(rows, []string{name, strconv.FormatBool(d.Detected), strconv.FormatBool(d.Healthy), d.HealthDescription})
	}
	o.table(rows)
}

// usableDrivers are the drivers that would take a task now; those that are there but not well, or lack something, say why.
func usableDrivers(n *cluster.Node) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(n.Drivers)) {
		switch d := n.Drivers[name]; {
		case d.Healthy && d.HealthDescription != "" && d.HealthDescription != "Healthy":
			names = append(names, name+" ("+d.HealthDescription+")")
		case d.Healthy:
			names = append(names, name)
		case d.Detected:
			names = append(names, name+" (unhealthy: "+d.HealthDescription+")")
		}
	}
	return names
}
