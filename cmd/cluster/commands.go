package main

import (
	"context"

	"github.com/urfave/cli/v2"
)

// commands is the tree of commands; args is the command line, which an agent passes on.
func (p *program) commands(args []string) []*cli.Command {
	return append([]*cli.Command{
		p.agentCommand(args),
		noun("job", "submit, change, look at and stop jobs",
			p.jobRun("run"), p.jobPlan("plan"), p.jobStatus("status"), p.jobStop("stop"), p.jobStart(), p.jobInspect("inspect"), p.jobValidate("validate"), p.jobInit("init"),
			p.jobHistory(), p.jobRevert(), noun("tag", "give versions of a job a name", p.jobTagApply(), p.jobTagUnset()),
			p.jobScale(), p.jobScalingEvents(), p.jobAllocs(), p.jobDeployments(), p.jobEval(), p.jobRestart(),
			p.jobDispatch(), noun("periodic", "work on jobs that the clock launches", p.jobForce())),
		noun("alloc", "look at allocations, the instances of jobs, and their output",
			p.allocStatus("status"), p.allocLogs("logs"), p.allocStop(), p.allocRestart()),
		noun("node", "look at nodes, empty them, keep new work from them", p.nodeStatus("status"), p.nodeDrain("drain"), p.nodeEligibility()),
		noun("service", "look at services by name", p.serviceList(), p.serviceInfo()),
		noun("eval", "look at evaluations: what was planned, and what could not be placed", p.evalList(), p.evalStatus("status")),
		noun("deployment", "look at deployments: how far a changed job has come", p.deploymentList(), p.deploymentStatus()),
		noun("server", "look at servers", p.serverMembers("members")),
		noun("operator", "tools for those who run the cluster", p.operatorAPI(),
			noun("raft", "look at who has the replicated log", p.raftPeers(), p.raftRemove(), p.raftTransfer()),
			noun("member", "say which nodes belong to the cluster", p.memberList(), p.memberRemove()),
			noun("gossip", "tools for the gossip between nodes", noun("keyring", "look at the gossip's keys, and replace them", p.keyringList(), p.keyringRotate()))),
		p.format(),
		p.joinToken(),
		noun("config", "work on configuration files", p.configValidate()),
		p.status(),
		p.leave(),
		p.recover(),
		p.version(),
		p.completion(),
		p.complete(),
	}, p.shortForms()...)
}

// shortForms are the names that existing users type for frequent commands; help does not list them.
func (p *program) shortForms() []*cli.Command {
	list := []*cli.Command{
		p.jobRun("run"), p.jobPlan("plan"), p.jobStop("stop"), p.jobInspect("inspect"), p.jobValidate("validate"), p.jobInit("init"), p.allocLogs("logs"),
		p.allocStatus("alloc-status"), p.nodeStatus("node-status"), p.nodeDrain("node-drain"), p.evalStatus("eval-status"), p.serverMembers("server-members"),
	}
	for _, c := range list {
		c.Hidden = true
	}
	return list
}

func (p *program) agentCommand(args []string) *cli.Command {
	return p.command(verb{
		name: "agent", short: "run a node of the cluster in the foreground", local: true,
		long: "Everything has a default; files of -config change it, flags change that. Interrupting the agent leaves the tasks\n" +
			"running, to be found again at the next start; with -dev they end. A second interruption stops at once.\n" +
			"A join token is a secret that others on this machine see on a command line, for a moment: standard input, @FILE and CLUSTER_JOIN\n" +
			"keep it from them. It is of use at the first start alone; later ones need none.",
		example: "cluster agent -dev\ncluster agent -bootstrap -data-dir /var/lib/cluster -config /etc/cluster\n" +
			"cluster agent -join - < token\ncluster agent -join @/etc/cluster/token",
		flags: agentFlags(),
		run: func(c *call) error {
			config, warnings, err := parseAgentFlags(c.Context)
			start := agentStart{Config: config, Warnings: warnings, Args: args, Stdout: p.stdout, Stderr: p.stderr}
			if err == nil {
				start.Join, err = c.joinSource(&config)
			}
			if err != nil {
				for _, w := range warnings {
					c.out.warn("%s", w)
				}
				return err
			}
			return p.agent(context.WithoutCancel(c.ctx()), start)
		},
	})
}

func (p *program) configValidate() *cli.Command {
	return p.command(verb{
		name: "validate", short: "check configuration files of the agent", args: "FILE|DIR…", min: 1, max: -1, local: true,
		example: "cluster config validate /etc/cluster",
		run: func(c *call) error {
			config := defaultAgentConfig(false, thisMachine(p.getenv))
			warnings, err := config.load(c.Args().Slice())
			for _, w := range warnings {
				c.out.warn("%s", w)
			}
			if err == nil {
				err = config.finish()
			}
			if err != nil {
				return err
			}
			c.out.line("Configuration is valid")
			return nil
		},
	})
}
