package agent

import (
	"bufio"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"

	"github.com/a43e60e4/cluster"
)

// nomadVersion is the version of the other system whose job language and API this program speaks. It is published as
// ${attr.nomad.version}, because job files have constraints on it.
const nomadVersion = "2.0.6"

// fingerprint finds what the machine is and has; drivers are not asked. What cannot be found is left out.
func fingerprint(c Config, id cluster.ID) *cluster.Node {
	hostname, _ := os.Hostname()
	n := &cluster.Node{
		ID: id, Name: c.Name, Datacenter: c.Datacenter, NodePool: c.NodePool, NodeClass: c.NodeClass,
		HTTPAddr: c.HTTPAddr, TLSEnabled: c.TLSEnabled, Meta: maps.Clone(c.Meta),
		Attributes: map[string]string{
			"cpu.arch":                runtime.GOARCH,
			"kernel.name":             runtime.GOOS,
			"kernel.arch":             kernelArch(),
			"os.signals":              cluster.Signals,
			"nomad.version":           nomadVersion,
			"nomad.service_discovery": "true",
			"unique.hostname":         hostname,
		},
		Drivers: map[string]cluster.DriverState{},
	}
	if n.Name == "" {
		n.Name = hostname
	}
	set := func(key, value string) {
		if value != "" {
			n.Attributes[key] = value
		}
	}
	set("unique.advertise.address", c.HTTPAddr)
	kernel, _ := host.KernelVersion()
	set("kernel.version", kernel)
	osName, osVersion := release("/etc/os-release")
	set("os.name", osName)
	set("os.version", osVersion)
	machine, _ := host.HostID()
	set("unique.host_id", machine)

	has := &n.NodeResources
	has.MinDynamicPort, has.MaxDynamicPort = c.MinDynamicPort, c.MaxDynamicPort
	has.Cpu = processors(c, set)
	has.Memory.MemoryMB = memory(c, set)
	has.Disk.DiskMB = storage(c, set)
	has.NodeNetworks = networks(c.Address, set)
	n.ReservedResources = cluster.NodeReserved{
		Cpu: cluster.NodeCPU{CpuShares: c.Reserved.CPU}, Memory: cluster.NodeMemory{MemoryMB: c.Reserved.MemoryMB},
		Disk: cluster.NodeDisk{DiskMB: c.Reserved.DiskMB}, Networks: cluster.NodeReservedPorts{ReservedHostPorts: c.ReservedPorts},
	}
	set("cpu.usablecompute", strconv.Itoa(max(has.Cpu.CpuShares-c.Reserved.CPU, 0)))
	maps.Copy(n.Attributes, c.Attributes)
	n.ComputedClass = n.ComputeClass()
	return n
}

func kernelArch() string {
	if arch, err := host.KernelArch(); err == nil {
		return arch
	}
	return runtime.GOARCH
}

// CoreMHz is what one core of this machine counts in MHz: its highest frequency or, where the configuration says what the
// machine has (total, in MHz, not 0), its part of that. A machine that does not tell its frequency is taken to have 1 GHz.
func CoreMHz(total int) int {
	if total > 0 {
		return max(1, total/runtime.NumCPU())
	}
	found, _ := cpu.Info()
	return frequency(found)
}

func frequency(processors []cpu.InfoStat) int {
	mhz := 0
	for _, one := range processors {
		mhz = max(mhz, int(one.Mhz))
	}
	if mhz <= 0 {
		return 1000
	}
	return mhz
}

// processors is the computing power: cores times their highest frequency.
func processors(c Config, set func(key, value string)) cluster.NodeCPU {
	cores := runtime.NumCPU()
	found, err := cpu.Info()
	if err == nil && len(found) > 0 {
		set("cpu.modelname", found[0].ModelName)
	}
	mhz := frequency(found)
	total := cores * mhz
	if c.Total.CPU > 0 {
		total = c.Total.CPU
	}
	numbers := make([]int, cores)
	for i := range numbers {
		numbers[i] = i
	}
	set("cpu.frequency", strconv.Itoa(mhz))
	set("cpu.numcores", strconv.Itoa(cores))
	set("cpu.reservablecores", strconv.Itoa(cores))
	set("cpu.totalcompute", strconv.Itoa(total))
	return cluster.NodeCPU{CpuShares: total, TotalCpuCores: cores, ReservableCpuCores: numbers}
}

// memory is in MB.
func memory(c Config, set func(key, value string)) int {
	total := c.Total.MemoryMB
	if found, err := mem.VirtualMemory(); err == nil {
		set("memory.totalbytes", strconv.FormatUint(found.Total, 10))
		if total == 0 {
			total = int(found.Total >> 20)
		}
	}
	return total
}

// storage is what is free for allocations when the node starts, in MB.
func storage(c Config, set func(key, value string)) int {
	free := c.Total.DiskMB
	if found, err := disk.Usage(c.AllocDir); err == nil {
		set("unique.storage.volume", found.Path)
		set("unique.storage.bytestotal", strconv.FormatUint(found.Total, 10))
		set("unique.storage.bytesfree", strconv.FormatUint(found.Free, 10))
		if free == 0 {
			free = int(found.Free >> 20)
		}
	}
	return free
}

// networks is the interface that ports are published on, alone. An address given is taken even if no interface has it.
func networks(address string, set func(key, value string)) []cluster.NodeNetwork {
	if address == "" {
		address = RouteAddress()
	}
	set("unique.network.ip-address", address)
	family := "ipv4"
	if ip := net.ParseIP(address); ip != nil && ip.To4() == nil {
		family = "ipv6"
	}
	return []cluster.NodeNetwork{{Mode: "host", Device: deviceOf(address),
		Addresses: []cluster.NodeAddress{{Family: family, Alias: "default", Address: address}}}}
}

// RouteAddress is the address from which this machine would speak to others; nothing is sent to find it.
func RouteAddress() string {
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // addresses for documentation
		conn, err := net.Dial("udp", far)
		if err != nil {
			continue
		}
		defer conn.Close()
		if local, ok := conn.LocalAddr().(*net.UDPAddr); ok && !local.IP.IsUnspecified() {
			return local.IP.String()
		}
	}
	return "127.0.0.1"
}

func deviceOf(address string) string {
	all, _ := net.Interfaces()
	for _, one := range all {
		addresses, _ := one.Addrs()
		for _, a := range addresses {
			if prefix, ok := a.(*net.IPNet); ok && prefix.IP.String() == address {
				return one.Name
			}
		}
	}
	return ""
}

// release reads ID and VERSION_ID of an os-release file. Where there is none, it is what the system calls itself.
func release(path string) (name, version string) {
	file, err := os.Open(path)
	if err != nil {
		if found, err := host.Info(); err == nil && runtime.GOOS != "linux" {
			return found.Platform, found.PlatformVersion
		}
		return runtime.GOOS, ""
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		switch key {
		case "ID":
			name = value
		case "VERSION_ID":
			version = value
		}
	}
	return name, version
}

// bootID names the machine's present run.
func bootID() string {
	if text, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		return strings.TrimSpace(string(text))
	}
	started, _ := host.BootTime()
	return strconv.FormatUint(started/60, 10) // it wavers by seconds
}

// withDriver is the node with what a driver says of itself, and whether that is news. UpdateTime is when it changed.
func withDriver(n *cluster.Node, name string, state cluster.DriverState, at time.Time) (*cluster.Node, bool) {
	before, known := n.Drivers[name]
	state.UpdateTime = before.UpdateTime
	if known && state.Detected == before.Detected && state.Healthy == before.Healthy &&
		state.HealthDescription == before.HealthDescription && maps.Equal(state.Attributes, before.Attributes) {
		return n, false
	}
	state.UpdateTime = at.UTC().Format(time.RFC3339)
	next := *n
	next.Drivers, next.Attributes = maps.Clone(n.Drivers), maps.Clone(n.Attributes)
	next.Drivers[name] = state
	for key := range before.Attributes {
		delete(next.Attributes, driverAttribute(name, key))
	}
	delete(next.Attributes, "driver."+name)
	if state.Detected && state.Healthy {
		next.Attributes["driver."+name] = "1"
	}
	if state.Detected {
		for key, value := range state.Attributes {
			next.Attributes[driverAttribute(name, key)] = value
		}
	}
	next.ComputedClass = next.ComputeClass()
	return &next, true
}

// driverAttribute is the full name of what a driver may call by a short one.
func driverAttribute(driver, key string) string {
	if strings.HasPrefix(key, "driver.") || strings.Contains(key, "unique.") {
		return key
	}
	return "driver." + driver + "." + key
}

// withAddress is the node with the address it has now, and whether that is news.
func withAddress(n *cluster.Node, configured string) (*cluster.Node, bool) {
	found := map[string]string{}
	now := networks(configured, func(key, value string) { found[key] = value })
	if len(n.NodeResources.NodeNetworks) == 1 && n.Address() == now[0].Addresses[0].Address &&
		n.NodeResources.NodeNetworks[0].Device == now[0].Device {
		return n, false
	}
	next := *n
	next.NodeResources.NodeNetworks = now
	next.Attributes = maps.Clone(n.Attributes)
	maps.Copy(next.Attributes, found)
	return &next, true
}

// idFile is where the node's ID is kept.
func idFile(dir string) string { return filepath.Join(dir, "node-id") }
