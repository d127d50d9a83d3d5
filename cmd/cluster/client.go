package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/server/api"
)

// client talks to the agent that flags and environment choose.
func (c *call) client() (*api.Client, error) {
	address := c.address()
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	return api.New(api.Config{
		Address:   address,
		Token:     c.setting("token", "TOKEN", ""),
		Namespace: c.setting("namespace", "NAMESPACE", ""),
		Region:    c.setting("region", "REGION", ""),
	})
}

// printObject prints what the API answers at path, as it is.
func (c *call) printObject(client *api.Client, path string, q api.Query) error {
	var object json.RawMessage
	if _, err := client.Get(c.ctx(), path, q, &object); err != nil {
		return err
	}
	return c.object(object)
}

// match is a thing that a shortened ID may mean.
type match struct {
	id  string
	row []string // for the list that is shown when several match
}

// choose is the one match that has the ID, or that alone begins with it. Several are listed in the error.
func (o *output) choose(noun, typed string, titles []string, found []match) (string, error) {
	var list []match
	for _, m := range found {
		if m.id == typed {
			return typed, nil
		}
		if strings.HasPrefix(m.id, typed) {
			list = append(list, m)
		}
	}
	switch len(list) {
	case 0:
		return "", cluster.Errorf(cluster.CodeNotFound, "find %s %q: there is none whose ID is or begins with that", noun, clip(typed))
	case 1:
		return list[0].id, nil
	}
	rows := [][]string{titles}
	for _, m := range list[:min(len(list), maxMatches)] {
		rows = append(rows, m.row)
	}
	lines := o.rows(rows)
	if more := len(list) - maxMatches; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return "", fmt.Errorf("find %s %q: %d match, write more of the ID:\n%s", noun, clip(typed), len(list), strings.Join(lines, "\n"))
}

// maxMatches bounds how many of several matches are listed.
const maxMatches = 20

// idPrefix is what to ask the API for when text was typed: servers may want whole bytes.
func idPrefix(text string) string {
	digits := len(text) - strings.Count(text, "-")
	if digits%2 == 1 && digits > 1 {
		return text[:len(text)-1]
	}
	return text
}

// chooseID is choose for things named by UUIDs. A whole ID is taken as it is; list finds what begins with a prefix.
func (c *call) chooseID(noun, typed string, titles []string, list func(prefix string) ([]match, error)) (cluster.ID, error) {
	typed = strings.ToLower(strings.TrimSpace(typed))
	if id, err := cluster.ParseID(typed); err == nil && !id.IsZero() {
		return id, nil
	}
	if typed == "" || strings.Trim(typed, "0123456789abcdef-") != "" {
		return cluster.ID{}, cluster.Errorf(cluster.CodeInvalid, "find %s %q: want an ID or its beginning, digits and the letters a to f", noun, clip(typed))
	}
	found, err := list(idPrefix(typed))
	if err != nil {
		return cluster.ID{}, err
	}
	text, err := c.out.choose(noun, typed, titles, found)
	if err != nil {
		return cluster.ID{}, err
	}
	return cluster.ParseID(text)
}

// allocID finds an allocation by the beginning of its ID.
func (c *call) allocID(client *api.Client, typed string) (cluster.ID, error) {
	return c.chooseID("allocation", typed, []string{"ID", "Job ID", "Task Group", "Node ID", "Status"}, func(prefix string) ([]match, error) {
		list, _, err := client.Allocations(c.ctx(), api.Query{Prefix: prefix, Namespace: c.lookup()})
		found := make([]match, len(list))
		for i, a := range list {
			found[i] = match{a.ID.String(), []string{a.ID.String(), a.JobID, a.TaskGroup, a.NodeID.Short(), a.ClientStatus.String()}}
		}
		return found, err
	})
}

// allocation reads the allocation whose ID begins as typed.
func (c *call) allocation(client *api.Client, typed string) (*cluster.Allocation, error) {
	id, err := c.allocID(client, typed)
	if err != nil {
		return nil, err
	}
	a, _, err := client.Allocation(c.ctx(), id, api.Query{Namespace: c.lookup()})
	return a, err
}

// nodeID finds a node by the beginning of its ID, or by its name.
func (c *call) nodeID(client *api.Client, typed string) (cluster.ID, error) {
	list, _, err := client.Nodes(c.ctx(), api.Query{})
	if err != nil {
		return cluster.ID{}, err
	}
	titles := []string{"ID", "Name", "DC", "Status"}
	found, named := make([]match, len(list)), [][]string{titles}
	var last cluster.ID
	for i, n := range list {
		found[i] = match{n.ID.String(), []string{n.ID.String(), n.Name, n.Datacenter, n.Status}}
		if n.Name == typed {
			named, last = append(named, found[i].row), n.ID
		}
	}
	switch count := len(named) - 1; {
	case count == 1:
		return last, nil
	case count > 1:
		return cluster.ID{}, fmt.Errorf("find node %q: %d have that name, write the ID of one:\n%s", clip(typed), count,
			strings.Join(c.out.rows(named[:min(len(named), maxMatches+1)]), "\n"))
	}
	text, err := c.out.choose("node", strings.ToLower(typed), titles, found)
	if err != nil {
		return cluster.ID{}, err
	}
	return cluster.ParseID(text)
}

// evalID finds an evaluation by the beginning of its ID.
func (c *call) evalID(client *api.Client, typed string) (cluster.ID, error) {
	return c.chooseID("evaluation", typed, []string{"ID", "Job ID", "Triggered By", "Status"}, func(prefix string) ([]match, error) {
		list, _, err := client.Evaluations(c.ctx(), api.Query{Prefix: prefix, Namespace: c.lookup()})
		found := make([]match, len(list))
		for i, e := range list {
			found[i] = match{e.ID.String(), []string{e.ID.String(), e.JobID, e.TriggeredBy, e.Status}}
		}
		return found, err
	})
}

// deploymentID finds a deployment by the beginning of its ID.
func (c *call) deploymentID(client *api.Client, typed string) (cluster.ID, error) {
	return c.chooseID("deployment", typed, []string{"ID", "Job ID", "Job Version", "Status"}, func(prefix string) ([]match, error) {
		list, _, err := client.Deployments(c.ctx(), api.Query{Prefix: prefix, Namespace: c.lookup()})
		found := make([]match, len(list))
		for i, d := range list {
			found[i] = match{d.ID.String(), []string{d.ID.String(), d.JobID, fmt.Sprint(d.JobVersion), d.Status}}
		}
		return found, err
	})
}

// jobKey finds a job by its ID or the beginning of it.
func (c *call) jobKey(client *api.Client, typed string) (cluster.JobKey, error) {
	list, _, err := client.Jobs(c.ctx(), api.Query{Prefix: typed})
	if err != nil {
		return cluster.JobKey{}, err
	}
	found, namespaces := make([]match, len(list)), map[string]string{}
	for i, j := range list {
		if _, twice := namespaces[j.ID]; twice && j.ID == typed {
			return cluster.JobKey{}, fmt.Errorf("find job %q: several namespaces have one: choose with -namespace", clip(typed))
		}
		namespaces[j.ID] = j.Namespace
		found[i] = match{j.ID, []string{j.ID, j.Namespace, j.Type, jobStatus(j.Status, j.Stop)}}
	}
	id, err := c.out.choose("job", typed, []string{"ID", "Namespace", "Type", "Status"}, found)
	return cluster.JobKey{Namespace: namespaces[id], ID: id}, err
}

// jobCommand is the command line that does something with a job, for messages that name one. It has the job's namespace where the environment
// chooses another: whoever types it may leave out what was typed the last time.
func (c *call) jobCommand(verb string, key cluster.JobKey) string {
	line := "cluster job " + verb
	if chosen := cmp.Or(c.program.getenv("CLUSTER_NAMESPACE"), c.program.getenv("NOMAD_NAMESPACE"), cluster.DefaultNamespace); key.Namespace != chosen {
		line += " -namespace=" + shellQuoted(key.Namespace)
	}
	return line + " " + shellQuoted(key.ID)
}

// lookup is the namespace in which IDs that are unique anyway are looked for: the one chosen, else all.
func (c *call) lookup() string { return c.setting("namespace", "NAMESPACE", cluster.AllNamespaces) }
