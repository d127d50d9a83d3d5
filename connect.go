package cluster

import "time"

// Connect makes a service a part of a service mesh. It is kept for what it says.
type Connect struct {
	// Native says that the task speaks the mesh's language itself.
	Native bool `hcl:"native"`
	// Gateway makes the service a way in or out of the mesh.
	Gateway *ConnectGateway `hcl:"gateway,block"`
	// SidecarService is the proxy beside the service.
	SidecarService *SidecarService `hcl:"sidecar_service,block"`
	// SidecarTask is the task that runs the proxy.
	SidecarTask *SidecarTask `hcl:"sidecar_task,block"`
}

// SidecarService is the proxy beside a service.
type SidecarService struct {
	// Tags are the proxy's.
	Tags []string `hcl:"tags"`
	// Port is the label of the proxy's port.
	Port string `hcl:"port"`
	// Proxy is how the proxy is set up.
	Proxy *SidecarProxy `hcl:"proxy,block"`
	// DisableDefaultTCPCheck leaves out the proxy's check.
	DisableDefaultTCPCheck bool `hcl:"disable_default_tcp_check"`
	// Meta are notes on the proxy.
	Meta map[string]string `hcl:"meta"`
}

// SidecarProxy is how the proxy beside a service is set up.
type SidecarProxy struct {
	// LocalServiceAddress is where the service listens.
	LocalServiceAddress string `hcl:"local_service_address"`
	// LocalServicePort is where the service listens.
	LocalServicePort int `hcl:"local_service_port"`
	// Expose are paths that may be reached past the mesh.
	Expose *ExposeConfig `hcl:"expose,block"`
	// Upstreams are services that are reached through the proxy.
	Upstreams []Upstream `hcl:"upstreams,block"`
	// TransparentProxy sends all traffic through the proxy.
	TransparentProxy *TransparentProxy `hcl:"transparent_proxy,block"`
	// Config is the proxy's own.
	Config map[string]any `hcl:"config,body"`
}

// ExposeConfig are paths that may be reached past the mesh.
type ExposeConfig struct {
	// Paths are the paths.
	Paths []ExposePath `hcl:"path,block"`
}

// ExposePath is a path that may be reached past the mesh.
type ExposePath struct {
	// Path is the path of its URL.
	Path string `hcl:"path"`
	// Protocol is http or http2.
	Protocol string `hcl:"protocol"`
	// LocalPathPort is the service's port.
	LocalPathPort int `hcl:"local_path_port"`
	// ListenerPort is the label of the port that it is reached at.
	ListenerPort string `hcl:"listener_port"`
}

// Upstream is a service that is reached through the proxy.
type Upstream struct {
	// DestinationName is the service.
	DestinationName string `hcl:"destination_name"`
	// DestinationNamespace is its namespace.
	DestinationNamespace string `hcl:"destination_namespace"`
	// DestinationPeer is its cluster.
	DestinationPeer string `hcl:"destination_peer"`
	// DestinationPartition is its partition.
	DestinationPartition string `hcl:"destination_partition"`
	// DestinationType is service or prepared_query.
	DestinationType string `hcl:"destination_type"`
	// LocalBindPort is the port that the proxy listens on.
	LocalBindPort int `hcl:"local_bind_port"`
	// Datacenter is the service's.
	Datacenter string `hcl:"datacenter"`
	// LocalBindAddress is the address that the proxy listens on.
	LocalBindAddress string `hcl:"local_bind_address"`
	// LocalBindSocketPath is a unix socket instead.
	LocalBindSocketPath string `hcl:"local_bind_socket_path"`
	// LocalBindSocketMode are the socket's permissions.
	LocalBindSocketMode string `hcl:"local_bind_socket_mode"`
	// MeshGateway is the way between clusters.
	MeshGateway *MeshGateway `hcl:"mesh_gateway,block"`
	// Config is the proxy's own.
	Config map[string]any `hcl:"config,body"`
}

// MeshGateway is the way between clusters.
type MeshGateway struct {
	// Mode is local, remote or none.
	Mode string `hcl:"mode"`
}

// TransparentProxy sends all traffic of a group through its proxy.
type TransparentProxy struct {
	// UID is the user whose traffic is the proxy's own.
	UID string `hcl:"uid"`
	// OutboundPort is the proxy's.
	OutboundPort int `hcl:"outbound_port"`
	// ExcludeInboundPorts are left alone.
	ExcludeInboundPorts []string `hcl:"exclude_inbound_ports"`
	// ExcludeOutboundPorts are left alone.
	ExcludeOutboundPorts []int `hcl:"exclude_outbound_ports"`
	// ExcludeOutboundCIDRs are left alone.
	ExcludeOutboundCIDRs []string `hcl:"exclude_outbound_cidrs"`
	// ExcludeUIDs are left alone.
	ExcludeUIDs []string `hcl:"exclude_uids"`
	// NoDNS leaves name questions alone.
	NoDNS bool `hcl:"no_dns"`
}

// SidecarTask is what is different in the task that runs a proxy.
type SidecarTask struct {
	// Name is the task's.
	Name string `hcl:"name"`
	// Driver runs it.
	Driver string `hcl:"driver"`
	// User is whom it runs as.
	User string `hcl:"user"`
	// Config is the driver's own.
	Config map[string]any `hcl:"config,body"`
	// Env are variables of its environment.
	Env map[string]string `hcl:"env"`
	// Resources are what it asks of its node.
	Resources *Resources `hcl:"resources,block"`
	// Meta are notes on it.
	Meta map[string]string `hcl:"meta"`
	// KillTimeout is the time between the kill signal and the kill.
	KillTimeout time.Duration `hcl:"kill_timeout"`
	// LogConfig is what is kept of its output.
	LogConfig *LogConfig `hcl:"logs,block"`
	// ShutdownDelay is the time between leaving the service list and the kill.
	ShutdownDelay time.Duration `hcl:"shutdown_delay"`
	// KillSignal asks it to end.
	KillSignal string `hcl:"kill_signal"`
	// VolumeMounts are the group's volumes that it sees.
	VolumeMounts []VolumeMount `hcl:"volume_mount,block"`
	// Identities are its identities.
	Identities []WorkloadIdentity `hcl:"identity,block"`
}

// ConnectGateway is a way into or out of the mesh.
type ConnectGateway struct {
	// Proxy is how its proxy is set up.
	Proxy *GatewayProxy `hcl:"proxy,block"`
	// Ingress lets traffic in.
	Ingress *IngressGateway `hcl:"ingress,block"`
	// Terminating lets traffic out.
	Terminating *TerminatingGateway `hcl:"terminating,block"`
	// Mesh connects clusters.
	Mesh *MeshConfig `hcl:"mesh,block"`
}

// MeshConfig connects clusters; there is nothing to say about it.
type MeshConfig struct{}

// GatewayProxy is how a gateway's proxy is set up.
type GatewayProxy struct {
	// ConnectTimeout is how long a connection may take.
	ConnectTimeout time.Duration `hcl:"connect_timeout"`
	// EnvoyGatewayBindTaggedAddresses is Envoy's.
	EnvoyGatewayBindTaggedAddresses bool `hcl:"envoy_gateway_bind_tagged_addresses"`
	// EnvoyGatewayBindAddresses are Envoy's.
	EnvoyGatewayBindAddresses map[string]*GatewayBindAddress `hcl:"envoy_gateway_bind_addresses,block"`
	// EnvoyGatewayNoDefaultBind is Envoy's.
	EnvoyGatewayNoDefaultBind bool `hcl:"envoy_gateway_no_default_bind"`
	// EnvoyDNSDiscoveryType is Envoy's.
	EnvoyDNSDiscoveryType string `hcl:"envoy_dns_discovery_type"`
	// Config is the proxy's own.
	Config map[string]any `hcl:"config,body"`
}

// GatewayBindAddress is an address that a gateway listens on.
type GatewayBindAddress struct {
	// Name is the address's.
	Name string `hcl:"name,label"`
	// Address is an IP.
	Address string `hcl:"address"`
	// Port is the port.
	Port int `hcl:"port"`
}

// IngressGateway lets traffic into the mesh.
type IngressGateway struct {
	// TLS is for all listeners.
	TLS *GatewayTLS `hcl:"tls,block"`
	// Listeners are the ports.
	Listeners []IngressListener `hcl:"listener,block"`
}

// GatewayTLS is the encryption of a gateway.
type GatewayTLS struct {
	// Enabled encrypts.
	Enabled bool `hcl:"enabled"`
	// TLSMinVersion is the oldest version.
	TLSMinVersion string `hcl:"tls_min_version"`
	// TLSMaxVersion is the newest version.
	TLSMaxVersion string `hcl:"tls_max_version"`
	// CipherSuites are the ciphers.
	CipherSuites []string `hcl:"cipher_suites"`
	// SDS is where certificates come from.
	SDS *GatewaySDS `hcl:"sds,block"`
}

// GatewaySDS is where a gateway's certificates come from.
type GatewaySDS struct {
	// ClusterName is Envoy's.
	ClusterName string `hcl:"cluster_name"`
	// CertResource is the certificate's name.
	CertResource string `hcl:"cert_resource"`
}

// IngressListener is a port of an ingress gateway.
type IngressListener struct {
	// Port is the port.
	Port int `hcl:"port"`
	// Protocol is tcp, http, http2 or grpc.
	Protocol string `hcl:"protocol" default:"tcp"`
	// Services are what is reached through it.
	Services []IngressService `hcl:"service,block"`
}

// IngressService is a service that is reached through a gateway.
type IngressService struct {
	// Name is the service's.
	Name string `hcl:"name"`
	// Hosts are the names that it is asked for by.
	Hosts []string `hcl:"hosts"`
	// TLS is for this service.
	TLS *GatewayTLS `hcl:"tls,block"`
	// RequestHeaders are changed on the way in.
	RequestHeaders *HTTPHeaderModifiers `hcl:"request_headers,block"`
	// ResponseHeaders are changed on the way out.
	ResponseHeaders *HTTPHeaderModifiers `hcl:"response_headers,block"`
	// MaxConnections is a limit.
	MaxConnections int `hcl:"max_connections"`
	// MaxPendingRequests is a limit.
	MaxPendingRequests int `hcl:"max_pending_requests"`
	// MaxConcurrentRequests is a limit.
	MaxConcurrentRequests int `hcl:"max_concurrent_requests"`
}

// HTTPHeaderModifiers are changes of headers.
type HTTPHeaderModifiers struct {
	// Add are headers to add.
	Add map[string]string `hcl:"add"`
	// Set are headers to replace.
	Set map[string]string `hcl:"set"`
	// Remove are headers to remove.
	Remove []string `hcl:"remove"`
}

// TerminatingGateway lets traffic out of the mesh.
type TerminatingGateway struct {
	// Services are what is reached through it.
	Services []LinkedService `hcl:"service,block"`
}

// LinkedService is a service outside of the mesh.
type LinkedService struct {
	// Name is the service's.
	Name string `hcl:"name"`
	// CAFile is whom its certificate is signed by.
	CAFile string `hcl:"ca_file"`
	// CertFile is the gateway's certificate.
	CertFile string `hcl:"cert_file"`
	// KeyFile is the gateway's key.
	KeyFile string `hcl:"key_file"`
	// SNI is the name that is asked for.
	SNI string `hcl:"sni"`
}
