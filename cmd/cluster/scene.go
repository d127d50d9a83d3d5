package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// goal is what somebody who follows a job waits for.
type goal uint8

const (
	placed   goal = iota // the job runs as it should: healthy, complete or running, as its type has it
	stopped              // every allocation of the job has ended
	replaced             // one allocation has ended and its job has been planned anew
)

// following is a change of a job that somebody waits for.
type following struct {
	job   *cluster.Job
	eval  cluster.ID // the evaluation of the change; zero if there was none
	alloc cluster.ID // with goal replaced
	goal  goal
	whole bool // IDs are printed in full
}

// name is an ID as the follower wants to see it.
func (f *following) name(id cluster.ID) string { return short(id, f.whole) }

// scene is all that is known of the change at one moment. It is read in the order of its fields, so that what an
// evaluation did is seen by all that come after it.
type scene struct {
	following
	evals      []*cluster.Evaluation
	deployment *cluster.Deployment // of this version of the job, nil if it has none
	allocs     []api.AllocListStub // of the job, oldest first
}

// verdict is how a change came out.
type verdict struct {
	over     bool
	doubtful bool // it holds only if nothing changes for a moment: what ended may be about to be replaced
	status   int  // what the program ends with
	text     string
}

// evaluation is that of the change, nil if it is not known.
func (s *scene) evaluation() *cluster.Evaluation { return s.find(s.eval) }

func (s *scene) find(id cluster.ID) *cluster.Evaluation {
	for _, e := range s.evals {
		if e.ID == id {
			return e
		}
	}
	return nil
}

// planned is the last word of the planning that the change began: its evaluation or, where what that could not place
// has been tried again since, the one that did. nil if it is not known.
func (s *scene) planned() *cluster.Evaluation {
	e := s.evaluation()
	for range s.evals {
		if e == nil || len(e.FailedTGAllocs) == 0 {
			break
		}
		next := s.find(e.BlockedEval)
		if next == nil || next.Status == cluster.EvalBlocked {
			break
		}
		e = next
	}
	return e
}

// verdict decides whether what is awaited has come, or cannot come any more.
func (s *scene) verdict() verdict {
	switch s.goal {
	case stopped:
		if e := s.evaluation(); e != nil && e.Status == cluster.EvalPending {
			return verdict{}
		}
		for _, a := range s.allocs {
			if !a.ClientStatus.Terminal() {
				return verdict{}
			}
		}
		return verdict{over: true, text: fmt.Sprintf("Job %q has stopped", s.job.ID)}
	case replaced:
		return s.replacedVerdict()
	}
	e := s.planned()
	switch {
	case e == nil && !s.eval.IsZero(), e != nil && e.Status == cluster.EvalPending:
		return verdict{}
	case e != nil && e.Status == cluster.EvalFailed:
		return verdict{over: true, status: exitUnplaced, text: fmt.Sprintf("Evaluation %q failed: %s", s.name(e.ID), e.StatusDescription)}
	case e != nil && len(e.FailedTGAllocs) > 0:
		// room may be about to appear: a node that registers, a port that its last holder gives up
		return verdict{over: true, doubtful: true, status: exitUnplaced, text: s.unplaced(e)}
	}
	if s.deployment != nil {
		return s.deployed()
	}
	return s.counted()
}

// unplaced says what waits and that it goes on waiting.
func (s *scene) unplaced(e *cluster.Evaluation) string {
	text := strings.Join(placementFailures(e), "\n")
	if e.BlockedEval.IsZero() {
		return fmt.Sprintf("Job %q could not be placed as a whole\n%s", s.job.ID, text)
	}
	return fmt.Sprintf("Job %q could not be placed as a whole\n%s\nEvaluation %q waiting for additional capacity to place remainder", s.job.ID, text, s.name(e.BlockedEval))
}

func (s *scene) replacedVerdict() verdict {
	e := s.planned()
	for _, a := range s.allocs {
		switch {
		case a.ID != s.alloc:
		case !a.ClientStatus.Terminal(), e == nil && !s.eval.IsZero(), e != nil && e.Status == cluster.EvalPending:
			return verdict{}
		case e != nil && len(e.FailedTGAllocs) > 0:
			return verdict{over: true, doubtful: true, status: exitUnplaced, text: s.unplaced(e)}
		case !a.NextAllocation.IsZero():
			return verdict{over: true, text: fmt.Sprintf("Allocation %q has stopped, %q takes its place", s.name(a.ID), s.name(a.NextAllocation))}
		}
	}
	return verdict{over: true, text: fmt.Sprintf("Allocation %q has stopped", s.name(s.alloc))}
}

// deployed judges by the deployment.
func (s *scene) deployed() verdict {
	d := s.deployment
	switch d.Status {
	case cluster.DeploymentSuccessful:
		return verdict{over: true, text: fmt.Sprintf("Deployment %q successful", s.name(d.ID))}
	case cluster.DeploymentFailed, cluster.DeploymentCancelled:
		return verdict{over: true, status: exitUnplaced, text: fmt.Sprintf("Deployment %q %s: %s", s.name(d.ID), d.Status, orNone(d.StatusDescription))}
	}
	return verdict{}
}

// counted judges a job without deployment by its allocations: complete for batch, running for the others.
func (s *scene) counted() verdict {
	wanted, word := cluster.ClientRunning, "running"
	if s.job.RunsToEnd() {
		wanted, word = cluster.ClientComplete, "complete"
	}
	good, failed, ended := map[string]int{}, 0, true
	allocs := s.current()
	for _, a := range allocs {
		switch {
		case a.ClientStatus == wanted:
			good[a.TaskGroup]++
		case a.ClientStatus == cluster.ClientFailed || a.ClientStatus == cluster.ClientLost:
			failed++
		}
		ended = ended && a.ClientStatus.Terminal() && a.FollowupEvalID.IsZero()
	}
	missing, total := false, 0
	for i := range s.job.TaskGroups {
		g := &s.job.TaskGroups[i]
		want := g.Count
		if s.job.OnEveryNode() {
			want = s.placedOf(g.Name)
		}
		total += want
		missing = missing || good[g.Name] < want
	}
	if !missing {
		// a system job's allocations are counted, not wanted in advance: more may be about to come
		doubtful := s.job.OnEveryNode() && total == 0
		return verdict{over: true, doubtful: doubtful, text: fmt.Sprintf("Job %q: %d of %d allocations %s", s.job.ID, total, total, word)}
	}
	if ended && failed > 0 && !s.planning() {
		return verdict{over: true, doubtful: true, status: exitUnplaced,
			text: fmt.Sprintf("Job %q failed: %d of %d allocations failed", s.job.ID, failed, total)}
	}
	return verdict{}
}

// current are the allocations of this version of the job that nothing has replaced.
func (s *scene) current() []api.AllocListStub {
	var list []api.AllocListStub
	for _, a := range s.allocs {
		if a.JobVersion == s.job.Version && a.NextAllocation.IsZero() {
			list = append(list, a)
		}
	}
	return list
}

func (s *scene) placedOf(group string) int {
	n := 0
	for _, a := range s.current() {
		if a.TaskGroup == group && a.DesiredStatus == cluster.DesiredRun {
			n++
		}
	}
	return n
}

// planning reports whether some evaluation may still place something.
func (s *scene) planning() bool {
	return slices.ContainsFunc(s.evals, func(e *cluster.Evaluation) bool { return !e.Done() })
}

// troubled are allocations that explain a failure, the newest first: failed, or unhealthy in the deployment.
func (s *scene) troubled() []api.AllocListStub {
	var list []api.AllocListStub
	for _, a := range slices.Backward(s.allocs) {
		sick := a.DeploymentStatus != nil && a.DeploymentStatus.Healthy != nil && !*a.DeploymentStatus.Healthy
		if a.JobVersion == s.job.Version && (a.ClientStatus == cluster.ClientFailed || sick || hasTrouble(a)) {
			list = append(list, a)
		}
	}
	return list
}

// hasTrouble reports whether a task of the allocation failed or was started again.
func hasTrouble(a api.AllocListStub) bool {
	for _, t := range a.TaskStates {
		if t.Failed || t.Restarts > 0 {
			return true
		}
	}
	return false
}

// changes are the lines of a plain log for what is new in s. before is nil at the start.
func (s *scene) changes(before *scene) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	var old *cluster.Evaluation
	known, oldDeployment := map[cluster.ID]api.AllocListStub{}, (*cluster.Deployment)(nil)
	if before != nil {
		old, oldDeployment = before.evaluation(), before.deployment
		for _, a := range before.allocs {
			known[a.ID] = a
		}
	} else if !s.eval.IsZero() {
		say("Monitoring evaluation %q", s.name(s.eval))
	}
	e := s.evaluation()
	if e != nil && old == nil {
		say("Evaluation triggered by job %q", e.JobID)
	}
	lines = append(lines, s.allocChanges(known, before == nil)...)
	if e != nil {
		was := cluster.EvalPending
		if old != nil {
			was = old.Status
		}
		if was != e.Status {
			say("Evaluation status changed: %q -> %q", was, e.Status)
			say("Evaluation %q finished with status %q", s.name(e.ID), e.Status)
		}
	}
	if s.goal != placed {
		return lines
	}
	return append(lines, s.deploymentChanges(oldDeployment)...)
}

func (s *scene) allocChanges(known map[cluster.ID]api.AllocListStub, first bool) []string {
	var lines []string
	say := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for _, a := range s.allocs {
		was, seen := known[a.ID]
		if !seen {
			if first && a.EvalID != s.eval {
				continue // it was there before
			}
			say("Allocation %q created: node %q, group %q", s.name(a.ID), s.name(a.NodeID), a.TaskGroup)
		} else if was.JobVersion != a.JobVersion {
			say("Allocation %q modified: node %q, group %q", s.name(a.ID), s.name(a.NodeID), a.TaskGroup)
		}
		if was.ClientStatus != a.ClientStatus && seen || !seen && a.ClientStatus != cluster.ClientPending {
			say("Allocation %q status changed: %q -> %q%s", s.name(a.ID), was.ClientStatus, a.ClientStatus, inBrackets(a.ClientDescription))
		}
		for _, task := range slices.Sorted(maps.Keys(a.TaskStates)) {
			for _, e := range newEvents(was.TaskStates[task].Events, a.TaskStates[task].Events) {
				say("Allocation %q task %q: %s: %s", s.name(a.ID), task, e.Type, e.DisplayMessage)
			}
		}
	}
	return lines
}

func inBrackets(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// newEvents are the events that came since, without those of every ordinary start.
func newEvents(old, now []cluster.TaskEventView) []cluster.TaskEventView {
	var last int64
	if len(old) > 0 {
		last = old[len(old)-1].Time
	}
	var list []cluster.TaskEventView
	for _, e := range now {
		switch cluster.ParseEventType(e.Type) {
		case cluster.EventReceived, cluster.EventTaskSetup, cluster.EventStarted:
			continue
		}
		if e.Time > last {
			list = append(list, e)
		}
	}
	return list
}

func (s *scene) deploymentChanges(old *cluster.Deployment) []string {
	d := s.deployment
	if d == nil {
		return nil
	}
	var lines []string
	if old == nil || old.ID != d.ID {
		lines = append(lines, fmt.Sprintf("Monitoring deployment %q", s.name(d.ID)))
		old = &cluster.Deployment{}
	}
	for _, name := range slices.Sorted(maps.Keys(d.TaskGroups)) {
		g, was := d.TaskGroups[name], old.TaskGroups[name]
		if g.PlacedAllocs != was.PlacedAllocs || g.HealthyAllocs != was.HealthyAllocs || g.UnhealthyAllocs != was.UnhealthyAllocs {
			lines = append(lines, fmt.Sprintf("Deployment %q group %q: %d desired, %d placed, %d healthy, %d unhealthy",
				s.name(d.ID), name, g.DesiredTotal, g.PlacedAllocs, g.HealthyAllocs, g.UnhealthyAllocs))
		}
	}
	return lines
}

// picture is the scene for a terminal: at most height lines, those that matter least left out.
func (o *output) picture(s *scene, height int) []string {
	lines := []string{o.bold(fmt.Sprintf("Job %q, version %d", s.job.ID, s.job.Version))}
	if e := s.evaluation(); e != nil {
		lines = append(lines, fmt.Sprintf("Evaluation %s  %s", s.name(e.ID), o.status(e.Status)))
	}
	if d := s.deployment; d != nil && s.goal == placed {
		lines = append(lines, fmt.Sprintf("Deployment %s  %s  %s", s.name(d.ID), o.status(d.Status), printable(d.StatusDescription)), "")
		lines = append(lines, o.rows(o.deployed(d))...)
	}
	if blocked := blockedEvaluation(s.evals); blocked != nil && s.goal == placed {
		lines = append(lines, "")
		lines = append(lines, placementFailures(blocked)...)
	}
	rows := [][]string{{"Allocation", "Node", "Group", "Version", "Status", "Health", "Last Event"}}
	shown := s.shown()
	room := max(height-len(lines)-4, 3)
	for i, a := range shown {
		if i == room {
			break
		}
		rows = append(rows, []string{s.name(a.ID), a.NodeName, a.TaskGroup, fmt.Sprint(a.JobVersion), o.wish(a), healthOf(a), o.lastEvent(a)})
	}
	if len(shown) > 0 {
		lines = append(append(lines, ""), o.rows(rows)...)
	}
	if len(shown) > room {
		lines = append(lines, o.faint(fmt.Sprintf("and %d more", len(shown)-room)))
	}
	return lines[:min(len(lines), height)]
}

// shown are the allocations worth looking at: those that are not at rest first, then those of this version, the newest first.
func (s *scene) shown() []api.AllocListStub {
	var list []api.AllocListStub
	for _, a := range s.allocs {
		if a.JobVersion == s.job.Version || !a.ClientStatus.Terminal() {
			list = append(list, a)
		}
	}
	rank := func(a api.AllocListStub) int {
		switch {
		case a.ClientStatus == cluster.ClientPending, hasTrouble(a) && !a.ClientStatus.Terminal():
			return 0
		case !a.ClientStatus.Terminal():
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(a, b api.AllocListStub) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return int(b.CreateIndex) - int(a.CreateIndex)
	})
	return list
}

// wish is an allocation's status, and that it is to stop.
func (o *output) wish(a api.AllocListStub) string {
	if a.DesiredStatus != cluster.DesiredRun && !a.ClientStatus.Terminal() {
		return "stopping"
	}
	return a.ClientStatus.String()
}

func healthOf(a api.AllocListStub) string {
	switch d := a.DeploymentStatus; {
	case d == nil || d.Healthy == nil:
		return "-"
	case *d.Healthy:
		return "healthy"
	}
	return "unhealthy"
}

// lastEvent is the newest thing that happened to any task of the allocation.
func (o *output) lastEvent(a api.AllocListStub) string {
	var newest cluster.TaskEventView
	for _, name := range slices.Sorted(maps.Keys(a.TaskStates)) {
		if events := a.TaskStates[name].Events; len(events) > 0 && events[len(events)-1].Time >= newest.Time {
			newest = events[len(events)-1]
		}
	}
	if newest.Type == "" {
		return "-"
	}
	return newest.Type + ": " + firstLine(newest.DisplayMessage) + " (" + o.ago(newest.Time) + ")"
}
