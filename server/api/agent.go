package api

import (
	"context"
	"io"
)

// Agent is what an agent says of itself. The outer names are in lower case on the wire.
type Agent struct {
	Config map[string]any               `json:"config"` // Region, Datacenter, Name, Version{Version,…}, AdvertiseAddrs{HTTP}, …
	Member Member                       `json:"member"`
	Stats  map[string]map[string]string `json:"stats"` // by section: nomad, client, raft, runtime
}

// Member is an agent as the others see it.
type Member struct {
	Name        string
	Addr        string
	Port        uint16
	Tags        map[string]string // id role region dc build port rpc_addr vsn raft_vsn …
	Status      string            // alive, leaving, left or failed
	ProtocolMin uint8
	ProtocolMax uint8
	ProtocolCur uint8
	DelegateMin uint8
	DelegateMax uint8
	DelegateCur uint8
}

// Members lists the servers that an agent knows.
type Members struct {
	ServerName   string
	ServerRegion string
	ServerDC     string
	Members      []Member
}

// Health is how an agent's halves are; nil where it does not have that half (or was not asked for it).
type Health struct {
	Server *HealthState `json:"server,omitempty"`
	Client *HealthState `json:"client,omitempty"`
}

// HealthState is how one half of an agent is.
type HealthState struct {
	OK      bool   `json:"ok"`
	Message string `json:"message"`
}

// Metrics are the figures of an agent.
type Metrics struct {
	Timestamp string
	Gauges    []Gauge
	Points    []struct{}
	Counters  []Sample
	Samples   []Sample
}

// Gauge is a figure that goes up and down.
type Gauge struct {
	Name   string
	Value  float64
	Labels map[string]string
}

// Sample sums up what was measured several times.
type Sample struct {
	Name                              string
	Count                             uint64
	Sum, Min, Max, Mean, Stddev, Rate float64
	Labels                            map[string]string
}

// Leader is the address of the leading server, "" if there is none.
func (c *Client) Leader(ctx context.Context) (string, error) {
	out, _, err := read[string](ctx, c, StatusLeader.Path, Query{})
	return out, err
}

// Peers are the addresses of the servers.
func (c *Client) Peers(ctx context.Context) ([]string, error) {
	out, _, err := read[[]string](ctx, c, StatusPeers.Path, Query{})
	return out, err
}

// Regions lists the regions.
func (c *Client) Regions(ctx context.Context) ([]string, error) {
	out, _, err := read[[]string](ctx, c, RegionsList.Path, Query{})
	return out, err
}

// AgentSelf is what the agent says of itself.
func (c *Client) AgentSelf(ctx context.Context) (*Agent, error) {
	out, _, err := read[*Agent](ctx, c, AgentSelf.Path, Query{})
	return out, err
}

// Members lists the servers that the agent knows.
func (c *Client) Members(ctx context.Context) (*Members, error) {
	out, _, err := read[*Members](ctx, c, AgentMembers.Path, Query{})
	return out, err
}

// Health is how the agent is. An agent that is not well answers with an error whose text says what is wrong.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	out, _, err := read[*Health](ctx, c, AgentHealth.Path, Query{})
	return out, err
}

// Metrics are the agent's figures.
func (c *Client) Metrics(ctx context.Context) (*Metrics, error) {
	out, _, err := read[*Metrics](ctx, c, MetricsRead.Path, Query{})
	return out, err
}

// MetricsText is the agent's figures in the text format of Prometheus. The caller closes the body.
func (c *Client) MetricsText(ctx context.Context) (io.ReadCloser, error) {
	return c.Stream(ctx, MetricsRead.Path, Query{}.with("format", "prometheus"))
}

// CollectGarbage forgets what has ended, without waiting for its time.
func (c *Client) CollectGarbage(ctx context.Context) error {
	_, err := c.Put(ctx, SystemGC.Path, Query{}, nil, nil)
	return err
}
