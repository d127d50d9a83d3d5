package cluster

// HostStats is what a machine has and uses, in bytes and percent.
type HostStats struct {
	Memory           HostMemory
	CPU              []HostCPU
	DiskStats        []HostDisk
	AllocDirStats    *HostDisk // nil where it could not be measured
	DeviceStats      []struct{}
	Uptime           uint64  // seconds
	CPUTicksConsumed float64 // MHz
}

// HostMemory is a machine's memory in bytes.
type HostMemory struct{ Total, Available, Used, Free uint64 }

// HostCPU is the use of one processor in percent.
type HostCPU struct {
	CPU                string
	User, System, Idle float64
}

// HostDisk is one file system of a machine, in bytes and percent.
type HostDisk struct {
	Device, Mountpoint             string
	Size, Used, Available          uint64
	UsedPercent, InodesUsedPercent float64
}

// AllocResourceUsage is what the tasks of an allocation use, together and one by one.
type AllocResourceUsage struct {
	ResourceUsage ResourceUsage
	Tasks         map[string]TaskResourceUsage // of the tasks that run
	Timestamp     int64                        // unix nanoseconds
}

// TaskResourceUsage is what one task uses.
type TaskResourceUsage struct {
	ResourceUsage ResourceUsage
	Timestamp     int64 // unix nanoseconds
	Pids          map[string]ResourceUsage
}

// ResourceUsage is use of memory and processors.
type ResourceUsage struct {
	MemoryStats MemoryStats
	CpuStats    CPUStats
	DeviceStats []struct{}
}

// MemoryStats is memory in bytes; Measured names the fields that the driver knows.
type MemoryStats struct {
	RSS, Cache, Swap, Usage, MaxUsage, KernelUsage, KernelMaxUsage uint64
	Measured                                                       []string
}

// CPUStats is use of processors: Percent of one core, TotalTicks in MHz, ThrottledTime in nanoseconds. Measured names
// the fields that the driver knows.
type CPUStats struct {
	SystemMode, UserMode, TotalTicks float64
	ThrottledPeriods, ThrottledTime  uint64
	Percent                          float64
	Measured                         []string
}
