package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/a43e60e4/cluster"
	"github.com/a43e60e4/cluster/agent"
	"github.com/a43e60e4/cluster/agent/dns"
	"github.com/a43e60e4/cluster/agent/gossip"
	"github.com/a43e60e4/cluster/agent/supervise"
	"github.com/a43e60e4/cluster/driver"
	"github.com/a43e60e4/cluster/server"
	"github.com/a43e60e4/cluster/server/api"
	"github.com/a43e60e4/cluster/server/link"
	"github.com/a43e60e4/cluster/server/pki"
)

// machineConfig is what a running agent is made of, and the machine as it meets it.
type machineConfig struct {
	agent      AgentConfig
	dir        dataDir
	logger     *slog.Logger
	supervisor supervisor
	drivers    map[string]driver.Driver
	resolver   *resolver // for containers; nil if no driver has any
	listen     func(network, address string) (net.Listener, error)
	dial       func(ctx context.Context, network, address string) (net.Conn, error) // nil: the machine's network
	packets    gossip.Transport                                                     // nil: the machine's network
	nameless   bool                                                                 // answers no DNS: that takes real sockets
}

// supervisor is the parent of the tasks, as the agent sees it. (Drivers may know more of it.)
type supervisor interface {
	Mode() supervise.Mode
	// Ready tells it that the agent works.
	Ready(context.Context) error
	// Hear passes on how tasks ended, until ctx ends. Its error says that the supervisor is gone.
	Hear(context.Context) error
}

// running is one agent at work: server and client in one process, joined in memory. Here alone all packages meet.
type running struct {
	machineConfig
	id        cluster.ID
	who       *link.Identity
	port      *link.Port
	advertise string // host:port at which others reach port
	routed    bool   // advertise was found out, not configured
	dialer    *link.Dialer
	transport *http.Transport // to other nodes, beside the dialer's own: for gossip
	directory *directory
	gossip    *gossip.Gossip
	claimant  claimant                     // this node, among others with its ID
	claims    sightings                    // of nodes that start
	ousted    atomic.Bool                  // another machine has this node's ID: it ends without a word
	names     *dns.Server                  // nil with nameless
	server    *server.Server               // nil on a node that is a client alone
	control   *control                     // nil with -no-client
	strangers *server.JoinPort             // nil on a node that is a client alone
	removed   atomic.Pointer[[]cluster.ID] // nodes that were removed from the cluster, ascending; nil while nobody has said
	client    *agent.Node                  // nil with -no-client
	api       http.Handler
	doors     []net.Listener // for people and tools
	inside    *loopback      // for the client part
	leaving   chan struct{}  // closed when the node leaves for good
	left      chan struct{}  // closed when it has: Run ends
	once      sync.Once      // closes leaving
	end       sync.Once      // closes left
	open      []io.Closer    // what must be closed if openAgent fails
}

// openAgent reads the data directory, takes the ports and prepares all parts. Nothing works before Run.
// The end of ctx ends the search for others with the node's ID.
func openAgent(ctx context.Context, c machineConfig) (_ *running, err error) {
	r := &running{machineConfig: c, inside: newLoopback("inside"), leaving: make(chan struct{}), left: make(chan struct{})}
	defer func() {
		if err != nil {
			for _, open := range slices.Backward(r.open) {
				open.Close()
			}
		}
	}()
	if r.id, err = c.dir.nodeID(); err != nil {
		return nil, err
	}
	for _, address := range c.agent.HTTPAddresses() {
		if err := r.offer(c.listenTCP(address, "HTTP", "http")); err != nil {
			return nil, err
		}
	}
	if err := r.offer(c.listenUnix(c.dir.socket())); err != nil {
		c.logger.Warn("no unix socket for the API", "err", err)
	}
	claim := func() error { return r.claim(ctx) }
	for _, part := range []func() error{r.openIdentity, r.openPort, claim, r.openGossip, r.openServer, r.openStrangers, r.openClient, r.openNames} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// closing is what ends a part that was opened and will not run.
type closing func()

// Close ends it.
func (c closing) Close() error {
	c()
	return nil
}

// offer adds a listener for people and tools.
func (r *running) offer(listener net.Listener, err error) error {
	if err == nil {
		r.doors, r.open = append(r.doors, listener), append(r.open, listener)
	}
	return err
}

// listenTCP takes a port; what stands in the way is said in words.
func (c *machineConfig) listenTCP(address, what, key string) (net.Listener, error) {
	listener, err := c.listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen for %s on %s: another program has that port: end it, or choose another with `ports { %s = … }`", what, address, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("listen for %s on %s: this machine does not have that address: choose one of its own with -bind or `addresses { %s = … }`", what, address, key)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("listen for %s on %s: this user may not take that port: choose one above 1023 with `ports { %s = … }`", what, address, key)
	case err != nil:
		return nil, fmt.Errorf("listen for %s on %s: %w", what, address, err)
	}
	return listener, nil
}

// longestSocketPath is what the kernel takes.
const longestSocketPath = 107

// listenUnix makes the socket through which whoever may open it is trusted.
func (c *machineConfig) listenUnix(path string) (net.Listener, error) {
	if len(path) > longestSocketPath {
		return nil, fmt.Errorf("listen on %s: the path has %d bytes and may have %d: choose a shorter -data-dir", path, len(path), longestSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	mask := syscall.Umask(0o177) // 0600 from the first moment
	listener, err := c.listen("unix", path)
	syscall.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return listener, nil
}

// openIdentity reads who this node is in which cluster, or founds a cluster.
func (r *running) openIdentity() (err error) {
	if !link.HasIdentity(r.dir.identity()) {
		if err := r.dir.leftWords(); err != nil {
			return err
		}
		if !r.agent.Bootstrap {
			return cluster.Errorf(cluster.CodeInvalid, "open data directory %s: this node belongs to no cluster yet: "+
				"start the first node with -bootstrap, and others with -join and a token (cluster join-token)", r.dir)
		}
		if err := server.Found(r.dir.server(), r.dir.identity(), r.id, time.Now()); err != nil {
			return err
		}
	}
	r.who, err = link.OpenIdentity(r.dir.identity())
	if err == nil && r.who.ID() != r.id {
		return fmt.Errorf("read identity in %s: it is node %s's, and this is node %s: %s", r.dir.identity(), r.who.ID(), r.id, link.AdviceLost)
	}
	return err
}

// openPort takes port 4647, and finds out how other nodes are reached.
func (r *running) openPort() (err error) {
	if r.directory, err = openDirectory(r.dir.nodes(), r.logger); err != nil {
		return err
	}
	r.directory.self, r.directory.teller = r.id, r.who.Role() == pki.RoleServer
	if err := r.directory.learn(r.who.Dir()); err != nil {
		r.logger.Warn("the servers that this node joined through cannot be read", "err", err)
	}
	listener, err := r.listenTCP(r.agent.RPCAddress(), "other nodes", "rpc")
	if err != nil {
		return err
	}
	r.open = append(r.open, listener)
	r.advertise = advertised(r.agent.Advertise.RPC, listener.Addr())
	r.routed = routes(r.agent.Advertise.RPC, listener.Addr())
	r.port = link.NewPort(link.PortConfig{Listener: listener, Identity: r.who, Logger: r.logger, Removed: r.isRemoved,
		MayRaft: func(id cluster.ID) bool { return r.server != nil && r.server.MayRaft(id) }})
	r.dialer = link.NewDialer(link.DialerConfig{Identity: r.who, Address: r.directory.Address, Dial: r.dial})
	r.transport = r.dialer.Transport()
	return nil
}

func (r *running) openServer() (err error) {
	if r.who.Role() != pki.RoleServer {
		r.api = r.newFront()
		return nil
	}
	if err := os.MkdirAll(r.dir.server(), 0o700); err != nil {
		return fmt.Errorf("make server directory: %w", err)
	}
	r.server, err = server.Open(server.Config{
		Dir: r.dir.server(), Identity: r.who, Name: r.agent.Name, Bootstrap: r.agent.Bootstrap, Gossip: r.directory.gossipAddress,
		Raft: r.port.Raft(), Beats: r.port.Beats(), Dialer: r.dialer, Advertise: r.advertise, Members: r.directory, Logger: r.logger, Reach: r.reach,
		Remembered: r.directory.Servers(), NewestEpoch: r.directory.NewestEpoch, TrackedVersions: r.agent.Server.TrackedVersions,
	})
	if err != nil {
		return err
	}
	r.open = append(r.open, closing(func() {
		ended, end := context.WithCancel(context.Background())
		end()
		r.server.Run(ended) // which closes what it has open
	}))
	r.api = server.NewHandler(server.HTTPConfig{
		Core: r.server, Keeper: r.server, Logger: r.logger, Version: version,
		Self: r.self, Members: r.members, Health: r.health, Figures: r.figures, Cluster: r.view, Leave: r.leave,
		Another:   (&nearest{directory: r.directory, dialer: r.dialer}).another,
		MaxSource: r.agent.Server.sourceSize(),
	})
	return nil
}

// advertised is the host:port that others are told: as configured, else where the listener is.
func advertised(configured string, bound net.Addr) string {
	host, port, _ := net.SplitHostPort(bound.String())
	if configured != "" {
		if _, _, err := net.SplitHostPort(configured); err == nil {
			return configured
		}
		return net.JoinHostPort(strings.Trim(configured, "[]"), port)
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = agent.RouteAddress()
	}
	return net.JoinHostPort(host, port)
}

// reach is the way to the API of a node, for its own routes: this or another.
func (r *running) reach(id cluster.ID) (server.Carry, error) {
	switch {
	case id == r.id && r.client != nil:
		return server.Local(r.client.Handler()), nil
	case id == r.id:
		return nil, cluster.Errorf(cluster.CodeNotFound, "No path to node %s: it runs no allocations", id)
	}
	return func(w http.ResponseWriter, request *http.Request) error { return r.carry(id, w, request) }, nil
}

func (r *running) openClient() error {
	c := r.agent
	if !c.Client.Enabled.On() {
		return nil
	}
	servers, err := api.New(api.Config{HTTP: r.inside.client()})
	if err != nil {
		return err
	}
	r.control = &control{client: servers, self: r.id, servers: r.directory.Servers, beater: r.dialer.Beater}
	if r.server != nil {
		r.control.own = r.server.Heartbeat
	}
	reserved := c.Client.Reserved
	r.client, err = agent.Open(agent.Config{
		Dir: r.dir.client(), AllocDir: r.dir.allocs(), NodeID: r.id, Name: c.Name, Datacenter: c.Datacenter,
		NodePool: c.Client.NodePool, NodeClass: c.Client.NodeClass, Meta: c.Client.Meta,
		HTTPAddr: advertised(c.Advertise.HTTP, r.doors[0].Addr()), Address: r.address(),
		Total:          cluster.Capacity{CPU: c.Client.CPUTotalCompute, MemoryMB: c.Client.MemoryTotalMB, DiskMB: c.Client.DiskTotalMB},
		Reserved:       cluster.Capacity{CPU: reserved.CPU, MemoryMB: reserved.MemoryMB, DiskMB: reserved.DiskMB},
		ReservedPorts:  reserved.ReservedPorts,
		MinDynamicPort: c.Client.MinDynamicPort, MaxDynamicPort: c.Client.MaxDynamicPort,
		Attributes: map[string]string{"cluster.version": version, "cluster.processes": r.supervisor.Mode().String()},
		Drivers:    r.drivers, Control: r.control, Fence: fenceOf(r.supervisor), StopTasks: c.Dev, MaxKillTimeout: c.Client.MaxKillTimeout,
		GCInterval: c.Client.GCInterval, GCMaxAllocs: c.Client.GCMaxAllocs, GCDiskUsage: c.Client.GCDiskUsage, Logger: r.logger,
		BootID: os.Getenv(envBootID),
	})
	return err
}

// address is the one that tasks' ports are published on: the bind address where that is a particular one.
func (r *running) address() string {
	if ip := net.ParseIP(r.agent.Bind); ip != nil && !ip.IsUnspecified() {
		return ip.String()
	}
	return ""
}

// greet tells people where the agent is.
func (r *running) greet(w io.Writer) {
	fmt.Fprintf(w, "cluster %s, node %s\n", version, r.id)
	for _, listener := range r.doors {
		if listener.Addr().Network() == "unix" {
			fmt.Fprintf(w, "  API on unix://%s\n", listener.Addr())
		} else {
			fmt.Fprintf(w, "  API on http://%s\n", listener.Addr())
		}
	}
	fmt.Fprintf(w, "  data in %s, tasks kept by %s\n", r.dir, r.supervisor.Mode())
}

// Run works until ctx ends. Port 4647 and gossip are last: others learn of the end through them.
func (r *running) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wired, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	group, wired := errgroup.WithContext(wired)
	defer context.AfterFunc(wired, stop)()
	group.Go(func() error { return named("port 4647", r.port.Run(wired)) })
	group.Go(func() error { return named("gossip", r.gossip.Run(wired)) })
	group.Go(func() error { return r.directory.Run(wired) })
	group.Go(func() error {
		select {
		case <-r.left:
			stop()
		case <-wired.Done():
		}
		return nil
	})
	err := r.runParts(ctx)
	if r.hasLeft() {
		err = errors.Join(err, r.sayGoodbye())
	}
	cut()
	r.dialer.Close()
	r.transport.CloseIdleConnections()
	if r.control != nil {
		r.control.Close()
	}
	return errors.Join(err, group.Wait())
}

// runParts runs everything that needs the wire. The client part ends first, since it speaks to the server; the listeners go
// with that.
func (r *running) runParts(ctx context.Context) error {
	servers, stopServers := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServers()
	group, servers := errgroup.WithContext(servers)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(servers, cancel)()
	if r.server != nil {
		group.Go(func() error { return named("server", r.server.Run(servers)) })
	}
	for _, listener := range r.doors {
		group.Go(func() error { return r.serve(servers, listener, r.api) })
	}
	group.Go(func() error { return r.serve(servers, r.port.HTTP(), r.peers()) })
	group.Go(func() error { return r.serve(servers, r.inside, r.asSelf(r.api)) })
	if r.names != nil {
		group.Go(func() error { return named("DNS", r.names.Run(servers)) })
	}
	group.Go(func() error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(servers, cancel)()
		return r.announce(ctx)
	})
	group.Go(func() error { return r.runTrust(servers) })
	group.Go(func() error { return r.watchAddress(servers) })
	group.Go(func() error { return r.watchTwins(servers) })
	group.Go(func() error {
		defer stopServers()
		return r.runClient(ctx)
	})
	return group.Wait()
}

// peers is the API for other nodes, on port 4647.
func (r *running) peers() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(gossipPath, r.serveGossip)
	mux.HandleFunc(claimPath, r.serveClaim)
	path, reach := r.dialer.ReachHandler()
	mux.Handle(path, reach)
	if r.server != nil {
		path, progress := r.server.ProgressHandler()
		mux.Handle(path, progress)
		mux.Handle(r.server.PassHandler())
		mux.Handle("/", r.api)
	} else if r.client != nil {
		mux.Handle("/v1/client/", serversOnly(r.client.Handler()))
	}
	return r.withoutRemoved(mux)
}

// withoutRemoved refuses nodes that were removed from the cluster, over connections of before too.
func (r *running) withoutRemoved(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if id, _ := peerOf(request); id.IsZero() || r.isRemoved(id) {
			answerError(w, cluster.Errorf(cluster.CodeForbidden, "Permission denied: this node was removed from the cluster"))
			return
		}
		next.ServeHTTP(w, request)
	})
}

// serversOnly refuses nodes that are no servers: these ask for people, who have been asked who they are.
func serversOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if _, role := peerOf(request); role != pki.RoleServer {
			answerError(w, cluster.Errorf(cluster.CodeForbidden, "Permission denied: only servers may ask a node for what it runs"))
			return
		}
		next.ServeHTTP(w, request)
	})
}

// peerOf is the node whose certificate a request on port 4647 came with; zero if there is none.
func peerOf(request *http.Request) (cluster.ID, pki.Role) {
	if request.TLS == nil || len(request.TLS.PeerCertificates) == 0 {
		return cluster.ID{}, ""
	}
	id, role, _ := pki.Identity(request.TLS.PeerCertificates[0])
	return id, role
}

// runClient says that the agent is ready, and runs the client part if there is one. It ends with the supervisor.
func (r *running) runClient(ctx context.Context) error {
	if err := r.supervisor.Ready(ctx); err != nil {
		return fmt.Errorf("tell the supervisor: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	// Exits are heard until the client part has ended: with -dev it waits for those of the tasks that it ends.
	hearing, deaf := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return r.supervisor.Hear(hearing) })
	group.Go(func() error {
		defer deaf()
		if r.client == nil {
			<-ctx.Done()
			return nil
		}
		return named("client", r.client.Run(ctx))
	})
	return group.Wait()
}

// asSelf makes requests come from this node: nobody else can reach the listener in memory.
func (r *running) asSelf(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		handler.ServeHTTP(w, request.WithContext(server.AsNode(request.Context(), r.id)))
	})
}

// farewell is how long answers may take to end after ctx has, before they are cut off.
const farewell = time.Second

// serve answers HTTP on a listener until ctx ends. It returns when the last answer is given.
func (r *running) serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	s := server.HTTPServer(ctx, handler, r.logger)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	select {
	case <-ctx.Done():
	case err := <-served:
		if ctx.Err() == nil { // else the listener's owner was faster than this
			s.Close()
			return fmt.Errorf("answer on %s: %w", listener.Addr(), err)
		}
		served <- err
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if s.Shutdown(limited) != nil {
		s.Close()
	}
	<-served
	return nil
}

func named(part string, err error) error {
	if err != nil {
		return fmt.Errorf("run %s: %w", part, err)
	}
	return nil
}
