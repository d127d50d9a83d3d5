package main

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) serverMembers(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "list the servers, by gossip and by what they say themselves",
		long:    "It works with no leader and with no server that answers: the agent asked tells what it knows.",
		example: "cluster server members", flags: []cli.Flag{jsonFlag(), templateFlag(), verboseFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if c.asObject() {
				return c.printObject(client, api.AgentMembers.Path, api.Query{})
			}
			members, err := client.Members(c.ctx())
			if err != nil {
				return err
			}
			view, err := client.ClusterView(c.ctx())
			if err != nil {
				return err
			}
			c.out.table(memberRows(members, view, c.Bool("verbose")))
			c.out.remarks(oddities(view))
			return nil
		},
	})
}

// memberRows joins what gossip says of the servers with what they say of their copies.
func memberRows(members *api.Members, view *api.ClusterView, verbose bool) [][]string {
	rows := [][]string{{"Name", "Address", "Port", "Status", "Leader", "Raft Version", "Build", "Datacenter", "Region", "ID", "Voter", "Epoch"}}
	servers := map[string]api.ServerView{}
	for _, s := range view.Servers {
		servers[s.ID.String()] = s
	}
	voters := votersOf(view)
	slices.SortStableFunc(members.Members, func(a, b api.Member) int { return strings.Compare(a.Name, b.Name) })
	for _, m := range members.Members {
		id := m.Tags["id"]
		s := servers[id]
		row := []string{m.Name, m.Addr, strconv.Itoa(int(m.Port)), cmp.Or(s.Status, m.Status), strconv.FormatBool(s.ID == view.Leader && !s.ID.IsZero()),
			m.Tags["raft_vsn"], m.Tags["build"], m.Tags["dc"], m.Tags["region"], short(s.ID, verbose), "unknown", "unknown"}
		if voters != nil {
			row[10] = strconv.FormatBool(voters[s.ID])
		}
		if s.Copy != nil {
			row[11] = strconv.FormatUint(s.Copy.Epoch, 10)
		}
		rows = append(rows, row)
	}
	return rows
}

func (p *program) raftPeers() *cli.Command {
	return p.command(verb{
		name: "list-peers", short: "list the servers that have the replicated log, and who of them votes",
		example: "cluster operator raft list-peers",
		flags:   []cli.Flag{jsonFlag(), templateFlag(), &cli.BoolFlag{Name: "stale", Usage: "as the server that answers knows it, though nobody may lead"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			q := api.Query{Stale: c.Bool("stale")}
			if c.asObject() {
				return c.printObject(client, api.RaftConfiguration.Path, q)
			}
			list, err := client.RaftConfiguration(c.ctx(), q)
			if err != nil {
				return err
			}
			slices.SortFunc(list.Servers, func(a, b api.RaftServer) int { return strings.Compare(a.Node, b.Node) })
			rows := [][]string{{"Node", "ID", "Address", "State", "Voter", "RaftProtocol"}}
			for _, s := range list.Servers {
				state := "follower"
				if s.Leader {
					state = "leader"
				}
				rows = append(rows, []string{s.Node, s.ID.String(), s.Address, state, strconv.FormatBool(s.Voter), s.RaftProtocol})
			}
			c.out.table(rows)
			return nil
		},
	})
}

func (p *program) raftRemove() *cli.Command {
	return p.command(verb{
		name: "remove-peer", short: "take its seat from a server that is gone for good",
		long:    "The cluster does that by itself when another server takes the seat, or after a day. A server that lives leaves by `cluster leave`.",
		example: "cluster operator raft remove-peer -peer-id 6f1cd9a2-3b4e-4c6d-8a7b-0c1d2e3f4a5b",
		flags:   []cli.Flag{&cli.StringFlag{Name: "peer-id", Usage: "the server's `ID`"}},
		run: func(c *call) error {
			id, err := cluster.ParseID(c.String("peer-id"))
			if err != nil {
				return errors.New("remove server: write its whole ID with -peer-id, see `cluster operator raft list-peers`")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := client.RemoveRaftPeer(c.ctx(), id); err != nil {
				return err
			}
			c.out.line("Server %s has no seat any more", id)
			return nil
		},
	})
}

func (p *program) raftTransfer() *cli.Command {
	return p.command(verb{
		name: "transfer-leadership", short: "have another server lead",
		example: "cluster operator raft transfer-leadership\ncluster operator raft transfer-leadership -peer-id 6f1cd9a2-3b4e-4c6d-8a7b-0c1d2e3f4a5b",
		flags:   []cli.Flag{&cli.StringFlag{Name: "peer-id", Usage: "the `ID` of the server that should lead (the one that is the least behind)"}},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			done, err := client.TransferLeadership(c.ctx(), c.String("peer-id"))
			switch {
			case err != nil:
				return err
			case done.Noop:
				c.out.line("Server %s leads already", done.From.ID)
			case done.To.ID == "":
				c.out.line("Server %s has handed over leadership", done.From.ID)
			default:
				c.out.line("Server %s has handed over leadership to %s", done.From.ID, done.To.ID)
			}
			return nil
		},
	})
}
