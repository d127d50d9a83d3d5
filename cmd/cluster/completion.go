package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

// The scripts hand the words of the command line so far, the unfinished one last, to `cluster __complete`.
var completionScripts = map[string]string{
	"bash": `_cluster() {
    local IFS=$'\n'
    COMPREPLY=($(cluster __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _cluster cluster
`,
	"zsh": `#compdef cluster
_cluster() {
    local -a found
    found=("${(@f)$(cluster __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -- "${found[@]}"; else _files; fi
}
compdef _cluster cluster
`,
	"fish": `function __cluster_complete
    set -l words (commandline -opc)
    set -l now (commandline -ct)
    cluster __complete -- $words[2..-1] "$now" 2>/dev/null
end
complete -c cluster -a '(__cluster_complete)'
`,
}

func (p *program) completion() *cli.Command {
	return p.command(verb{
		name: "completion", short: "print the script that lets a shell complete commands, flags and IDs", args: "bash|zsh|fish",
		min: 1, max: 1, local: true,
		long:    "Load it where the shell starts: in ~/.bashrc, ~/.zshrc (after compinit) or ~/.config/fish/config.fish.",
		example: "source <(cluster completion bash)\ncluster completion fish",
		run: func(c *call) error {
			script, ok := completionScripts[c.Args().First()]
			if !ok {
				return fmt.Errorf("find completion for %q: want bash, zsh or fish", clip(c.Args().First()))
			}
			fmt.Fprint(p.stdout, script)
			return nil
		},
	})
}

func (p *program) complete() *cli.Command {
	return p.command(verb{
		name: "__complete", short: "print what the last word may become", args: "WORD…", max: -1, hidden: true,
		example: "cluster __complete -- job st",
		run: func(c *call) error {
			for _, word := range c.completions(c.Args().Slice()) {
				c.out.line("%s", word)
			}
			return nil
		},
	})
}

// completionTime bounds how long a shell waits for IDs.
const completionTime = time.Second

// completions are the words that the last of words may become, in order.
func (c *call) completions(words []string) []string {
	if len(words) == 0 {
		words = []string{""}
	}
	typed, last := words[:len(words)-1], words[len(words)-1]
	commands := c.program.commands(nil)
	var path []*cli.Command
	arguments := 0
	for i := 0; i < len(typed); i++ {
		word := typed[i]
		switch {
		case strings.HasPrefix(word, "-"):
			f := findFlag(commandLine{path: path}.flags(c.program.commands(nil)), strings.TrimLeft(word, "-"))
			if f != nil && takesValue(f) && !optionalNumber(f) {
				if i == len(typed)-1 {
					return nil // the value of a flag: files, which the shell knows
				}
				i++
			}
		case commands != nil:
			command := find(commands, word)
			if command == nil {
				return nil
			}
			path, commands = append(path, command), command.Subcommands
		default:
			arguments++
		}
	}
	var list []string
	switch {
	case strings.HasPrefix(last, "-"):
		for _, f := range (commandLine{path: path}).flags(commands) {
			list = append(list, "-"+f.Names()[0])
		}
	case commands != nil:
		for _, command := range commands {
			if !command.Hidden {
				list = append(list, command.Name)
			}
		}
	case len(path) > 0 && namesThing(path[len(path)-1], arguments):
		list = c.things(path[0].Name, last)
	}
	list = slices.DeleteFunc(list, func(word string) bool { return !strings.HasPrefix(word, last) })
	slices.Sort(list)
	return slices.Compact(list)
}

// namesThing reports whether the next argument of a command names a thing of its noun. Files are the shell's to complete.
func namesThing(command *cli.Command, arguments int) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(command.ArgsUsage, "["), " ")
	return !strings.HasPrefix(first, "FILE") && (arguments == 0 || strings.Contains(first, "…"))
}

// things are the IDs or names that begin with prefix and that a command of the noun takes. Without an agent there are none.
func (c *call) things(noun, prefix string) []string {
	client, err := c.client()
	if err != nil {
		return nil
	}
	ctx, stop := context.WithTimeout(c.ctx(), completionTime)
	defer stop()
	var list []string
	q := api.Query{Namespace: c.lookup()}
	switch noun {
	case "job", "stop", "inspect":
		jobs, _, _ := client.Jobs(ctx, api.Query{Prefix: prefix})
		for _, j := range jobs {
			list = append(list, j.ID)
		}
	case "alloc", "logs", "alloc-status":
		allocs, _, _ := client.Allocations(ctx, q)
		for _, a := range allocs {
			list = append(list, a.ID.Short())
		}
	case "node", "node-status", "node-drain":
		nodes, _, _ := client.Nodes(ctx, api.Query{})
		for _, n := range nodes {
			list = append(list, n.ID.Short(), n.Name)
		}
	case "eval", "eval-status":
		evals, _, _ := client.Evaluations(ctx, q)
		for _, e := range evals {
			list = append(list, e.ID.Short())
		}
	case "deployment":
		deployments, _, _ := client.Deployments(ctx, q)
		for _, d := range deployments {
			list = append(list, d.ID.Short())
		}
	case "service":
		lists, _, _ := client.Services(ctx, api.Query{})
		for _, l := range lists {
			for _, s := range l.Services {
				list = append(list, s.ServiceName)
			}
		}
	}
	return list
}
