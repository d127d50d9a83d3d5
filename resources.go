package cluster

// Capacity is an amount of each countable resource.
type Capacity struct {
	CPU      int // MHz
	MemoryMB int
	DiskMB   int
}

// Plus is the sum.
func (c Capacity) Plus(d Capacity) Capacity {
	return Capacity{c.CPU + d.CPU, c.MemoryMB + d.MemoryMB, c.DiskMB + d.DiskMB}
}

// Minus is the difference; it may be negative.
func (c Capacity) Minus(d Capacity) Capacity {
	return Capacity{c.CPU - d.CPU, c.MemoryMB - d.MemoryMB, c.DiskMB - d.DiskMB}
}

// Lacking names the first dimension ("cpu", "memory", "disk") in which c is smaller than want, "" if want fits.
func (c Capacity) Lacking(want Capacity) string {
	switch {
	case want.CPU > c.CPU:
		return "cpu"
	case want.MemoryMB > c.MemoryMB:
		return "memory"
	case want.DiskMB > c.DiskMB:
		return "disk"
	}
	return ""
}

// Schedulable is what the scheduler may hand out on the node: what it has less what is reserved.
func (n *Node) Schedulable() Capacity {
	has, kept := &n.NodeResources, &n.ReservedResources
	return Capacity{
		CPU:      has.Cpu.CpuShares - kept.Cpu.CpuShares,
		MemoryMB: has.Memory.MemoryMB - kept.Memory.MemoryMB,
		DiskMB:   has.Disk.DiskMB - kept.Disk.DiskMB,
	}
}
