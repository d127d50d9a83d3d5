package state

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/a43e60e4/cluster"
)

// check recomputes from a snapshot's allocations what it holds ready, so that a snapshot that changes under its reader,
// or is half published, is noticed.
func check(t *testing.T, sn *Snapshot) {
	type count struct{ starting, running int }
	used := make(map[cluster.ID]cluster.Capacity)
	counts := make(map[string]count)
	total, passing := 0, 0
	for a := range sn.Allocs() {
		total++
		c := counts[a.JobID()]
		switch a.ClientStatus {
		case cluster.ClientPending:
			c.starting++
		case cluster.ClientRunning:
			c.running++
		}
		counts[a.JobID()] = c
		if a.Occupies() {
			used[a.NodeID] = used[a.NodeID].Plus(a.Group().Resources())
		}
		if visible(a) != 0 {
			passing++
		}
	}
	if total != sn.AllocCount() {
		t.Errorf("%d allocations, %d counted", total, sn.AllocCount())
	}
	byNode := 0
	for n, usage := range sn.Usages() {
		if usage.Capacity != used[n.ID] {
			t.Errorf("node uses %v, its allocations %v", usage.Capacity, used[n.ID])
		}
		slots := sn.node(n.ID).slots
		if !slices.IsSorted(slots) {
			t.Errorf("slots %v", slots)
		}
		for a := range sn.AllocsByNode(n.ID) {
			if a.NodeID != n.ID {
				t.Errorf("allocation of another node")
			}
			byNode++
		}
	}
	if byNode != total {
		t.Errorf("%d allocations by node, %d in all", byNode, total)
	}
	for job := range sn.Jobs("*", "") {
		got := sn.JobSummary(job.Namespace, job.ID).Summary["web"]
		if got.Starting != counts[job.ID].starting || got.Running != counts[job.ID].running {
			t.Errorf("summary %+v, counted %+v", got, counts[job.ID])
		}
	}
	for range sn.Service("default", "site").Endpoints() {
		passing--
	}
	if passing != 0 {
		t.Errorf("%d endpoints are missing", passing)
	}
}

func TestReadersSeeWholeStatesWhileTheWriterGoesOn(t *testing.T) {
	s, _ := running(t)
	s.register(testJob("api"))
	dice := rand.New(rand.NewPCG(1, 2))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var held []*Snapshot
			for {
				select {
				case <-stop:
					return
				default:
				}
				// Old snapshots are looked at again: they must not have changed.
				held = append(held, s.Snapshot())
				held = held[max(0, len(held)-5):]
				for _, sn := range held {
					check(t, sn)
				}
			}
		})
	}
	for range 150 {
		job := []string{"web", "api"}[dice.IntN(2)]
		var nodes []uint32
		for range dice.IntN(6) {
			nodes = append(nodes, uint32(1+dice.IntN(2)))
		}
		s.place(job, nodes...)
		reap := &Reap{At: s.now}
		report := &ReportAllocs{At: s.now}
		for a := range s.Snapshot().Allocs() {
			if dice.IntN(3) == 0 {
				report.Updates = append(report.Updates, cluster.AllocUpdate{ID: a.ID, Passing: uint64(dice.IntN(2)),
					ClientStatus: a.ClientStatus + cluster.ClientStatus(dice.IntN(2))*min(1, cluster.ClientFailed-min(a.ClientStatus, cluster.ClientFailed))})
			}
			if dice.IntN(2) == 0 {
				reap.Allocs = append(reap.Allocs, a.ID)
			}
		}
		s.do(report, reap)
	}
	close(stop)
	readers.Wait()
	check(t, s.Snapshot())
}
