package scheduler

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

var rewrite = flag.Bool("rewrite", false, "write what happens into the scenario files; read the difference before committing it")

// TestScenarios plays the stories in testdata: a line that begins with "> " is a command, the lines under it are what came of it.
//
//	node NAME key=value…        a node joins
//	set NAME key=value…         a node becomes down, disconnected, ready, ineligible, eligible, or has another meta.key; drain=DURATION,
//	                            drain-all=… (none for ever, -1s at once) and drain-none begin and end a drain;
//	                            impediment=… (_ for a space) and impediment= as the node itself says
//	drain                       what nodes that are being drained ask for is planned
//	job TYPE key=value… / GROUP key=value… / …      a version of the job is registered
//	stop-job, purge-job
//	plan, plan blocked, plan woken, plan due    a fresh evaluation is planned and carried out, or the blocked one (made
//	                            pending or not), or one whose time has come
//	look                        what a plan would do is counted, and not carried out
//	agents                      the nodes do what they should
//	report NAME STATUS [HEALTH], user-stop NAME
//	new-leader                  which counts the silence of nodes anew
//	watch                       the deployment is looked at, and the evaluation planned that it asks for
//	advance DURATION, show
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(want))
			if got == string(want) {
				return
			}
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			wantLines, gotLines := strings.Split(string(want), "\n"), strings.Split(got, "\n")
			for i := range min(len(wantLines), len(gotLines)) {
				if wantLines[i] != gotLines[i] {
					t.Fatalf("line %d:\n got %s\nwant %s\nall:\n%s", i+1, gotLines[i], wantLines[i], got)
				}
			}
			t.Fatalf("another length; all:\n%s", got)
		})
	}
}

// play carries out the commands of a scenario and returns it with what came of them.
func play(t *testing.T, text string) string {
	var out strings.Builder
	w := newWorld()
	answered := false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		command, found := strings.CutPrefix(line, "> ")
		switch {
		case found:
			answered = true
			out.WriteString(line + "\n" + w.command(t, command))
		case line == "" || strings.HasPrefix(line, "#"):
			answered = false
			out.WriteString(line + "\n")
		case !answered:
			t.Fatalf("this line belongs to no command: %s", line)
		}
	}
	return out.String()
}

func (w *world) command(t *testing.T, text string) string {
	verb, rest, _ := strings.Cut(text, " ")
	words := strings.Fields(rest)
	switch verb {
	case "node":
		w.addNode(words)
	case "set":
		for _, word := range words[1:] {
			w.changeNode(words[0], func(n *cluster.Node) { setNode(n, word, w.now) })
		}
	case "job":
		w.setJob(rest)
	case "stop-job":
		next := *w.job
		next.Stop = true
		w.job = &next
	case "purge-job":
		w.job = nil
	case "look":
		return describeDesired(Look(w.input(w.newEval())).Desired)
	case "plan":
		return w.planCommand(t, rest)
	case "agents":
		w.agents()
	case "report":
		status := map[string]cluster.ClientStatus{"running": cluster.ClientRunning, "complete": cluster.ClientComplete,
			"failed": cluster.ClientFailed, "lost": cluster.ClientLost}[words[1]]
		health := map[string]cluster.HealthStatus{"healthy": cluster.HealthHealthy, "unhealthy": cluster.HealthUnhealthy}[strings.Join(words[2:], "")]
		w.report(w.find(words[0]), status, health)
	case "user-stop":
		w.index++
		w.edit(w.find(words[0]).ID, func(a *cluster.Allocation) { a.DesiredStatus = cluster.DesiredStop })
	case "watch":
		return w.watchCommand()
	case "drain":
		eval := Drain(w.input(nil))
		if eval == nil {
			return "nothing\n"
		}
		plan := w.plan(eval)
		return w.describe(&plan)
	case "new-leader":
		for id := range w.heard {
			w.heard[id] = w.now
		}
	case "advance":
		span, err := time.ParseDuration(rest)
		if err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(span)
	case "show":
		return w.show()
	default:
		t.Fatalf("unknown command %q", verb)
	}
	return ""
}

func setNode(n *cluster.Node, word string, now time.Time) {
	key, value, _ := strings.Cut(word, "=")
	switch key {
	case "drain", "drain-all":
		span, err := time.ParseDuration(value)
		if err != nil {
			panic(err)
		}
		n.DrainStrategy = &cluster.DrainStrategy{StartedAt: now, ForceDeadline: now.Add(max(span, 0)),
			DrainSpec: cluster.DrainSpec{Deadline: span, IgnoreSystemJobs: key == "drain"}}
		n.SchedulingEligibility = cluster.NodeIneligible
	case "drain-none":
		n.DrainStrategy = nil
	case "down", "ready", "disconnected":
		n.Status = key
	case "ineligible", "eligible":
		n.SchedulingEligibility = key
	case "impediment":
		n.Impediment = strings.ReplaceAll(value, "_", " ")
	default:
		n.Meta[strings.TrimPrefix(key, "meta.")] = value
	}
}

func (w *world) planCommand(t *testing.T, which string) string {
	eval := w.newEval()
	for _, e := range w.evals {
		due := e.Status == cluster.EvalPending && e.WaitUntil <= w.now.UnixNano()
		if which == "blocked" && e.Status == cluster.EvalBlocked || which == "due" && due {
			eval = e
		}
		if which == "woken" && e.Status == cluster.EvalBlocked {
			woken := *e
			woken.Status = cluster.EvalPending
			eval = &woken
		}
	}
	plan := w.plan(eval)
	text := w.describe(&plan)
	if which == "blocked" || which == "woken" {
		text += "       and is " + plan.Eval.Status + "\n"
	}
	if again := Schedule(w.input(w.newEval())); !again.Empty() {
		t.Errorf("planned twice: the second plan is not empty:\n%sthe first was:\n%s", w.describe(&again), text)
	}
	return text
}

func (w *world) watchCommand() string {
	progress, plan := w.watch()
	text := ""
	if progress.Deployment != nil {
		text = describeDeployment(w, progress.Deployment)
		if progress.Stable {
			text += "stable\n"
		}
	}
	if progress.Eval != nil {
		text += w.describe(&plan)
	}
	if !progress.Wake.IsZero() {
		text += "wake   in " + progress.Wake.Sub(w.now).String() + "\n"
	}
	if text == "" {
		return "nothing\n"
	}
	return text
}
