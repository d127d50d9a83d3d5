package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) status() *cli.Command {
	return p.command(verb{
		name: "status", short: "say how the cluster is, or show whatever has an ID", args: "[ID]", max: 1,
		example: "cluster status\ncluster status web\ncluster status 8d3c1f7a",
		flags:   []cli.Flag{jsonFlag(), templateFlag(), verboseFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if c.NArg() == 0 {
				return showCluster(c, client)
			}
			return showAnything(c, client, c.Args().First())
		},
	})
}

func showCluster(c *call, client *api.Client) error {
	if c.asObject() {
		return c.printObject(client, api.AgentSelf.Path, api.Query{})
	}
	ctx := c.ctx()
	view, err := client.ClusterView(ctx)
	if err != nil {
		return err
	}
	if !c.showServers(view) {
		return &exitStatus{status: exitError}
	}
	list, _, err := client.Nodes(ctx, api.Query{})
	if err != nil {
		return err
	}
	ready := 0
	for _, n := range list {
		if n.Status == cluster.NodeStatusReady {
			ready++
		}
	}
	c.out.heading("Nodes")
	c.out.line("%d of %d ready", ready, len(list))
	c.out.heading("Jobs")
	return listJobs(c, client)
}

// oddities are what is wrong with who the nodes are: lines for people.
func oddities(view *api.ClusterView) []string {
	var lines []string
	for _, text := range view.Conflicts {
		lines = append(lines, "Seen: "+text+".")
	}
	return append(lines, view.Namesakes...)
}

// showServers says how the servers are, and what to do if none leads. It reports whether one does.
func (c *call) showServers(view *api.ClusterView) bool {
	leader, answering, known := "", 0, 0
	rows := [][]string{{"Name", "Address", "Status", "Role", "Epoch"}}
	voters := votersOf(view)
	for i := range view.Servers {
		s := &view.Servers[i]
		if s.Status == "left" {
			continue
		}
		known++
		role, epoch := "no answer", ""
		if s.Copy != nil {
			answering++
			role, epoch = "follower", strconv.FormatUint(s.Copy.Epoch, 10)
			if !voters[s.ID] {
				role = "no voter"
			}
		}
		if s.ID == view.Leader {
			leader, role = title(s), "leader"
		}
		rows = append(rows, []string{s.Name, s.Address, s.Status, role, epoch})
	}
	lines, healthy := diagnosis(view)
	lines = append(lines, oddities(view)...)
	c.out.pairs([]pair{{"Agent", c.address()}, {"Leader", leader},
		{"Servers", fmt.Sprintf("%d of %d answer", answering, known)},
		{"Gossip", fmt.Sprintf("%d of %d nodes alive", view.NodesAlive, view.Nodes)}})
	c.out.heading("Servers")
	c.out.table(rows)
	if len(lines) > 0 {
		c.out.line("")
	}
	for _, text := range lines {
		c.out.line("%s", text)
	}
	return healthy
}

// showAnything shows the job, allocation, node, evaluation or deployment that text names or begins.
func showAnything(c *call, client *api.Client, text string) error {
	found, err := client.Search(c.ctx(), api.SearchRequest{Prefix: idPrefix(text)}, api.Query{Namespace: c.lookup()})
	if err != nil {
		return err
	}
	kinds := []struct {
		context, noun string
		show          func(text string) error
	}{
		{"jobs", "job", func(text string) error {
			key, err := c.jobKey(client, text)
			if err != nil {
				return err
			}
			return showJob(c, client, key)
		}},
		{"allocs", "allocation", showBy(c, client, c.allocID, showAllocation)},
		{"nodes", "node", showBy(c, client, c.nodeID, showNode)},
		{"evals", "evaluation", showBy(c, client, c.evalID, showEvaluation)},
		{"deployment", "deployment", showBy(c, client, c.deploymentID, showDeployment)},
	}
	var nouns, ids []string
	var show func(string) error
	for _, k := range kinds {
		for _, id := range found.Matches[k.context] {
			if id == text {
				return k.show(id)
			}
			if strings.HasPrefix(id, text) {
				nouns, ids, show = append(nouns, k.noun), append(ids, id), k.show
			}
		}
	}
	switch len(ids) {
	case 0:
		return cluster.Errorf(cluster.CodeNotFound, "find %q: no job, allocation, node, evaluation or deployment has an ID that is or begins with that", clip(text))
	case 1:
		return show(ids[0])
	}
	rows := [][]string{{"Kind", "ID"}}
	for i := range ids[:min(len(ids), maxMatches)] {
		rows = append(rows, []string{nouns[i], ids[i]})
	}
	return fmt.Errorf("find %q: %d match, write more of the ID:\n%s", clip(text), len(ids), strings.Join(c.out.rows(rows), "\n"))
}

func showBy(c *call, client *api.Client, find func(*api.Client, string) (cluster.ID, error),
	show func(*call, *api.Client, cluster.ID) error) func(string) error {
	return func(text string) error {
		id, err := find(client, text)
		if err != nil {
			return err
		}
		return show(c, client, id)
	}
}
