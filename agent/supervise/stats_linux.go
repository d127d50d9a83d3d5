package supervise

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// stats measures the tree. What no controller counts is summed up over its processes.
func (t tree) stats() (Stats, error) {
	if t.group == nil {
		found, err := t.members()
		return sumStats(found), err
	}
	g := t.group
	var st Stats
	pids, err := g.pids()
	if err != nil {
		return st, err
	}
	st.Pids = int64(len(pids))
	if dir := g.v1("pids"); dir != "" {
		st.Pids = readNumber(filepath.Join(dir, "pids.current"))
	} else if g.in.has("pids") {
		st.Pids = readNumber(filepath.Join(g.unified(), "pids.current"))
	}
	g.cpu(&st)
	g.memory(&st, pids)
	return st, nil
}

func (g *group) cpu(st *Stats) {
	unified := readTable(g.unified(), "cpu.stat")
	st.CPU = time.Duration(unified["usage_usec"]) * time.Microsecond
	if dir := g.v1("cpuacct"); dir != "" {
		st.CPU = time.Duration(readNumber(filepath.Join(dir, "cpuacct.usage")))
	}
	if dir := g.v1("cpu"); dir != "" {
		table := readTable(dir, "cpu.stat")
		st.Throttled, st.ThrottledN = time.Duration(table["throttled_time"]), table["nr_throttled"]
	} else {
		st.Throttled = time.Duration(unified["throttled_usec"]) * time.Microsecond
		st.ThrottledN = unified["nr_throttled"]
	}
}

func (g *group) memory(st *Stats, pids []int) {
	switch dir := g.v1("memory"); {
	case dir != "":
		st.Memory = readTable(dir, "memory.stat")["total_rss"]
		st.MemoryCurrent = readNumber(filepath.Join(dir, "memory.usage_in_bytes"))
	case g.in.has("memory"):
		st.Memory = readTable(g.unified(), "memory.stat")["anon"]
		st.MemoryCurrent = readNumber(filepath.Join(g.unified(), "memory.current"))
	default:
		for _, pid := range pids {
			if s, err := readStat(pid); err == nil {
				st.Memory += s.rss * int64(os.Getpagesize())
			}
		}
	}
}

// oomKills is how many processes of the group the kernel killed for want of memory.
func (g *group) oomKills() int64 {
	if dir := g.v1("memory"); dir != "" {
		return readTable(dir, "memory.oom_control")["oom_kill"]
	}
	return readTable(g.unified(), "memory.events")["oom_kill"]
}

// sumStats knows only what lives now: what a task's dead processes used is lost.
func sumStats(found []stat) Stats {
	const tick = time.Second / 100 // USER_HZ
	st := Stats{Pids: int64(len(found))}
	for _, s := range found {
		st.CPU += time.Duration(s.ticks) * tick
		st.Memory += s.rss * int64(os.Getpagesize())
	}
	return st
}

func readNumber(path string) int64 {
	b, _ := os.ReadFile(path)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// readTable reads lines of "name number"; a file or directory that is not there is an empty table.
func readTable(dir, file string) map[string]int64 {
	table := map[string]int64{}
	if dir == "" {
		return table
	}
	b, _ := os.ReadFile(filepath.Join(dir, file))
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			table[name], _ = strconv.ParseInt(value, 10, 64)
		}
	}
	return table
}
