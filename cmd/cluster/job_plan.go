package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/urfave/cli/v2"
)

// The statuses of `job plan`: 0 and 1 are answers.
const (
	exitDisturbs  = 1   // the job would begin or end instances
	exitPlanError = 255 // there is no answer
)

func (p *program) jobPlan(name string) *cli.Command {
	return p.command(verb{
		name: name, short: "show what submitting a job would change, and submit nothing", args: "FILE|URL|-", min: 1, max: 1,
		long: "Shows how the job differs from the one that is there (+ new, - gone, +/- changed), what would become of each group's\n" +
			"instances, where they would run or why they could not, and which ports open.\n" +
			"Status: 0 no instance begins or ends, 1 some do, 255 error.",
		example: "cluster job plan web.hcl\ncluster job plan -var count=3 -verbose web.hcl\ncluster job plan -json-output - < web.hcl",
		flags: append(jobFileFlags(),
			&cli.BoolFlag{Name: "diff", Value: true, Usage: "show what differs; -diff=false leaves that out"},
			&cli.BoolFlag{Name: "verbose", Usage: "also all fields of what is new or gone, and each instance by itself"},
			&cli.BoolFlag{Name: "json-output", Usage: "print the API's object"},
			templateFlag(), policyFlag()),
		run: planJob,
	})
}

func planJob(c *call) error {
	file, err := readJobFile(c, c.Args().First())
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	answer, err := client.PlanJob(c.ctx(), file.job, true)
	if err != nil {
		return err
	}
	if answer.Diff == nil {
		return errors.New("plan job: the answer says nothing of what differs: is the agent of another release?")
	}
	c.warnPolicies()
	if c.Bool("json-output") || c.String("t") != "" {
		if err := c.object(answer); err != nil {
			return err
		}
		return planStatus(answer)
	}
	if c.Bool("diff") {
		differences{c.out, c.Bool("verbose")}.job(answer.Diff)
		c.out.line("")
	}
	c.out.dryRun(file.job, answer)
	c.out.planPlacements(answer, c.Bool("verbose"))
	c.out.planPorts(answer.Ports)
	c.out.warnJob(append(file.refused, file.with(answer.Warnings)...))
	c.out.line("\n%s %d", c.out.bold("Job Modify Index:"), answer.JobModifyIndex)
	if len(file.refused) > 0 {
		c.out.notRun(file)
	} else {
		c.out.line("To submit the job, if nobody else has changed it by then:\n\n%s", submission(c, answer.JobModifyIndex))
	}
	return planStatus(answer)
}

// planStatus is what the command ends with: nil for status 0.
func planStatus(answer *api.JobPlanResponse) error {
	if answer.Diff.Type == cluster.DiffNone {
		return nil
	}
	for _, u := range answer.Annotations.DesiredTGUpdates {
		if u.Disturbs() {
			return &exitStatus{status: exitDisturbs}
		}
	}
	return nil
}

// submission is the command that submits what was planned.
func submission(c *call, index uint64) string {
	words := []string{"cluster", "job", "run", "-check-index", strconv.FormatUint(index, 10)}
	for _, name := range []string{"address", "namespace", "region"} {
		if c.String(name) != "" {
			words = append(words, "-"+name+"="+c.String(name))
		}
	}
	for _, name := range []string{"var", "var-file"} {
		for _, value := range c.StringSlice(name) {
			words = append(words, "-"+name+"="+value)
		}
	}
	if c.Bool("json") {
		words = append(words, "-json")
	}
	if !c.Bool("hcl2-strict") {
		words = append(words, "-hcl2-strict=false")
	}
	words = append(words, c.Args().First())
	for i := range words {
		words[i] = shellQuoted(words[i])
	}
	return strings.Join(words, " ")
}

// shellQuoted is a word as a shell reads it back.
func shellQuoted(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,@%+"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// dryRun says whether everything would have a place.
func (o *output) dryRun(job *cluster.Job, answer *api.JobPlanResponse) {
	o.line("%s", o.bold("Scheduler dry-run:"))
	if len(answer.FailedTGAllocs) == 0 {
		o.line("%s", o.paint("32", "- All tasks successfully allocated."))
	} else {
		o.line("%s", o.paint("33", "- WARNING: Failed to place all allocations."))
		for _, line := range placementFailures(&cluster.Evaluation{FailedTGAllocs: answer.FailedTGAllocs}) {
			o.line("  %s", line)
		}
	}
	for i := range job.TaskGroups {
		g := &job.TaskGroups[i]
		n := answer.Annotations.DesiredTGUpdates[g.Name].DestructiveUpdate
		if g.Update != nil && g.Update.MaxParallel > 0 && n > uint64(g.Update.MaxParallel) {
			o.line("- Task group %q: %d instances are replaced, %d at a time.", g.Name, n, g.Update.MaxParallel)
		}
	}
	if job.IsTemplate() {
		o.line("- This is what a launch would do. To submit the job runs nothing by itself.")
	}
	if next := answer.NextPeriodicLaunch; !next.IsZero() {
		o.line("- If submitted now, next periodic launch would be at %s (%s from now).",
			next.In(o.now().Location()).Format(time.RFC3339), span(next.Sub(o.now())))
	}
}

// planPlacements says where instances would begin.
func (o *output) planPlacements(answer *api.JobPlanResponse, verbose bool) {
	if len(answer.Placements) == 0 {
		return
	}
	o.heading("Placements")
	rows := [][]string{{"Task Group", "Node", "Instances"}}
	if verbose {
		rows[0] = []string{"Name", "Node ID", "Node", "Replaces", "Version", "Score"}
	}
	at := map[[2]string]int{} // group and node → row
	for _, p := range answer.Placements {
		if verbose {
			replaces := ""
			if !p.Previous.IsZero() {
				replaces = p.Previous.String()
			}
			rows = append(rows, []string{p.Name, p.NodeID.String(), p.NodeName, replaces, strconv.FormatUint(p.JobVersion, 10), fmt.Sprintf("%.2f", p.Score)})
			continue
		}
		key := [2]string{p.TaskGroup, p.NodeName}
		if at[key] == 0 {
			at[key] = len(rows)
			rows = append(rows, []string{p.TaskGroup, p.NodeName, ""})
		}
		row := rows[at[key]]
		row[2] = strings.TrimSpace(row[2] + " " + p.Name[strings.LastIndex(p.Name, "["):])
	}
	o.table(rows)
	if len(answer.Placements) == api.MaxPlacements {
		o.line("and perhaps more: these are the first %d", api.MaxPlacements)
	}
}

// shownAddresses is how many addresses of a port are listed.
const shownAddresses = 3

// planPorts says which ports of machines open, close and stay.
func (o *output) planPorts(ports []api.PlanPort) {
	if len(ports) == 0 {
		return
	}
	o.heading("Ports of the machines")
	rows := [][]string{{"Change", "Task Group", "Port", "Number", "Services", "Addresses"}}
	for _, p := range ports {
		number, addresses := "dynamic", slices.Clone(p.Addresses)
		if p.Value > 0 {
			number = strconv.Itoa(p.Value)
		}
		for i, address := range addresses {
			if p.Value > 0 {
				addresses[i] = net.JoinHostPort(address, number)
			}
			if ip := net.ParseIP(address); ip != nil && ip.IsLoopback() {
				addresses[i] += " (that machine alone)"
			}
		}
		if more := len(addresses) - shownAddresses; more > 0 {
			addresses = append(addresses[:shownAddresses], fmt.Sprintf("and %d more", more))
		}
		rows = append(rows, []string{map[string]string{cluster.DiffAdded: "opens", cluster.DiffDeleted: "closes", cluster.DiffEdited: "changes", cluster.DiffNone: "stays"}[p.Type],
			p.TaskGroup, p.Label, number, strings.Join(p.Services, ", "), strings.Join(addresses, ", ")})
	}
	o.table(rows)
}
