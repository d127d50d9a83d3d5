package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// usage remembers the last measurement of each kind: how busy something is follows from two.
type usage struct {
	mu    sync.Mutex
	host  []cpu.TimesStat
	tasks map[string]sample // by the driver's ID of the task
}

// sample is what a task had used at a time.
type sample struct {
	at   time.Time
	used time.Duration
}

// hostStats measures the machine. Processors are measured since the last call, at the first since their start.
func (n *Node) hostStats() cluster.HostStats {
	s := cluster.HostStats{CPU: []cluster.HostCPU{}, DiskStats: []cluster.HostDisk{}, DeviceStats: []struct{}{}}
	if m, err := mem.VirtualMemory(); err == nil {
		s.Memory = cluster.HostMemory{Total: m.Total, Available: m.Available, Used: m.Used, Free: m.Free}
	}
	s.Uptime, _ = host.Uptime()
	if d, err := disk.Usage(n.config.AllocDir); err == nil {
		s.AllocDirStats = &cluster.HostDisk{Mountpoint: d.Path, Size: d.Total, Used: d.Used, Available: d.Free,
			UsedPercent: d.UsedPercent, InodesUsedPercent: d.InodesUsedPercent}
		s.DiskStats = append(s.DiskStats, *s.AllocDirStats)
	}
	times, err := cpu.Times(true)
	if err != nil {
		return s
	}
	n.usage.mu.Lock()
	before := n.usage.host
	n.usage.host = times
	n.usage.mu.Unlock()
	for i, t := range times {
		if i < len(before) {
			t = since(t, before[i])
		}
		all := t.User + t.Nice + t.System + t.Irq + t.Softirq + t.Steal + t.Iowait + t.Idle
		if all <= 0 {
			continue
		}
		one := cluster.HostCPU{CPU: times[i].CPU, User: 100 * (t.User + t.Nice) / all,
			System: 100 * (t.System + t.Irq + t.Softirq + t.Steal) / all, Idle: 100 * (t.Idle + t.Iowait) / all}
		s.CPU = append(s.CPU, one)
		s.CPUTicksConsumed += (100 - one.Idle) / 100 * n.coreMHz()
	}
	return s
}

func since(t, before cpu.TimesStat) cpu.TimesStat {
	t.User -= before.User
	t.Nice -= before.Nice
	t.System -= before.System
	t.Irq -= before.Irq
	t.Softirq -= before.Softirq
	t.Steal -= before.Steal
	t.Iowait -= before.Iowait
	t.Idle -= before.Idle
	return t
}

// coreMHz is the computing power of one core.
func (n *Node) coreMHz() float64 {
	has := n.self.Load().NodeResources.Cpu
	return float64(has.CpuShares) / float64(max(has.TotalCpuCores, 1))
}

// allocStats measures the allocation's tasks that run, or the one named.
func (n *Node) allocStats(ctx context.Context, r *runner, only string) (cluster.AllocResourceUsage, error) {
	rec := r.record()
	u := cluster.AllocResourceUsage{Tasks: map[string]cluster.TaskResourceUsage{}, Timestamp: now()}
	if only != "" && rec.group().Task(only) == nil {
		return u, cluster.Errorf(cluster.CodeNotFound, "measure task: unknown task name %q", only)
	}
	u.ResourceUsage.DeviceStats = []struct{}{}
	for i := range rec.Tasks {
		t := &rec.Tasks[i]
		if t.Stage != stageRunning || only != "" && only != t.Name {
			continue
		}
		d := n.config.Drivers[rec.spec(i).Driver]
		if d == nil {
			continue
		}
		id := taskID(rec.Alloc.ID, t.Name, t.Attempt)
		stats, err := d.Stats(ctx, id)
		if errors.Is(err, driver.ErrUnknown) {
			continue
		}
		if err != nil {
			return u, err
		}
		one := n.taskUsage(id, time.Unix(0, t.Since), stats)
		u.Tasks[t.Name] = one
		sum := &u.ResourceUsage
		sum.MemoryStats.RSS += one.ResourceUsage.MemoryStats.RSS
		sum.MemoryStats.Usage += one.ResourceUsage.MemoryStats.Usage
		sum.MemoryStats.Measured = one.ResourceUsage.MemoryStats.Measured
		sum.CpuStats.Percent += one.ResourceUsage.CpuStats.Percent
		sum.CpuStats.TotalTicks += one.ResourceUsage.CpuStats.TotalTicks
		sum.CpuStats.ThrottledPeriods += one.ResourceUsage.CpuStats.ThrottledPeriods
		sum.CpuStats.ThrottledTime += one.ResourceUsage.CpuStats.ThrottledTime
		sum.CpuStats.Measured = one.ResourceUsage.CpuStats.Measured
	}
	return u, nil
}

// taskUsage is a measurement as the API shows it: how busy the task was since the last, or since it began.
func (n *Node) taskUsage(id string, began time.Time, s driver.Stats) cluster.TaskResourceUsage {
	at := time.Now()
	n.usage.mu.Lock()
	if n.usage.tasks == nil || len(n.usage.tasks) > 10_000 { // attempts that ended are never asked for again
		n.usage.tasks = map[string]sample{}
	}
	before, ok := n.usage.tasks[id]
	n.usage.tasks[id] = sample{at, s.CPUTime}
	n.usage.mu.Unlock()
	if !ok || !at.After(before.at) {
		before = sample{at: began}
	}
	percent := 0.0
	if took := at.Sub(before.at); took > 0 {
		percent = 100 * float64(max(s.CPUTime-before.used, 0)) / float64(took)
	}
	return cluster.TaskResourceUsage{Timestamp: at.UnixNano(), Pids: map[string]cluster.ResourceUsage{}, ResourceUsage: cluster.ResourceUsage{
		DeviceStats: []struct{}{},
		MemoryStats: cluster.MemoryStats{RSS: s.MemoryBytes, Usage: s.MemoryBytes, Measured: []string{"RSS", "Usage"}},
		CpuStats: cluster.CPUStats{Percent: percent, TotalTicks: percent / 100 * n.coreMHz(), ThrottledPeriods: s.ThrottledPeriods,
			ThrottledTime: uint64(s.ThrottledTime), Measured: []string{"Percent", "TotalTicks", "Throttled Periods", "Throttled Time"}},
	}}
}
