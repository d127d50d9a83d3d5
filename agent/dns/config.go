package dns

import (
	"net"
	"net/netip"
	"time"

	"github.com/a43e60e4/cluster"
)

// Zone is the name under which the cluster's names are unless configured otherwise.
const Zone = "cluster.internal"

// Config is what a server needs.
type Config struct {
	// Listen are the addresses (host:port) to answer on, by UDP and TCP. All of them must be free. Others may follow: see
	// Server.Listen.
	Listen []string
	// Packets and Streams are open already, in addition to Listen. The server closes them.
	Packets []net.PacketConn
	Streams []net.Listener

	Zone string        // "" is cluster.internal
	TTL  time.Duration // of answers, in whole seconds up to 5; 0 is one second, and what is negative none
	Node cluster.ID    // this node: its own endpoints come first

	// Catalog gives the newest catalog. It is called for each packet or batch of packets, by many goroutines, and must
	// not block. A nil catalog knows nothing.
	Catalog func() *cluster.Catalog

	// Upstreams gives the resolvers (host:port) to ask for names that are not ours, the best first; see Upstreams. It is
	// called by many goroutines. Nil, and an empty list, mean that such names are refused.
	Upstreams func() []string

	// Near reports whether a client may ask for names that are not ours. Nil allows loopback, this machine's own
	// addresses, and its networks of containers: to others we are no open resolver.
	Near func(netip.Addr) bool
}

// The limits of a server.
const (
	maxTTL       = 5 * time.Second
	maxForwards  = 512 // questions of others under way
	maxConns     = 512 // TCP connections
	maxPerHost   = 64  // of those, of one address
	maxAnswers   = 4096
	idleTimeout  = 10 * time.Second // of a TCP connection between two questions
	writeTimeout = 5 * time.Second
	maxQuestion  = 4096 // bytes of a question, over TCP or UDP
)

func (c *Config) setDefaults() {
	if c.Zone == "" {
		c.Zone = Zone
	}
	if c.TTL == 0 {
		c.TTL = time.Second
	}
	c.TTL = min(max(c.TTL, 0), maxTTL)
	if c.Upstreams == nil {
		c.Upstreams = func() []string { return nil }
	}
}
