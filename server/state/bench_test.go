package state

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
)

const (
	benchNodes     = 5_000
	benchJobs      = 1_000
	benchInstances = 1_000 // of each job
	benchReport    = 4_000 // updates in one entry
)

// BenchmarkState1M fills a store with a million running allocations (one task, one port, three events each) and
// measures every part of its life. One round is all: go test -bench State1M -benchtime 1x.
func BenchmarkState1M(b *testing.B) {
	for range b.N {
		before := heapBytes()
		s := New()
		index := benchFill(b, s, 10)
		b.ReportMetric(float64(heapBytes()-before)/1e6, "heap-MB")
		benchSnapshot(b, s)
		benchReads(b, s)
		benchWake(b, s, index)
		benchChurn(b, s, index+benchNodes)
		runtime.KeepAlive(s)
	}
}

func heapBytes() uint64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func benchApply(b *testing.B, s *Store, index uint64, commands ...Command) time.Duration {
	b.Helper()
	entry, err := Encode(commands...)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	results, err := s.Apply(index, entry)
	took := time.Since(start)
	if err != nil || results[0].Err != nil || !results[0].Plan.Whole() {
		b.Fatal(err, results)
	}
	return took
}

// benchFill registers, places and starts everything; it returns the last index.
func benchFill(b *testing.B, s *Store, index uint64) uint64 {
	now := int64(1_700_000_000e9)
	for n := range benchNodes {
		node := testNode(uint32(n))
		node.Name = fmt.Sprintf("node-%04d", n)
		index++
		benchApply(b, s, index, &RegisterNode{At: now, Node: node})
	}
	var placing, longest time.Duration
	for j := range benchJobs {
		plan := benchPlan(b, s, index, j, now)
		index += 2
		took := benchApply(b, s, index, plan)
		placing, longest = placing+took, max(longest, took)
	}
	b.ReportMetric(benchJobs*benchInstances/placing.Seconds(), "places/s")
	b.ReportMetric(float64(longest.Microseconds())/1e3, "longest-plan-ms")

	sn := s.Snapshot()
	var reporting time.Duration
	var updates []cluster.AllocUpdate
	reports, longest := 0, 0*time.Second
	for n := range benchNodes {
		for a := range sn.AllocsByNode(id(uint32(n))) {
			updates = append(updates, benchUpdate(a, now+int64(n)))
		}
		if len(updates) >= benchReport || n == benchNodes-1 {
			index++
			took := benchApply(b, s, index, &ReportAllocs{At: now + 5e9, Updates: updates})
			reporting, longest = reporting+took, max(longest, took)
			reports += len(updates)
			updates = updates[:0]
		}
	}
	if reports != benchJobs*benchInstances {
		b.Fatalf("%d reports", reports)
	}
	b.ReportMetric(float64(reports)/reporting.Seconds(), "reports/s")
	b.ReportMetric(float64(longest.Microseconds())/1e3, "longest-report-ms")
	return index
}

// benchPlan registers a job and plans all of its instances, each node in turn.
func benchPlan(b *testing.B, s *Store, index uint64, j int, now int64) *CommitPlan {
	job := testJob(fmt.Sprintf("job-%04d", j))
	job.TaskGroups[0].Count = benchInstances
	eval := testEval(uint32(1e6+j), job)
	benchApply(b, s, index+1, &RegisterJob{At: now, Job: job, Eval: eval})
	done := *eval
	done.Status = cluster.EvalComplete
	deployment := cluster.Deployment{ID: id(uint32(2e6 + j)), Namespace: job.Namespace, JobID: job.ID, JobCreateIndex: index + 1,
		Status: cluster.DeploymentRunning, TaskGroups: map[string]cluster.DeploymentGroup{"web": {DesiredTotal: benchInstances}}}
	plan := cluster.Plan{Namespace: job.Namespace, JobID: job.ID, CreateIndex: index + 1, SnapshotIndex: index + 1, Eval: done,
		Deployments: []cluster.Deployment{deployment}}
	for i := range benchInstances {
		at := j*benchInstances + i
		plan.Places = append(plan.Places, cluster.Placement{
			NodeID: id(uint32(at % benchNodes)), TaskGroup: "web", Index: int32(i), DeploymentID: deployment.ID,
			Ports: []cluster.AllocatedPort{{Label: "http", HostIP: "", Value: int32(20000 + at/benchNodes), To: 0}},
		})
	}
	return &CommitPlan{At: now, Seed: [16]byte{8: byte(j), 9: byte(j >> 8)}, Plan: plan}
}

func benchUpdate(a *cluster.Allocation, now int64) cluster.AllocUpdate {
	return cluster.AllocUpdate{ID: a.ID, ClientStatus: cluster.ClientRunning, Health: cluster.HealthHealthy, HealthTime: now + 10e9, TaskStates: []cluster.TaskState{{
		Name: "server", State: cluster.TaskRunning, StartedAt: now + 9e6,
		Events: []cluster.TaskEvent{{Time: now, Type: cluster.EventReceived}, {Time: now + 1e6, Type: cluster.EventTaskSetup},
			{Time: now + 9e6, Type: cluster.EventStarted}},
	}}}
}

func benchSnapshot(b *testing.B, s *Store) {
	var saved bytes.Buffer
	saved.Grow(256 << 20)
	start := time.Now()
	if err := s.Snapshot().Persist(&saved); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(start).Seconds(), "persist-s")
	b.ReportMetric(float64(saved.Len())/1e6, "snapshot-MB")
	restored := New()
	start = time.Now()
	if err := restored.Restore(&saved); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(start).Seconds(), "restore-s")
	if restored.Snapshot().AllocCount() != s.Snapshot().AllocCount() {
		b.Fatal("allocations are missing")
	}
}

func benchReads(b *testing.B, s *Store) {
	sn := s.Snapshot()
	sum := 0
	start := time.Now()
	for n := range benchNodes {
		for a := range sn.AllocsByNode(id(uint32(n))) {
			sum += int(a.Index)
		}
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/benchNodes, "node-read-us")
	start = time.Now()
	for node, usage := range sn.Usages() {
		sum += len(node.Name) + usage.Capacity.CPU
	}
	b.ReportMetric(float64(time.Since(start).Microseconds()), "usages-us")
}

// benchWake lets every node wait for its allocations and measures, for each, the time from the start of
// Apply to the waiter's return.
func benchWake(b *testing.B, s *Store, index uint64) {
	type woken struct{ at time.Time }
	wakes := make(chan woken, benchNodes)
	var ready, done sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	for n := range benchNodes {
		ready.Add(1)
		done.Go(func() {
			seen := s.Snapshot().KeyIndex(NodeAllocsKey(id(uint32(n))))
			ready.Done()
			if _, err := s.Wait(ctx, seen, NodeAllocsKey(id(uint32(n)))); err == nil {
				wakes <- woken{time.Now()}
			}
		})
	}
	ready.Wait()
	for s.waiting() < benchNodes {
		runtime.Gosched()
	}
	var total, longest time.Duration
	const rounds = 200
	for n := range rounds {
		for a := range s.Snapshot().AllocsByNode(id(uint32(n))) {
			index++
			entry, _ := Encode(&StopAllocs{At: a.CreateTime, Stops: []cluster.Stop{{ID: a.ID}}})
			start := time.Now()
			if _, err := s.Apply(index, entry); err != nil {
				b.Fatal(err)
			}
			took := (<-wakes).at.Sub(start)
			total, longest = total+took, max(longest, took)
			break
		}
	}
	cancel()
	done.Wait()
	b.ReportMetric(float64(total.Nanoseconds())/1e3/rounds, "wake-us")
	b.ReportMetric(float64(longest.Nanoseconds())/1e3, "longest-wake-us")
}

// waiting is the number of waits under way.
func (s *Store) waiting() int {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	n := 0
	for _, list := range s.watch.waiters {
		n += len(list)
	}
	return n
}

// benchChurn ends, reaps and places again a part of the allocations.
func benchChurn(b *testing.B, s *Store, index uint64) {
	sn := s.Snapshot()
	now := int64(1_700_001_000e9)
	var reap Reap
	var updates []cluster.AllocUpdate
	for j := range benchJobs / 10 {
		for a := range sn.AllocsByJob("default", fmt.Sprintf("job-%04d", j)) {
			updates = append(updates, cluster.AllocUpdate{ID: a.ID, ClientStatus: cluster.ClientComplete})
			reap.Allocs = append(reap.Allocs, a.ID)
		}
	}
	reap.At = now
	ended := benchApply(b, s, index+1, &ReportAllocs{At: now, Updates: updates})
	reaped := benchApply(b, s, index+2, &reap)
	n := float64(len(updates))
	b.ReportMetric(n/ended.Seconds(), "ends/s")
	b.ReportMetric(n/reaped.Seconds(), "reaps/s")
}
