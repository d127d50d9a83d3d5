package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster/jobspec"
)

// usedVariables are the values that a job file was given otherwise than by files, for those who want to read it the same way again:
// those of the command line, and those of the environment for variables that the file declares and that no file of values gives one.
func usedVariables(c jobspec.Config) map[string]string {
	used := map[string]string{}
	declared := jobspec.Declared(c.File)
	for _, prefix := range []string{"NOMAD_VAR_", "CLUSTER_VAR_"} {
		for _, entry := range c.Environ {
			name, value, _ := strings.Cut(entry, "=")
			if name, ours := strings.CutPrefix(name, prefix); ours && slices.Contains(declared, name) {
				used[name] = value
			}
		}
	}
	for _, f := range c.VariableFiles {
		for _, name := range jobspec.Assigned(f) {
			delete(used, name)
		}
	}
	maps.Copy(used, c.Variables)
	return used
}
