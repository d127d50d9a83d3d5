package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/a43e60e4/cluster"
)

// check reports the first setting that no agent could work with, and says what would do. It looks at the values alone,
// not at the machine: whether a port is free or a directory can be written is the agent's to find out.
func (c *AgentConfig) check() error {
	for _, f := range []func() error{c.checkNames, c.checkRoles, c.checkAddresses, c.checkPorts, c.checkServer, c.checkClient, c.checkPlugins} {
		if err := f(); err != nil {
			return fmt.Errorf("check configuration: %w", err)
		}
	}
	return nil
}

// plainName reports whether the text can be a name in routes, DNS and logs: up to most letters and digits, with some of
// the marks between them.
func plainName(text string, most int, marks string) bool {
	for i, r := range []byte(text) {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		inside := i > 0 && i < len(text)-1 && strings.IndexByte(marks, r) >= 0
		if !letter && !inside {
			return false
		}
	}
	return text != "" && len(text) <= most
}

func (c *AgentConfig) checkNames() error {
	for _, n := range []struct {
		key, value string
		optional   bool
	}{
		{key: "name", value: c.Name}, {key: "datacenter", value: c.Datacenter}, {key: "client.node_pool", value: c.Client.NodePool},
		{key: "client.node_class", value: c.Client.NodeClass, optional: true},
	} {
		if !plainName(n.value, 128, "._-") && !(n.optional && n.value == "") {
			return fmt.Errorf("%s is %q: want up to 128 letters, digits, dots, dashes and underscores", n.key, clip(n.value))
		}
	}
	if c.Client.NodePool == cluster.AllNodePool {
		return fmt.Errorf("client.node_pool is %q: that names the nodes of all pools; want another name", cluster.AllNodePool)
	}
	if c.Region != cluster.GlobalRegion {
		return fmt.Errorf("region is %q: there is one region, %q", clip(c.Region), cluster.GlobalRegion)
	}
	if _, ok := logLevels[strings.ToUpper(c.LogLevel)]; !ok {
		return fmt.Errorf("log_level is %q: want DEBUG, INFO, WARN or ERROR", clip(c.LogLevel))
	}
	for key := range c.Client.Meta {
		if strings.TrimSpace(key) == "" {
			return fmt.Errorf("client.meta has an entry without a name: want name = \"value\"")
		}
	}
	return nil
}

func (c *AgentConfig) checkRoles() error {
	switch {
	case !c.Server.Enabled.On() && !c.Client.Enabled.On():
		return fmt.Errorf("neither server nor client is enabled: want at least server { enabled = true }")
	case !c.Server.Enabled.On() && (c.Bootstrap || c.Dev):
		return fmt.Errorf("server is not enabled: a cluster begins with a server: want server { enabled = true }")
	case c.Server.BootstrapExpect < 0 || c.Server.BootstrapExpect > 1:
		return fmt.Errorf("server.bootstrap_expect is %d: a cluster begins with one server: want 1", c.Server.BootstrapExpect)
	}
	return nil
}

func (c *AgentConfig) checkAddresses() error {
	if err := checkIP("bind_addr", c.Bind); err != nil {
		return err
	}
	for _, a := range []struct{ key, value string }{{"addresses.rpc", c.Addresses.RPC}, {"addresses.serf", c.Addresses.Serf}} {
		if err := checkIP(a.key, a.value); a.value != "" && err != nil {
			return err
		}
	}
	for _, host := range strings.Fields(c.Addresses.HTTP) {
		if err := checkIP("addresses.http", host); err != nil {
			return err
		}
		if !netip.MustParseAddr(host).IsLoopback() {
			return fmt.Errorf("addresses.http is %q: plain HTTP is offered on loopback alone: want 127.0.0.1 or ::1", host)
		}
	}
	for _, a := range []struct{ key, value string }{
		{"advertise.http", c.Advertise.HTTP}, {"advertise.rpc", c.Advertise.RPC}, {"advertise.serf", c.Advertise.Serf},
	} {
		if err := checkAdvertised(a.key, a.value); a.value != "" && err != nil {
			return err
		}
	}
	return nil
}

func checkIP(key, text string) error {
	if strings.Contains(text, "{{") {
		return fmt.Errorf("%s is %q: address templates are not supported yet: write the address itself", key, clip(text))
	}
	if _, err := netip.ParseAddr(text); err != nil {
		return fmt.Errorf("%s is %q: want an IP address such as 192.0.2.7, without a port", key, clip(text))
	}
	return nil
}

func checkAdvertised(key, text string) error {
	host := text
	if ip, err := netip.ParseAddr(text); err == nil {
		host = ip.String()
	} else if h, port, err := net.SplitHostPort(text); err == nil {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Errorf("%s is %q: the port must be between 1 and 65535", key, clip(text))
		}
		host = h
	}
	ip, err := netip.ParseAddr(host)
	if err == nil && ip.IsUnspecified() {
		return fmt.Errorf("%s is %q: nobody can reach that: want the address that others see", key, clip(text))
	}
	if err != nil && !plainName(host, 253, ".-") {
		return fmt.Errorf("%s is %q: want HOST or HOST:PORT", key, clip(text))
	}
	return nil
}

func (c *AgentConfig) checkPorts() error {
	used := map[int]string{}
	for _, p := range []struct {
		key   string
		value int
	}{{"ports.http", c.Ports.HTTP}, {"ports.rpc", c.Ports.RPC}, {"ports.serf", c.Ports.Serf}} {
		if p.value < 0 || p.value > 65535 {
			return fmt.Errorf("%s is %d: want a port between 1 and 65535, or 0 for any free one", p.key, p.value)
		}
		if other, taken := used[p.value]; taken && p.value != 0 {
			return fmt.Errorf("%s and %s are both %d: want different ports", other, p.key, p.value)
		}
		used[p.value] = p.key
	}
	low, high := c.Client.MinDynamicPort, c.Client.MaxDynamicPort
	if low < 1 || high > 65535 || low > high {
		return fmt.Errorf("client.min_dynamic_port is %d and client.max_dynamic_port %d: want a range between 1 and 65535", low, high)
	}
	return checkPortList(c.Client.Reserved.ReservedPorts)
}

// checkPortList checks a list such as "22,80-90".
func checkPortList(text string) error {
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || from < 1 || to > 65535 || from > to {
			return fmt.Errorf("client.reserved.reserved_ports is %q: want ports and ranges such as 22,80-90", clip(text))
		}
	}
	return nil
}

func (c *AgentConfig) checkServer() error {
	if n := c.Server.TrackedVersions; n < 1 || n > 1000 {
		return fmt.Errorf("server.job_tracked_versions is %d: want 1 to 1000", n)
	}
	if _, ok := readSize(c.Server.MaxSource); !ok {
		return fmt.Errorf("server.job_max_source_size is %q: want a size up to 1M, such as 512k, or 0 to keep none", clip(c.Server.MaxSource))
	}
	return nil
}

// sourceSize is MaxSource in bytes, as server.HTTPConfig wants it: less than 0 for none.
func (s *ServerConfig) sourceSize() int {
	if n, _ := readSize(s.MaxSource); n > 0 {
		return n
	}
	return -1
}

// sizes are the words that a size may end with.
var sizes = []struct {
	word string
	unit int
}{{"kib", 1 << 10}, {"mib", 1 << 20}, {"kb", 1 << 10}, {"mb", 1 << 20}, {"k", 1 << 10}, {"m", 1 << 20}, {"b", 1}, {"", 1}}

// readSize reads a number of bytes that is no more than a job may have.
func readSize(text string) (n int, ok bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	for _, size := range sizes {
		digits, found := strings.CutSuffix(text, size.word)
		if !found {
			continue
		}
		count, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 31)
		if err != nil || count*uint64(size.unit) > cluster.MaxJobSize {
			return 0, false
		}
		return int(count) * size.unit, true
	}
	return 0, false
}

func (c *AgentConfig) checkClient() error {
	l := c.Client
	for _, n := range []struct {
		key   string
		value int
	}{
		{"client.cpu_total_compute", l.CPUTotalCompute}, {"client.memory_total_mb", l.MemoryTotalMB},
		{"client.disk_total_mb", l.DiskTotalMB}, {"client.reserved.cpu", l.Reserved.CPU},
		{"client.reserved.memory", l.Reserved.MemoryMB}, {"client.reserved.disk", l.Reserved.DiskMB},
		{"client.gc_max_allocs", l.GCMaxAllocs},
	} {
		if n.value < 0 {
			return fmt.Errorf("%s is %d: want 0 or more", n.key, n.value)
		}
	}
	if !(l.GCDiskUsage > 0 && l.GCDiskUsage <= 100) {
		return fmt.Errorf("client.gc_disk_usage_threshold is %g: want a percentage above 0 and up to 100", l.GCDiskUsage)
	}
	if l.MaxKillTimeout < 0 || l.GCInterval < 0 {
		return fmt.Errorf("client.max_kill_timeout is %s and client.gc_interval %s: want durations of 0 or more", l.MaxKillTimeout, l.GCInterval)
	}
	return nil
}
