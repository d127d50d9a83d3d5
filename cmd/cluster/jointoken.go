package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

func (p *program) joinToken() *cli.Command {
	return p.command(verb{
		name: "join-token", short: "make a token by which other machines join the cluster", args: "server|client", min: 1, max: 1,
		long: "The token is printed alone, to be carried to the other machine and given to `cluster agent -join`. It is a secret: whoever\n" +
			"has it can join. Standard input, a file (-join @FILE) and CLUSTER_JOIN keep it out of the list of processes.\n" +
			"With -rotate all earlier tokens of the role become invalid; `cluster join-token -rotate all` does that to all and makes none.",
		example: "cluster join-token client\ncluster join-token -ttl 15m -uses 1 server\ncluster join-token -rotate all",
		flags: []cli.Flag{
			&cli.DurationFlag{Name: "ttl", Usage: "valid for this `DURATION` (1h)"},
			&cli.IntFlag{Name: "uses", Usage: "let `N` nodes join and no more (any number)"},
			&cli.BoolFlag{Name: "rotate", Usage: "make all earlier tokens of the role invalid"}, jsonFlag(), templateFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if c.IsSet("uses") && c.Int("uses") < 1 {
				return cluster.Errorf(cluster.CodeInvalid, "read flag -uses: want 1 or more")
			}
			if c.IsSet("ttl") && c.Duration("ttl") <= 0 {
				return cluster.Errorf(cluster.CodeInvalid, "read flag -ttl: want a duration such as 15m")
			}
			made, err := client.MakeJoinToken(c.ctx(), api.JoinTokenRequest{Role: strings.ToLower(c.Args().First()), TTL: c.Duration("ttl"), Uses: c.Int("uses"), Rotate: c.Bool("rotate")})
			if err != nil {
				return err
			}
			return c.showJoinToken(made)
		},
	})
}

// showJoinToken prints the token alone, so that it can be taken by a script, and what people should know beside it.
func (c *call) showJoinToken(made *api.JoinToken) error {
	if c.asObject() {
		return c.object(made)
	}
	if c.Bool("rotate") {
		fmt.Fprintf(c.out.errors, "%d earlier tokens are valid no more\n", made.Rotated)
	}
	if made.Token == "" {
		return nil
	}
	uses := "any number of nodes"
	if made.Uses > 0 {
		uses = strconv.Itoa(made.Uses) + " nodes"
	}
	fmt.Fprintf(c.out.errors, "For %s to join as %s until %s: cluster agent -join -\n", uses, made.Role, c.out.moment(made.Expires.UnixNano()))
	c.out.line("%s", made.Token)
	return nil
}

func (p *program) memberList() *cli.Command {
	return p.command(verb{
		name: "list", short: "list the nodes that the cluster trusts",
		example: "cluster operator member list",
		flags:   []cli.Flag{jsonFlag(), templateFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			list, _, err := client.TrustedNodes(c.ctx(), api.Query{})
			if err != nil {
				return err
			}
			if c.asObject() {
				return c.object(list)
			}
			rows := [][]string{{"ID", "Name", "Role", "Joined", "Key"}}
			for _, m := range list {
				rows = append(rows, []string{m.ID.String(), m.Name, m.Role, c.out.moment(m.Joined.UnixNano()), m.Key[:min(len(m.Key), 16)]})
			}
			c.out.table(rows)
			return nil
		},
	})
}

func (p *program) memberRemove() *cli.Command {
	return p.command(verb{
		name: "remove", short: "take the cluster's trust from a node that is gone for good", args: "ID", min: 1, max: 1,
		long: "The node can neither connect nor renew its certificate any more. It knows the key of the gossip: replace that afterwards\n" +
			"with `cluster operator gossip keyring rotate`. To come back it joins anew.",
		example: "cluster operator member remove 4d2ba53b",
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := c.chooseID("member", c.Args().First(), []string{"ID", "Name", "Role"}, func(prefix string) ([]match, error) {
				list, _, err := client.TrustedNodes(c.ctx(), api.Query{})
				found := make([]match, len(list))
				for i, m := range list {
					found[i] = match{m.ID.String(), []string{m.ID.String(), m.Name, m.Role}}
				}
				return found, err
			})
			if err != nil {
				return err
			}
			if err := client.RemoveTrusted(c.ctx(), id); err != nil {
				return err
			}
			c.out.line("Node %s is trusted no more", id)
			return nil
		},
	})
}

func (p *program) keyringList() *cli.Command {
	return p.command(verb{
		name: "list", short: "show which keys the gossip uses",
		example: "cluster operator gossip keyring list",
		flags:   []cli.Flag{jsonFlag(), templateFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			view, err := client.Keyring(c.ctx())
			if err != nil {
				return err
			}
			return c.showKeyring(view)
		},
	})
}

func (p *program) keyringRotate() *cli.Command {
	return p.command(verb{
		name: "rotate", short: "replace the key of the gossip on all nodes",
		long: "Nothing stops meanwhile: every node gets the new key, then all use it, then the old one goes. Nodes that are down get it when\n" +
			"they come back.",
		example: "cluster operator gossip keyring rotate",
		flags:   []cli.Flag{jsonFlag(), templateFlag()},
		run: func(c *call) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			view, err := client.RotateKeyring(c.ctx())
			if err != nil {
				return err
			}
			return c.showKeyring(view)
		},
	})
}

func (c *call) showKeyring(view *api.KeyringView) error {
	if c.asObject() {
		return c.object(view)
	}
	rows := [][]string{{"Key", "Use"}}
	for i, name := range view.Keys {
		use := "decrypts"
		if i == 0 {
			use = "encrypts and decrypts"
		}
		rows = append(rows, []string{name, use})
	}
	c.out.table(rows)
	if view.Rotating {
		c.out.line("\nA rotation is under way; %d living nodes do not hold version %d yet", len(view.Waiting), view.Version)
	}
	for _, id := range view.Waiting {
		c.out.line("  %s", id)
	}
	return nil
}
