package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent/dns"
	"github.com/a43e60e4/cluster/server/api"
)

// bearer is a node that bears a name, and where it is.
type bearer struct {
	id cluster.ID
	at string
}

// namesakes says, in a line for each name that several nodes bear, which these are and what to do. Names are compared as the DNS
// does. The lines are in the order of the names.
func namesakes(all map[string][]bearer) []string {
	var lines []string
	for name, nodes := range all {
		if len(nodes) < 2 || name == "" {
			continue
		}
		slices.SortFunc(nodes, func(a, b bearer) int { return a.id.Compare(b.id) })
		var each []string
		for _, n := range nodes[:min(len(nodes), maxMatches)] {
			each = append(each, fmt.Sprintf("%s (%s)", n.id.Short(), n.at))
		}
		if more := len(nodes) - maxMatches; more > 0 {
			each = append(each, fmt.Sprintf("%d more", more))
		}
		lines = append(lines, fmt.Sprintf("%d nodes have the same name %s: %s. %s.node.%s means all of them: start others with another -name.",
			len(nodes), name, strings.Join(each, ", "), name, dns.Zone))
	}
	slices.Sort(lines)
	return lines
}

// memberNamesakes are those among the nodes that gossip has alive.
func memberNamesakes(members []cluster.Member) []string {
	all := map[string][]bearer{}
	for i := range members {
		if m := &members[i]; m.State == cluster.MemberAlive && !m.Left {
			name := strings.ToLower(m.Name)
			all[name] = append(all[name], bearer{m.Node, m.RPC})
		}
	}
	return namesakes(all)
}

// listNamesakes are those among the nodes of a list that are not down.
func listNamesakes(list []api.NodeListStub) []string {
	all := map[string][]bearer{}
	for i := range list {
		if n := &list[i]; n.Status != cluster.NodeStatusDown {
			name := strings.ToLower(n.Name)
			all[name] = append(all[name], bearer{n.ID, n.Address})
		}
	}
	return namesakes(all)
}
