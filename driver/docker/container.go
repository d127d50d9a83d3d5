package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// The labels of our containers.
const (
	labelPrefix = "com.hashicorp.nomad."
	labelAlloc  = labelPrefix + "alloc_id" // what tools for such clusters look for
	labelTask   = "cluster.task"           // the task's ID
	labelNode   = "cluster.node"           // the node's ID
	labelOutput = "cluster.output"         // an outputLabel
)

// The engine keeps so many files of so many bytes of a container's output, which is what a task may write while the agent is away.
const engineFiles, engineFileBytes = 3, 20 << 20

// container is what the engine is asked to create for the task.
func (d *Driver) container(t driver.Task, c taskConfig, image string) (client.ContainerCreateOptions, error) {
	o := d.config.Options
	labels, err := o.labels(t, c)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	host, err := d.hostConfig(t, c)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	config := &container.Config{
		Image: image, User: t.User, Hostname: c.Hostname, WorkingDir: c.WorkDir, Labels: labels,
		Entrypoint: c.Entrypoint, Cmd: c.Args,
	}
	if c.Command != "" {
		config.Cmd = append([]string{c.Command}, c.Args...)
	}
	if c.Healthchecks.Disable {
		config.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
	}
	for _, name := range slices.Sorted(maps.Keys(t.Env)) {
		if name == "" || strings.ContainsAny(name, "=\x00") { // the engine's error would show the value
			return client.ContainerCreateOptions{}, driver.Invalidf("env of task %q: %q is no name of a variable", t.Name, name)
		}
		config.Env = append(config.Env, name+"="+t.Env[name])
	}
	if config.ExposedPorts, host.PortBindings, err = ports(t, c); err != nil {
		return client.ContainerCreateOptions{}, err
	}
	return client.ContainerCreateOptions{Name: containerName(t), Config: config, HostConfig: host}, nil
}

func containerName(t driver.Task) string { return t.Name + "-" + t.AllocID.String() }

func (o Options) labels(t driver.Task, c taskConfig) (map[string]string, error) {
	log := t.LogConfig
	log.Disabled = log.Disabled || o.DisableLogCollection
	output, err := json.Marshal(outputLabel{Dir: t.AllocDir, Name: t.Name, LogConfig: log})
	if err != nil {
		return nil, fmt.Errorf("describe the output of task %q: %w", t.Name, err)
	}
	labels := maps.Clone(c.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	for name, value := range map[string]string{
		"job_name": t.JobID, "job_id": t.JobID, "task_group_name": t.Group, "task_name": t.Name, "namespace": t.Namespace,
		"node_name": t.NodeName, "node_id": t.NodeID.String(),
	} {
		if slices.ContainsFunc(o.ExtraLabels, func(pattern string) bool { return labelMatches(pattern, name) }) {
			labels[labelPrefix+name] = value
		}
	}
	labels[labelAlloc], labels[labelTask], labels[labelOutput] = t.AllocID.String(), t.ID, string(output)
	labels[labelNode] = t.NodeID.String()
	return labels, nil
}

func (d *Driver) hostConfig(t driver.Task, c taskConfig) (*container.HostConfig, error) {
	o := d.config.Options
	binds, all, err := o.mounts(t, c)
	if err != nil {
		return nil, err
	}
	host := &container.HostConfig{
		Binds: binds, Mounts: all, NetworkMode: container.NetworkMode(c.NetworkMode), LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{
			"max-size": strconv.Itoa(d.engineFile), "max-file": strconv.Itoa(engineFiles),
		}},
		DNSSearch: c.DNSSearch, DNSOptions: c.DNSOptions, ExtraHosts: c.ExtraHosts, GroupAdd: c.GroupAdd,
		Privileged: c.Privileged, ReadonlyRootfs: c.ReadonlyRootfs, SecurityOpt: c.SecurityOpt, StorageOpt: c.StorageOpt,
		Sysctls: c.Sysctl, ShmSize: c.ShmSize, OomScoreAdj: o.OOMScoreAdj, Runtime: c.Runtime,
		UsernsMode: container.UsernsMode(c.UsernsMode), PidMode: container.PidMode(c.PidMode),
		IpcMode: container.IpcMode(c.IpcMode), UTSMode: container.UTSMode(c.UtsMode), CgroupnsMode: container.CgroupnsMode(c.Cgroupns),
	}
	host.CapAdd, host.CapDrop = o.caps(c)
	if t.LogConfig.Disabled || o.DisableLogCollection {
		host.LogConfig = container.LogConfig{Type: "none"}
	}
	if c.OOMScoreAdj != 0 {
		host.OomScoreAdj = c.OOMScoreAdj
	}
	if c.Init {
		host.Init = &c.Init
	}
	for _, text := range c.DNSServers {
		address, err := netip.ParseAddr(text)
		if err != nil {
			return nil, driver.Invalidf("config of task %q: option \"dns_servers\": %q is no address", t.Name, text)
		}
		host.DNS = append(host.DNS, address)
	}
	for _, device := range c.Devices {
		mapping := container.DeviceMapping{PathOnHost: device.HostPath, PathInContainer: device.ContainerPath, CgroupPermissions: device.Permissions}
		if mapping.PathInContainer == "" {
			mapping.PathInContainer = mapping.PathOnHost
		}
		if mapping.CgroupPermissions == "" {
			mapping.CgroupPermissions = "rwm"
		}
		host.Devices = append(host.Devices, mapping)
	}
	return host, d.limits(t, c, &host.Resources)
}

// limits says how much the container may use. There is no swap: memory over the limit ends it.
func (d *Driver) limits(t driver.Task, c taskConfig, r *container.Resources) error {
	memory := int64(t.Resources.MemoryMB) << 20
	r.Memory = memory
	if hard := c.MemoryHardLimit << 20; hard > 0 {
		if hard < memory {
			return driver.Invalidf("config of task %q: option \"memory_hard_limit\" (%d MB) is below the task's memory (%d MB)", t.Name, c.MemoryHardLimit, t.Resources.MemoryMB)
		}
		r.Memory, r.MemoryReservation = hard, memory
	}
	r.MemorySwap = r.Memory
	r.CPUShares = max(2, int64(t.Resources.CPU))
	if c.CPUHardLimit {
		if d.config.CoreMHz <= 0 {
			return driver.Invalidf("config of task %q: option \"cpu_hard_limit\": the speed of this node's cores is unknown", t.Name)
		}
		period := c.CPUPeriod
		if period == 0 {
			period = 100000
		}
		if period < 1000 || period > 1000000 {
			return driver.Invalidf("config of task %q: option \"cpu_cfs_period\" must be from 1000 to 1000000 (µs), not %d", t.Name, period)
		}
		r.CPUPeriod, r.CPUQuota = period, max(1000, int64(t.Resources.CPU)*period/int64(d.config.CoreMHz))
	}
	pids := d.config.Options.PidsLimit
	if c.PidsLimit != 0 {
		if pids > 0 && (c.PidsLimit > pids || c.PidsLimit < 0) {
			return driver.Invalidf("config of task %q: option \"pids_limit\" may be at most %d on this node", t.Name, pids)
		}
		pids = c.PidsLimit
	}
	if pids != 0 {
		r.PidsLimit = &pids
	}
	for _, name := range slices.Sorted(maps.Keys(c.Ulimit)) {
		soft, hard, both := strings.Cut(c.Ulimit[name], ":")
		if !both {
			hard = soft
		}
		low, err := strconv.ParseInt(soft, 10, 64)
		high, err2 := strconv.ParseInt(hard, 10, 64)
		if err != nil || err2 != nil || high >= 0 && low > high {
			return driver.Invalidf("config of task %q: option \"ulimit\": %s = %q must be a number or \"soft:hard\"", t.Name, name, c.Ulimit[name])
		}
		r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: name, Soft: low, Hard: high})
	}
	return nil
}

// ports publishes the group's ports that the config names, for TCP and UDP. On the node's own network, or another
// container's, there is nothing to publish.
func ports(t driver.Task, c taskConfig) (network.PortSet, network.PortMap, error) {
	if len(c.Ports) == 0 {
		return nil, nil, nil
	}
	exposed, bindings := network.PortSet{}, network.PortMap{}
	for _, label := range c.Ports {
		at := slices.IndexFunc(t.Ports, func(p cluster.AllocatedPort) bool { return p.Label == label })
		if at < 0 {
			return nil, nil, driver.Invalidf("config of task %q: option \"ports\": the group's network has no port %q (there are: %s)", t.Name, label, portLabels(t))
		}
		port := t.Ports[at]
		inside := port.To
		if inside <= 0 {
			inside = port.Value
		}
		binding := network.PortBinding{HostPort: strconv.Itoa(int(port.Value))}
		if port.HostIP != "" {
			address, err := netip.ParseAddr(port.HostIP)
			if err != nil {
				return nil, nil, fmt.Errorf("publish port %q of task %q: %w", label, t.Name, err)
			}
			binding.HostIP = address
		}
		for _, protocol := range []network.IPProtocol{network.TCP, network.UDP} {
			p, _ := network.PortFrom(uint16(inside), protocol)
			exposed[p] = struct{}{}
			bindings[p] = append(bindings[p], binding)
		}
	}
	if c.NetworkMode == "host" || strings.HasPrefix(c.NetworkMode, "container:") {
		return nil, nil, nil
	}
	return exposed, bindings, nil
}

func portLabels(t driver.Task) string {
	names := make([]string, len(t.Ports))
	for i, p := range t.Ports {
		names[i] = p.Label
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
