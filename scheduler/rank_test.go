package scheduler

import (
	"fmt"
	"math"
	"testing"

	"github.com/a43e60e4/cluster"
)

// The table of powers is as good as the formula: 20 - 10^free cpu - 10^free memory, from 0 to 18, as a share of 18.
func TestPacking(t *testing.T) {
	for used := range 101 {
		total := cluster.Capacity{CPU: 100, MemoryMB: 1000}
		rest := cluster.Capacity{CPU: 100 - used, MemoryMB: 1000 - used*used/10}
		exact := (20 - math.Pow(10, float64(rest.CPU)/100) - math.Pow(10, float64(rest.MemoryMB)/1000)) / 18
		if got := packing(rest, total); math.Abs(got-exact) > 1e-6 {
			t.Errorf("packing(%v) = %v, want %v", rest, got, exact)
		}
	}
	if got := packing(cluster.Capacity{}, cluster.Capacity{}); got != 1 {
		t.Errorf("a node without cpu and memory is packed to %v", got)
	}
}

// What else runs decides between nodes: the fuller one, not one with an instance, not one where it failed.
func TestBestNode(t *testing.T) {
	for _, row := range []struct {
		name  string
		job   string
		used  []int // MHz, by node
		peer  int   // the node that has another instance, -1: none
		avoid []int
		want  int
	}{
		{"equal nodes: the first", "batch / web count=2", []int{0, 0, 0}, -1, nil, 0},
		{"the fullest", "batch / web count=2", []int{0, 2000, 1000}, -1, nil, 1},
		{"the fullest that has room", "batch / web count=2 cpu=500", []int{0, 3900, 1000}, -1, nil, 2},
		{"not beside another instance", "batch / web count=2", []int{0, 2000, 1000}, 1, nil, 2},
		{"beside one of many, if that is much fuller", "batch / web count=100", []int{0, 3600, 0}, 1, nil, 1},
		{"not where it failed", "batch / web count=2", []int{0, 2000, 1000}, -1, []int{1}, 2},
		{"where it failed, if nothing else has room", "batch / web count=2 cpu=500", []int{3900, 2000, 3900}, -1, []int{1}, 1},
		{"nowhere", "batch / web cpu=500", []int{3900, 3900, 3900}, -1, nil, -1},
	} {
		w := newWorld()
		for i := range row.used {
			w.addNode([]string{fmt.Sprintf("n%d", i)})
		}
		w.setJob(row.job)
		in := w.input(w.newEval())
		for i, mhz := range row.used {
			in.Nodes[i].Used = cluster.Capacity{CPU: mhz, MemoryMB: mhz}
		}
		r := newRanker(newPlanner(in), w.job, &w.job.TaskGroups[0], 1)
		if row.peer >= 0 {
			r.changed(row.peer, 1)
		}
		if got := r.best(row.avoid); got != row.want {
			t.Errorf("%s: node %d, want %d", row.name, got, row.want)
		}
	}
}
