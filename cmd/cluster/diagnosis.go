package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// newestCopy is the server that answers with the newest copy, nil if none answers.
func newestCopy(view *api.ClusterView) *api.ServerView {
	var newest *api.ServerView
	for i := range view.Servers {
		if s := &view.Servers[i]; s.Copy != nil && (newest == nil || newest.Copy.Compare(s.Copy) < 0) {
			newest = s
		}
	}
	return newest
}

// votersOf are the servers that vote, as far as somebody who answers knows; nil if nobody does.
func votersOf(view *api.ClusterView) map[cluster.ID]bool {
	newest := newestCopy(view)
	if newest == nil || len(newest.Copy.Voters) == 0 {
		return nil
	}
	voters := map[cluster.ID]bool{}
	for _, id := range newest.Copy.Voters {
		voters[id] = true
	}
	return voters
}

// title is what to call a server: its name and where it is.
func title(s *api.ServerView) string {
	name := s.Name
	if name == "" {
		name = s.ID.Short()
	}
	if s.Address == "" {
		return name
	}
	return name + " (" + s.Address + ")"
}

// diagnosis says how the servers are and, if something is missing, what to do. healthy: somebody leads.
func diagnosis(view *api.ClusterView) (lines []string, healthy bool) {
	newest, voters := newestCopy(view), votersOf(view)
	var missing, behind []string
	known := 0
	for i := range view.Servers {
		s := &view.Servers[i]
		if s.Status == "left" {
			continue
		}
		known++
		switch {
		case s.Copy == nil && (voters == nil || voters[s.ID]):
			missing = append(missing, title(s))
		case s.Copy != nil && s.Copy.Outdated:
			behind = append(behind, fmt.Sprintf("%s has a copy of epoch %d and answers nothing", title(s), s.Copy.Epoch))
		}
	}
	slices.Sort(missing)
	slices.Sort(behind)
	answering := len(voters) - len(missing)
	switch {
	case known == 0:
		return []string{"No server is known to this agent: look at its log, it may not have reached the cluster yet."}, false
	case newest == nil:
		return []string{fmt.Sprintf("No server answers, of %d that are known: %s.", known, strings.Join(missing, ", ")),
			"Tasks run on, and names are answered from what gossip knows. Start the servers' agents, or mend the network to them."}, false
	case !view.Leader.IsZero() && len(missing) == 0:
		return behind, true
	case !view.Leader.IsZero():
		lines = append(behind, fmt.Sprintf("%d of %d voters answer; missing: %s.", answering, len(voters), strings.Join(missing, ", ")))
		if 2*(answering-1) <= len(voters) {
			lines = append(lines, "If one more is lost, nobody can lead: bring one back, or let another server join.")
		}
		return lines, true
	case newest.Copy.Outdated:
		return append(behind, fmt.Sprintf("No leader: the cluster was re-formed as epoch %d, and no server of that answers.", view.Epoch),
			fmt.Sprintf("Bring one of those back: %s. If all of them are lost for good: `cluster recover` on %s.", orNone(strings.Join(missing, ", ")), title(newest))), false
	case 2*answering <= len(voters):
		return append(behind, fmt.Sprintf("No leader: %d of %d voters answer, which is no majority.", answering, len(voters)),
			fmt.Sprintf("Bring one of these back, and the cluster goes on by itself: %s.", strings.Join(missing, ", ")),
			fmt.Sprintf("If they are lost for good: `cluster recover` on %s.", title(newest))), false
	}
	return append(behind, fmt.Sprintf("No leader yet: %d of %d voters answer, enough for an election, which takes some seconds.", answering, len(voters)),
		"If none comes about, look at the servers' logs."), false
}
