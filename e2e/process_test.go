package e2e

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// process is one entry of /proc.
type process struct {
	pid, parent int
	state       string
	line        string // its command line, arguments between spaces
	task        string // the task that it belongs to, "" if none
	script      string // the world that it belongs to, "" if none
}

// processes are all processes of the machine, ascending by ID. Of those that may not be read, and of zombies, only the
// first three fields are known.
func processes() []process {
	var all []process
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, entry := range entries {
		stat, err := os.ReadFile(filepath.Join(entry, "stat"))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(entry, "cmdline"))
		p := process{state: fields[0], line: strings.TrimSpace(strings.ReplaceAll(string(line), "\x00", " "))}
		p.pid, _ = strconv.Atoi(filepath.Base(entry))
		p.parent, _ = strconv.Atoi(fields[1])
		environ, _ := os.ReadFile(filepath.Join(entry, "environ"))
		for variable := range strings.SplitSeq(string(environ), "\x00") {
			if value, ok := strings.CutPrefix(variable, "CLUSTER_TASK_ID="); ok {
				p.task = value
			}
			if value, ok := strings.CutPrefix(variable, markerEnv+"="); ok {
				p.script = value
			}
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b process) int { return cmp.Compare(a.pid, b.pid) })
	return all
}
