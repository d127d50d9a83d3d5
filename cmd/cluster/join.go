package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/urfave/cli/v2"
)

// envJoin is where a join token may stand instead of on the command line.
const envJoin = "CLUSTER_JOIN"

// maxTokenFile bounds what is read of a token's file.
const maxTokenFile = 64 << 10

// joinSource is where the join token of an agent's first start is. The token is read when it is needed: later starts need
// none, and its file may be gone by then.
type joinSource struct {
	spec  string    // TOKEN, @FILE or -; "" for none
	stdin io.Reader // for -
}

// joinFlag is the flag of `cluster agent` for it.
func joinFlag() cli.Flag {
	return &cli.StringFlag{Name: "join", Usage: "join the cluster of the token at the first start: `TOKEN|@FILE|-`, - being standard input (" + envJoin + ")"}
}

// joinSource is what the command line or the environment says.
func (c *call) joinSource(config *AgentConfig) (joinSource, error) {
	source := joinSource{spec: strings.TrimSpace(c.String("join")), stdin: c.program.stdin}
	if source.spec == "" {
		if c.IsSet("join") {
			return source, cluster.Errorf(cluster.CodeInvalid, "read flag -join: it is empty: want -join TOKEN, @FILE or -")
		}
		source.spec = strings.TrimSpace(c.program.getenv(envJoin))
	}
	if source.spec != "" && config.Dev {
		return source, cluster.Errorf(cluster.CodeInvalid, "read flag -join: an agent with -dev is a cluster of its own: leave one of the two out")
	}
	if source.spec != "" && config.Bootstrap {
		return source, cluster.Errorf(cluster.CodeInvalid, "read flag -join: -bootstrap begins a new cluster, -join enters one that there is: leave one of the two out")
	}
	return source, nil
}

// visible reports whether others see the token in the list of processes, or this process's children in their environment.
func (s joinSource) visible(getenv func(string) string) bool {
	return getenv(envJoin) != "" || s.spec != "" && s.spec != "-" && !strings.HasPrefix(s.spec, "@")
}

// read is the token's text.
func (s joinSource) read() (string, error) {
	switch file, isFile := strings.CutPrefix(s.spec, "@"); {
	case isFile:
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read join token: %w", err)
		}
		defer f.Close()
		return readToken(f)
	case s.spec == "-":
		return readToken(s.stdin)
	}
	return s.spec, nil
}

func readToken(from io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxTokenFile))
	if err != nil {
		return "", fmt.Errorf("read join token: %w", err)
	}
	return string(text), nil
}

// withoutJoin is a command line without its flag -join: what starts the agent again once it has the token.
func withoutJoin(args []string) []string {
	var rest []string
	for i := 0; i < len(args); i++ {
		name := strings.TrimPrefix(strings.TrimPrefix(args[i], "-"), "-")
		switch {
		case args[i] == "--":
			return append(rest, args[i:]...)
		case strings.HasPrefix(args[i], "-") && name == "join":
			i++
		case strings.HasPrefix(args[i], "-") && strings.HasPrefix(name, "join="):
		default:
			rest = append(rest, args[i])
		}
	}
	return rest
}
