package main

import (
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/a43e60e4/cluster"
)

// AgentConfig is all that an agent can be told, in the names that existing configuration files use: defaults, under
// the files, under the flags. What parseAgentFlags returns is valid and complete, and may be copied; its maps and
// lists are shared by copies and must not be modified.
type AgentConfig struct {
	Dev bool // everything in a temporary directory that goes with the agent; tasks end with it
	// RolesUnsaid is whether nothing said which parts the agent plays: then a join token may.
	RolesUnsaid bool
	Bootstrap   bool // may make a new cluster of this server alone, if the data directory holds none

	Region     string `hcl:"region"`
	Datacenter string `hcl:"datacenter"`
	Name       string `hcl:"name"` // the machine's host name if nothing else was said

	// DataDir is absolute; "" with Dev: the agent makes a temporary directory.
	DataDir string `hcl:"data_dir"`

	// Bind is the IP address that the node-to-node, gossip and DNS ports listen on, and HTTP too where it is loopback.
	Bind      string          `hcl:"bind_addr"`
	Ports     PortsConfig     `hcl:"ports"`
	Addresses AddressesConfig `hcl:"addresses"` // instead of Bind, for one of the ports
	Advertise AdvertiseConfig `hcl:"advertise"` // what others are told
	Server    ServerConfig    `hcl:"server"`
	Client    ClientConfig    `hcl:"client"`
	Plugins   PluginsConfig   `hcl:"plugin"`
	Telemetry TelemetryConfig `hcl:"telemetry"`
	LogLevel  string          `hcl:"log_level"` // see Level
	LogJSON   bool            `hcl:"log_json"`
	_         noEffect        `later:"plugin_dir log_file log_include_location log_rotate_duration log_rotate_bytes log_rotate_max_files enable_syslog syslog_facility leave_on_interrupt leave_on_terminate enable_debug http_api_response_headers tls acl autopilot limits rpc ui keyring consul vault sentinel audit reporting eventlog" moot:"disable_update_check disable_anonymous_signature"`
}

// noEffect is the type of blank fields that carry the names of keys without effect.
type noEffect = struct{}

// PortsConfig holds the ports; 0 lets the machine choose a free one.
type PortsConfig struct {
	HTTP int `hcl:"http"`
	RPC  int `hcl:"rpc"`
	Serf int `hcl:"serf"` // gossip, TCP and UDP
	DNS  int `hcl:"dns"`  // TCP and UDP
}

// AddressesConfig holds an IP address for each port, "" being AgentConfig.Bind. HTTP may hold several between spaces.
type AddressesConfig struct {
	HTTP string `hcl:"http"`
	RPC  string `hcl:"rpc"`
	Serf string `hcl:"serf"`
	DNS  string `hcl:"dns"`
}

// AdvertiseConfig holds for each port the host or host:port that others reach it at; "" is chosen from the address
// that is bound.
type AdvertiseConfig struct {
	HTTP string `hcl:"http"`
	RPC  string `hcl:"rpc"`
	Serf string `hcl:"serf"`
}

// ServerConfig is about the part of the agent that decides.
type ServerConfig struct {
	Enabled         role `hcl:"enabled"`
	BootstrapExpect int  `hcl:"bootstrap_expect"` // 1 is AgentConfig.Bootstrap
	// TrackedVersions is how many versions of a job are kept besides those that are tagged or run.
	TrackedVersions int `hcl:"job_tracked_versions"`
	// MaxSource is how long the text of a job may be to be kept with it: a number of bytes with k, M or nothing; 0: none is kept.
	MaxSource string   `hcl:"job_max_source_size"`
	_         noEffect `later:"server_join encrypt heartbeat_grace min_heartbeat_ttl max_heartbeats_per_second failover_heartbeat_ttl job_gc_interval job_gc_threshold eval_gc_threshold batch_eval_gc_threshold deployment_gc_threshold node_gc_threshold csi_plugin_gc_threshold csi_volume_claim_gc_threshold acl_token_gc_threshold root_key_gc_threshold root_key_rotation_threshold num_schedulers enabled_schedulers default_scheduler_config enable_event_broker event_buffer_size job_default_priority job_max_priority job_max_count search plan_rejection_tracker raft_protocol raft_multiplier raft_snapshot_threshold raft_snapshot_interval raft_trailing_logs raft_logstore raft_boltdb rejoin_after_leave authoritative_region upgrade_version redundancy_zone non_voting_server license_path oidc_issuer client_introduction start_timeout data_dir start_join retry_join retry_interval retry_max"`
}

// ClientConfig is about the part of the agent that runs allocations.
type ClientConfig struct {
	Enabled         role              `hcl:"enabled"`
	NodeClass       string            `hcl:"node_class"`
	NodePool        string            `hcl:"node_pool"`
	Meta            map[string]string `hcl:"meta"`
	CPUTotalCompute int               `hcl:"cpu_total_compute"` // MHz; 0: what is found
	MemoryTotalMB   int               `hcl:"memory_total_mb"`   // 0: what is found
	DiskTotalMB     int               `hcl:"disk_total_mb"`     // 0: what is found
	Reserved        ReservedConfig    `hcl:"reserved"`
	MinDynamicPort  int               `hcl:"min_dynamic_port"`
	MaxDynamicPort  int               `hcl:"max_dynamic_port"`
	MaxKillTimeout  time.Duration     `hcl:"max_kill_timeout"`
	GCInterval      time.Duration     `hcl:"gc_interval"`
	GCDiskUsage     float64           `hcl:"gc_disk_usage_threshold"` // percent
	GCMaxAllocs     int               `hcl:"gc_max_allocs"`
	_               noEffect          `later:"network_interface gc_inode_usage_threshold gc_parallel_destroys servers server_join state_dir alloc_dir alloc_mounts_dir host_volumes_dir host_volume_plugin_dir preferred_address_family network_speed disk_free_mb reservable_cores gc_volumes_on_node_gc host_volume host_network bind_wildcard_default_host_network cni_path cni_config_dir bridge_network_name bridge_network_subnet bridge_network_subnet_ipv6 bridge_network_hairpin_mode nomad_service_discovery disable_remote_exec template artifact drain_on_shutdown chroot_env options users node_max_allocs no_host_uuid cgroup_parent default_ineligible fingerprint client_min_port client_max_port"`
}

// ReservedConfig is what the scheduler must leave alone.
type ReservedConfig struct {
	CPU           int      `hcl:"cpu"`            // MHz
	MemoryMB      int      `hcl:"memory"`         // MB
	DiskMB        int      `hcl:"disk"`           // MB
	ReservedPorts string   `hcl:"reserved_ports"` // "22,80-90"
	_             noEffect `later:"cores"`
}

// PluginsConfig holds what drivers are told.
type PluginsConfig struct {
	RawExec PluginConfig `hcl:"raw_exec"`
	Docker  PluginConfig `hcl:"docker"`
	_       noEffect     `later:"*"`
}

// PluginConfig is the body of one driver's `config` block, checked by the driver itself: texts, bools, int64, float64,
// []any and map[string]any.
type PluginConfig struct {
	Config map[string]any `hcl:"config"`
	_      noEffect       `later:"args"`

	at place // where the newest block of it begins; zero for a default
}

// where begins a message about the plugin: "FILE:LINE: ", "" if no file configures it.
func (p *PluginConfig) where() string {
	if p.at.File == "" {
		return ""
	}
	return p.at.String() + ": "
}

// TelemetryConfig is about metrics. The API always has them in both of its formats.
type TelemetryConfig struct {
	_ noEffect `moot:"prometheus_metrics" later:"collection_interval publish_allocation_metrics publish_node_metrics disable_hostname use_node_name in_memory_collection_interval in_memory_retention_period statsd_address statsite_address datadog_address datadog_tags prefix_filter filter_default include_alloc_metadata_in_metrics allowed_metadata_keys_in_metrics disable_dispatched_job_summary_metrics disable_rpc_rate_metrics_labels disable_allocation_hook_metrics circonus_api_token circonus_api_app circonus_api_url circonus_submission_interval circonus_submission_url circonus_check_id circonus_check_force_metric_activation circonus_check_instance_id circonus_check_search_tag circonus_check_tags circonus_check_display_name circonus_broker_id circonus_broker_select_tag"`
}

// role is whether an agent plays a part. Files that name neither part want both; a file that names one wants that.
type role uint8

const (
	roleUnsaid role = iota
	roleOn
	roleOff
)

// On reports whether the agent plays the part.
func (r role) On() bool { return r == roleOn }

// machine is what defaults depend on.
type machine struct {
	hostname string
	root     bool   // whether the user may write everywhere
	dataHome string // where a user's programs keep what they must not lose
}

// defaultAgentConfig is what files and flags are decoded over.
func defaultAgentConfig(dev bool, m machine) AgentConfig {
	c := AgentConfig{
		Dev:        dev,
		Bootstrap:  dev,
		Region:     cluster.GlobalRegion,
		Datacenter: cluster.DefaultDatacenter,
		Name:       m.hostname,
		Bind:       "0.0.0.0",
		LogLevel:   "INFO",
		Ports:      PortsConfig{HTTP: 4646, RPC: 4647, Serf: 4648, DNS: 8600},
		Server:     ServerConfig{TrackedVersions: 6, MaxSource: "1M"},
		Client: ClientConfig{
			NodePool:       cluster.DefaultNodePool,
			MinDynamicPort: 20000, MaxDynamicPort: 32000,
			MaxKillTimeout: 30 * time.Second,
			GCInterval:     time.Minute, GCDiskUsage: 80, GCMaxAllocs: 50,
		},
	}
	switch {
	case dev:
		c.Bind = "127.0.0.1"
		c.Plugins.RawExec.Config = map[string]any{"enabled": true}
	case m.root:
		c.DataDir = "/var/lib/cluster"
	default:
		c.DataDir = m.dataHome
	}
	return c
}

// Level is LogLevel as the logger wants it.
func (c *AgentConfig) Level() slog.Level {
	return logLevels[strings.ToUpper(c.LogLevel)]
}

var logLevels = map[string]slog.Level{
	"TRACE": slog.LevelDebug, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARN": slog.LevelWarn, "ERROR": slog.LevelError,
}

// HTTPAddresses are the host:port that HTTP listens on: as configured, else the bind address where that is loopback,
// else 127.0.0.1. Plain HTTP is offered on loopback alone.
func (c *AgentConfig) HTTPAddresses() []string {
	hosts := strings.Fields(c.Addresses.HTTP)
	if len(hosts) == 0 {
		hosts = []string{"127.0.0.1"}
		if ip, err := netip.ParseAddr(c.Bind); err == nil && ip.IsLoopback() {
			hosts[0] = c.Bind
		}
	}
	for i, host := range hosts {
		hosts[i] = net.JoinHostPort(host, strconv.Itoa(c.Ports.HTTP))
	}
	return hosts
}

// RPCAddress is the host:port that the node-to-node port listens on.
func (c *AgentConfig) RPCAddress() string { return c.listen(c.Addresses.RPC, c.Ports.RPC) }

// SerfAddress is the host:port that gossip listens on, TCP and UDP.
func (c *AgentConfig) SerfAddress() string { return c.listen(c.Addresses.Serf, c.Ports.Serf) }

// DNSAddress is the host:port that names are answered on, TCP and UDP.
func (c *AgentConfig) DNSAddress() string { return c.listen(c.Addresses.DNS, c.Ports.DNS) }

func (c *AgentConfig) listen(host string, port int) string {
	if host == "" {
		host = c.Bind
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
