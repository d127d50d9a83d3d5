package main

import (
	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/driver/docker"
	"github.com/a43e60e4/cluster/driver/rawexec"
)

// configChecks find what drivers would not understand of a task's config. Nobody but a driver knows its options: servers do not, and a node
// tells only when the task is to start there.
var configChecks = map[string]func(map[string]any) []driver.Fault{"raw_exec": rawexec.CheckConfig, "docker": docker.CheckConfig}

// checkConfigs are warnings and refuse no job: a node may be of a newer version and understand more.
func checkConfigs(job *cluster.Job) cluster.Problems {
	var problems cluster.Problems
	for i := range job.TaskGroups {
		g := &job.TaskGroups[i]
		for k := range g.Tasks {
			t := &g.Tasks[k]
			check := configChecks[t.Driver]
			if check == nil {
				continue
			}
			config := cluster.Path("").Label("group", g.Name).Label("task", t.Name).Field("config")
			for _, fault := range check(t.Config) {
				at := config
				if fault.Option != "" {
					at = config.Field(fault.Option)
				}
				problems = append(problems, cluster.Problem{Path: at, Text: fault.Text + "; driver " + t.Driver + " would not start the task"})
			}
		}
	}
	return problems
}
