package docker

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/moby/moby/client"
)

// defaultNetwork is the engine's name for the network of containers that ask for none.
const defaultNetwork = "bridge"

// asksNode reports whether the task's container asks this node for names: it says no other resolver, and has a network of
// its own. On the node's own network it sees what the node sees.
func (c *taskConfig) asksNode() bool {
	mode := c.NetworkMode
	return len(c.DNSServers) == 0 && mode != "host" && mode != "none" && !strings.HasPrefix(mode, "container:")
}

// resolvers are the addresses at which containers are answered; none without Config.Resolvers.
func (d *Driver) resolvers(ctx context.Context) ([]netip.Addr, error) {
	if d.config.Resolvers == nil {
		return nil, nil
	}
	if host := d.engine.api.DaemonHost(); !isHere(host) {
		return nil, fmt.Errorf("the Docker engine at %s is another machine's, which this node gives no names", host)
	}
	gateways, err := d.gateways(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for the engine's network %q: %w", defaultNetwork, err)
	}
	return d.config.Resolvers(gateways)
}

// isHere reports whether an engine's containers can be expected on this machine.
func isHere(host string) bool {
	u, err := url.Parse(host)
	if err != nil {
		return false
	}
	address, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "unix" || u.Hostname() == "localhost" || err == nil && address.IsLoopback()
}

// gateways are the node's addresses in the engine's default network. An engine may have none.
func (d *Driver) gateways(ctx context.Context) ([]netip.Addr, error) {
	var found client.NetworkInspectResult
	err := d.engine.callFor(ctx, min(d.engine.limit, 5*time.Second), func(ctx context.Context) (err error) {
		found, err = d.engine.api.NetworkInspect(ctx, defaultNetwork, client.NetworkInspectOptions{})
		return err
	})
	if isMissing(err) {
		return nil, nil
	}
	var all []netip.Addr
	for _, config := range found.Network.IPAM.Config {
		gateway := config.Gateway
		if !gateway.IsValid() && config.Subnet.IsValid() {
			gateway = config.Subnet.Masked().Addr().Next() // an engine that does not say takes the first one
		}
		if gateway.IsValid() {
			all = append(all, gateway)
		}
	}
	return all, err
}

// namesFor gives a container the resolvers. Without any the engine decides as it always does.
func (d *Driver) namesFor(ctx context.Context, c taskConfig, create *client.ContainerCreateOptions) {
	if !c.asksNode() {
		return
	}
	servers, err := d.resolvers(ctx)
	if err != nil {
		d.log.Debug("a container resolves no names of the cluster", "container", create.Name, "err", err) // Fingerprint says it to people
		return
	}
	create.HostConfig.DNS = servers
}

// answers tells in a fingerprint whether containers resolve names of the cluster.
func (d *Driver) answers(ctx context.Context, attributes map[string]string) string {
	servers, err := d.resolvers(ctx)
	attributes["driver.docker.dns.enabled"] = fmt.Sprint(len(servers) > 0)
	said, health := "", "Healthy"
	if err != nil {
		said = err.Error()
		health = "Healthy, but containers do not resolve names of the cluster: " + said
	}
	if len(servers) > 0 {
		attributes["unique.driver.docker.dns"] = servers[0].String()
	}
	if before := d.unnamed.Swap(&said); err != nil && (before == nil || *before != said) {
		d.log.Warn("containers do not resolve names of the cluster", "err", err)
	}
	return health
}
