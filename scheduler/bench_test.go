package scheduler

import (
	"fmt"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

// benchInput is one job over 5,000 nodes of three sizes, four datacenters and four classes.
func benchInput(job string) Input {
	w := newWorld()
	w.setJob(job)
	in := Input{Now: time.Unix(1_700_000_000, 0), Seed: [16]byte{1, 2, 3}, Job: w.job, SnapshotIndex: 1, Eval: w.newEval()}
	for i := range 5000 {
		size := []string{"4000", "8000", "16000"}[i%3]
		w.addNode([]string{fmt.Sprintf("n%d", i), fmt.Sprintf("dc=dc%d", i%4), "cpu=" + size, "memory=" + size, fmt.Sprintf("class=c%d", i%4)})
		n := w.nodes[i]
		n.ID = cluster.ID{0: byte(i >> 8), 1: byte(i), 15: 1}
		in.Nodes = append(in.Nodes, Node{Node: n, Used: cluster.Capacity{CPU: i % 1000, MemoryMB: i % 700}})
	}
	return in
}

func BenchmarkSchedule(b *testing.B) {
	for _, row := range []struct{ name, job string }{
		{"count=1", "batch / web count=1"},
		{"count=1/constraint", "batch constraint=node.class|=|c1 / web count=1"},
		{"count=1/ports", "batch / web count=1 dynamic=http"},
		{"count=1/deployment", "service / web count=1"},
		{"count=1000", "batch / web count=1000"},
		{"count=1000/ports", "batch / web count=1000 dynamic=http"},
		{"count=1000/spread", "batch / web count=1000 spread=node.datacenter:dc0:40:dc1:30:dc2:20:dc3:10"},
		{"count=1000/distinct", "batch constraint=distinct_hosts / web count=1000"},
		{"count=1000/spread-hosts", "batch / web count=1000 spread=node.unique.id"},
		{"system", "system / web"},
		{"blocked", "batch constraint=node.class|=|none / web count=1000"},
	} {
		b.Run(row.name, func(b *testing.B) {
			in := benchInput(row.job)
			b.ReportAllocs()
			placed := 0
			for b.Loop() {
				plan := Schedule(in)
				placed += len(plan.Places)
			}
			if placed > 0 {
				b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "places/s")
			}
		})
	}
}
