package agent

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// servers is a Control that hands out what a benchmark puts in.
type servers struct {
	give chan Assignments
}

func (s *servers) Register(context.Context, *cluster.Node) error { return nil }

func (s *servers) Heartbeat(context.Context, cluster.ID) (Standing, error) {
	return Standing{Status: cluster.NodeStatusReady, Leader: true}, nil
}

func (s *servers) Allocations(ctx context.Context, _ cluster.ID, _ uint64) (Assignments, error) {
	select {
	case a := <-s.give:
		return a, nil
	case <-ctx.Done():
		return Assignments{}, ctx.Err()
	}
}

func (s *servers) Report(context.Context, cluster.ID, []cluster.AllocUpdate) error { return nil }

// starter is a driver that says when it is asked to start a task.
type starter struct {
	missing
	started chan time.Time
}

func (s *starter) Start(context.Context, driver.Task, func(string)) error {
	s.started <- time.Now()
	return nil
}

func (s *starter) Wait(ctx context.Context, _ string) (driver.Exit, error) {
	<-ctx.Done()
	return driver.Exit{}, ctx.Err()
}

// BenchmarkStart measures the time from an assignment to the driver's Start, on a real disk, and what an idle
// allocation of one task costs in memory.
func BenchmarkStart(b *testing.B) {
	control := &servers{give: make(chan Assignments)}
	fake := &starter{started: make(chan time.Time, 1)}
	begun := time.Now()
	n, err := Open(Config{Dir: b.TempDir(), AllocDir: b.TempDir(), Control: control, Drivers: map[string]driver.Driver{"fake": fake}})
	if err != nil {
		b.Fatal(err)
	}
	opened := time.Since(begun)
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	defer func() { cancel(); <-done }()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var took time.Duration
	var ids []cluster.ID
	for i := 0; b.Loop(); i++ {
		a := testAlloc(1, cluster.JobTypeService, nil, "web")
		a.ID = cluster.IDFrom([16]byte{1}, uint32(i))
		ids = append(ids, a.ID)
		begun := time.Now()
		control.give <- Assignments{Index: uint64(i + 1), IDs: ids, Changed: []*cluster.Allocation{a}}
		took += (<-fake.started).Sub(begun)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(opened.Microseconds())/1000, "ms/open")
	b.ReportMetric(float64(took.Microseconds())/1000/float64(len(ids)), "ms/start")
	b.ReportMetric(float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse)/float64(len(ids)), "B/alloc")
}
