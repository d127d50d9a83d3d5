package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/a43e60e4/cluster/jobspec"
	"github.com/a43e60e4/cluster/server/api"
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

// variables prints the values that a job's variables were given, as comments: those of files, and those that go before them.
func (o *output) variables(s *api.JobSubmission) {
	for line := range strings.Lines(s.Variables) {
		o.line("# %s", printable(strings.TrimRight(line, "\r\n")))
	}
	for _, name := range slices.Sorted(maps.Keys(s.VariableFlags)) {
		o.line("# -var %s", printable(shellQuoted(name+"="+s.VariableFlags[name])))
	}
}
