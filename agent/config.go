package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/driver"
)

// Control is the servers, as a node sees them. All methods may be called concurrently. Errors are taken as passing and
// tried again; one with cluster.CodeNotFound says that the servers do not know the node, which then registers anew.
type Control interface {
	// Register says what the node is. Status, StatusDescription, Events, SchedulingEligibility and the indexes are
	// the servers' and zero here. The node must not be modified.
	Register(ctx context.Context, node *cluster.Node) error
	// Heartbeat renews the node's lease with the servers and returns what they think of it; a node that finds itself
	// down registers again.
	Heartbeat(ctx context.Context, node cluster.ID) (Standing, error)
	// Allocations blocks until the servers change something for the node after index, or some minutes. With index 0
	// it returns at once, and everything is Changed. It must never answer from a state older than one it has
	// answered from before, but for a cluster that was restored from a backup: then Index may be smaller.
	Allocations(ctx context.Context, node cluster.ID, index uint64) (Assignments, error)
	// Report says what became of allocations, and returns when the servers have stored it. Updates of allocations
	// that the servers do not know are ignored by them.
	Report(ctx context.Context, node cluster.ID, updates []cluster.AllocUpdate) error
}

// Standing is what the servers think of a node.
type Standing struct {
	Status string // "" if none of those who answered knows the node (yet)
	Leader bool   // the leader was among those who answered: the lease is renewed where it counts
}

// Assignments is what the servers want of a node.
type Assignments struct {
	Index   uint64
	IDs     []cluster.ID          // every allocation of the node that they have not forgotten
	Changed []*cluster.Allocation // those of them that changed after the index asked for; not to be modified
}

// Config is what a node is made from. Only Dir, AllocDir, Control and Drivers are needed.
type Config struct {
	Dir      string // of the node's own files; made with mode 0700
	AllocDir string // of the allocations' directories, which tasks of any user reach through it; made with mode 0711

	NodeID     cluster.ID // zero: one that is kept in Dir, made at the first start
	Name       string     // "": the host's name
	Datacenter string     // "": dc1
	NodePool   string     // "": default
	NodeClass  string
	Meta       map[string]string
	HTTPAddr   string // host:port at which people's tools reach the node's API
	TLSEnabled bool   // … by https

	Address        string                   // that ports are published on; "": the one that the default route uses, else 127.0.0.1
	Total          cluster.Capacity         // instead of what was measured, where not 0
	Reserved       cluster.Capacity         // kept from the scheduler
	ReservedPorts  string                   // likewise, such as "22,80-90"
	MinDynamicPort int                      // 0: 20000
	MaxDynamicPort int                      // 0: 32000
	Attributes     map[string]string        // more of them; they win over those found
	Drivers        map[string]driver.Driver // by name
	Control        Control
	Fence          Fence // nil: tasks of groups with stop_on_client_after are not started

	Heartbeat      time.Duration // between two renewals of the lease; 0: 1 s
	StopTasks      bool          // at the end of Run end all tasks; otherwise they go on and are found again
	MaxKillTimeout time.Duration // bound of kill_timeout; 0: 30 s
	GCInterval     time.Duration // of looking at the disk; 0: 1 minute
	GCMaxAllocs    int           // allocations kept on disk, as far as they have ended; 0: 50
	GCDiskUsage    float64       // percent of AllocDir's disk above which ended allocations go; 0: 80
	Logger         *slog.Logger  // nil: none
	BootID         string        // names the machine's start; "": the kernel's
}

func (c Config) complete() (Config, error) {
	if c.Dir == "" || c.AllocDir == "" || c.Control == nil {
		return c, errors.New("open node: Dir, AllocDir and Control must be set")
	}
	if c.Address != "" && net.ParseIP(c.Address) == nil {
		return c, cluster.Errorf(cluster.CodeInvalid, "open node: %q is not an IP address", c.Address)
	}
	if _, err := cluster.ParsePorts(c.ReservedPorts); err != nil {
		return c, err
	}
	if c.Datacenter == "" {
		c.Datacenter = cluster.DefaultDatacenter
	}
	if c.NodePool == "" {
		c.NodePool = cluster.DefaultNodePool
	}
	if c.MinDynamicPort == 0 {
		c.MinDynamicPort = 20000
	}
	if c.MaxDynamicPort == 0 {
		c.MaxDynamicPort = 32000
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = time.Second
	}
	if c.MaxKillTimeout == 0 {
		c.MaxKillTimeout = 30 * time.Second
	}
	if c.GCInterval == 0 {
		c.GCInterval = time.Minute
	}
	if c.GCMaxAllocs == 0 {
		c.GCMaxAllocs = 50
	}
	if c.GCDiskUsage == 0 {
		c.GCDiskUsage = 80
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
